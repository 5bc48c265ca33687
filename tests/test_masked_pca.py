"""PCA's curve and the null model find what is there, and nothing where nothing is."""

import numpy as np
import pytest
from scipy import sparse, stats
from threadpoolctl import threadpool_limits

from cellglass.choice import choose_size
from cellglass.dispersion import fit_dispersion
from cellglass.errors import InputError
from cellglass.held_out_errors import poisson_deviance, rates_from_log, squared_error
from cellglass.masked_pca import masked_pca
from cellglass.pca import fit_pca
from cellglass.preprocess import Preprocessor
from cellglass.references import (
    null_of_counts,
    null_of_entries,
    null_rates,
    pca_predictions,
)
from cellglass.splitting import mask_entries, split_counts

SIZES = [1, 2, 3, 4, 5, 6, 8, 12]
normalise = Preprocessor("counts").transform


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Matrices are small here: more threads would only wait for each other."""
    with threadpool_limits(1):
        yield


def low_rank(n_cells=60, n_genes=25, rank=2, noise=0.3, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_cells, rank))
    return (
        3
        + scores @ rng.standard_normal((rank, n_genes))
        + noise * rng.standard_normal((n_cells, n_genes))
    )


def visible_error(values, mask, prediction) -> float:
    return float(np.square(values - prediction)[~mask].sum())


def alternating_least_squares(values, mask, size, rounds=3000) -> np.ndarray:
    """Fit means, scores and axes to the visible entries, cell by cell and gene by gene."""
    rng = np.random.default_rng(9)
    scores = rng.standard_normal((values.shape[0], size))
    for _ in range(rounds):
        with_mean = np.column_stack([scores, np.ones(len(scores))])
        loadings = np.array(
            [
                np.linalg.lstsq(with_mean[~m], y[~m], rcond=None)[0]
                for y, m in zip(values.T, mask.T, strict=True)
            ]
        )
        axes, mean = loadings[:, :-1], loadings[:, -1]
        before = scores
        scores = np.array(
            [
                np.linalg.lstsq(axes[~m], (y - mean)[~m], rcond=None)[0]
                for y, m in zip(values, mask, strict=True)
            ]
        )
        if np.abs(scores - before).max() < 1e-9:
            break
    return scores @ axes.T + mean


def test_imputation_reaches_the_same_fit_as_alternating_least_squares():
    values = low_rank(30, 12)
    mask = mask_entries(values.shape, np.random.default_rng(1), 0.2)
    expected = alternating_least_squares(values, mask, 2)
    fits = masked_pca(
        values, mask, [2], np.random.default_rng(0), tolerance=1e-14, max_iterations=5000
    )
    [(size, found)] = fits
    assert size == 2
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_with_nothing_held_out_it_is_pca():
    values = low_rank()
    mask = np.zeros(values.shape, dtype=bool)
    pca = fit_pca(values, 3, random_state=0)
    expected = pca.inverse_transform(pca.transform(values))
    *_, (size, found) = masked_pca(
        values, mask, [1, 3], np.random.default_rng(0), tolerance=1e-15, max_iterations=3000
    )
    assert size == 3
    np.testing.assert_allclose(found, expected, atol=1e-4)
    reconstructed = dict(pca_predictions(values, [1, 3], random_state=0))
    np.testing.assert_allclose(reconstructed[3], expected, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_held_out_entries_of_an_exact_low_rank_matrix_are_recovered(dtype):
    values = low_rank(noise=0).astype(dtype)
    mask = mask_entries(values.shape, np.random.default_rng(1), 0.2)
    hidden = np.where(mask, np.nan, values).astype(dtype)  # what is held out is not looked at
    [(_, found)] = masked_pca(hidden, mask, [2], np.random.default_rng(0), tolerance=1e-7)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, values, atol=5e-3)


def test_the_error_never_rises_with_iterations_or_sizes():
    values = low_rank(noise=1.0)
    mask = mask_entries(values.shape, np.random.default_rng(1), 0.2)
    errors = []
    for iterations in (1, 2, 3, 5, 8, 13, 50):
        fits = masked_pca(
            values, mask, [3], np.random.default_rng(0), tolerance=0, max_iterations=iterations
        )
        errors += [visible_error(values, mask, found) for _, found in fits]
    assert (np.diff(errors) < 1e-9).all() and errors[-1] < errors[0]
    by_size = [
        visible_error(values, mask, found)
        for _, found in masked_pca(values, mask, [1, 2, 3, 5, 25], np.random.default_rng(0))
    ]
    assert (np.diff(by_size) < 0).all()


def test_the_default_tolerance_ends_near_the_least_error():
    values = low_rank(300, 100, 5, noise=1.0)
    mask = mask_entries(values.shape, np.random.default_rng(1))
    exact = {"tolerance": 1e-8, "max_iterations": 2000}
    errors = [
        [
            visible_error(values, mask, found)
            for _, found in masked_pca(
                values, mask, range(1, 7), np.random.default_rng(0), **options
            )
        ]
        for options in ({}, exact)
    ]
    np.testing.assert_allclose(*errors, rtol=2e-3)


@pytest.mark.parametrize(
    ("mask", "sizes", "expected"),
    [
        (np.zeros((5, 3), dtype=bool), [1], r"\(5, 3\), but the matrix \(5, 4\)"),
        (np.tile([False, True, False, False], (5, 1)), [1], "gene 2 are held out"),
        (np.zeros((5, 4), dtype=bool), [2, 2], r"\[2, 2\], but ascending"),
        (np.zeros((5, 4), dtype=bool), [1, 5], "from 1 to 4"),
        (np.zeros((5, 4), dtype=bool), [], r"sizes is \[\]"),
    ],
    ids=["shape", "hidden-gene", "twice", "too-large", "none"],
)
def test_what_cannot_be_fitted_is_named(mask, sizes, expected):
    with pytest.raises(InputError, match=expected):
        list(masked_pca(np.ones((5, 4)), mask, sizes, np.random.default_rng(0)))


kinds = pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])


@kinds
def test_errors_equal_their_formulas(kind):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (40, 6))
    counts[:, 5] = 0
    counts[0] = 0
    train, test = split_counts(kind(counts), rng)
    dense_train, dense_test = (
        half.toarray() if sparse.issparse(half) else half for half in (train, test)
    )
    rates = rng.gamma(2, 800, counts.shape)
    expected_train = rates * dense_train.sum(1, keepdims=True) / 1e4
    mean = rates * dense_train.sum(0) / expected_train.sum(0) * dense_test.sum(1)[:, None] / 1e4
    share = (dense_train.sum(0) + 0.5) / (dense_train.sum() + 3)
    mean = np.maximum(mean, 0.01 * share * dense_test.sum(1)[:, None])
    best = stats.poisson.logpmf(dense_test, dense_test)
    deviance = 2 * (best - stats.poisson.logpmf(dense_test, mean))
    assert poisson_deviance(rates, train, test) == pytest.approx(deviance.mean())

    prediction, mask = rng.normal(size=counts.shape), rng.random(counts.shape) < 0.3
    squares = np.square(prediction - dense_test)
    assert squared_error(prediction, test) == pytest.approx(squares.mean())
    assert squared_error(prediction, test, mask) == pytest.approx(squares[mask].mean())


def test_rates_undo_the_logarithm_and_are_never_negative():
    np.testing.assert_allclose(rates_from_log(np.array([-1.0, 0.0, np.log(4)])), [0, 0, 3])


@kinds
def test_the_null_model_of_counts_is_a_mean_and_a_quadratic_of_the_logarithm(kind):
    rng = np.random.default_rng(0)
    totals = rng.integers(50, 5000, 80)
    values = np.column_stack([np.log(totals), 3 - np.log(totals) ** 2, rng.random(80)])
    mean, quadratic = null_of_counts(kind(values), totals)
    np.testing.assert_allclose(quadratic[:, :2], values[:, :2], atol=1e-8)
    polynomial = np.polynomial.Polynomial.fit(np.log(totals), values[:, 2], 2)
    np.testing.assert_allclose(quadratic[:, 2], polynomial(np.log(totals)), atol=1e-8)
    np.testing.assert_allclose(mean, np.tile(values.mean(axis=0), (80, 1)))
    mean, quadratic = null_of_counts(kind(values), np.full(80, 7))
    np.testing.assert_allclose(quadratic, mean)
    np.testing.assert_allclose(null_rates(kind(np.array([[1, 3], [0, 4]])))[0], [1250, 8750])


def test_the_null_model_of_entries_sees_visible_entries_only():
    rng = np.random.default_rng(0)
    values = rng.random((50, 20)) * (rng.random((50, 20)) < rng.uniform(0.3, 0.9, (50, 1)))
    mask = mask_entries(values.shape, rng, 0.2)
    mean, quadratic = null_of_entries(values, mask)
    other = np.where(mask, 77.0, values)
    for found, again in zip((mean, quadratic), null_of_entries(other, mask), strict=True):
        np.testing.assert_array_equal(found, again)
    detection = np.log(((values != 0) & ~mask).sum(axis=1) / 16)
    for gene in range(20):
        seen = ~mask[:, gene]
        assert mean[0, gene] == pytest.approx(values[seen, gene].mean())
        curve = np.polynomial.Polynomial.fit(detection[seen], values[seen, gene], 2)
        np.testing.assert_allclose(quadratic[:, gene], curve(detection), atol=1e-6)
    mean, quadratic = null_of_entries(values + 1, mask)
    np.testing.assert_allclose(quadratic, mean)


def means_of_rank(rank, rng, *, n_cells=500, n_genes=200, total=4000.0) -> np.ndarray:
    """Mean counts of rank + 1 groups of cells, whose profiles so span `rank` dimensions."""
    share = np.exp(0.7 * rng.standard_normal(n_genes))
    depth = total * np.exp(0.3 * rng.standard_normal((n_cells, 1)))
    profiles = share * np.exp(0.7 * rng.standard_normal((rank + 1, n_genes)))
    profiles /= profiles.sum(axis=1, keepdims=True)
    return depth * profiles[rng.integers(rank + 1, size=n_cells)]


def draw(mean, phi, rng) -> np.ndarray:
    return rng.poisson(mean * rng.gamma(1 / phi, phi, mean.shape) if phi else mean)


def choose_by_halves(counts, dispersion, rng, *, score="mse", n_splits=3):
    """Choose PCA's size by split counts."""
    errors, nulls = [], []
    for _ in range(n_splits):
        train, test = split_counts(counts, rng, dispersion=dispersion)
        seen, target = normalise(train), normalise(test)
        pairs = pca_predictions(seen, SIZES, random_state=0)
        if score == "mse":
            errors.append([squared_error(found, target) for _, found in pairs])
            null = null_of_counts(seen, train.sum(axis=1))
            nulls.append(min(squared_error(found, target) for found in null))
        else:
            of = (poisson_deviance(rates_from_log(found), train, test) for _, found in pairs)
            errors.append(list(of))
            nulls.append(poisson_deviance(null_rates(train), train, test))
    return choose_size(SIZES, errors, nulls, rng)


