"""A cell gives the same values from whatever object it is read, or a message says why not."""

from dataclasses import replace

import anndata as ad
import h5py
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cellglass import new_cells as module
from cellglass.encode import CHUNK, encode
from cellglass.errors import InputError
from cellglass.model import Model
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor

N_CELLS, N_GENES = CHUNK + 90, 9
GENES = tuple(f"gene {i}" for i in range(N_GENES))
COUNTS = np.random.default_rng(0).poisson(1, (N_CELLS, N_GENES)).astype(np.float32)
LOGS = np.log1p(COUNTS)
FORMS = {"dense": np.array, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


def model_on(X, **options) -> Model:
    network = AutoencoderNetwork(N_GENES, 2, n_hidden=5, n_layers=1, key=jax.random.key(0))
    return Model(network, "mse", GENES, Preprocessor.fit(X, **options), {}, {})


MODEL = model_on(COUNTS)
Z = MODEL.transform(COUNTS)


def anndata_of(X, form="dense") -> ad.AnnData:
    adata = ad.AnnData(FORMS[form](X))
    adata.var_names = GENES
    adata.obs_names = [f"cell {i}" for i in range(len(X))]
    adata.raw = adata
    adata.layers["counts"] = adata.X.copy()
    return adata


def refusal(data, model=MODEL, **options) -> str:
    with pytest.raises(InputError) as error:
        model.transform(data, **options)
    return str(error.value)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Several runs, the last shorter, in small data."""
    monkeypatch.setattr(module, "MOST_ROWS", CHUNK)


@pytest.fixture(scope="module", params=["dense", "csr"])
def backed(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("backed") / "a.h5ad"
    anndata_of(COUNTS, request.param).write_h5ad(path)
    adata = ad.read_h5ad(path, backed="r")
    yield adata
    adata.file.close()


SOURCES = [{}, {"layer": "counts"}, {"use_raw": True}]
IDS = ["X", "layer", "raw"]
ROWS = np.random.default_rng(1).permutation(N_CELLS)[: CHUNK + 7]
COLUMNS = np.random.default_rng(2).permutation(N_GENES)


@pytest.mark.parametrize("source", SOURCES, ids=IDS)
@pytest.mark.parametrize("form", FORMS)
def test_anndata_in_memory_and_its_views_equal_the_array_to_the_last_bit(form, source):
    adata = anndata_of(COUNTS, form)
    np.testing.assert_array_equal(MODEL.transform(adata, **source), Z)
    view = adata[ROWS, COLUMNS]
    np.testing.assert_array_equal(MODEL.transform(view, **source), Z[ROWS])
    np.testing.assert_array_equal(MODEL.transform(view[5:50], **source), Z[ROWS[5:50]])
    assert view.is_view


@pytest.mark.as_shipped
@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_of_any_form_equals_the_dense_one_to_the_last_bit(form):
    np.testing.assert_array_equal(MODEL.transform(FORMS[form](COUNTS)), Z)
    np.testing.assert_array_equal(
        MODEL.reconstruct(FORMS[form](COUNTS)), MODEL.reconstruct(COUNTS)
    )


@pytest.mark.parametrize("source", SOURCES, ids=IDS)
def test_a_backed_anndata_and_its_views_equal_the_array_to_the_last_bit(backed, source):
    np.testing.assert_array_equal(MODEL.transform(backed, **source), Z)
    for rows in (slice(3, 20), ROWS, COUNTS[:, 0] > 0, [3, 3, 1]):
        np.testing.assert_array_equal(MODEL.transform(backed[rows], **source), Z[rows])
    np.testing.assert_array_equal(MODEL.transform(backed[ROWS, COLUMNS], **source), Z[ROWS])


@pytest.mark.parametrize("is_view", [False, True], ids=["whole", "view"])
def test_a_backed_anndata_is_read_in_runs_of_rows(backed, is_view, monkeypatch):
    adata = backed[:, COLUMNS] if is_view else backed
    sizes = []
    check = module.check_matrix

    def watched(X, **options):
        sizes.append(X.shape[0])
        check(X, **options)

    monkeypatch.setattr(module, "check_matrix", watched)
    get = h5py.Dataset.__getitem__

    def limited(dataset, what, *rest):
        found = get(dataset, what, *rest)
        # Of a sparse matrix, the place where each row begins is read as a whole.
        assert np.size(found) <= max(CHUNK * N_GENES, N_CELLS + 1)
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", limited)
    MODEL.transform(adata)
    assert sizes == [CHUNK, N_CELLS - CHUNK]


def test_a_view_is_never_copied_as_a_whole_unless_stored_gene_by_gene(monkeypatch):
    rows = []
    take = module._matrix_of

    def watched(*given):
        rows.append(take(*given).shape[0])
        return take(*given)

    monkeypatch.setattr(module, "_matrix_of", watched)
    for form, expected in (
        ("dense", [1, CHUNK, N_CELLS - CHUNK]),
        ("csr", [1, CHUNK, N_CELLS - CHUNK]),
        ("csc", [1, N_CELLS]),  # a few rows of it cost as much as all of them
    ):
        MODEL.transform(anndata_of(COUNTS, form)[:, COLUMNS])
        assert rows == expected
        rows.clear()


def test_a_file_that_was_closed_is_opened_again(backed):
    backed.file.close()
    np.testing.assert_array_equal(MODEL.transform(backed), Z)


def test_a_file_stored_gene_by_gene_is_turned_if_it_fits(tmp_path, monkeypatch):
    anndata_of(COUNTS[:20], "csc").write_h5ad(tmp_path / "a.h5ad")
    adata = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    np.testing.assert_array_equal(MODEL.transform(adata), Z[:20])
    np.testing.assert_array_equal(MODEL.transform(adata[[7, 3, 7]]), Z[[7, 3, 7]])
    np.testing.assert_array_equal(MODEL.transform(adata[:5, ::-1]), Z[:5])
    np.testing.assert_array_equal(MODEL.transform(adata, layer="counts"), Z[:20])
    monkeypatch.setattr("cellglass.memory.available_memory", lambda: 1000)
    for data in (adata, adata[:3]):
        message = refusal(data)
        assert "CSC" in message and "X.tocsr()" in message and "a.h5ad" in message
    adata.file.close()


def test_matrix_and_raw_of_a_file_may_be_stored_in_different_ways(tmp_path):
    adata = anndata_of(COUNTS[:20], "csr")
    adata.raw = anndata_of(COUNTS[:20], "csc")
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    np.testing.assert_array_equal(MODEL.transform(adata), Z[:20])
    np.testing.assert_array_equal(MODEL.transform(adata, use_raw=True), Z[:20])
    adata.file.close()


@pytest.mark.as_shipped
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, N_CELLS - 1), min_size=1, max_size=CHUNK + 40))
def test_a_cell_is_the_same_to_the_last_bit_whatever_cells_stand_around_it(cells):
    np.testing.assert_array_equal(MODEL.transform(COUNTS[cells]), Z[cells])


def test_a_wide_matrix_is_read_in_runs_of_whole_chunks(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 10 * CHUNK)
    monkeypatch.setattr(module, "RUN_VALUES", (2 * CHUNK + 5) * N_GENES)
    X = np.tile(COUNTS, (3, 1))
    cells = module.new_cells(X, GENES, layer=None, use_raw=False, match=MODEL.match)
    starts = [start for start, _ in cells.runs(MODEL.preprocessor)]
    assert starts == list(range(0, len(X), 2 * CHUNK))


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0], ids=["nan", "infinite", "negative"])
def test_a_bad_value_is_named_by_its_place_in_the_whole_matrix(value, form):
    X = COUNTS.copy()
    X[CHUNK + 4, 3] = value
    message = refusal(anndata_of(X, form)[:, ::-1])
    assert f"cell {CHUNK + 5:,} (row {CHUNK + 5:,}, 'cell {CHUNK + 4}')" in message
    assert "gene 6 (column 6, 'gene 3')" in message


def test_a_value_that_is_too_large_is_named_by_its_place_in_the_whole_matrix():
    X = LOGS.copy()
    X[CHUNK + 4, 3] = 1e12
    assert f"cell {CHUNK + 5:,} (row {CHUNK + 5:,})" in refusal(X, model_on(LOGS))


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_a_fraction_where_counts_are_wanted_is_refused_with_its_place(form):
    X = COUNTS.copy()
    X[CHUNK + 4, 3] = 0.25
    message = refusal(anndata_of(X, form)[:, ::-1])
    assert f"'gene 3' in cell {CHUNK + 5:,} ('cell {CHUNK + 4}') is 0.25" in message
    assert "use_raw=True" in message
    assert f"cell {CHUNK + 5:,} is 0.25" in refusal(FORMS[form](X))


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_whole_numbers_only_where_logarithms_are_wanted_are_refused(form):
    model = model_on(LOGS)
    assert "whole numbers" in refusal(FORMS[form](COUNTS), model)
    assert "whole numbers" in refusal(FORMS[form](COUNTS.astype(np.int64)), model)
    for empty in (slice(None, CHUNK), slice(CHUNK, None)):
        X = COUNTS.copy()
        X[empty] = 0
        assert "whole numbers" in refusal(FORMS[form](X), model)


def test_one_fraction_in_the_whole_file_makes_logarithms_of_it():
    X = COUNTS.copy()
    X[-1, -1] = 0.5
    assert model_on(LOGS).transform(X).shape == (N_CELLS, 2)
    X[-1, -1] = 0
    X[0, 0] = 0.5
    assert model_on(LOGS).transform(X).shape == (N_CELLS, 2)


def test_cells_without_any_value_are_of_either_kind():
    for model in (MODEL, model_on(LOGS)):
        assert np.isfinite(model.transform(np.zeros((3, N_GENES)))).all()


def test_a_kind_that_was_dictated_is_not_held_against_new_cells():
    assert model_on(COUNTS, input="counts").transform(LOGS).shape == (N_CELLS, 2)
    assert model_on(LOGS, input="log").transform(COUNTS).shape == (N_CELLS, 2)


def test_the_preprocessing_is_the_fitted_one_and_not_fitted_again():
    # Fitted to these cells, whole numbers would be counts, and be scaled to 10,000.
    by_logs = model_on(LOGS, input="log")
    expected = encode(by_logs.network, COUNTS.astype(np.float32))
    np.testing.assert_array_equal(by_logs.transform(COUNTS), expected)
    scaled = replace(MODEL, preprocessor=Preprocessor("counts", target_sum=123.0))
    logs = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 123.0)
    expected = encode(scaled.network, logs.astype(np.float32))
    np.testing.assert_allclose(scaled.transform(COUNTS), expected, rtol=1e-5, atol=1e-5)


def test_a_fraction_below_all_of_64_bits_is_named_like_any_other():
    X = COUNTS.astype(np.longdouble)
    X[2, 3] = np.longdouble("1e-4000")
    if not X[2, 3]:
        pytest.skip("these numbers are not wider than 64 bits here")
    assert "in cell 3" in refusal(X) and f"{GENES[3]!r}" in refusal(X)


def test_a_fraction_in_a_gene_that_the_model_lacks_does_no_harm():
    adata = anndata_of(COUNTS)
    wide = ad.AnnData(np.hstack([np.full((N_CELLS, 1), 0.5), COUNTS]))
    wide.var_names = ["protein", *GENES]
    np.testing.assert_array_equal(MODEL.transform(wide), MODEL.transform(adata))


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ([[1.0] * N_GENES], {}, ["list", "NumPy array"]),
        (anndata_of(COUNTS).to_df(), {}, ["DataFrame", "AnnData(frame)"]),
        (COUNTS, {"layer": "counts"}, ["layer", "ndarray"]),
        (COUNTS, {"use_raw": True}, ["layer", "ndarray"]),
        (anndata_of(COUNTS), {"layer": "count"}, ["'count'", "'counts'"]),
        (anndata_of(COUNTS), {"layer": "counts", "use_raw": True}, ["only one"]),
        (ad.AnnData(COUNTS), {"use_raw": True}, ["adata.raw is None"]),
        (anndata_of(COUNTS)[:0], {}, ["0 cells"]),
        (np.empty((0, N_GENES), np.float32), {}, ["0 cells"]),
    ],
    ids=["list", "table", "layer-of-array", "raw-of-array", "no-layer", "two-places", "no-raw",
         "empty-anndata", "empty-array"],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_the_remedy(data, options, words):
    message = refusal(data, **options)
    for word in words:
        assert word in message


@pytest.mark.parametrize("is_view", [False, True], ids=["whole", "view"])
def test_anndata_without_a_matrix_is_told_to_name_one(is_view):
    adata = anndata_of(COUNTS)
    adata.X = None
    assert "adata.X is None" in refusal(adata[:5] if is_view else adata)
    np.testing.assert_array_equal(MODEL.transform(adata, layer="counts"), Z)


def test_rows_that_come_as_something_else_are_refused():
    cells = module.NewCells(lambda start, stop: [[0.0] * N_GENES], (5, N_GENES), GENES)
    with pytest.raises(InputError, match=r"list.*to_memory\(\)"):
        next(cells.runs(MODEL.preprocessor))


def test_the_data_are_left_as_they_are():
    for form in FORMS:
        adata = anndata_of(COUNTS, form)[:, ::-1].copy()
        before = adata.copy()
        MODEL.transform(adata)
        same = adata.X != before.X
        assert not (same.nnz if sparse.issparse(same) else same.any())
        assert list(adata.var_names) == list(before.var_names)


def test_a_sparse_matrix_whose_parts_do_not_fit_is_refused():
    X = sparse.csr_matrix(COUNTS)
    X.indices = X.indices + 10**6
    with pytest.raises(InputError, match=r"outside|fit"):
        MODEL.transform(X)
