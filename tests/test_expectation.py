"""The Poisson log-likelihood of counts is SciPy's, and the true mean has the highest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from cellglass.expectation import (
    LEAST_SHARE,
    counts_of,
    least_rates,
    mean_log_likelihoods,
    poisson_log_likelihoods,
)
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
    np.testing.assert_array_equal(counts_of(*log_normalised(counts)), counts)


def test_every_cell_has_the_log_likelihood_of_scipy(counts):
    X, sizes = log_normalised(counts)
    X_hat = np.log1p(RATES).astype(np.float32)
    found = poisson_log_likelihoods(X, X_hat, sizes, least_rates(X, sizes, EVERYONE))
    means = np.expm1(X_hat.astype(np.float64)) * counts.sum(axis=1, keepdims=True) / 1e4
    np.testing.assert_allclose(found, stats.poisson.logpmf(counts, means).sum(axis=1))


def test_a_cell_without_counts_has_0_whatever_is_predicted(counts):
    X, sizes = log_normalised(counts)
    least = least_rates(X, sizes, EVERYONE)
    for guess in (-3.0, 0.0, 9.0):
        found = poisson_log_likelihoods(X, np.full(SHAPE, guess, np.float32), sizes, least)
        assert found[EMPTY_CELL] == 0 and (np.delete(found, EMPTY_CELL) < 0).all()


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_dense_and_sparse_give_the_same_in_chunks_of_any_size(counts, chunk):
    X, sizes = log_normalised(counts)
    X_hat = np.log1p(RATES).astype(np.float32)
    least = least_rates(X, sizes, EVERYONE)
    whole = poisson_log_likelihoods(X, X_hat, sizes, least)
    thin = sparse.csr_matrix(X)
    np.testing.assert_array_equal(least_rates(thin, sizes, EVERYONE), least)
    for form in (X, thin):
        found = poisson_log_likelihoods(form, X_hat, sizes, least, chunk=chunk)
        np.testing.assert_array_equal(found, whole)


# --- the least mean ------------------------------------------------------------------


def test_the_least_rate_is_a_share_of_the_rate_over_the_training_cells(counts):
    cells = np.arange(SHAPE[0]) % 3 > 0
    seen = counts[cells].astype(np.float64)
    totals = seen.sum(axis=0)
    assert totals[EMPTY_GENE] == 0
    totals[EMPTY_GENE] = 1  # as if it had been seen once
    expected = LEAST_SHARE * totals / (seen.sum() / 1e4)
    np.testing.assert_allclose(least_rates(*log_normalised(counts), cells), expected)


def test_what_is_not_in_the_training_cells_does_not_reach_the_least_rate(counts):
    cells = np.arange(SHAPE[0]) % 3 > 0
    other = counts.copy()
    other[~cells] = other[~cells][:, ::-1] + 50
    np.testing.assert_array_equal(
        least_rates(*log_normalised(other), cells), least_rates(*log_normalised(counts), cells)
    )


def test_cells_without_any_counts_have_least_rates_all_the_same(counts):
    least = least_rates(*log_normalised(np.zeros_like(counts)), EVERYONE)
    assert (least > 0).all() and np.isfinite(least).all()


def test_predictions_of_nothing_and_below_are_taken_as_the_least_rate(counts):
    X, sizes = log_normalised(counts)
    least = least_rates(X, sizes, EVERYONE)
    at_least = np.broadcast_to(np.log1p(least), SHAPE)
    expected = poisson_log_likelihoods(X, at_least, sizes, least)
    assert np.isfinite(expected).all()
    for guess in (0.0, -0.1, -50.0):
        below = np.full(SHAPE, guess, np.float32)
        found = poisson_log_likelihoods(X, below, sizes, least)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


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
    counts = draw(rng, rates * 2e-3).astype(np.float64)
    sizes = np.full(n_cells, 2e-3)  # given, not estimated: the score of a mean, no more
    X = np.log1p(counts / sizes[:, None])
    least = least_rates(X, sizes, np.ones(n_cells, bool))

    def score(rates):
        return poisson_log_likelihoods(X, np.log1p(rates), sizes, least)

    gain = score(rates) - score(rates * factor)
    # Of a factor f it is Σ μ (f − 1 − log f) on average; here far beyond chance.
    expected = (rates[0] * 2e-3).sum() * (factor - 1 - np.log(factor))
    error = gain.std() / np.sqrt(n_cells)
    assert gain.mean() > 4 * error
    assert gain.mean() == pytest.approx(expected, abs=4 * error)


# --- as they are told ----------------------------------------------------------------


def test_means_are_over_the_entries_of_all_training_and_held_out_cells():
    by_cell = np.array([-6.0, -12.0, -30.0])
    found = mean_log_likelihoods(by_cell, 3, np.array([False, False, True]))
    assert found == {
        "log_likelihood": -48 / 9,
        "log_likelihood_train": -18 / 6,
        "log_likelihood_validation": -30 / 3,
    }


def test_what_is_not_there_is_none():
    nobody = np.zeros(3, bool)
    found = mean_log_likelihoods(np.zeros(3), 2, nobody)
    assert found["log_likelihood_validation"] is None
    assert found["log_likelihood"] == found["log_likelihood_train"] == 0
    assert set(mean_log_likelihoods(None, 2, nobody).values()) == {None}
