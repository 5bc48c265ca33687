"""Every matrix that can be held is trained on to finite weights, or refused in prose."""

import json

import jax
import numpy as np
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import cellglass as cg
from cellglass.batches import on_device
from cellglass.checks import check_matrix
from cellglass.errors import InputError
from cellglass.losses import LOSSES
from cellglass.matrices import to_csr
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor
from cellglass.settings import TrainingSettings
from cellglass.train import train

# Every other shape is another program to compile.
SHAPES = [(3, 1), (5, 4), (20, 6)]
VALUES = [0, 1, 2, 7, 0.5, 3.7, 1e-320, 1e-30, 1e9, 1e10, 1e19, 1e30, 1e38, 1e39, 1e300]
BAD = [np.nan, np.inf, -np.inf, -1, -1e-300]
FLOATS = ["float16", "float32", "float64", "longdouble", ">f2", ">f4", ">f8"]
DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4",
    *FLOATS,
]  # fmt: skip
BY_HAND = TrainingSettings(max_epochs=2, batch_size=8, n_hidden=4)


def path(X, loss="mse"):
    """Take a matrix from the first check through two epochs; return all weights."""
    check_matrix(X, name="the matrix")
    preprocessor = Preprocessor.fit(X)
    Y = preprocessor.transform(X)
    n_cells, n_genes = Y.shape
    key = jax.random.key(0)
    network = AutoencoderNetwork(n_genes, 1, n_hidden=4, n_layers=1, key=key)
    cells = np.arange(n_cells)
    rows = on_device(Y)
    done = train(network, rows, cells[:-1], cells[-1:], LOSSES[loss], BY_HAND, key=key)
    return preprocessor, [np.asarray(leaf) for leaf in jax.tree.leaves(done.network)]


def is_fine(X: np.ndarray, loss: str = "mse") -> bool:
    """Tell by the rules, all values at once, whether a dense matrix may be refused."""
    wide = X.astype(np.longdouble)
    if not (np.isfinite(wide).all() and (wide >= 0).all()):
        return False
    is_counts = (wide == np.floor(wide)).all()
    if LOSSES[loss].on_counts:
        return bool(is_counts and wide.max() <= 1e9)
    return bool(wide.max() <= (np.finfo(np.float32).max if is_counts else 1e9))


def f_order(X):
    return np.asfortranarray(X)


def every_other(X):
    wide = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)
    return wide[::2, ::3]


def backwards(X):
    return X[::-1, ::-1].copy()[::-1, ::-1]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def unmasked(X):
    return np.ma.masked_array(X)


def matrix(X):
    return X.view(np.matrix)


DENSE = [np.ascontiguousarray, f_order, every_other, backwards, read_only, unmasked, matrix]


def unsorted_csr(X):
    S = sparse.csr_matrix(X)
    for start, stop in zip(S.indptr[:-1], S.indptr[1:], strict=True):
        S.indices[start:stop] = S.indices[start:stop][::-1].copy()
        S.data[start:stop] = S.data[start:stop][::-1].copy()
    S.has_sorted_indices = S.has_canonical_format = False
    return S


def with_stored_zeros(X):
    rows, columns = np.indices(X.shape).reshape(2, -1)
    return sparse.csc_array((X.ravel(), (rows, columns)), shape=X.shape)


def with_zeros_beside(X):
    """Every entry twice: once as it is, once as 0."""
    rows, columns = np.indices(X.shape).reshape(2, -1)
    values = np.concatenate([X.ravel(), np.zeros_like(X.ravel())])
    return sparse.coo_array((values, (np.tile(rows, 2), np.tile(columns, 2))), shape=X.shape)


def wide_indices(X):
    S = sparse.csr_array(X)
    S.indices, S.indptr = S.indices.astype(np.int64), S.indptr.astype(np.int64)
    return S


def corrupt(X):
    S = sparse.csr_matrix(X)
    S.indices[3] = 10_000
    return S


