"""On real cells of known kind, the clusters found are the kinds.

The data are no part of the project. They are looked for in the folder that the variable
CELLGLASS_TEST_DATA names, or else in a folder shared/data beside the checkout.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import cellglass as cg
import cellglass.project

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA = Path(os.environ.get("CELLGLASS_TEST_DATA", BESIDE))


@pytest.mark.parametrize(
    ("matrix", "labels", "least"),
    [
        pytest.param(
            "facs3/counts.npy", "facs3/labels.txt", 0.85, id="facs3", marks=pytest.mark.slow
        ),
        pytest.param("cellbench_10x_3cl.h5ad", "label", 0.99, id="cellbench_10x_3cl"),
    ],
)
def test_kmeans_on_ten_latent_dimensions_finds_the_known_kinds(
    matrix, labels, least, monkeypatch
):
    without_maps(monkeypatch)
    (run,) = cg.compare(given(matrix, labels), n_latent=10, loss="mse").runs
    assert run.name == "mse_10_seed0"
    assert run.latent.clustering["kmeans"].agreement["ari"] >= least


@pytest.mark.slow
def test_nb_is_ahead_of_pca_on_sparse_counts_of_many_genes(monkeypatch):
    without_maps(monkeypatch)
    data = given("worm_neuron.h5ad", "label")
    found = cg.compare(data, n_latent=10, loss="nb", seeds=5)
    scores = [run.latent.clustering["kmeans"].agreement["ari"] for run in found.runs]
    assert len(scores) == 5
    assert np.mean(scores) >= 0.37 + 0.08  # .37: PCA 50 of the 2,000 most variable genes


def given(matrix, labels):
    if not (DATA / matrix).exists():
        pytest.skip(f"{DATA / matrix} is not there")
    file = DATA / labels
    return cg.read(DATA / matrix, labels=file if file.exists() else labels)


def without_maps(monkeypatch):
    """Leave maps out, which have no part in the clusters and take half of the time."""
    project = sys.modules["cellglass.project"]
    monkeypatch.setattr(project, "tsne", lambda scores, **_: scores[:, :2])
