"""Split counts add up and are independent; held-out entries leave something to see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from cellglass.dispersion import (
    _poisson_regression,
    estimate_dispersion,
    fit_dispersion,
    predict_means,
)
from cellglass.errors import InputError
from cellglass.splitting import mask_entries, split_counts


def draw(mean, phi, rng) -> np.ndarray:
    """Draw negative binomial counts of dispersion `phi`, or Poisson ones at 0."""
    rate = mean * rng.gamma(1 / phi, phi, np.shape(mean)) if phi else mean
    return rng.poisson(rate)


def log_linear(n_cells, n_genes, rank, rng, total=1000.0, spread=0.5) -> np.ndarray:
    """Means whose logarithms are of known rank, beside totals and abundances of genes."""
    share = np.exp(rng.standard_normal(n_genes))
    depth = total * np.exp(0.35 * rng.standard_normal((n_cells, 1)))
    axes = rng.standard_normal((rank, n_genes)) * spread / np.sqrt(max(rank, 1))
    return depth * share / share.sum() * np.exp(rng.standard_normal((n_cells, rank)) @ axes)


def correlation_of_halves(mean, phi, assumed, rng) -> float:
    """Correlation of what the halves of counts differ by from their known means."""
    train, test = split_counts(draw(mean, phi, rng), rng, dispersion=assumed)
    return float(np.corrcoef((train - mean / 2).ravel(), (test - mean / 2).ravel())[0, 1])


DISPERSIONS = st.sampled_from([None, 0.0, 1e-15, 0.3, 50.0])
COUNTS = hnp.arrays(
    st.sampled_from([np.int8, np.uint16, np.int64, np.float32, np.float64]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.integers(0, 100),
)


@settings(max_examples=60, deadline=None)
@given(COUNTS, DISPERSIONS, st.floats(0.05, 0.95), st.integers(0, 9))
def test_parts_add_up_and_are_the_same_dense_or_sparse(X, phi, fraction, seed):
    options = {"train_fraction": fraction, "dispersion": phi}
    before = X.copy()
    train, test = split_counts(X, np.random.default_rng(seed), **options)
    assert train.dtype == test.dtype == X.dtype
    assert (train >= 0).all() and (test >= 0).all()
    np.testing.assert_array_equal(train + test, X)
    np.testing.assert_array_equal(X, before)
    twins = split_counts(sparse.csr_matrix(X), np.random.default_rng(seed), **options)
    for part, twin in zip((train, test), twins, strict=True):
        assert twin.dtype == X.dtype and twin.has_canonical_format and np.all(twin.data)
        np.testing.assert_array_equal(twin.toarray(), part)


def test_stored_zeros_and_double_entries_change_no_draw():
    plain = sparse.csr_matrix(np.array([[5, 0, 7], [0, 9, 0]]))
    odd = sparse.csr_matrix(
        (np.array([3, 2, 0, 7, 9]), np.array([0, 0, 1, 2, 1]), np.array([0, 4, 5])), (2, 3)
    )
    expected, _ = split_counts(plain, np.random.default_rng(0), dispersion=1.0)
    found, _ = split_counts(odd, np.random.default_rng(0), dispersion=1.0)
    np.testing.assert_array_equal(found.toarray(), expected.toarray())


@pytest.mark.parametrize("value", [2**24 + 1, 2**53 - 1])
def test_counts_beyond_32_bit_floats_are_split_exactly(value):
    X = np.full((50, 2), value, dtype=np.float64)
    train, test = split_counts(X, np.random.default_rng(0), dispersion=0.5)
    assert (train.astype(int) + test.astype(int) == value).all()
    large = np.full((50, 2), 2**25, dtype=np.float32)
    train, test = split_counts(large, np.random.default_rng(0), dispersion=0.5)
    assert train.dtype == np.float64
    assert (train.astype(int) + test.astype(int) == 2**25).all()
    assert (train % 2 == 1).any()


@pytest.mark.parametrize("fraction", [0.5, 0.2])
@pytest.mark.parametrize("phi", [0.0, 0.3, 2.0])
def test_a_part_has_the_distribution_that_is_promised(phi, fraction):
    count, n = 8, 40_000
    X = np.full((n, 2), count)
    train, _ = split_counts(
        X, np.random.default_rng(3), train_fraction=fraction, dispersion=[phi, 0.0]
    )
    binomial = stats.binom(count, fraction)
    law = stats.betabinom(count, fraction / phi, (1 - fraction) / phi) if phi else binomial
    for gene, expected in ((0, law), (1, binomial)):
        observed = np.bincount(train[:, gene].astype(int), minlength=count + 1)
        probability = expected.pmf(np.arange(count + 1))
        common = probability * n > 5
        tail = [observed[~common].sum()], [probability[~common].sum() * n]
        observed = np.concatenate([observed[common], tail[0]])
        wanted = np.concatenate([probability[common] * n, tail[1]])
        kept = wanted > 5
        chi_square = (np.square(observed - wanted)[kept] / wanted[kept]).sum()
        assert stats.chi2(kept.sum() - 1).sf(chi_square) > 1e-4


@pytest.mark.parametrize("mean", [0.5, 5.0, 80.0])
@pytest.mark.parametrize("phi", [0.2, 1.0])
def test_halves_of_negative_binomial_counts_are_independent_with_their_dispersion(mean, phi):
    rng = np.random.default_rng(5)
    means = np.full((1000, 100), mean)
    # The standard error of a correlation near 0 is 1 / √100,000.
    assert abs(correlation_of_halves(means, phi, phi, rng)) < 4 / np.sqrt(means.size)
    # Binomial halves: Cov = φμ²/4 and Var = μ/2 + φμ²/4.
    expected = phi * mean / (2 + phi * mean)
    assert correlation_of_halves(means, phi, None, rng) == pytest.approx(expected, abs=0.04)
    assert correlation_of_halves(means, phi, 4 * phi, rng) < -4 / np.sqrt(means.size)
    # Not only uncorrelated: what is seen of one half says nothing about the other.
    train, test = split_counts(draw(means, phi, rng), rng, dispersion=phi)
    low = test[train <= np.median(train)].ravel(), test[train > np.median(train)].ravel()
    assert stats.ks_2samp(*low).pvalue > 1e-4
    half = train.astype(float)
    excess = (half.var() - half.mean()) / half.mean() ** 2
    assert excess == pytest.approx(2 * phi, rel=0.15)


def test_halves_of_poisson_counts_are_independent_without_dispersion():
    means = np.full((1000, 100), 5.0)
    found = correlation_of_halves(means, 0, None, np.random.default_rng(5))
    assert abs(found) < 4 / np.sqrt(means.size)


@pytest.mark.parametrize(
    ("X", "options", "expected"),
    [
        (np.array([[1.0, 0.5]]), {}, r"0\.5 at .*gene 2.*hold out entries"),
        (np.array([[1, -3]]), {}, r"-3 at .*gene 2.*whole numbers"),
        (np.array([[1.0, np.nan]]), {}, "nan at"),
        (np.array([[1, 2]]), {"dispersion": [1.0]}, r"shape \(1,\).*each of the 2 genes"),
        (np.array([[1, 2]]), {"dispersion": [1.0, -1.0]}, "-1 for gene 2"),
        (np.array([[1, 2]]), {"train_fraction": 1.0}, "train_fraction is 1.0"),
    ],
    ids=["fraction", "negative", "nan", "length", "negative-dispersion", "all-in-one"],
)
def test_what_cannot_be_split_is_named(X, options, expected):
    for matrix in (X, sparse.csr_matrix(X)):
        with pytest.raises(InputError, match=expected):
            split_counts(matrix, np.random.default_rng(0), **options)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.floats(0.02, 0.95), st.integers(0, 9))
def test_every_cell_and_gene_keeps_an_entry_or_the_matrix_is_refused(n, g, fraction, seed):
    per_cell = max(1, round(fraction * g))
    possible = per_cell < g and n * (g - per_cell) >= g
    rng = np.random.default_rng(seed)
    if not possible:
        with pytest.raises(InputError, match="too few to hold out"):
            mask_entries((n, g), rng, fraction)
        return
    mask = mask_entries((n, g), rng, fraction)
    assert (mask.sum(axis=1) == per_cell).all()
    assert not mask.all(axis=0).any()


def test_the_size_that_is_asked_for_where_a_matrix_is_too_small_is_enough():
    with pytest.raises(InputError, match="at least 2 genes and 3 cells"):
        mask_entries((1, 3), np.random.default_rng(0), 0.7)
    mask_entries((3, 3), np.random.default_rng(0), 0.7)
    with pytest.raises(InputError, match="at least 3 genes and 3 cells"):
        mask_entries((9, 2), np.random.default_rng(0), 0.8)


def test_held_out_entries_are_spread_evenly_and_drawn_from_the_generator():
    one, again, other = (mask_entries((2000, 50), np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    # 200 of 2000 in the mean, standard deviation 13.4.
    assert np.abs(one.sum(axis=0) - 200).max() < 5 * 13.4


def moment(counts, mean) -> float:
    """Solve the equation for φ of a single gene by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        phi = (low + high) / 2
        terms = (np.square(counts - mean) - counts - phi * mean**2) / (1 + phi * mean) ** 2
        low, high = (phi, high) if terms.sum() > 0 else (low, phi)
    return low