SPARSE = [
    sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array,
    sparse.coo_matrix, sparse.coo_array, sparse.bsr_array, sparse.lil_array,
    sparse.dok_matrix, sparse.dia_array,
    unsorted_csr, with_stored_zeros, with_zeros_beside, wide_indices,
]  # fmt: skip


@st.composite
def matrices(draw):
    """A form, and the dense matrix that it holds."""
    n_cells, n_genes = draw(st.sampled_from(SHAPES))
    pool = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4))
    dtypes = DTYPES
    if draw(st.booleans()):  # else hardly any would be log values
        pool.append(draw(st.sampled_from([0.5, 3.7])))
        dtypes = FLOATS
    if draw(st.integers(0, 5)) == 0:
        pool.append(draw(st.sampled_from(BAD)))
    places = st.integers(0, len(pool) - 1)
    chosen = draw(st.lists(places, min_size=n_cells * n_genes, max_size=n_cells * n_genes))
    with np.errstate(all="ignore"):
        X = np.array(pool, float)[chosen].reshape(n_cells, n_genes)
        X = X.astype(draw(st.sampled_from(dtypes)))
    for axis, length in ((0, n_cells), (1, n_genes)):
        empty = draw(st.none() | st.integers(0, length - 1))
        if empty is not None:
            X[(slice(None),) * axis + (empty,)] = 0
    holds_sparse = X.dtype.isnative and X.dtype.itemsize != 2
    return draw(st.sampled_from(DENSE + SPARSE * holds_sparse)), X


@settings(max_examples=120, deadline=None)
@given(made=matrices(), loss=st.sampled_from(["mse", "nonzero_mse"]))
def test_a_matrix_trains_to_finite_weights_or_is_refused_by_the_rules(made, loss):
    form, X = made
    try:
        _, weights = path(form(X), loss)
    except InputError as error:
        assert not is_fine(X), error
        assert "\n" not in str(error) and str(error).endswith(".")
    else:
        assert is_fine(X)
        assert all(np.isfinite(weight).all() for weight in weights)


@pytest.mark.filterwarnings("ignore:The matrix was taken as log-normalised, but")
@pytest.mark.filterwarnings("ignore:Every value of the matrix is 0")
@settings(max_examples=80, deadline=None)
@given(made=matrices(), loss=st.sampled_from(sorted(LOSSES)), portions=st.booleans())
def test_the_estimator_trains_on_a_matrix_or_refuses_it_by_the_same_rules(made, loss, portions):
    form, X = made
    given_form = form(X)
    estimator = cg.Autoencoder(n_latent=1, loss=loss, n_hidden=4, max_epochs=2, batch_size=8)
    fit = estimator.partial_fit if portions else estimator.fit
    try:
        Z = fit(given_form).transform(given_form)
        X_hat = estimator.reconstruct(given_form)
    except InputError as error:
        assert not is_fine(X, loss), error
    else:
        assert is_fine(X, loss)
        assert Z.shape == (len(X), 1) and np.isfinite(Z).all() and np.isfinite(X_hat).all()


def by_compare(X, loss):
    found = cg.compare(X, n_latent=1, n_hidden=4, max_epochs=1, batch_size=8, loss=loss)
    json.dumps(found.summary, allow_nan=False)


def by_select(X, loss):
    found = cg.select(
        X, n_latent=(1, 2), n_hidden=4, max_epochs=1, batch_size=8, loss=loss, splits=2
    )
    json.dumps(found.summary, allow_nan=False)


def by_tl(X, loss):
    adata = AnnData(X)
    cg.tl.autoencoder(adata, 1, n_hidden=4, max_epochs=1, batch_size=8, loss=loss)
    assert np.isfinite(adata.obsm["X_ae"]).all()


