"""Clusters: how many, how sure, and on what several networks agree."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from cellglass import cluster_space as spaces_module
from cellglass import confidence, separation
from cellglass.cluster_space import (
    SURE,
    _by_both,
    _heard,
    cluster_space,
    consensus_of_spaces,
)
from cellglass.confidence import joint_membership, membership
from cellglass.consensus import agreement_of_members, consensus, voices, votes_of_pca
from cellglass.gene_choice import most_variable_genes
from cellglass.mixture import gaussian_mixture, tied_membership
from cellglass.neighbors import nearest_neighbors
from cellglass.partition import by_size, kmeans
from cellglass.resolution import scan_resolutions
from cellglass.separation import choose_number


def groups(
    n: int, centers: np.ndarray, seed: int, spread: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw cells from Gaussian groups of equal shares; the truth and the cells."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(centers), size=n)
    noise = rng.normal(size=(n, centers.shape[1]))
    return truth, centers[truth] + (noise if spread is None else noise @ spread)


def apart(n_groups: int, n_dimensions: int, distance: float) -> np.ndarray:
    """Place centres that all lie equally far from each other."""
    return distance / np.sqrt(2) * np.eye(n_groups, n_dimensions)


def is_right(truth: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Say of every cell whether its cluster is the one that stands for its group."""
    table = np.zeros((clusters.max() + 1, truth.max() + 1))
    np.add.at(table, (clusters, truth), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    meant = np.full(clusters.max() + 1, -1)
    meant[rows] = columns
    return meant[clusters] == truth


# --- confidence -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("kmeans", {"n_clusters": 4}),
        ("gaussian_mixture", {"n_clusters": 4}),
        ("leiden", {"resolution": 0.2}),
    ],
)
@pytest.mark.parametrize("distance", [3.0, 4.0])
def test_confidence_is_calibrated_where_groups_overlap_by_a_known_amount(method, how, distance):
    truth, X = groups(8000, apart(4, 6, distance), seed=1)
    found = cluster_space(X, method, **how)
    right = is_right(truth, found.clusters)
    assert found.n_clusters == 4
    assert found.confidence.mean() == pytest.approx(right.mean(), abs=0.015)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = (found.confidence >= low) & (found.confidence < high)
        assert right[inside].mean() == pytest.approx(found.confidence[inside].mean(), abs=0.06)


@pytest.mark.parametrize("own", [0.0, 0.2, 0.5, 0.8, 1.2])
@pytest.mark.parametrize("distance", [3.0, 4.0])
def test_confidence_of_a_consensus_is_calibrated_however_much_its_views_err_alike(
    distance, own
):
    """Views share the cells' noise, of variance 1, and each has some of its own."""
    truth, X = groups(6000, apart(4, 6, distance), seed=1)
    rng = np.random.default_rng(1)
    views = [(X + own * rng.normal(size=X.shape)) @ rng.normal(size=(6, 6)) for _ in range(5)]
    found = consensus_of_spaces(views, n_clusters=4)
    right = is_right(truth, found.clusters)
    assert found.confidence.mean() == pytest.approx(right.mean(), abs=0.025)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = (found.confidence >= low) & (found.confidence < high)
        assert right[inside].mean() == pytest.approx(found.confidence[inside].mean(), abs=0.06)


def test_views_that_are_the_same_are_as_sure_as_one_of_them():
    _, X = groups(800, apart(3, 4, 3.0), seed=4)
    clusters = kmeans(X, 3, random_state=0)
    alone, together = membership(X, clusters), joint_membership([X, 2 * X], [1, 3], clusters)
    alike = joint_membership([X], [1], clusters)
    np.testing.assert_allclose(together, alike, atol=1e-6)
    own = np.arange(len(X)), clusters
    assert together[own].mean() == pytest.approx(alone[own].mean(), abs=0.005)
    assert np.abs(together - alone).mean() < 0.02