@pytest.mark.parametrize("phi", [0.2, 0.5, 1.0])
def test_dispersion_given_the_means_is_recovered(phi):
    rng = np.random.default_rng(2)
    mean = rng.gamma(2, 1.5, (1500, 80))
    counts = draw(mean, phi, rng)
    found = estimate_dispersion(counts, mean)
    assert np.median(found) == pytest.approx(phi, rel=0.05)
    assert np.abs(found / phi - 1).max() < 0.5
    # A gene alone borrows from no other.
    alone = estimate_dispersion(counts[:, :1], mean[:, :1])
    assert alone[0] == pytest.approx(moment(counts[:, 0], mean[:, 0]), rel=2e-3)


def test_genes_of_different_dispersion_are_told_apart_and_sparse_ones_borrow():
    rng = np.random.default_rng(4)
    phi = np.repeat([0.1, 1.0], 40)
    mean = np.full((1500, 80), 4.0)
    mean[:, ::10] = 0.02  # a handful of counts: the estimate alone would be 0 or far off
    counts = np.column_stack([draw(mean[:, j], phi[j], rng) for j in range(80)])
    found = estimate_dispersion(counts, mean)
    rich = mean[0] > 1
    np.testing.assert_allclose(found[rich], phi[rich], rtol=0.45)
    assert (found[~rich] > 0.2).all() and (found[~rich] < 1.0).all()