@pytest.mark.filterwarnings("ignore:The matrix was taken as log-normalised, but")
@pytest.mark.parametrize("face", [by_compare, by_select, by_tl])
@pytest.mark.parametrize("loss", ["gaussian", "nb", "zinb"])
def test_one_odd_value_is_taken_or_refused_by_the_same_rules_on_every_way(face, loss):
    counts = np.random.default_rng(0).poisson(2.0, (20, 6)).astype(float)
    for value in [*VALUES, *BAD]:
        X = counts.copy()
        X[3, 2] = value
        try:
            face(X, loss)
        except InputError as error:
            too_large = face is by_select and value > 2**53  # to be split exactly
            assert not is_fine(X, loss) or too_large, (value, error)
        else:
            assert is_fine(X, loss), value


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda X: np.where(X > 0, 1e9, 0.5), id="the largest beside small ones"),
        pytest.param(lambda X: np.full(X.shape, 0.5), id="the same everywhere"),
        pytest.param(lambda X: X * 1e-320, id="below all normal numbers"),
        pytest.param(lambda X: sparse.dok_array(X * 1e30), id="counts of 1e30"),
    ],
)
def test_a_comparison_of_extreme_values_ends_in_finite_numbers(made):
    X = made(np.random.default_rng(0).poisson(1.0, (20, 6)).astype(float))
    comparison = cg.compare(X, n_latent=1, n_hidden=4, max_epochs=2, batch_size=8, loss="mse")
    json.dumps(comparison.summary, allow_nan=False)


@pytest.mark.parametrize(
    "make",
    [lambda X: np.ma.masked_array(X, mask=X == 2), corrupt],
    ids=["masked", "corrupt"],
)
def test_a_comparison_sees_what_a_conversion_would_hide(make):
    X = np.random.default_rng(0).poisson(1.0, (20, 6)).astype(float)
    with pytest.raises(InputError, match=r"masked array|do not fit together"):
        cg.compare(make(X), n_latent=1, max_epochs=1)


def test_a_comparison_adds_up_parts_of_an_entry_without_wrapping_around():
    parts = np.full(40, 100, np.int8)
    places = np.tile(np.arange(20), 2), np.zeros(40, int)
    X = sparse.coo_array((parts, places), shape=(20, 6))
    comparison = cg.compare(X, n_latent=1, n_hidden=4, max_epochs=1, loss="mse")
    assert "largest 200" in comparison.preprocessor.reason