def choose_by_entries(values, rng, *, n_splits=3):
    """Choose PCA's size by held-out entries."""
    errors, nulls = [], []
    for _ in range(n_splits):
        mask = mask_entries(values.shape, rng)
        pairs = masked_pca(values, mask, SIZES, rng)
        errors.append([squared_error(found, values, mask) for _, found in pairs])
        nulls.append(
            min(squared_error(found, values, mask) for found in null_of_entries(values, mask))
        )
    return choose_size(SIZES, errors, nulls, rng)


@pytest.mark.parametrize("score", ["mse", "poisson"])
@pytest.mark.parametrize("rank", [2, 4])
def test_the_rank_of_poisson_counts_is_found(rank, score):
    rng = np.random.default_rng(rank)
    counts = rng.poisson(means_of_rank(rank, rng))
    found = choose_by_halves(counts, None, rng, score=score)
    assert found.chosen == rank and found.agreement > 0.9


def test_the_rank_of_overdispersed_counts_is_found_but_not_by_binomial_halves():
    rng = np.random.default_rng(1)
    counts = draw(means_of_rank(4, rng), 0.5, rng)
    dispersion = fit_dispersion(counts, rng)
    for score in ("mse", "poisson"):
        assert choose_by_halves(counts, dispersion, rng, score=score).chosen == 4
    wrong = choose_by_halves(counts, None, rng)
    assert wrong.chosen == SIZES[-1] and wrong.largest_is_best