def test_a_space_of_weight_three_counts_like_three_spaces_and_of_none_not_at_all():
    truth, X = groups(500, apart(3, 4, 3.0), seed=4)
    other = X + np.random.default_rng(0).normal(size=X.shape)
    thrice = joint_membership([X, other, other, other], [1, 1, 1, 1], truth)
    np.testing.assert_allclose(joint_membership([X, other], [1, 3], truth), thrice, atol=1e-9)
    alone = joint_membership([X], [1], truth)
    np.testing.assert_allclose(joint_membership([X, other], [2, 0], truth), alone, atol=1e-9)
    assert np.abs(thrice - alone).max() > 0.1


def uneven_groups(n: int, centers: np.ndarray, kind: str, seed: int):
    """Draw cells from Gaussian groups that are not alike; truth, cells, shares, spreads."""
    k, d = centers.shape
    shares, spreads = np.full(k, 1 / k), np.stack([np.eye(d)] * k)
    if kind == "one twice as wide":
        spreads[-1] *= 2
    elif kind == "unequal in size and width":
        shares = np.array([0.5, 0.3, 0.15, 0.05])[:k] / sum([0.5, 0.3, 0.15, 0.05][:k])
        spreads *= np.linspace(0.5, 2, k)[:, None, None]
    else:
        stretched = np.random.default_rng(5).normal(scale=0.5, size=(k, d))
        spreads = np.stack([np.diag(np.exp(s)) for s in stretched])
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, size=n, p=shares)
    X = centers[truth] + np.einsum("ni,nij->nj", rng.normal(size=(n, d)), spreads[truth])
    return truth, X, shares, spreads


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("method", ["kmeans", "gaussian_mixture"])
@pytest.mark.parametrize(
    "kind", ["one twice as wide", "unequal in size and width", "stretched each its own way"]
)
def test_confidence_is_calibrated_where_groups_are_not_alike_but_are_found(method, kind, seed):
    truth, X, _, _ = uneven_groups(2500, apart(4, 6, 5.0), kind, seed=seed)
    found = cluster_space(X, method, n_clusters=4)
    right = is_right(truth, found.clusters)
    assert found.confidence.mean() == pytest.approx(right.mean(), abs=0.015)
    assert right[found.between].mean() < 0.7 < 0.96 < right[~found.between].mean()
    tied = tied_membership(X, found.clusters)[np.arange(len(X)), found.clusters]
    # What one covariance for all says would be the worse by squared error (Brier 1950).
    assert ((found.confidence - right) ** 2).mean() < 0.8 * ((tied - right) ** 2).mean()


@pytest.mark.parametrize(
    "kind", ["one twice as wide", "unequal in size and width", "stretched each its own way"]
)
def test_confidence_of_a_consensus_is_nearly_calibrated_where_groups_are_not_alike(kind):
    truth, X, _, _ = uneven_groups(2500, apart(4, 6, 5.0), kind, seed=1)
    rng = np.random.default_rng(1)
    views = [X + 0.5 * rng.normal(size=X.shape) for _ in range(5)]
    found = consensus_of_spaces(views, n_clusters=4)
    right = is_right(truth, found.clusters)
    assert found.confidence.mean() == pytest.approx(right.mean(), abs=0.035)


@pytest.mark.parametrize(
    "kind", ["one twice as wide", "unequal in size and width", "stretched each its own way"]
)
def test_probabilities_are_those_of_the_distributions_the_cells_are_from(kind):
    centers = apart(3, 4, 3.5)
    truth, X, shares, spreads = uneven_groups(12000, centers, kind, seed=2)
    densities = np.stack(
        [
            share * multivariate_normal(c, s.T @ s).pdf(X)
            for share, c, s in zip(shares, centers, spreads, strict=True)
        ],
        axis=1,
    )
    exact = densities / densities.sum(axis=1, keepdims=True)
    assert np.abs(membership(X, truth) - exact).mean() < 0.01


def plain_mixture(X, clusters):
    """Fit a mixture by five rounds, with plain sums over cells; give what judges a cell."""

    def judge(cells, sizes, means, covariances):
        densities = np.stack(
            [
                size * multivariate_normal(mean, covariance).pdf(cells)
                for size, mean, covariance in zip(sizes, means, covariances, strict=True)
            ],
            axis=-1,
        )
        return densities / densities.sum(axis=-1, keepdims=True)

    found, further = np.eye(2)[clusters], 3 * (X.shape[1] + 2)
    for _ in range(5):
        sizes = found.sum(axis=0)
        means = [np.average(X, axis=0, weights=w) for w in found.T]
        within = [
            sum(w[i] * np.outer(X[i] - m, X[i] - m) for i in range(len(X)))
            for m, w in zip(means, found.T, strict=True)
        ]
        common = sum(within) / len(X)
        covariances = [
            (w + further * common) / (size + further)
            for w, size in zip(within, sizes, strict=True)
        ]
        found = judge(X, sizes, means, covariances)
    return partial(judge, sizes=sizes, means=means, covariances=covariances)


