"""The Poisson log-likelihood of counts is SciPy's, and the true mean has the highest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from cellglass.expectation import LEAST_SHARE, CountScale, count_scores, counts_of
from cellglass.preprocess import Preprocessor

PREPROCESSOR = Preprocessor("counts")
SHAPE = (40, 6)
EMPTY_CELL, EMPTY_GENE = 7, 4
EVERYONE = np.ones(SHAPE[0], bool)

RATES = 100 + np.random.default_rng(0).gamma(0.6, 2000, SHAPE)
"""Means of a cell of size factor 1, all of them far above the least that is allowed."""


def log_normalised(counts) -> tuple[np.ndarray, np.ndarray]:
    """What a matrix of counts becomes, and the size factors of its cells."""
    return PREPROCESSOR.transform(counts), PREPROCESSOR.size_factors(counts)


@pytest.fixture(scope="module")
def counts():
    """Few counts in some cells and many in others; none in one cell and in one gene."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(RATES * rng.gamma(2, 2e-3, (SHAPE[0], 1))).astype(np.float32)
    counts[EMPTY_CELL] = counts[:, EMPTY_GENE] = 0
    return counts


# --- known answers -------------------------------------------------------------------


@given(counts=hnp.arrays(np.int64, (5, 3), elements=st.integers(0, 300_000)))
@settings(max_examples=60, deadline=None)
def test_counts_come_back_exactly(counts):
    X, sizes = log_normalised(counts)
    for form in (X, sparse.csr_matrix(X)):
        cells, genes, values = counts_of(form, sizes)
        assert (values > 0).all()
        found = sparse.coo_matrix((values, (cells, genes)), shape=counts.shape)
        np.testing.assert_array_equal(found.toarray(), counts)


def scale(counts, cells=EVERYONE, **kwargs):
    return CountScale(*log_normalised(counts), cells, **kwargs)


def sizes_of(counts):
    return counts.sum(axis=1, keepdims=True, dtype=float) / 1e4


def test_every_cell_has_the_log_likelihood_of_scipy(counts):
    X_hat = np.log1p(RATES).astype(np.float32)
    means = np.expm1(X_hat.astype(np.float64)) * sizes_of(counts)
    means *= counts.sum(axis=0, dtype=float) / means.sum(axis=0)
    means = np.maximum(means, LEAST_SHARE * scale(counts).rates * sizes_of(counts))
    expected = stats.poisson.logpmf(counts, means).sum(axis=1)
    np.testing.assert_allclose(scale(counts).log_likelihoods(X_hat), expected)


def test_the_limits_are_those_of_the_means_of_the_genes_and_of_the_counts(counts):
    null, best = scale(counts).limits()
    rates = np.maximum(counts.sum(axis=0, dtype=float), 1) / sizes_of(counts).sum()
    expected = stats.poisson.logpmf(counts, rates * sizes_of(counts)).sum(axis=1)
    np.testing.assert_allclose(null, expected)
    np.testing.assert_allclose(best, stats.poisson.logpmf(counts, counts).sum(axis=1))
    assert (best >= null).all()


def test_a_cell_without_counts_has_0_whatever_is_predicted(counts):
    for guess in (-3.0, 0.0, 9.0):
        found = scale(counts).log_likelihoods(np.full(SHAPE, guess, np.float32))
        assert found[EMPTY_CELL] == 0 and (np.delete(found, EMPTY_CELL) < 0).all()


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_dense_and_sparse_give_the_same_in_chunks_of_any_size(counts, chunk):
    X, sizes = log_normalised(counts)
    X_hat = np.log1p(RATES).astype(np.float32)
    whole = scale(counts)
    for form in (X, sparse.csr_matrix(X)):
        found = CountScale(form, sizes, EVERYONE, chunk=chunk)
        np.testing.assert_allclose(found.rates, whole.rates, rtol=1e-14)
        np.testing.assert_allclose(
            found.log_likelihoods(X_hat), whole.log_likelihoods(X_hat), rtol=1e-12
        )


# --- factors of the genes ------------------------------------------------------------


def test_the_scale_of_a_gene_is_nobodys_merit(counts):
    """Means of logarithms are too low by a factor that a gene's noise decides."""
    rng = np.random.default_rng(5)
    X_hat = np.log1p(RATES)
    wrong = np.log1p(RATES * rng.uniform(0.2, 3, SHAPE[1]))
    expected = scale(counts).log_likelihoods(X_hat)
    np.testing.assert_allclose(scale(counts).log_likelihoods(wrong), expected, rtol=1e-9)
    other = np.log1p(RATES * rng.uniform(0.2, 3, SHAPE))  # of every entry by itself
    assert scale(counts).log_likelihoods(other).sum() < expected.sum() - 100