def test_a_few_genes_of_large_dispersion_are_not_lost_among_many_of_small():
    rng = np.random.default_rng(4)
    phi = np.repeat([0.02, 2.0], [110, 10])
    mean = np.full((300, 120), 4.0)
    counts = np.column_stack([draw(mean[:, j], phi[j], rng) for j in range(120)])
    found = estimate_dispersion(counts, mean)
    assert 1.7 < found[110:].mean() < 2.3
    assert found[:110].mean() < 0.06


@pytest.mark.parametrize("phi", [0.5, 2.0])
def test_one_count_that_nobody_foresaw_changes_the_dispersion_of_its_gene_alone(phi):
    rng = np.random.default_rng(5)
    mean = rng.gamma(2, 0.02, (1000, 220))  # some 40 counts a gene
    mean[0, 7] = 0.006
    counts = draw(mean, phi, rng)
    before = estimate_dispersion(counts, mean)
    assert before.mean() == pytest.approx(phi, rel=0.15)
    counts[0, 7] = 629  # of 8,800 in all
    after = estimate_dispersion(counts, mean)
    others = np.arange(220) != 7
    np.testing.assert_allclose(after[others], before[others], rtol=0.15, atol=0.02)
    assert after[7] > 100


def test_the_poisson_regression_solves_its_equations():
    rng = np.random.default_rng(0)
    design = np.column_stack([np.ones(200), rng.standard_normal((200, 3))])
    exposure = 0.3 * rng.standard_normal(200)
    truth = 0.5 * rng.standard_normal((4, 5))
    counts = rng.poisson(np.exp(design @ truth + exposure[:, None]))
    found = _poisson_regression(design, counts, exposure, ridge=7.0)
    means = np.exp(design @ found + exposure[:, None])
    penalty = np.array([0, 7, 7, 7])[:, None] * found
    np.testing.assert_allclose(design.T @ (counts - means), penalty, atol=0.05)
    np.testing.assert_allclose(found, truth, atol=0.35)


