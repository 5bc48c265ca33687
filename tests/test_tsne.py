"""t-SNE diverges as little as scikit-learn's, or less, and keeps as many neighbours."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.manifold import TSNE
from sklearn.manifold._t_sne import _joint_probabilities_nn
from sklearn.neighbors import NearestNeighbors

from cellglass import tsne as module
from cellglass.compilation import compiled
from cellglass.grid_repulsion import GridRepulsion
from cellglass.layout import FEW, _attract, _repel, descend
from cellglass.neighbors import find_neighbors, nearest_neighbors
from cellglass.pca import fit_pca
from cellglass.perplexity import conditional_probabilities
from cellglass.tsne import affinities, n_tsne_neighbors, perplexity_of, tsne


def cells(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def grouped(n: int, n_groups: int = 6) -> np.ndarray:
    """Scores of groups that lie apart to different degrees, as principal components."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(n_groups, 20)) * rng.uniform(0.5, 3, size=(n_groups, 1))
    X = centres[rng.integers(n_groups, size=n)] + rng.normal(size=(n, 20))
    return fit_pca(X, 20, random_state=0).transform(X)


def affinities_of(scores: np.ndarray) -> sparse.csr_matrix:
    n = len(scores)
    return affinities(find_neighbors(scores, n_tsne_neighbors(n)), perplexity_of(n))


def divergence(P: sparse.csr_matrix, layout: np.ndarray) -> float:
    """KL(P ‖ Q) by its definition."""
    squared = np.square(layout[:, None] - layout[None]).sum(axis=2)
    Q = 1 / (1 + squared)
    np.fill_diagonal(Q, 0)
    Q /= Q.sum()
    P = P.toarray()
    there = P > 0
    return float((P[there] * np.log(P[there] / Q[there])).sum())


@pytest.mark.parametrize("n", [40, 400], ids=["few", "many"])
def test_affinities_equal_scikit_learns(n):
    scores = grouped(n).astype(np.float64)
    finder = NearestNeighbors(n_neighbors=n_tsne_neighbors(n), algorithm="brute").fit(scores)
    graph = finder.kneighbors_graph(mode="distance")
    graph.data **= 2
    expected = _joint_probabilities_nn(graph, perplexity_of(n), 0).toarray()
    found = affinities_of(scores)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-4 * expected.max())
    assert found.sum() == pytest.approx(1)


@settings(deadline=None)  # the first one is compiled
@given(
    distances=arrays(np.float32, (3, 40), elements=st.floats(1, 100, width=16)),
    perplexity=st.floats(2, 39),
)
@example(distances=np.tile(np.linspace(1e4, 1e4 + 1, 40), (3, 1)), perplexity=13.0)
def test_weights_have_the_perplexity_that_is_asked_for(distances, perplexity):
    distances = np.sort(distances.astype(np.float64), axis=1)
    weights = conditional_probabilities(distances, perplexity).astype(np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(weights, axis=1) <= 1e-7).all()  # the farther, the less
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-300)), axis=1)
    # So many cells at the least distance of all, or so few apart, allow of no other weights.
    nearest = (distances <= distances[:, :1]).sum(axis=1)
    possible = nearest < perplexity
    assert (entropy >= np.log(perplexity) - 1e-3).all()
    np.testing.assert_allclose(entropy[possible], np.log(perplexity), atol=1e-3)


def test_cells_that_are_neighbours_of_very_many_are_not_flung_about():
    """A tight core among cells that are all far from each other: everybody's neighbours."""
    X = np.random.default_rng(0).normal(size=(FEW + 200, 50))
    X[:30] *= 0.4
    scores = fit_pca(X, 50, random_state=0).transform(X)
    P = affinities_of(scores)
    assert len(X) * P.sum(axis=0).max() > 12  # times a usual cell's share
    layout = tsne(scores, P=P)
    assert np.abs(layout).max() < 100  # with steps three times as large 115


def test_distances_may_differ_by_rounding_alone():
    distances = np.full(
        (3, 40), np.nextafter(2.0, 1.0)
    )  # whose square is not a number of 64 bits
    distances[1, ::2] = 2.0
    distances[2, 1::2] = 2.0
    np.testing.assert_allclose(conditional_probabilities(distances, 13.0).sum(axis=1), 1, 1e-6)


