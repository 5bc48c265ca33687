"""Every score equals scikit-learn's, or the formula by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import metrics as reference

from cellglass.metrics import AGREEMENT, silhouettes, squared_errors


def matrix(shape=(40, 7), density=0.4, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random(shape) * (rng.random(shape) < density)).astype(np.float32)


# --- squared errors ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("chunk", [1, 7, 40, 1024])
def test_squared_errors_equal_scikit_learn_and_the_definition(kind, chunk):
    y, y_hat = matrix(), np.random.default_rng(1).normal(size=(40, 7)).astype(np.float32)
    errors = squared_errors(kind(y), y_hat, chunk=chunk)
    exact, guess = y.astype(np.float64), y_hat.astype(np.float64)
    expected = reference.mean_squared_error(exact, guess)
    assert errors.mse_all == pytest.approx(expected, rel=1e-12)
    on, off = exact != 0, exact == 0
    squares = (exact - guess) ** 2
    assert errors.mse_nonzero == pytest.approx(squares[on].sum() / on.sum(), rel=1e-12)
    assert errors.mse_zero == pytest.approx((guess[off] ** 2).sum() / off.sum(), rel=1e-12)
    np.testing.assert_allclose(errors.nonzero + errors.zero, squares.sum(axis=1))


def test_squared_errors_of_some_cells_are_those_of_their_rows():
    y, y_hat = matrix(), matrix(seed=3)
    some = np.arange(40) % 3 == 0
    part = squared_errors(y, y_hat).of(some)
    alone = squared_errors(y[some], y_hat[some])
    for name in ("mse_all", "mse_nonzero", "mse_zero"):
        assert getattr(part, name) == getattr(alone, name)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [(0, {"mse_nonzero": None, "mse_zero": 4.0}), (1, {"mse_nonzero": 1.0, "mse_zero": None})],
    ids=["all-zero", "no-zero"],
)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_a_mean_over_nothing_is_none_and_not_nan(fill, expected, kind):
    errors = squared_errors(kind(np.full((3, 2), fill, np.float32)), np.full((3, 2), 2.0))
    found = {"mse_nonzero": errors.mse_nonzero, "mse_zero": errors.mse_zero}
    assert found == expected
    assert errors.of(np.zeros(3, bool)).mse_all is None


# --- silhouettes ---------------------------------------------------------------------

PARTITIONS = {
    "two": np.arange(40) % 2,
    "unequal": np.repeat([0, 1, 2], [25, 10, 5]),
    "singletons": np.r_[np.zeros(30, int), np.arange(1, 11)],
    "unused-number": np.where(np.arange(40) < 9, 0, 3),
    "all-but-one-alone": np.r_[0, np.arange(39)],
}


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("block", [1, 13, 1024])
@pytest.mark.parametrize("n_dimensions", [1, 7])
def test_silhouettes_equal_scikit_learn(kind, block, n_dimensions):
    X = matrix((40, n_dimensions), density=0.8)
    X[5] = X[6]
    found = silhouettes(kind(X), list(PARTITIONS.values()), block=block)
    # float64, as scikit-learn rounds every distance between float32 cells to float32
    exact = X.astype(np.float64)
    expected = [reference.silhouette_score(exact, p) for p in PARTITIONS.values()]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_silhouettes_far_from_the_origin_equal_scikit_learn():
    X = matrix().astype(np.float64) + 100
    (found,) = silhouettes(X.astype(np.float32), [PARTITIONS["two"]])
    assert found == pytest.approx(reference.silhouette_score(X, PARTITIONS["two"]), abs=1e-4)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("width", [1e-7, 1e-4, 1e-2, 1e20])
def test_silhouettes_of_groups_far_tighter_than_they_are_apart_equal_scikit_learn(kind, width):
    """Squared distances within them have no digit left in 32 bits; elsewhere they overflow."""
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 40)
    X = np.eye(3, 8)[groups] * min(1, 1e5 * width) + width * rng.random((120, 8))
    halves = np.arange(120) % 2 + 2 * groups  # what is told apart is within the groups
    found = silhouettes(kind(X), [groups, halves], block=50)
    expected = [_silhouette(X, p) for p in (groups, halves)]
    np.testing.assert_allclose(found, expected, atol=5e-5)


def _silhouette(X: np.ndarray, partition: np.ndarray) -> float:
    """From distances without a product, so that none of them cancels."""
    return reference.silhouette_score(cdist(X, X), partition, metric="precomputed")


@pytest.mark.parametrize(
    "partition", [np.zeros(40, int), np.arange(40)], ids=["one-part", "every-cell-its-own"]
)
def test_a_silhouette_that_is_not_defined_is_none(partition):
    both = silhouettes(matrix(), [partition, PARTITIONS["two"]])
    assert both[0] is None and both[1] is not None


def test_cells_that_are_all_alike_have_a_silhouette_of_zero():
    assert silhouettes(np.ones((40, 3)), [PARTITIONS["two"]]) == [0]


# --- agreement -----------------------------------------------------------------------

SKLEARN = {
    "ari": reference.adjusted_rand_score,
    "nmi": reference.normalized_mutual_info_score,
}
partitions = st.lists(st.integers(0, 4), min_size=12, max_size=12).map(np.array)


def test_every_score_of_agreement_has_a_reference_here():
    assert AGREEMENT.keys() == SKLEARN.keys()


@pytest.mark.parametrize("name", AGREEMENT)
@given(a=partitions, b=partitions, order=st.permutations(range(12)))
@settings(max_examples=30, deadline=None)
def test_agreement_equals_scikit_learn_whatever_the_order_or_the_names(name, a, b, order):
    score = AGREEMENT[name](a, b)
    assert type(score) is float
    assert score == pytest.approx(SKLEARN[name](a, b), abs=1e-12)
    assert AGREEMENT[name](a[order], b[order]) == pytest.approx(score, abs=1e-12)
    renamed = np.array([3, 1, 4, 0, 2])[b]
    assert AGREEMENT[name](a, renamed) == pytest.approx(score, abs=1e-12)
    assert AGREEMENT[name](a, np.array([3, 1, 4, 0, 2])[a]) == pytest.approx(1, abs=1e-12)


def test_agreement_by_hand():
    # Six pairs of which the table keeps: index 2, expected 2·3/6 = 1, maximum 2.5.
    labels, clusters = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])
    assert AGREEMENT["ari"](labels, clusters) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