def test_a_cell_is_judged_by_nine_tenths_of_the_others_whose_widths_are_drawn_together():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(19, 3)), 2 * rng.normal(size=(24, 3)) + 1] @ rng.normal(
        size=(3, 3)
    )
    clusters = np.repeat([0, 1], [19, 24])
    order = rng.permutation(len(X))
    X, clusters = X[order], clusters[order]
    found = membership(X, clusters)
    for cell in range(len(X)):
        fold = (clusters[:cell] == clusters[cell]).sum() % 10  # its place in its cluster
        others = [i for i in range(len(X)) if (clusters[:i] == clusters[i]).sum() % 10 != fold]
        expected = plain_mixture(X[others], clusters[others])(X[cell])
        np.testing.assert_allclose(found[cell], expected, atol=2e-5)


@pytest.mark.parametrize(("n", "d", "too_sure"), [(100, 20, 0.1), (200, 10, 0.03)])
def test_few_cells_in_many_dimensions_are_not_surer_than_they_are_right(n, d, too_sure):
    """Means over draws; by a mixture that the cells themselves shape it is .23 and .07."""
    said, right = [], []
    for seed in range(8):
        truth, X = groups(n, apart(4, d, 3.0), seed=seed)
        found = cluster_space(X, "kmeans", n_clusters=4)
        said.append(found.confidence.mean())
        right.append(is_right(truth, found.clusters).mean())
    assert abs(np.mean(said) - np.mean(right)) < too_sure


def test_a_cell_alone_in_its_cluster_is_told_too_and_many_cells_by_some(monkeypatch):
    truth, X = groups(400, apart(3, 4, 4.0), seed=1)
    clusters = np.append(truth, 3)
    far = np.vstack([X, np.full(4, 50.0)])
    found = membership(far, clusters)
    assert found[-1, 3] > 0.99 and found[:-1, 3].max() < 0.01
    monkeypatch.setattr(confidence, "FITTED", 100)
    some = membership(X, truth)
    assert np.abs(some - found[:-1, :3]).mean() < 0.05
    assert np.abs(joint_membership([X], [1], truth) - some).mean() < 0.05


def test_cells_between_clusters_are_those_in_the_middle():
    _, X = groups(3000, apart(2, 3, 5.0), seed=3)
    found = cluster_space(X, "kmeans", n_clusters=2)
    along = (X[:, 0] - X[:, 1]) / np.sqrt(2)  # 0 half-way
    assert found.between.any()
    assert np.abs(along[found.between]).max() < np.abs(along[~found.between]).mean()
    np.testing.assert_array_equal(found.between, found.confidence < SURE)
    np.testing.assert_array_equal(found.second, 1 - found.clusters)


def test_a_single_cluster_is_sure_and_has_no_second():
    found = cluster_space(np.random.default_rng(0).normal(size=(50, 3)), "kmeans", n_clusters=1)
    assert (found.confidence == 1).all() and (found.second == -1).all()
    assert not found.between.any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 6), n=st.integers(6, 40))
def test_memberships_add_up_whatever_the_cells(seed, k, n):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, size=(n, 3)).astype(float)  # many duplicates
    for method in ("kmeans", "gaussian_mixture"):
        found = cluster_space(X, method, n_clusters=k, random_state=seed)
        assert np.isfinite(found.membership).all()
        np.testing.assert_allclose(found.membership.sum(axis=1), 1, rtol=1e-6)
        sizes = np.bincount(found.clusters, minlength=found.n_clusters)
        assert (np.diff(sizes) <= 0).all()  # the largest first


# --- mixtures ---------------------------------------------------------------------------