@pytest.mark.parametrize("phi", [0.0, 0.5])
@pytest.mark.parametrize("score", ["mse", "poisson"])
def test_noise_counts_of_unequal_depth_hold_nothing(phi, score):
    rng = np.random.default_rng(3)
    counts = draw(means_of_rank(0, rng), phi, rng)
    assert (
        choose_by_halves(counts, fit_dispersion(counts, rng), rng, score=score).chosen is None
    )


def test_binomial_halves_of_overdispersed_noise_would_find_something():
    rng = np.random.default_rng(3)
    counts = draw(means_of_rank(0, rng), 0.5, rng)
    assert choose_by_halves(counts, None, rng).chosen is not None


@pytest.mark.parametrize("rank", [2, 5])
def test_the_rank_of_normalised_values_is_found_by_held_out_entries(rank):
    values = low_rank(400, 100, rank, noise=1.0, seed=rank)
    assert choose_by_entries(values, np.random.default_rng(0)).chosen == rank


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_normalised_noise_holds_nothing_by_held_out_entries(phi):
    rng = np.random.default_rng(5)
    values = normalise(draw(means_of_rank(0, rng), phi, rng))
    assert choose_by_entries(values, rng).chosen is None


def test_the_rank_of_normalised_counts_is_found_by_held_out_entries():
    rng = np.random.default_rng(6)
    values = normalise(draw(means_of_rank(4, rng), 0.2, rng))
    assert choose_by_entries(values, rng).chosen == 4
