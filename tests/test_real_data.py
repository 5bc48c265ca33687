"""On real cells of known kind, the clusters found are the kinds.

The data are no part of the project. They are looked for in the folder that the variable
CELLGLASS_TEST_DATA names, or else in a folder shared/data beside the checkout.
"""

import os
import sys
from pathlib import Path

import pytest

import cellglass as cg
import cellglass.project

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA = Path(os.environ.get("CELLGLASS_TEST_DATA", BESIDE))


@pytest.mark.parametrize(
    ("matrix", "labels", "least"),
    [
        pytest.param("facs3/counts.npy", "facs3/labels.txt", 0.85, id="facs3"),
        pytest.param("cellbench_10x_3cl.h5ad", "label", 0.99, id="cellbench_10x_3cl"),
    ],
)
def test_kmeans_on_ten_latent_dimensions_finds_the_known_kinds(
    matrix, labels, least, monkeypatch
):
    if not (DATA / matrix).exists():
        pytest.skip(f"{DATA / matrix} is not there")
    # Maps have no part in the clusters, and take half of the time.
    project = sys.modules["cellglass.project"]
    monkeypatch.setattr(project, "tsne", lambda scores, random_state: scores[:, :2])
    file = DATA / labels
    data = cg.read(DATA / matrix, labels=file if file.exists() else labels)
    (run,) = cg.compare(data, n_latent=10, loss="mse").runs
    assert run.name == "mse_10_seed0"
    assert run.latent.clustering["kmeans"].agreement["ari"] >= least
