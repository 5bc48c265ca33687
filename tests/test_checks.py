"""What enters is checked in full, and the message says what, where and what to do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from cellglass import checks, matrices
from cellglass.errors import InputError

FORMS = [
    pytest.param(np.asarray, id="dense"),
    pytest.param(sparse.csr_matrix, id="csr"),
    pytest.param(sparse.csc_matrix, id="csc"),
    pytest.param(sparse.coo_array, id="coo_array"),
]


def counts(n_cells: int = 6, n_genes: int = 5) -> np.ndarray:
    return np.random.default_rng(0).poisson(1.0, (n_cells, n_genes)).astype(np.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["bool", "uint16", "int64", "float32", "float64"])
def test_a_good_matrix_passes(form, dtype):
    checks.check_matrix(form(counts().astype(dtype)), name="m")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("value", "words", "remedy"),
    [
        pytest.param(np.nan, "missing value (NaN)", "fill it in", id="nan"),
        pytest.param(np.inf, "infinite value", "log(1 + x)", id="inf"),
        pytest.param(-np.inf, "infinite value", "log(1 + x)", id="minus-inf"),
        pytest.param(-1.5, "negative value", "z-scored", id="negative"),
    ],
)
def test_a_bad_value_is_counted_and_its_first_place_is_named(form, value, words, remedy):
    X = counts()
    X[3, 2] = value
    with pytest.raises(InputError) as caught:
        checks.check_matrix(form(X), name="counts.npy")
    message = str(caught.value)
    assert message.startswith(
        f"counts.npy contains 1 {words} (at cell 4 (row 4) and gene 3 (column 3)"
    )
    assert remedy in message
    X[4, 0] = X[3, 4] = value
    with pytest.raises(InputError) as caught:
        checks.check_matrix(
            form(X),
            name="counts.npy",
            cell_names=[f"c{i}" for i in range(6)],
            gene_names=[f"g{i}" for i in range(5)],
        )
    assert "3 " + words.replace("value", "values") in str(caught.value)
    assert "first at cell 4 (row 4, 'c3') and gene 3 (column 3, 'g2')" in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_all_kinds_of_bad_values_are_told_at_once(form):
    X = counts()
    X[0, 1], X[2, 2], X[5, 4], X[5, 3] = -2, np.nan, np.inf, -7
    with pytest.raises(InputError) as caught:
        checks.check_matrix(form(X), name="m")
    message = str(caught.value)
    assert "1 missing value (NaN) (at cell 3 (row 3)" in message
    assert "1 infinite value (at cell 6 (row 6)" in message
    assert (
        "2 negative values (the first at cell 1 (row 1) and gene 2 (column 2) is -2)" in message
    )
    assert "the lowest is -7" in message
    assert "\n" not in message


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", [(0, 0), (9, 2), (10, 0), (24, 2)])
def test_places_are_right_across_chunks(form, where, monkeypatch):
    monkeypatch.setattr(matrices, "CHUNK_VALUES", 6)  # two rows of three
    X = counts(25, 3)
    X[where] = np.nan
    row, column = where
    with pytest.raises(InputError, match=rf"cell {row + 1} .* gene {column + 1} "):
        checks.check_matrix(form(X), name="m")


def test_the_first_gene_is_named_even_where_the_entries_are_unsorted():
    parts = (np.array([1.0, -2.0, -3.0]), np.array([1, 2, 0]), np.array([0, 1, 3, 3]))
    X = sparse.csr_matrix(parts, shape=(3, 3))
    with pytest.raises(InputError, match=r"first at cell 2 .* gene 1 \(column 1\) is -3"):
        checks.check_matrix(X, name="m")


@given(n_rows=st.integers(0, 50), n_columns=st.integers(1, 50), size=st.integers(1, 200))
def test_row_chunks_cover_every_row_once(n_rows, n_columns, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "CHUNK_VALUES", size)
        covered = [
            row
            for start, stop in matrices.row_chunks(np.empty((n_rows, n_columns)))
            for row in range(start, stop)
        ]
    assert covered == list(range(n_rows))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        pytest.param(np.ones(4), r"1 dimension \(shape \(4,\)\)", id="1-d"),
        pytest.param(np.ones((2, 3, 4)), r"3 dimensions \(shape \(2, 3, 4\)\)", id="3-d"),
        pytest.param(np.ones((4, 4), complex), "complex", id="complex"),
        pytest.param(np.full((4, 4), "a"), "no plain numbers", id="text"),
        pytest.param(np.full((4, 4), None), "no plain numbers", id="objects"),
        pytest.param(np.ones((0, 4)), "0 cells and 4 genes", id="no-cells"),
        pytest.param(np.ones((4, 0)), "4 cells and 0 genes", id="no-genes"),
        pytest.param(np.ones((2, 4)), "holds 2 cells .* at least 3 cells", id="two-cells"),
        pytest.param([[1, 2]], "is a list, but a matrix", id="list"),
    ],
)
def test_what_is_no_usable_matrix_is_refused(X, words):
    with pytest.raises(InputError, match=words):
        checks.check_matrix(X, name="m")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [4, 1 << 20], ids=["many-chunks", "one-chunk"])
def test_constant_genes_and_empty_cells_are_found(form, chunk, monkeypatch):
    monkeypatch.setattr(matrices, "CHUNK_VALUES", chunk)
    X = np.array([[0, 2, 1, 0], [0, 2, 0, 0], [0, 2, 1, 0]])
    found = checks.find_constant_genes(form(X))
    np.testing.assert_array_equal(found.zero_genes, [0, 3])
    np.testing.assert_array_equal(found.constant_genes, [1])
    assert (found.n_zero_genes, found.n_constant_genes, found.n_zero_cells) == (2, 1, 0)
    X[1] = 0
    found = checks.find_constant_genes(form(X))
    np.testing.assert_array_equal(found.zero_cells, [1])
    assert found.n_constant_genes == 0


def test_stored_zeros_do_not_hide_an_empty_cell():
    X = sparse.csr_matrix(np.array([[1.0, 2], [3, 4], [5, 6]]))
    X.data[2:4] = 0
    np.testing.assert_array_equal(checks.find_constant_genes(X).zero_cells, [1])


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_constant_genes_match_numpy(form, data):
    shape = data.draw(st.tuples(st.integers(3, 6), st.integers(1, 6)))
    values = st.lists(st.integers(0, 2), min_size=shape[1], max_size=shape[1])
    X = np.array(data.draw(st.lists(values, min_size=shape[0], max_size=shape[0])))
    found = checks.find_constant_genes(form(X))
    same = np.ptp(X, axis=0) == 0
    np.testing.assert_array_equal(found.zero_genes, np.flatnonzero(same & (X[0] == 0)))
    np.testing.assert_array_equal(found.constant_genes, np.flatnonzero(same & (X[0] != 0)))
    np.testing.assert_array_equal(found.zero_cells, np.flatnonzero(X.sum(axis=1) == 0))


def test_labels_of_the_right_number_pass():
    checks.check_labels_length(5, 5, 7)


@pytest.mark.parametrize(
    ("n_labels", "said", "unsaid"),
    [
        pytest.param(7, ["transposed", "X.T"], ["header"], id="as-many-as-genes"),
        pytest.param(6, ["header", "'label'"], ["transposed"], id="one-too-many"),
        pytest.param(3, ["same set of cells"], ["transposed", "header"], id="other"),
    ],
)
def test_a_wrong_number_of_labels_says_the_likely_cause(n_labels, said, unsaid):
    with pytest.raises(InputError) as caught:
        checks.check_labels_length(
            n_labels, 5, 7, labels_name="l.txt", matrix_name="m.npy", first_label="label"
        )
    message = str(caught.value)
    for word in ["l.txt", "m.npy", f"{n_labels} labels", "5 cells", *said]:
        assert word in message
    for word in unsaid:
        assert word not in message


@pytest.mark.parametrize(
    "sizes", [10, [10, 50], (1,), np.array([2, 100])], ids=["one", "two", "least", "array"]
)
def test_good_latent_sizes_pass(sizes):
    checks.check_n_latent(sizes, n_cells=100, n_genes=200)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        pytest.param([10, 0], "n_latent is 0, .* at least 1", id="zero"),
        pytest.param([-3], "n_latent is -3", id="negative"),
        pytest.param([2.5], "n_latent is 2.5, .* whole number", id="fraction"),
        pytest.param([True], "n_latent is True", id="boolean"),
        pytest.param("10", "n_latent is '10'", id="text"),
        pytest.param([], "n_latent is empty", id="none"),
        pytest.param([10, 10], "names 10 twice", id="twice"),
        pytest.param(
            [np.int64(41)], r"n_latent is 41, .* only 40 genes .* at most 30", id="genes"
        ),
        pytest.param([31], r"n_latent is 31, .* only 30 cells", id="cells"),
    ],
)
def test_a_bad_latent_size_is_named_with_its_limit(sizes, words):
    with pytest.raises(InputError, match=words):
        checks.check_n_latent(sizes, n_cells=30, n_genes=40)


def test_an_unknown_choice_gets_the_closest_one_offered():
    checks.check_choice("loss", "mse", ["mse", "nonzero_mse"])
    with pytest.raises(InputError) as caught:
        checks.check_choice("loss", "nonzero-MSE", ["mse", "nonzero_mse"])
    assert str(caught.value) == (
        "loss is 'nonzero-MSE', which is not known. Did you mean 'nonzero_mse'? "
        "It must be one of 'mse', 'nonzero_mse'."
    )
    with pytest.raises(InputError, match=r"is 3, which is not known\. It must"):
        checks.check_choice("loss", 3, ["mse"])


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (1, {"low": 1, "integer": True}),
        (np.int32(3), {"low": 1, "integer": True}),
        (0, {"low": 0, "high": 0.9}),
        (0.9, {"low": 0, "high": 0.9}),
        (np.float32(0.5), {"low": 0, "high": 0.9}),
        (1e-9, {"low": 0, "low_inclusive": False}),
        (-5, {}),
    ],
)
def test_a_number_within_its_bounds_passes(value, rule):
    checks.check_range("option", value, **rule)


@pytest.mark.parametrize(
    ("value", "rule", "words"),
    [
        (
            0,
            {"low": 1, "integer": True},
            "option is 0, but it must be a whole number of at least 1",
        ),
        (2.0, {"integer": True}, "a whole number"),
        (0.95, {"low": 0, "high": 0.9}, "0.95, .* number of at least 0 and at most 0.9"),
        (0.0, {"low": 0, "low_inclusive": False}, "greater than 0"),
        (1, {"high": 1, "high_inclusive": False}, "less than 1"),
        (float("nan"), {"low": 0}, "option is nan"),
        (float("inf"), {"low": 0}, "option is inf"),
        ("5", {"low": 0}, "option is '5'"),
        (True, {"low": 0}, "option is True"),
        (None, {}, "option is None"),
        (1j, {}, "option is 1j"),
        (np.float64(-0.5), {"low": 0}, "option is -0.5"),
        (np.bool_(True), {}, "option is True"),
    ],
)
def test_a_number_out_of_bounds_is_refused(value, rule, words):
    with pytest.raises(InputError, match=words):
        checks.check_range("option", value, **rule)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (10**400, {"high": 1e9}),
        (-(10**400), {"low": 0}),
        (10**400, {"high": 5, "integer": True}),
    ],
)
def test_a_whole_number_beyond_any_float_is_compared_all_the_same(value, rule):
    with pytest.raises(InputError, match=r"option is -?1000"):
        checks.check_range("option", value, **rule)
    checks.check_range("option", value, low=-(10**401))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first_row", [0, 100])
@pytest.mark.parametrize(
    ("known_as", "largest", "words"),
    [
        (True, 3.4e38, r"which end at 3\.4e\+38"),
        (False, 1e9, r'\(input="log"\) may be at most 1e\+09'),
    ],
    ids=["counts", "log"],
)
def test_a_value_too_large_to_train_on_is_refused_with_its_place(
    form, first_row, known_as, largest, words, monkeypatch
):
    monkeypatch.setattr(matrices, "CHUNK_VALUES", 6)
    X = counts()
    X[4, 1] = largest
    checks.check_largest(form(X), counts=known_as)
    X[4, 1] *= 1.1
    X[5, 0] = np.nan
    with pytest.raises(InputError, match=words) as caught:
        checks.check_largest(form(X), counts=known_as, first_row=first_row)
    row = first_row + 5
    assert f"at cell {row} (row {row}) and gene 2 (column 2) cannot" in str(caught.value)


def test_names_of_any_other_characters_pass():
    checks.check_names(["<b>", "=1", "a\tb\nc\r", "\x7f\x85\u202e", "🧬", ""], what="names")
    checks.check_names([], what="names")


@pytest.mark.parametrize("character", ["\0", "\x08", "\x0b", "\x1f", "\udfff", "\ufffe"])
def test_a_name_with_a_character_that_cannot_be_written_is_quoted(character):
    names = ["fine", "x" * 100 + character, character]
    with pytest.raises(InputError) as caught:
        checks.check_names(names, what="the names")
    message = str(caught.value)
    assert message.startswith("Number 2 of the names, 'xxx")
    assert f"holds the character {character!a}, " in message
    assert "x" * 61 not in message