def test_a_mixture_finds_what_kmeans_cannot_and_does_not_depend_on_coordinates():
    # Two long groups side by side: k-means cuts both across.
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=1000)
    X = np.column_stack([20 * rng.normal(size=1000), 6 * truth + rng.normal(size=1000)])
    assert adjusted_rand_score(truth, kmeans(X, 2, random_state=0)) < 0.1
    found = gaussian_mixture(X, 2, random_state=0).argmax(axis=1)
    assert adjusted_rand_score(truth, found) > 0.95
    turned = X @ rng.normal(size=(2, 2)) + 7
    again = gaussian_mixture(turned, 2, random_state=0).argmax(axis=1)
    assert adjusted_rand_score(found, again) == 1


# --- consensus --------------------------------------------------------------------------


def test_a_consensus_matches_clusters_whose_numbers_differ():
    truth = np.arange(60) % 3
    members = [np.eye(3)[np.array(order)[truth]] for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0])]
    found = consensus(members)
    assert (found.max(axis=1) == 1).all()
    assert adjusted_rand_score(truth, found.argmax(axis=1)) == 1


def test_a_consensus_takes_the_majority_cell_by_cell():
    truth = np.repeat([0, 1], 50)
    members = []
    for i in range(5):
        wrong = truth.copy()
        wrong[i * 10 : (i + 1) * 10] = 1 - wrong[i * 10 : (i + 1) * 10]
        members.append(np.eye(2)[wrong])
    found = consensus(members)
    assert adjusted_rand_score(truth, found.argmax(axis=1)) == 1
    assert found[0].max() == pytest.approx(0.8)  # four of five


def test_members_may_have_different_numbers_of_clusters():
    truth = np.repeat([0, 1, 2], 40)
    split = truth + (np.arange(120) % 40 >= 30) * (truth == 2)  # one member cuts a group
    members = [np.eye(3)[truth], np.eye(3)[truth], np.eye(4)[split]]
    found = consensus(members)
    assert found.shape == (120, 3)
    assert adjusted_rand_score(truth, found.argmax(axis=1)) == 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("noise", [0.4, 0.8, 1.2])
def test_a_consensus_is_never_worse_than_its_median_member(seed, noise):
    """Networks see the same cells, each with an error of its own."""
    truth, X = groups(600, apart(5, 8, 4.5), seed=seed)
    rng = np.random.default_rng(100 + seed)
    spaces = [
        (X + noise * rng.normal(size=X.shape)) @ rng.normal(size=(8, 8)) for _ in range(5)
    ]
    found = consensus_of_spaces(spaces, n_clusters=5)
    members = [adjusted_rand_score(truth, member) for member in found.members]
    assert adjusted_rand_score(truth, found.clusters) >= np.median(members)


@pytest.mark.parametrize("n_clusters", [4, None])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("n_nothing", [1, 2, 3])
def test_networks_that_learned_nothing_do_not_outvote_the_others(n_nothing, beside, n_clusters):
    truth, X = groups(600, apart(4, 6, 8.0), seed=0)
    rng = np.random.default_rng(1)
    spaces = [np.zeros((600, 6))] * n_nothing
    spaces += [X + 0.3 * rng.normal(size=X.shape) for _ in range(2)]
    found = consensus_of_spaces(spaces, beside=X if beside else None, n_clusters=n_clusters)
    assert found.n_clusters == 4
    assert adjusted_rand_score(truth, found.clusters) > 0.99
    assert len(found.members) == n_nothing + 2
    assert np.ptp(found.members[0]) == 0


def test_where_no_network_learned_anything_there_is_one_cluster():
    found = consensus_of_spaces([np.zeros((50, 3))] * 2)
    assert found.n_clusters == 1 and (found.confidence == 1).all()


def noisy_views(n_cells: int, *, seed: int) -> list[np.ndarray]:
    """Three networks' views of groups that overlap."""
    _, X = groups(n_cells, apart(4, 6, 3.0), seed=seed)
    rng = np.random.default_rng(seed)
    return [X + 0.8 * rng.normal(size=X.shape) for _ in range(3)]


