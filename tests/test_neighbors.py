"""Neighbours are the nearest ones, by brute force; graphs are their definition."""

import numpy as np
import pytest
from scipy import sparse

from cellglass import neighbors as module
from cellglass.neighbors import (
    find_neighbors,
    nearest_neighbors,
    neighbors_preserved,
    shared_neighbor_graph,
)
from cellglass.resolution import _neighbors_within


def cells(n: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def distances(X: np.ndarray) -> np.ndarray:
    X = X.astype(np.float64)
    D = np.linalg.norm(X[:, None] - X[None], axis=2)
    np.fill_diagonal(D, np.inf)
    return D


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_neighbours_equal_brute_force(kind):
    X = cells()
    expected = np.argsort(distances(X), axis=1)[:, :15]
    np.testing.assert_array_equal(nearest_neighbors(kind(X)), expected)


DUPLICATES = {
    "pairs": np.repeat(cells(20), 2, axis=0),
    "more-alike-than-neighbours": np.repeat(cells(3), 20, axis=0),
    "all-alike": np.full((60, 4), 0.1, np.float32),
    "all-zero": np.zeros((60, 4), np.float32),
    "far-from-the-origin": np.repeat(cells(20), 2, axis=0) + 1000,
}


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("X", DUPLICATES.values(), ids=DUPLICATES)
def test_a_cell_is_never_its_own_neighbour_even_among_duplicates(X, kind):
    found = nearest_neighbors(kind(X))
    n = len(X)
    assert found.shape == (n, 15)
    assert not (found == np.arange(n)[:, None]).any()
    assert all(len(set(row)) == 15 for row in found.tolist())


@pytest.mark.parametrize("name", ["pairs", "more-alike-than-neighbours"])
def test_duplicates_are_the_nearest(name):
    X = DUPLICATES[name]
    D = distances(X)
    at = np.take_along_axis(D, nearest_neighbors(X), axis=1)
    np.testing.assert_allclose(at, np.sort(D, axis=1)[:, :15], atol=1e-3)


@pytest.mark.parametrize("X", [cells(), DUPLICATES["pairs"]], ids=["cells", "duplicates"])
def test_neighbours_are_the_same_however_many_cells_are_looked_up_at_a_time(X, monkeypatch):
    whole = find_neighbors(X, 7)
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 9)
    in_runs = find_neighbors(X, 7)
    np.testing.assert_array_equal(in_runs.indices, whole.indices)
    np.testing.assert_allclose(in_runs.distances, whole.distances, atol=1e-5)
    assert whole.first(3).indices.shape == whole.first(3).distances.shape == (len(X), 3)


def test_neighbours_of_some_cells_among_others_are_those_of_all_distances():
    X, rng = cells(), np.random.default_rng(3)
    among = rng.permutation(len(X))[: len(X) // 2]
    of = rng.permutation(len(X))[:9]
    found = find_neighbors(X, 4, among, of=of)
    D = distances(X)
    np.fill_diagonal(D, np.inf)
    D[:, np.setdiff1d(np.arange(len(X)), among)] = np.inf
    np.testing.assert_array_equal(found.indices, np.argsort(D[of], axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(D[of], axis=1)[:, :4], atol=1e-3)


@pytest.mark.parametrize("near", [4, 6, 30])
def test_a_subsamples_neighbours_are_its_own_however_few_are_known(near):
    X = cells()
    kept = np.sort(np.random.default_rng(5).permutation(len(X))[: len(X) * 4 // 5])
    found = _neighbors_within(X, nearest_neighbors(X, near), kept, 6)
    np.testing.assert_array_equal(found, nearest_neighbors(X[kept], 6))


@pytest.mark.parametrize("n", [2, 3, 16])
def test_with_few_cells_all_others_are_neighbours(n):
    found = nearest_neighbors(cells(n))
    assert found.shape == (n, min(15, n - 1))
    if n < 16:
        assert all(set(row) == set(range(n)) - {i} for i, row in enumerate(found.tolist()))


def test_the_shared_neighbour_graph_is_the_jaccard_index_of_python_sets():
    near = nearest_neighbors(cells(), 6)
    sets = [{i, *row} for i, row in enumerate(near.tolist())]
    expected = np.zeros((60, 60))
    for i in range(60):
        for j in range(60):
            if i != j and (j in sets[i] or i in sets[j]):
                expected[i, j] = len(sets[i] & sets[j]) / len(sets[i] | sets[j])
    graph = shared_neighbor_graph(near)
    np.testing.assert_allclose(graph.toarray(), expected)
    assert (graph.data > 0).all() and graph.diagonal().sum() == 0


def test_neighbours_are_all_preserved_in_the_same_space_and_some_by_hand():
    near = nearest_neighbors(cells())
    assert neighbors_preserved(near, near) == 1
    assert neighbors_preserved(near, near[:, ::-1]) == 1  # sets, not orders
    before, after = np.array([[1, 2], [0, 2], [0, 1], [0, 1]]), np.array([[1, 3]] * 4)
    after[1] = [2, 3]
    assert neighbors_preserved(before, after) == (1 + 1 + 1 + 1) / 8


def test_neighbours_in_unrelated_spaces_are_preserved_by_chance_alone():
    n = 600
    kept = neighbors_preserved(nearest_neighbors(cells(n)), nearest_neighbors(cells(n, 1)))
    assert kept == pytest.approx(15 / (n - 1), rel=0.25)