def test_counts_that_vary_no_more_than_poisson_counts_have_dispersion_0():
    rng = np.random.default_rng(0)
    mean = np.full((500, 20), 3.0)
    steady = np.tile([2, 4], 5000).reshape(500, 20)
    assert (estimate_dispersion(steady, mean) == 0).all()
    assert estimate_dispersion(rng.poisson(mean), mean).max() < 0.05


@pytest.mark.parametrize(
    ("phi", "low", "high"), [(0.0, 0, 0.05), (0.5, 0.5, 0.65), (1, 1, 1.25)]
)
def test_dispersion_with_unknown_means_is_a_little_too_large_not_too_small(phi, low, high):
    rng = np.random.default_rng(1)
    counts = draw(log_linear(1000, 300, 4, rng), phi, rng)
    found = fit_dispersion(counts, np.random.default_rng(0))
    assert low <= np.median(found) <= high
    csr = fit_dispersion(sparse.csr_matrix(counts), np.random.default_rng(0))
    np.testing.assert_array_equal(found, csr)


def test_fitted_dispersion_makes_halves_independent_where_binomial_ones_are_not():
    rng = np.random.default_rng(6)
    mean = log_linear(1000, 300, 3, rng, total=3000.0)
    counts = draw(mean, 0.5, rng)
    phi = fit_dispersion(counts, rng)
    correlation = {}
    for name, assumed in (("binomial", None), ("fitted", phi)):
        halves = split_counts(counts, rng, dispersion=assumed)
        residuals = [((half - mean / 2) / np.sqrt(mean)).ravel() for half in halves]
        correlation[name] = np.corrcoef(*residuals)[0, 1]
    assert correlation["binomial"] > 0.5
    assert -0.1 < correlation["fitted"] < 0.02


def test_half_of_the_counts_dropped_is_dispersion_too():
    """Halves are uncorrelated where E[X(X − 1)] = (1 + φ)μ², whatever the distribution."""
    rng = np.random.default_rng(7)
    mean = np.full((4000, 60), 6.0)
    counts = rng.poisson(2 * mean) * (rng.random(mean.shape) < 0.5)
    phi = estimate_dispersion(counts, mean)
    np.testing.assert_allclose(phi, 1, rtol=0.1)
    train, test = split_counts(counts, rng, dispersion=phi)
    assert abs(np.corrcoef(train.ravel(), test.ravel())[0, 1]) < 0.02


def test_a_predicted_mean_does_not_depend_on_the_count_that_it_predicts():
    rng = np.random.default_rng(0)
    counts = draw(log_linear(60, 30, 2, rng), 0, rng).astype(float)
    before = predict_means(counts, 2, np.random.default_rng(1))
    for cell, gene in ((0, 0), (31, 7), (59, 29)):
        changed = counts.copy()
        changed[cell, gene] += 40
        after = predict_means(changed, 2, np.random.default_rng(1))
        assert after[cell, gene] == pytest.approx(before[cell, gene], rel=1e-9)
        assert (after != before).any()


def test_dispersion_needs_other_cells_and_genes():
    for shape in ((3, 10), (10, 1)):
        with pytest.raises(InputError, match="at least 4 cells and 2 genes"):
            fit_dispersion(np.ones(shape), np.random.default_rng(0))
    for matrix in (np.zeros((4, 2)), np.ones((5, 3)), np.eye(6)):
        assert np.isfinite(fit_dispersion(matrix, np.random.default_rng(0))).all()
