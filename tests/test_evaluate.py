"""A space is judged as scikit-learn would, and odd ones without NaN."""

import dataclasses

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import metrics as reference

from cellglass import evaluate
from cellglass.compare import compare
from cellglass.evaluate import Reference, judge
from cellglass.neighbors import nearest_neighbors
from cellglass.pca import fit_pca

GROUPS = np.arange(90) % 3
LABELS = np.r_[2, 0, 1, 2, 0, 1, GROUPS[6:]]  # some are wrong, so not what is found


def blobs() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (12 * np.eye(3, 4)[GROUPS] + rng.normal(size=(90, 4))).astype(np.float32)


def yardstick(X: np.ndarray, labels: np.ndarray | None = LABELS) -> Reference:
    return Reference(labels, n_clusters=3, neighbors=nearest_neighbors(X), random_state=0)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_every_score_of_a_space_equals_scikit_learns(kind):
    X = np.maximum(blobs(), 0)
    space = judge(kind(X), yardstick(X))
    assert space.clustering.keys() == {"kmeans", "leiden"}
    for found in space.clustering.values():
        expected = reference.adjusted_rand_score(LABELS, found.clusters)
        assert found.agreement["ari"] == pytest.approx(expected, abs=1e-12)
        expected = reference.normalized_mutual_info_score(LABELS, found.clusters)
        assert found.agreement["nmi"] == pytest.approx(expected, abs=1e-12)
        expected = reference.silhouette_score(X.astype(np.float64), found.clusters)
        assert found.silhouette == pytest.approx(expected, abs=1e-6)
        assert found.n_clusters == len(set(found.clusters))
    assert space.clustering["kmeans"].agreement["ari"] < 1
    expected = reference.silhouette_score(X.astype(np.float64), LABELS)
    assert space.label_silhouette == pytest.approx(expected, abs=1e-6)
    assert space.neighbors_preserved == 1


def test_neighbours_are_compared_with_those_of_the_original():
    X = blobs()
    flat = X[:, :2]
    kept = judge(flat, yardstick(X), find_clusters=False).neighbors_preserved
    sets = [list(map(set, nearest_neighbors(space).tolist())) for space in (X, flat)]
    expected = np.mean([len(a & b) / 15 for a, b in zip(*sets, strict=True)])
    assert 0 < kept < 1 and kept == pytest.approx(expected)


def test_clusters_do_not_depend_on_the_labels():
    X = blobs()
    mixed = np.random.default_rng(0).permutation(LABELS)
    spaces = [judge(X, yardstick(X, labels)) for labels in (LABELS, mixed, None)]
    for method in ("kmeans", "leiden"):
        first, *others = (space.clustering[method] for space in spaces)
        for other in others:
            np.testing.assert_array_equal(first.clusters, other.clusters)
            assert first.silhouette == other.silhouette
    assert (
        spaces[2].label_silhouette is None
        and spaces[2].clustering["kmeans"].agreement["ari"] is None
    )


def test_a_space_that_is_only_looked_at_is_not_clustered():
    X = blobs()
    space = judge(X, yardstick(X), find_clusters=False)
    assert space.clustering == {}
    assert space.label_silhouette == judge(X, yardstick(X)).label_silhouette
    assert judge(X, yardstick(X, None), find_clusters=False).label_silhouette is None


def test_silhouettes_of_many_cells_come_from_a_sample_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(evaluate, "SILHOUETTE_CELLS", 40)
    X = blobs()
    sample = evaluate.silhouette_sample(90, 0)
    assert len(set(sample)) == 40 and (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(sample, evaluate.silhouette_sample(90, 0))
    assert (sample != evaluate.silhouette_sample(90, 1)).any()
    np.testing.assert_array_equal(evaluate.silhouette_sample(40, 0), np.arange(40))
    expected = reference.silhouette_score(X[sample].astype(np.float64), LABELS[sample])
    assert judge(X, yardstick(X)).label_silhouette == pytest.approx(expected, abs=1e-6)


# --- odd matrices, through a whole comparison, maps included -------------------------


def test_many_cells_are_judged_by_their_first_principal_components(monkeypatch):
    monkeypatch.setattr(evaluate, "JUDGED_IN_FULL", 89)
    monkeypatch.setattr(evaluate, "N_COMPONENTS", 2)
    X = blobs()
    scores = fit_pca(X, 2, random_state=0).transform(X)
    np.testing.assert_allclose(evaluate.judged_space(X), scores)
    found, expected = judge(X, yardstick(X)), judge(scores, yardstick(X))
    assert found.label_silhouette == pytest.approx(expected.label_silhouette)
    assert found.neighbors_preserved == expected.neighbors_preserved
    assert evaluate.judged_space(X[:89]).shape == (89, 4)  # no more cells than that


def fractions(shape, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random(shape) * (rng.random(shape) < 0.8) * 3).astype(np.float32)


def with_dull_genes() -> np.ndarray:
    X = fractions((20, 6))
    X[:, 1], X[:, 4] = 0, 1.5
    return X


def numbers_in(value, path=""):
    """All numbers and arrays inside, with where they stand."""
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, tuple | list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from numbers_in(inside, f"{path}.{key}")
    elif isinstance(value, np.ndarray | jax.Array | float | int):
        yield path, np.asarray(value)


@pytest.mark.parametrize("classes", [0, 1], ids=["no-labels", "one-class"])
@pytest.mark.parametrize(
    ("X", "options"),
    [
        pytest.param(fractions((3, 2)) + 0.1, {"n_latent": 1}, id="3-cells-2-genes"),
        pytest.param(fractions((5, 1)) + 0.1, {"n_latent": 1}, id="5-cells-1-gene"),
        pytest.param(fractions((5, 9)), {"n_latent": 5}, id="as-many-latent-as-cells"),
        pytest.param(with_dull_genes(), {}, id="zero-and-constant-genes"),
        pytest.param(with_dull_genes(), {"validation_fraction": 0}, id="no-validation"),
        pytest.param(np.zeros((20, 6), np.float32), {}, id="all-zero"),
        pytest.param(np.repeat(fractions((2, 6)), 10, axis=0), {}, id="two-distinct-cells"),
    ],
)
def test_odd_matrices_keep_all_genes_and_give_no_nan(X, options, classes):
    data = anndata.AnnData(X)
    if classes:
        data.obs["label"] = pd.Categorical(["T"] * len(X))
    options = {"n_latent": 2, "loss": "nonzero_mse", "max_epochs": 2, "n_hidden": 8} | options
    found = compare(data, **options)
    for name, value in numbers_in(found):
        assert np.isfinite(value).all(), name
    (run,) = found.runs
    assert run.training.network.encoder[0].weight.shape[0] == X.shape[1]
    assert run.latent_vectors.shape == (len(X), options["n_latent"])
    if "validation_fraction" in options:
        assert not found.is_validation.any() and run.training.loss_validation == ()


def test_dull_genes_and_cells_are_counted():
    X = with_dull_genes()
    X[7] = 0
    found = compare(X, n_latent=2, loss="nonzero_mse", max_epochs=2, n_hidden=8)
    assert found.constant.zero_genes.tolist() == [1]
    assert found.constant.zero_cells.tolist() == [7]