def test_factors_make_the_means_add_up_to_the_counts_of_the_training_cells(counts):
    cells = np.arange(SHAPE[0]) % 3 > 0
    X_hat = np.random.default_rng(6).normal(5, 2, SHAPE)
    factors = scale(counts, cells).factors(X_hat)
    means = np.expm1(np.maximum(X_hat, 0)) * sizes_of(counts) * factors
    np.testing.assert_allclose(means[cells].sum(axis=0), counts[cells].sum(axis=0, dtype=float))


# --- the least mean ------------------------------------------------------------------


def test_rates_are_those_of_the_training_cells(counts):
    cells = np.arange(SHAPE[0]) % 3 > 0
    seen = counts[cells].astype(np.float64)
    totals = seen.sum(axis=0)
    assert totals[EMPTY_GENE] == 0
    totals[EMPTY_GENE] = 1  # as if it had been seen once
    np.testing.assert_allclose(scale(counts, cells).rates, totals / (seen.sum() / 1e4))


def test_what_is_not_in_the_training_cells_reaches_neither_rates_nor_factors(counts):
    cells = np.arange(SHAPE[0]) % 3 > 0
    other = counts.copy()
    other[~cells] = other[~cells][:, ::-1] + 50
    X_hat = np.log1p(RATES)
    one, two = scale(counts, cells), scale(other, cells)
    np.testing.assert_array_equal(one.rates, two.rates)
    np.testing.assert_array_equal(one.factors(X_hat), two.factors(X_hat))


def test_cells_without_any_counts_have_rates_all_the_same(counts):
    rates = scale(np.zeros_like(counts)).rates
    assert (rates > 0).all() and np.isfinite(rates).all()


def test_predictions_of_nothing_and_below_are_taken_as_the_least_rate(counts):
    found = scale(counts)
    least = LEAST_SHARE * found.rates * sizes_of(counts)
    expected = stats.poisson.logpmf(counts, least).sum(axis=1)
    assert np.isfinite(expected).all()
    for guess in (0.0, -0.1, -50.0):
        below = np.full(SHAPE, guess, np.float32)
        np.testing.assert_allclose(found.log_likelihoods(below), expected, rtol=1e-12)


# --- a proper score of means ---------------------------------------------------------


def poisson(rng, means):
    return rng.poisson(means)


def negative_binomial(rng, means):
    return rng.poisson(means * rng.gamma(0.5, 2.0, means.shape))  # a dispersion of 2


@pytest.mark.parametrize("draw", [poisson, negative_binomial])
@pytest.mark.parametrize("factor", [0.7, 0.9, 1.1, 1.4])
def test_the_true_mean_scores_best_in_expectation(draw, factor):
    """In expectation, Σ x log μ̂ − μ̂ is highest at the mean of x, whatever its variance."""
    n_cells = 20_000
    rng = np.random.default_rng(2)
    rates = np.repeat([[900.0, 2600.0, 100.0, 6400.0]], n_cells, axis=0)
    rates[::2] = rates[::2, ::-1]
    counts = draw(rng, rates * 2e-3).astype(np.float64)
    sizes = np.full(n_cells, 2e-3)  # given, not estimated: the score of a mean, no more
    X = np.log1p(counts / sizes[:, None])
    scale = CountScale(X, sizes, np.ones(n_cells, bool))
    shares = np.where(np.arange(n_cells)[:, None] % 4 < 2, factor, 2 - factor)  # mean: 1
    gain = scale.log_likelihoods(np.log1p(rates)) - scale.log_likelihoods(
        np.log1p(rates * shares)
    )
    # Of a factor f it is Σ μ (f − 1 − log f) on average; here far beyond chance.
    expected = ((rates * 2e-3) * (shares - 1 - np.log(shares))).sum(axis=1).mean()
    error = gain.std() / np.sqrt(n_cells)
    assert gain.mean() > 4 * error
    assert gain.mean() == pytest.approx(expected, abs=4 * error, rel=0.02)


# --- as they are told ----------------------------------------------------------------


def test_means_are_over_the_entries_of_all_training_and_held_out_cells():
    by_cell = np.array([-6.0, -12.0, -30.0])
    limits = np.array([-10.0, -20.0, -30.0]), np.array([-2.0, -4.0, -6.0])
    found = count_scores(by_cell, limits, 3, np.array([False, False, True]))
    assert found == {
        "log_likelihood": -48 / 9,
        "log_likelihood_train": -18 / 6,
        "log_likelihood_validation": -30 / 3,
        "deviance_explained": 12 / 48,
        "deviance_explained_train": 12 / 24,
        "deviance_explained_validation": 0.0,
    }


def test_what_is_not_there_is_none():
    nobody = np.zeros(3, bool)
    found = count_scores(np.zeros(3), (np.zeros(3), np.zeros(3)), 2, nobody)
    assert found["log_likelihood_validation"] is found["deviance_explained"] is None
    assert found["log_likelihood"] == found["log_likelihood_train"] == 0
    assert set(count_scores(None, None, 2, nobody).values()) == {None}
