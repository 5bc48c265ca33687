"""The preprocessor recognises counts, normalises like scanpy and changes nothing."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from cellglass import matrices
from cellglass.errors import InputError
from cellglass.preprocess import Preprocessor

FORMS = [
    pytest.param(np.asarray, id="dense"),
    pytest.param(sparse.csr_matrix, id="csr"),
    pytest.param(sparse.csc_matrix, id="csc"),
    pytest.param(sparse.csr_array, id="csr_array"),
]


@pytest.fixture
def counts() -> np.ndarray:
    X = np.random.default_rng(0).poisson(0.7, (40, 30)).astype(np.float32)
    X[7] = 0
    X[0, 0] = 1234
    return X


def bits(X) -> np.ndarray:
    X = X.toarray() if sparse.issparse(X) else X
    assert X.dtype == np.float32
    return X.view(np.uint32)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_whole_numbers_are_taken_as_counts(counts, form, dtype):
    fitted = Preprocessor.fit(form(counts.astype(dtype)))
    assert (fitted.input, fitted.detected, fitted.warnings) == ("counts", True, ())


@pytest.mark.parametrize("form", FORMS)
def test_the_reason_for_counts_is_the_scan(counts, form):
    assert Preprocessor.fit(form(counts)).reason == (
        "all 1,200 values are whole numbers (largest 1,234), so they were taken as raw counts"
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [45, 1 << 20], ids=["many-chunks", "one-chunk"])
def test_the_reason_for_log_is_the_scan(form, chunk, monkeypatch):
    monkeypatch.setattr(matrices, "CHUNK_VALUES", chunk)
    X = np.zeros((10, 20))
    X[2, 3:7] = 1
    X[3, 4], X[3, 2], X[9, 0] = 0.5, 0.6931, 0.25
    fitted = Preprocessor.fit(form(X))
    assert fitted.reason == (
        "42.9 % of the non-zero values are not whole numbers (first: 0.6931 at cell 4, "
        "gene 3), so the matrix was taken as log-normalised"
    )
    assert (fitted.input, fitted.detected, fitted.warnings) == ("log", True, ())


@pytest.mark.parametrize("form", FORMS)
def test_one_fraction_among_many_counts_is_enough_for_log(counts, form):
    counts = np.tile(counts, (60, 1))
    counts[-1, -1] = 0.5
    fitted = Preprocessor.fit(form(counts))
    assert fitted.input == "log"
    assert fitted.reason.startswith("less than 0.1 % of the non-zero values")


def test_negative_whole_numbers_are_no_counts(counts):
    fitted = Preprocessor.fit(-counts)
    assert fitted.input == "log"
    assert "some are negative" in fitted.reason


@pytest.mark.filterwarnings("ignore:Some cells have zero counts")
@pytest.mark.parametrize("form", FORMS)
def test_counts_are_normalised_as_scanpy_does(counts, form):
    import anndata
    import scanpy

    adata = anndata.AnnData(counts.copy())
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)
    ours = Preprocessor.fit(form(counts)).transform(form(counts))
    np.testing.assert_allclose(
        ours if form is np.asarray else ours.toarray(), adata.X, rtol=1e-6
    )


def test_counts_are_normalised_by_hand():
    X = np.array([[1, 3], [0, 0], [0, 5]])
    expected = np.log1p([[25.0, 75.0], [0.0, 0.0], [0.0, 100.0]]).astype(np.float32)
    fitted = Preprocessor.fit(X, target_sum=100)
    np.testing.assert_array_equal(fitted.transform(X), expected)
    np.testing.assert_array_equal(fitted.transform(sparse.csr_matrix(X)).toarray(), expected)


MATRICES = hnp.arrays(
    st.sampled_from([np.uint8, np.int32, np.float32, np.float64]),
    st.tuples(st.integers(1, 7), st.integers(1, 40)),
    elements=st.integers(0, 100),
)


@settings(deadline=None)
@given(
    X=MATRICES,
    divide=st.booleans(),
    told=st.sampled_from(["auto", "counts", "log"]),
    chunk=st.sampled_from([1, 50, 1 << 20]),
)
def test_dense_and_csr_agree_to_the_last_bit(X, divide, told, chunk):
    if divide:  # so that sums of fractions are compared too
        X = X / 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "CHUNK_VALUES", chunk)
        dense, csr = Preprocessor.fit(X, told), Preprocessor.fit(sparse.csr_matrix(X), told)
        assert dense == csr
        Y, Z = dense.transform(X), csr.transform(sparse.csr_matrix(X))
    np.testing.assert_array_equal(bits(Y), bits(Z))
    assert Y.flags.c_contiguous
    assert Z.has_sorted_indices and np.all(Z.data)


@pytest.mark.parametrize("told", ["counts", "log"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wide_matrix_of_fractions_agrees_to_the_last_bit(told, dtype):
    rng = np.random.default_rng(1)
    X = rng.gamma(0.3, 2.0, (50, 5000)) * (rng.random((50, 5000)) < 0.2)
    X = X.astype(dtype)
    fitted = Preprocessor(told)
    Y = bits(fitted.transform(X))
    np.testing.assert_array_equal(Y, bits(fitted.transform(sparse.csr_matrix(X))))
    one_by_one = [bits(fitted.transform(X[i : i + 1])) for i in range(50)]
    np.testing.assert_array_equal(Y, np.concatenate(one_by_one))
    if told == "counts":
        totals = X.sum(axis=1, keepdims=True, dtype=np.float64)
        by_hand = np.log1p(X / totals * 1e4)
        np.testing.assert_allclose(fitted.transform(X), by_hand, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("told", ["counts", "log"])
@pytest.mark.parametrize("dtype", ["bool", "int16", "float32", "float64", "longdouble"])
def test_the_result_is_float32_in_its_promised_form(counts, form, told, dtype):
    Y = Preprocessor(told).transform(form(np.asfortranarray(counts.astype(dtype))))
    assert Y.dtype == np.float32
    assert Y.shape == counts.shape
    if form is np.asarray:
        assert type(Y) is np.ndarray and Y.flags.c_contiguous
    else:
        assert isinstance(Y, sparse.csr_matrix)


@pytest.mark.parametrize("told", ["auto", "counts", "log"])
def test_half_precision_is_taken(told):
    X = np.array([[0.5, 0, 2], [1, 4, 0], [0, 3, 3]])
    half = Preprocessor.fit(X.astype(np.float16), told).transform(X.astype(np.float16))
    np.testing.assert_array_equal(bits(half), bits(Preprocessor.fit(X, told).transform(X)))


@pytest.mark.parametrize("told", ["auto", "counts", "log"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_input_is_never_modified(counts, told, dtype):
    dense = counts.astype(dtype)
    messy = sparse.csr_matrix(dense)
    messy.data[1::2] = 1e-60  # becomes a zero in float32
    messy.data[::5] = 0
    messy.indices[: messy.indptr[1]] = messy.indices[: messy.indptr[1]][::-1].copy()
    messy.has_sorted_indices = messy.has_canonical_format = False
    for X in (dense, messy):
        parts = [X] if X is dense else [X.data, X.indices, X.indptr]
        before = [part.copy() for part in parts]
        for part in parts:
            part.flags.writeable = False
        Y = Preprocessor.fit(X, told).transform(X)
        for old, part in zip(before, parts, strict=True):
            np.testing.assert_array_equal(old, part)
        assert X is dense or (np.all(Y.data) and Y.has_sorted_indices)


def test_log_values_that_fit_already_are_not_copied(counts):
    fitted = Preprocessor("log")
    assert np.shares_memory(fitted.transform(counts), counts)
    csr = sparse.csr_matrix(counts)
    assert np.shares_memory(fitted.transform(csr).data, csr.data)


def test_repeated_entries_of_a_sparse_matrix_are_added_up():
    X = sparse.csr_matrix((np.array([1.0, 2, 4]), np.array([1, 1, 0]), np.array([0, 3])))
    assert X.nnz == 3
    np.testing.assert_array_equal(Preprocessor("log").transform(X).toarray(), [[4, 3]])
    dense = Preprocessor("counts").transform(X.toarray())
    np.testing.assert_array_equal(bits(Preprocessor("counts").transform(X)), bits(dense))


def test_a_told_input_is_not_detected_but_its_reason_is_still_the_scan(counts):
    fitted = Preprocessor.fit(counts, "counts")
    assert not fitted.detected
    assert fitted.warnings == ()
    assert 'input="counts" was given' in fitted.reason
    assert "all 1,200 values are whole numbers" in fitted.reason


@pytest.mark.parametrize(
    ("scale", "told", "words"),
    [
        pytest.param(0.5, "counts", ["are not whole numbers", 'input="log"'], id="counts"),
        pytest.param(1.0, "log", ["all 1,200 values are whole numbers"], id="log"),
        pytest.param(0.3, "auto", ["370.2", "not log-transformed"], id="no-logarithm"),
    ],
)
def test_what_looks_odd_is_warned_about(counts, scale, told, words):
    sentences = Preprocessor.fit(counts * np.float32(scale), told).warnings
    assert len(sentences) == 2 if told == "log" else 1
    for word in words:
        assert word in sentences[0]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_matrix_of_zeros_alone_is_odd_and_one_count_is_enough(form):
    X = np.zeros((4, 3), np.float32)
    assert "Every value of the matrix is 0" in Preprocessor.fit(form(X)).warnings[0]
    X[1, 2] = 1
    assert Preprocessor.fit(form(X)).warnings == ()


def test_log_values_up_to_the_limit_are_not_odd():
    X = np.array([[0.5, 30.0], [1, 2], [0, 3]])
    assert Preprocessor.fit(X).warnings == ()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [1e39, np.inf, np.nan], ids=str)
def test_a_value_beyond_float32_is_refused_with_its_place(form, value):
    X = np.ones((5, 4))
    X[3, 1] = value
    for act in (Preprocessor.fit, Preprocessor("log").transform):
        with pytest.raises(InputError, match=r"cell 4 \(row 4\) and gene 2 \(column 2\)"):
            act(form(X))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"input": "count"}, "Did you mean 'counts'"),
        ({"input": "auto", "target_sum": 0}, "target_sum is 0"),
        ({"input": "auto", "target_sum": float("nan")}, "target_sum is nan"),
    ],
)
def test_a_wrong_option_is_refused(counts, arguments, words):
    with pytest.raises(InputError, match=words):
        Preprocessor.fit(counts, **arguments)


@pytest.mark.parametrize("told", ["auto", "counts", "log"])
def test_saved_as_json_it_comes_back_equal(counts, told):
    fitted = Preprocessor.fit(counts / 3, told, target_sum=5000)
    state = json.loads(json.dumps(fitted.to_dict()))
    assert Preprocessor.from_dict(state) == fitted


def test_older_and_newer_states_load():
    assert Preprocessor.from_dict({"input": "log"}) == Preprocessor("log")
    assert Preprocessor.from_dict({"input": "log", "to_come": 1}) == Preprocessor("log")
    with pytest.raises(InputError, match="'input' is missing"):
        Preprocessor.from_dict({"detected": True})


def test_it_cannot_be_changed(counts):
    with pytest.raises(AttributeError):
        Preprocessor.fit(counts).input = "log"


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def test_totals_of_cells_are_exact_where_32_bits_cannot_hold_them(kind):
    X = np.array([[2**24, 1, 1, 1], [1, 2, 3, 4]], np.float32)
    fitted = Preprocessor.fit(kind(X), input="counts")
    totals = fitted.size_factors(kind(X)) * fitted.target_sum
    np.testing.assert_allclose(totals, [2**24 + 3, 10], rtol=1e-12)
    largest = np.full((2, 4), 1e38, np.float32)
    np.testing.assert_allclose(
        Preprocessor.fit(kind(largest), input="counts").size_factors(kind(largest)),
        4e38 / fitted.target_sum,
    )