@pytest.mark.parametrize(("n_cells", "most"), [(150, 0), (399, 1), (1000, 5), (3200, 15)])
def test_cells_of_a_consensus_go_where_they_and_their_neighbours_are_likeliest(n_cells, most):
    *spaces, beside = noisy_views(n_cells, seed=4)
    found = consensus_of_spaces(spaces, beside=beside, beside_votes=3, n_clusters=4)
    voting = [*spaces, beside]
    votes = [_by_both(space, 4, random_state=0) for space in voting]
    weights = [1, 1, found.beside_votes]
    assert weights == voices(votes, 2, 3.0) and 1 < found.beside_votes <= 3
    P = consensus(votes, weights=weights, n_clusters=4)
    own = P.argmax(axis=1)
    heard = np.minimum(most, np.bincount(own)[own] // 4)
    expected = []
    for cell in range(n_cells):
        score = P[cell].copy()
        for X, weight in zip(voting, weights, strict=True):
            near = np.argsort(((X - X[cell]) ** 2).sum(axis=1))[1 : 1 + heard[cell]]
            score += weight / sum(weights) * P[near].sum(axis=0) / (1 + heard[cell])
        expected.append(score.argmax())
    np.testing.assert_array_equal(by_size(np.array(expected)), found.clusters)
    assert (own != expected).any() == (most > 0)
    together = joint_membership(voting, weights, found.clusters)
    np.testing.assert_allclose(found.membership, together, rtol=1e-9)


@pytest.mark.parametrize("n_rare", [1, 3, 8])
@pytest.mark.parametrize("most", [20_000, 500])
def test_a_few_cells_far_off_are_not_swallowed_by_their_neighbours(n_rare, most, monkeypatch):
    """Three of five networks see them; of the others, and of any sample, nobody does."""
    monkeypatch.setattr(spaces_module, "HEARD", most)
    _, X = groups(3000, apart(2, 4, 12.0), seed=0)
    rng = np.random.default_rng(1)
    rare = np.r_[np.ones(n_rare, bool), np.zeros(len(X), bool)]
    off = rare[:, None] * 60.0 * (np.arange(4) == 3)
    X = np.vstack([X[:n_rare], X])
    spaces = [X + off * (i < 3) + 0.3 * rng.normal(size=X.shape) for i in range(5)]
    found = consensus_of_spaces(spaces, n_clusters=3)
    assert found.n_clusters == 3
    np.testing.assert_array_equal(found.clusters == 2, rare)
    assert not found.between[rare].any()  # far off in the mean of all views


def test_neighbours_empty_no_cluster():
    """Eight unsure cells of one cluster, each among cells that are sure of another."""
    _, X = groups(1000, apart(2, 4, 12.0), seed=0)
    found = np.eye(3)[(X[:, 0] > X[:, 1]).astype(int)]
    unsure = np.arange(0, 1000, 125)
    found[unsure] = 0.3, 0.3, 0.4
    how = {"n_neighbors": 15, "random_state": 0}
    np.testing.assert_array_equal(
        _heard(found, [X], [1.0], **how) == 2, np.isin(np.arange(1000), unsure)
    )
    found[unsure[0]] = 0, 0, 1  # with one cell that stays, the others may go
    np.testing.assert_array_equal(np.flatnonzero(_heard(found, [X], [1.0], **how) == 2), [0])


def test_neighbours_among_some_cells_are_the_nearest_others_of_these():
    X = np.array([[0.0], [1.0], [2.5], [9.0], [11.0]])
    near = nearest_neighbors(X, 1, np.array([0, 2, 3]))
    np.testing.assert_array_equal(near, [[2], [0], [0], [2], [3]])
    X = np.random.default_rng(0).normal(size=(300, 3))
    some = np.sort(np.random.default_rng(1).choice(300, 40, replace=False))
    expected = [
        [i for i in some[np.argsort(((X[some] - x) ** 2).sum(axis=1))] if i != cell][:7]
        for cell, x in enumerate(X)
    ]
    np.testing.assert_array_equal(nearest_neighbors(X, 7, some), expected)
    backwards = nearest_neighbors(X, 7, np.arange(300)[::-1])
    np.testing.assert_array_equal(backwards, nearest_neighbors(X, 7))


def test_of_many_cells_some_are_heard_by_all(monkeypatch):
    spaces = noisy_views(2000, seed=5)
    all_heard = consensus_of_spaces(spaces, n_clusters=4)
    monkeypatch.setattr(spaces_module, "HEARD", 500)
    some = consensus_of_spaces(spaces, n_clusters=4)
    assert 0.9 < adjusted_rand_score(all_heard.clusters, some.clusters) < 1
    again = consensus_of_spaces(spaces, n_clusters=4)
    np.testing.assert_array_equal(some.clusters, again.clusters)


def test_a_weight_counts_as_so_many_members():
    rng = np.random.default_rng(3)
    members = [rng.dirichlet(np.ones(3), size=50) for _ in range(3)]
    found = consensus(members, weights=[1, 1, 2], n_clusters=3)
    twice = consensus([*members, members[2]], n_clusters=3)
    np.testing.assert_allclose(found, twice)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    alone = consensus(members, weights=[0, 0, 1], n_clusters=3)
    assert adjusted_rand_score(alone.argmax(axis=1), members[2].argmax(axis=1)) == 1


def test_a_space_beside_has_its_say_but_is_no_member():
    """Networks that learned nothing are overruled by components that show the groups."""
    truth, X = groups(300, apart(3, 4, 12.0), seed=0)
    noise = [np.random.default_rng(i).normal(size=(300, 4)) for i in range(3)]
    how = {"n_clusters": 3, "random_state": 0}
    alone = consensus_of_spaces(noise, **how)
    helped = consensus_of_spaces(noise, beside=X, beside_votes=3, **how)
    assert adjusted_rand_score(truth, alone.clusters) < 0.1
    assert adjusted_rand_score(truth, helped.clusters) > 0.95
    assert len(helped.members) == 3
    for own, other in zip(alone.members, helped.members, strict=True):
        np.testing.assert_array_equal(own, other)


def test_a_vote_beside_counts_as_it_agrees_with_members_that_agree():
    truth = np.repeat(np.arange(4), 50)
    rng = np.random.default_rng(0)

    def seen(wrong: float) -> np.ndarray:
        shuffled = np.where(rng.random(200) < wrong, rng.integers(4, size=200), truth)
        return np.eye(4)[shuffled]

    good, bad, none = seen(0.1), seen(0.5), seen(1.0)
    members = [seen(0.3) for _ in range(5)]
    hard = [member.argmax(axis=1) for member in members]
    among = np.mean([adjusted_rand_score(a, b) for a, b in combinations(hard, 2)])
    theirs = np.mean([adjusted_rand_score(bad.argmax(axis=1), own) for own in hard])
    assert 0 < theirs < 0.8 * among
    assert voices([*members, good], 5, 3.0) == [1] * 5 + [3]  # it agrees better than they do
    assert voices([*members, bad], 5, 3.0)[-1] == pytest.approx(
        3 * ((theirs + 0.05) / (among + 0.05)) ** 3
    )
    assert voices([*members, none], 5, 3.0)[-1] < 0.1
    assert voices([members[0], bad], 1, 1.0) == [1, 1]  # nobody to agree with
    assert voices(members, 5, 3.0) == [1] * 5
    crossed = [np.eye(2)[np.arange(200) // 50 % 2], np.eye(2)[np.arange(200) % 2]]
    assert voices([*crossed, good], 2, 2.0) == [1, 1, 2]  # they agree by chance alone


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("collapsed", [0, 4])
def test_members_that_find_nothing_do_not_silence_a_vote_beside(seed, collapsed):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(4), 75)
    members = [np.eye(4)[rng.integers(4, size=300)] for _ in range(5 - collapsed)]
    members += [np.eye(4)[np.zeros(300, int)]] * collapsed
    assert voices([*members, np.eye(4)[truth]], 5, 5.0)[-1] > 5 * 0.3


@pytest.mark.parametrize(
    ("n_cells", "votes"), [(20, 5), (500, 5), (2000, 0.625), (4500, 5 / 27)]
)
def test_the_vote_of_pca_fades_with_the_cells(n_cells, votes):
    assert votes_of_pca(n_cells, 5) == pytest.approx(votes)


def test_agreement_of_members():
    a, b = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    assert agreement_of_members([a, b]) == 1
    assert agreement_of_members([a]) is None


# --- number of clusters -----------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 4, 7])
def test_clear_groups_are_counted(k):
    truth, X = groups(700, apart(k, 8, 9.0), seed=k)
    scan = scan_resolutions(X, random_state=0)
    assert scan.clusters.max() + 1 == k
    assert adjusted_rand_score(truth, scan.clusters) > 0.98
    assert scan.n_clusters[scan.chosen] == k


@pytest.mark.parametrize(("n", "d"), [(80, 5), (500, 10), (1500, 3)])
def test_cells_of_one_group_are_one_cluster(n, d):
    X = np.random.default_rng(1).normal(size=(n, d))
    scan = scan_resolutions(X, random_state=0)
    assert scan.chosen is None and scan.resolution is None
    assert (scan.clusters == 0).all()


@pytest.mark.parametrize("n_places", [1, 2, 12])
def test_cells_of_a_network_that_tells_nothing_apart_are_one_cluster(n_places):
    rng = np.random.default_rng(0)
    places = rng.normal(size=(n_places, 5))
    most = rng.random(600) < 0.9  # what such a network does: nearly all cells in one place
    X = places[np.where(most, 0, rng.integers(n_places, size=600))]
    scan = scan_resolutions(X, random_state=0)
    assert scan.chosen is None and (scan.clusters == 0).all()
    assert len(scan.resolutions) == len(scan.stability) == len(scan.n_clusters) > 0
    for resolution in (0.5, 1.0):
        found = cluster_space(X, "leiden", resolution=resolution)
        for place in range(n_places):
            there = found.clusters[(places[place] == X).all(axis=1)]
            assert len(set(there)) <= 1


def test_leiden_is_brought_to_the_number_that_is_asked_for():
    _, X = groups(800, apart(6, 8, 6.0), seed=0)
    for k in (3, 6, 9):
        found = cluster_space(X, "leiden", n_clusters=k)
        assert found.n_clusters == k
        assert found.n_clusters_from == "given"


@pytest.mark.parametrize("k", [2, 4, 7])
def test_clear_groups_are_as_many_as_lie_farthest_apart(k):
    truth, X = groups(700, apart(k, 8, 9.0), seed=k)
    rotated = X @ np.linalg.qr(np.random.default_rng(k).normal(size=(8, 8)))[0]
    found = consensus_of_spaces([X, rotated], beside=X[:, :7])
    assert found.n_clusters == found.separation.chosen == k
    assert found.n_clusters_from == "silhouette" and found.resolution is None
    assert adjusted_rand_score(truth, found.clusters) > 0.98


@pytest.mark.parametrize("method", ["kmeans", "gaussian_mixture"])
def test_groups_are_counted_although_each_is_divided_again(method):
    # Three groups far apart, of two parts that are near each other and found again.
    centers = np.repeat(apart(3, 6, 30.0), 2, axis=0)
    centers[::2, 5] += 5.0
    truth, X = groups(1200, centers, seed=0)
    assert scan_resolutions(X, random_state=0).clusters.max() + 1 == 6
    found = cluster_space(X, method)
    assert found.separation.finest == 6 and found.n_clusters == 3
    assert adjusted_rand_score(truth // 2, found.clusters) > 0.98


def test_silhouettes_by_number_are_scikit_learns_of_what_the_spaces_agree_on():
    from sklearn.metrics import silhouette_score

    _, X = groups(400, apart(4, 5, 6.0), seed=3)
    spaces = [X, X[:, :4] * [1.5, 1, 1, 1]]
    beside = X + 1.5 * np.random.default_rng(0).normal(size=X.shape)  # agrees in part
    found = choose_number(spaces, beside=beside, beside_votes=5.0, random_state=0)
    assert found.n_clusters == tuple(range(2, found.finest + 1)) and found.finest > 2
    assert found.n_cells == 400
    for k, silhouette in zip(found.n_clusters, found.silhouette, strict=True):
        votes = [
            tied_membership(space, kmeans(space, k, random_state=0))
            for space in (*spaces, beside)
        ]
        weights = voices(votes, 2, 5.0)
        agreed = consensus(votes, weights=weights, n_clusters=k).argmax(axis=1)
        expected = np.mean([silhouette_score(space, agreed) for space in spaces])
        assert silhouette == pytest.approx(expected, abs=1e-6)
    assert found.chosen == found.n_clusters[int(np.argmax(found.silhouette))]
    assert found.silhouette != choose_number(spaces, random_state=0).silhouette


@pytest.mark.parametrize(
    ("best", "chosen", "last"), [({3: 0.5, 12: 0.6}, 3, 9), ({3: 0.5, 9: 0.6}, 9, 15)]
)
def test_numbers_are_tried_until_six_more_are_no_better(monkeypatch, best, chosen, last):
    def silhouettes(spaces, voting, weights, numbers, random_state):
        return [best.get(k, 0.1) for k in numbers]

    monkeypatch.setattr(separation, "_silhouettes", silhouettes)
    _, X = groups(1000, apart(20, 20, 12.0), seed=0)
    found = choose_number([X], random_state=0)
    assert found.finest == 20
    assert found.chosen == chosen
    assert found.n_clusters == tuple(range(2, last + 1))


def test_the_median_space_tells_the_finest_clusters():
    _, X = groups(300, apart(6, 8, 9.0), seed=0)
    noise = np.random.default_rng(1).normal(size=(300, 8))
    halves = np.where(X[:, :1] > np.median(X[:, 0]), 10.0, 0.0) + 0.1 * noise
    assert choose_number([X, halves, X], random_state=0).finest == 6
    assert choose_number([X, halves, noise], random_state=0).finest == 2
    for spaces in ([noise, X], [X, noise], [X, X, noise, noise]):  # no space in the middle
        found = consensus_of_spaces(spaces)
        assert found.separation.finest == found.n_clusters == 1
        assert found.scan.chosen is None and found.n_clusters_from == "leiden"


def test_where_all_cells_are_in_one_cluster_nothing_is_apart(monkeypatch):
    monkeypatch.setattr(
        separation, "silhouettes", lambda X, parts: [None, *[0.2] * (len(parts) - 1)]
    )
    _, X = groups(400, apart(4, 5, 9.0), seed=3)
    found = choose_number([X], random_state=0)
    assert (found.silhouette[0], found.chosen) == (None, 3)


def test_of_many_cells_a_sample_decides(monkeypatch):
    monkeypatch.setattr(separation, "CELLS", 300)
    truth, X = groups(900, apart(3, 5, 9.0), seed=0)
    found = cluster_space(X, "kmeans")
    assert found.separation.n_cells == 300 and len(found.scan.clusters) == 300
    assert found.n_clusters == 3 and len(found.clusters) == 900
    assert adjusted_rand_score(truth, found.clusters) > 0.98
    assert cluster_space(X, "leiden").separation is None


def test_cells_of_one_group_have_no_number_but_one():
    X = np.random.default_rng(1).normal(size=(500, 10))
    found = consensus_of_spaces([X, X[:, ::-1]])
    assert found.n_clusters == 1 and found.n_clusters_from == "leiden"
    assert found.separation.n_clusters == found.separation.silhouette == ()
    assert found.confidence.tolist() == [1.0] * 500 and not found.between.any()


def test_where_a_resolution_is_given_leiden_tells_the_number():
    _, X = groups(800, apart(6, 8, 6.0), seed=0)
    by_leiden = cluster_space(X, "leiden", resolution=1.5).n_clusters
    found = cluster_space(X, "kmeans", resolution=1.5)
    assert (found.n_clusters, found.n_clusters_from) == (by_leiden, "leiden")
    assert found.separation is None


# --- genes ------------------------------------------------------------------------------


def test_genes_of_largest_variance_are_chosen_dense_or_sparse():
    from scipy import sparse

    rng = np.random.default_rng(0)
    X = (rng.normal(size=(50, 20)) * np.arange(20)).astype(np.float32)
    X[rng.random(X.shape) < 0.4] = 0
    expected = np.sort(np.argsort(-X.var(axis=0, dtype=float))[:5])
    np.testing.assert_array_equal(most_variable_genes(X, 5), expected)
    np.testing.assert_array_equal(most_variable_genes(sparse.csr_matrix(X), 5), expected)
    np.testing.assert_array_equal(most_variable_genes(X, 99), np.arange(20))