@pytest.mark.parametrize("form", DENSE + SPARSE, ids=lambda form: form.__name__)
@pytest.mark.parametrize("divide", [1, 4], ids=["counts", "log"])
def test_every_form_of_one_matrix_is_prepared_to_the_same_bits(form, divide):
    X = np.random.default_rng(0).poisson(1.0, (7, 5)) / divide
    expected = Preprocessor.fit(X).transform(X)
    given_form = form(X)
    check_matrix(given_form, name="m")
    got = Preprocessor.fit(given_form).transform(given_form)
    got = got.toarray() if sparse.issparse(got) else got
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_a_memory_map_that_may_only_be_read_is_trained_on(tmp_path):
    X = np.random.default_rng(0).poisson(1.0, (20, 6)).astype(">f4")
    np.save(tmp_path / "m.npy", np.asfortranarray(X))
    mapped = np.load(tmp_path / "m.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    for ours, expected in zip(path(mapped)[1], path(X)[1], strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_the_largest_counts_are_normalised_without_overflow():
    X = np.full((3, 4), np.finfo(np.float32).max)
    for counts in (X, X.astype(np.float64), sparse.csr_matrix(X)):
        Y = Preprocessor.fit(counts).transform(counts)
        Y = Y.toarray() if sparse.issparse(Y) else Y
        np.testing.assert_allclose(Y, np.log1p(2500.0), rtol=1e-6)


def test_the_smallest_fractions_taken_as_counts_keep_their_shares():
    X = np.full((3, 4), 1e-320)
    np.testing.assert_allclose(Preprocessor("counts").transform(X), np.log1p(2500.0), rtol=1e-6)


def test_values_used_as_they_are_may_be_as_large_as_the_rule_says():
    X = np.full((20, 6), 1e9)
    X[::2] = 0.5
    preprocessor, weights = path(X)
    assert preprocessor.input == "log"
    assert all(np.isfinite(weight).all() for weight in weights)
    X[4, 2] = np.nextafter(1e9, np.inf)
    with pytest.raises(InputError, match=r"cell 5 \(row 5\) and gene 3 .* at most 1e\+09"):
        path(X)


@pytest.mark.parametrize("form", SPARSE, ids=lambda form: form.__name__)
def test_a_value_too_large_in_two_parts_of_one_entry_is_refused(form):
    X = np.ones((3, 2))
    S = sparse.coo_matrix(form(X).tocoo())
    values = np.concatenate([S.data, [np.finfo(float).max] * 2])
    rows, columns = np.append(S.row, [1, 1]), np.append(S.col, [1, 1])
    S = sparse.coo_matrix((values, (rows, columns)), shape=X.shape)
    with np.errstate(over="ignore"), pytest.raises(InputError, match="1 infinite value"):
        check_matrix(S, name="m")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
@pytest.mark.parametrize("form", ["coo", "csc", "csr"])
def test_parts_of_one_entry_do_not_wrap_around_in_a_narrow_type(dtype, form):
    largest = np.iinfo(dtype).max
    parts = np.array([largest, largest, 1], dtype)
    if form == "coo":
        S = sparse.coo_array((parts, ([0, 0, 2], [1, 1, 0])), shape=(3, 3))
    else:
        make = sparse.csc_array if form == "csc" else sparse.csr_array
        indptr = [0, 1, 3, 3] if form == "csc" else [0, 2, 2, 3]
        order = [2, 0, 0] if form == "csc" else [1, 1, 0]
        data = parts[[2, 0, 1]] if form == "csc" else parts
        S = make((data, order, indptr), shape=(3, 3))
    check_matrix(S, name="m")
    X = np.zeros((3, 3))
    X[0, 1], X[2, 0] = 2 * float(largest), 1
    np.testing.assert_array_equal(
        Preprocessor("counts").transform(S).toarray(), Preprocessor("counts").transform(X)
    )
    assert f"largest {int(X.max()):,}" in Preprocessor.fit(S).reason


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32"])
@pytest.mark.parametrize("form", SPARSE, ids=lambda form: form.__name__)
def test_canonical_csr_keeps_the_type_of_number(form, dtype):
    X = np.random.default_rng(0).poisson(1.0, (7, 5)).astype(dtype)
    Y = to_csr(form(X))
    assert isinstance(Y, sparse.csr_matrix) and Y.has_canonical_format
    assert Y.dtype == X.dtype
    np.testing.assert_array_equal(Y.toarray(), X)


def test_a_masked_array_with_missing_values_is_refused_with_the_first_place():
    X = np.ma.masked_array(np.ones((4, 3)), mask=False)
    X[2, 1] = X[3, 0] = np.ma.masked
    with pytest.raises(InputError) as caught:
        check_matrix(X, name="m")
    assert "2 masked, that is missing, values" in str(caught.value)
    assert "cell 3 (row 3) and gene 2 (column 2)" in str(caught.value)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "bsr_matrix"])
@pytest.mark.parametrize("damage", ["beyond", "negative", "backwards", "short"])
def test_a_sparse_matrix_that_points_outside_of_itself_is_refused(form, damage):
    S = getattr(sparse, form)(np.eye(4) + np.eye(4, k=1))
    if damage == "beyond":
        S.indices[1] = 400
    elif damage == "negative":
        S.indices[1] = -1
    elif damage == "backwards":
        S.indptr[1] = S.indptr[2] + 1
    else:
        S.indptr[-1] += 1000
    with pytest.raises(InputError, match="do not fit together"):
        check_matrix(S, name="m")
