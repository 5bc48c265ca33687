"""Clusters that are plain to see are found, the same ones every time."""

import random

import igraph
import numpy as np
import pytest
from scipy import sparse

from cellglass.cluster import by_size, kmeans, leiden
from cellglass.neighbors import nearest_neighbors

SIZES = (50, 40, 30)
TRUTH = np.repeat([0, 1, 2], SIZES)  # numbered by size, as clusters are
SHUFFLE = np.random.default_rng(5).permutation(len(TRUTH))


def blobs(spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 20 * np.eye(3, 5)
    return (centres[TRUTH] + spread * rng.normal(size=(len(TRUTH), 5)))[SHUFFLE]


def found_by(method: str, X: np.ndarray, random_state: int = 0) -> np.ndarray:
    if method == "kmeans":
        return kmeans(X, 3, random_state=random_state)
    near = nearest_neighbors(X)
    return leiden(near, resolution=0.3, random_state=random_state)


methods = pytest.mark.parametrize("method", ["kmeans", "leiden"])


@methods
def test_well_separated_groups_are_found_exactly(method):
    np.testing.assert_array_equal(found_by(method, blobs()), TRUTH[SHUFFLE])


@methods
def test_the_same_seed_gives_the_same_clusters(method):
    X = blobs(spread=12.0)
    np.testing.assert_array_equal(found_by(method, X, 3), found_by(method, X, 3))


def test_another_seed_may_give_other_clusters():
    X = np.random.default_rng(0).normal(size=(200, 8))
    near = nearest_neighbors(X)
    found = {tuple(leiden(near, random_state=seed)) for seed in range(5)}
    assert len(found) > 1


def test_leiden_leaves_the_global_generators_as_they_were():
    near = nearest_neighbors(blobs())
    random.seed(11)
    before, numpys = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    leiden(near, random_state=0)
    assert random.getstate() == before
    np.testing.assert_array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    # igraph draws from Python's generator again, as before.
    random.seed(11)
    graphs = [igraph.Graph.Erdos_Renyi(n=30, p=0.3).get_edgelist()]
    random.seed(11)
    graphs.append(igraph.Graph.Erdos_Renyi(n=30, p=0.3).get_edgelist())
    assert graphs[0] == graphs[1] and random.getstate() != before


def test_igraphs_generator_is_put_back_after_an_error():
    near = nearest_neighbors(blobs())
    with pytest.raises((TypeError, ValueError, igraph.InternalError)):
        leiden(near, resolution="much", random_state=0)
    before = random.getstate()
    igraph.Graph.Erdos_Renyi(n=30, p=0.3)
    assert random.getstate() != before


@pytest.mark.parametrize("seed", [np.int64(3), np.uint32(3)], ids=["int64", "uint32"])
@methods
def test_a_numpy_number_is_a_seed_like_any_other(method, seed):
    X = blobs(spread=12.0)
    np.testing.assert_array_equal(found_by(method, X, seed), found_by(method, X, 3))


def test_more_resolution_gives_more_clusters():
    near = nearest_neighbors(blobs())
    few, many = (leiden(near, resolution=r, random_state=0).max() for r in (0.3, 5.0))
    assert many > few


def test_kmeans_of_csr_and_dense_cells_agree():
    X = np.abs(blobs())
    np.testing.assert_array_equal(
        kmeans(sparse.csr_matrix(X), 3, random_state=0), kmeans(X, 3, random_state=0)
    )


@pytest.mark.parametrize(
    ("X", "k", "largest"),
    [
        (np.ones((6, 2)), 3, 6),
        (np.eye(3), 5, 1),
        (np.repeat(np.eye(2), 4, axis=0), 5, 4),
    ],
    ids=["all-alike", "fewer-cells", "fewer-distinct-cells"],
)
def test_fewer_cells_than_clusters_make_fewer_clusters(X, k, largest):
    clusters = kmeans(X, k, random_state=0)
    assert np.bincount(clusters).max() == largest


@pytest.mark.parametrize("n", [2, 3, 40], ids="{} cells".format)
def test_leiden_takes_few_cells_and_cells_that_are_all_alike(n):
    clusters = leiden(nearest_neighbors(np.ones((n, 2))), random_state=0)
    assert clusters.shape == (n,) and clusters.min() == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([5, 5, 2, 2, 2, 9], [1, 1, 0, 0, 0, 2]),
        ([1, 0, 0, 1], [0, 1, 1, 0]),
        ([0], [0]),
        ([7, 3, 3], [1, 0, 0]),
    ],
    ids=["by-size", "ties-by-first-appearance", "one", "gaps"],
)
def test_clusters_are_numbered_from_the_largest(given, expected):
    assert by_size(np.array(given)).tolist() == expected