@pytest.mark.parametrize(
    "scores",
    [np.repeat(cells(2), 50, axis=0), np.r_[np.ones((99, 4)), np.zeros((1, 4))]],
    ids=["duplicates", "all-alike-but-one"],
)
def test_affinities_of_cells_without_distances_are_finite(scores):
    found = affinities_of(scores)
    assert np.isfinite(found.data).all() and found.sum() == pytest.approx(1)


def test_the_forces_are_those_of_the_definition():
    scores, layout = grouped(60), cells(60, 2, seed=2).astype(np.float32) * 5
    P = affinities_of(scores)
    x, y = np.ascontiguousarray(layout.T)
    pull, push = np.empty((2, 60), np.float32), np.empty((2, 60), np.float32)
    _attract(P.indptr, P.indices.astype(np.uint32), P.data.astype(np.float32), x, y, *pull)
    total = _repel(x, y, *push)
    away = (layout[:, None] - layout[None]).astype(np.float64)
    near = 1 / (1 + np.square(away).sum(axis=2))
    np.testing.assert_allclose(
        pull.T, ((P.toarray() * near)[..., None] * away).sum(axis=1), atol=1e-6
    )
    np.testing.assert_allclose(
        push.T, (np.square(near)[..., None] * away).sum(axis=1), rtol=1e-4, atol=1e-4
    )
    assert total == pytest.approx(near.sum() - 60, rel=1e-5)


@pytest.mark.parametrize("extent", [1e-4, 1.0, 30.0, 200.0])
def test_a_grid_pushes_as_all_pairs_do(extent):
    x, y = np.ascontiguousarray(cells(2000, 2).T) * np.float32(extent / 8)
    exact, on_grid = np.empty((2, 2000), np.float32), np.empty((2, 2000), np.float32)
    total = _repel(x, y, *exact)
    assert GridRepulsion(2000)(x, y, on_grid) == pytest.approx(total, rel=3e-3)
    # Intervals are as wide as the kernel: a cell's push is off by some percent of a usual one.
    error = np.linalg.norm(on_grid - exact) / np.linalg.norm(exact)
    assert error < (1e-4 if extent <= 1 else 0.03)


def test_layouts_of_either_gradient_are_as_good():
    scores = grouped(1500)
    P = affinities_of(scores)
    start = 1e-4 * scores[:, :2] / scores[:, 0].std()
    exact, on_grid = (divergence(P, descend(P, start, exact=how)) for how in (True, False))
    assert on_grid == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    "n", [60, 250, 900, *(pytest.param(n, marks=pytest.mark.slow) for n in (FEW, FEW + 50))]
)
def test_the_divergence_is_within_one_percent_of_scikit_learns_or_lower(n):
    scores = grouped(n)
    P = affinities_of(scores)
    start = (1e-4 * scores[:, :2] / scores[:, 0].std()).astype(np.float32)
    usual = TSNE(perplexity=perplexity_of(n), init=start, random_state=0).fit_transform(scores)
    ours = tsne(scores)
    # That of few cells is mostly lower by some percent.
    assert divergence(P, ours) <= divergence(P, usual) * (1.01 if n > FEW else 1.0)
    kept = [
        (nearest_neighbors(layout)[:, :, None] == nearest_neighbors(scores)[:, None]).mean()
        for layout in (ours, usual)
    ]
    assert kept[0] >= 0.97 * kept[1]


@pytest.mark.parametrize("limit", [10_000, 0], ids=["exact", "grid"])
@pytest.mark.parametrize("n", [40, FEW + 120])
def test_groups_that_are_apart_stay_apart_and_maps_can_be_drawn_again(n, limit, monkeypatch):
    monkeypatch.setattr(module, "EXACT_CELLS", limit)
    group = np.arange(n) % 4
    X = cells(n) + 15 * np.eye(4, 5)[group]
    layout = tsne(X)
    near = nearest_neighbors(layout, 5)
    assert (group[near] == group[:, None]).mean() > 0.99
    np.testing.assert_array_equal(layout, tsne(X))


def test_known_affinities_give_the_same_map():
    scores = grouped(300)
    known = find_neighbors(scores, n_tsne_neighbors(300))
    P = affinities(known, perplexity_of(300))
    np.testing.assert_array_equal(tsne(scores), tsne(scores, P=P))


def test_where_nothing_can_be_kept_functions_are_compiled_all_the_same():
    inside = {}
    exec("def half(x): return x / 2", inside)  # noqa: S102 - no file, so no place beside it
    assert compiled(inside["half"])(3.0) == 1.5
