"""Every format gives the same matrix; every mistake in a file gets a message of its own."""

import gzip
import pickle
import subprocess
import sys
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from cellglass.errors import InputError
from cellglass.read import READERS, open_h5ad, read

X = np.array([[0, 2, 5], [1, 0, 0], [7, 0, 3], [0, 4, 10]])
CELLS = ["c1", "c2", "c3", "c4"]
GENES = ["CD3E", "LYZ", "NKG7"]


def frame(matrix: np.ndarray = X) -> pd.DataFrame:
    cells = [f"c{i + 1}" for i in range(matrix.shape[0])]
    genes = [f"gene {j}" for j in range(matrix.shape[1])] if matrix is not X else GENES
    return pd.DataFrame(np.asarray(matrix, np.float64), index=cells, columns=genes)


def write_npy(path, matrix):
    np.save(path, matrix)


def write_sparse(path, matrix):
    sparse.save_npz(path, sparse.coo_matrix(matrix))


def write_csv(path, matrix):
    frame(matrix).to_csv(path)


def write_tsv(path, matrix):
    frame(matrix).to_csv(path, sep="\t")


def write_txt(path, matrix):
    np.savetxt(path, matrix, fmt="%.17g")


def write_h5ad(path, matrix):
    anndata.AnnData(sparse.csc_matrix(matrix)).write_h5ad(path)


def write_10x_h5(path, matrix):
    csr = sparse.csr_matrix(matrix)  # cells × genes: 10x's genes × cells by column
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for key in ("data", "indices", "indptr"):
            group[key] = getattr(csr, key)
        group["shape"] = np.array(matrix.shape[::-1])
        group["barcodes"] = np.array([f"c{i + 1}" for i in range(len(matrix))], "S")
        names = np.array([f"gene {j}" for j in range(matrix.shape[1])], "S")
        features = group.create_group("features")
        features["id"] = features["name"] = names
        features["feature_type"] = np.full(len(names), b"Gene Expression")
        features["genome"] = np.full(len(names), b"GRCh38")


def write_10x_folder(path, matrix, *, version=3, prefix=""):
    path.mkdir(exist_ok=True)
    gz = ".gz" if version == 3 else ""
    opened = gzip.open if version == 3 else open
    with opened(path / f"{prefix}matrix.mtx{gz}", "wb") as file:
        # Of float32, mmwrite writes 17 digits with NUL bytes that crash mmread.
        scipy.io.mmwrite(file, sparse.coo_matrix(matrix.T.astype(np.float64)), precision=17)
    third = "\tGene Expression" if version == 3 else ""
    genes = "".join(f"ENSG{j}\tgene {j}{third}\n" for j in range(matrix.shape[1]))
    cells = "".join(f"c{i + 1}\n" for i in range(len(matrix)))
    table = "features" if version == 3 else "genes"
    for name, text in ((table, genes), ("barcodes", cells)):
        with opened(path / f"{prefix}{name}.tsv{gz}", "wb") as file:
            file.write(text.encode())


def write_10x_folder_v2(path, matrix):
    write_10x_folder(path, matrix, version=2)


WRITERS = {
    ".npy": write_npy,
    ".npz": write_sparse,
    ".csv": write_csv,
    ".csv.gz": write_csv,
    ".tsv": write_tsv,
    ".tsv.gz": write_tsv,
    ".txt": write_txt,
    ".txt.gz": write_txt,
    ".h5ad": write_h5ad,
    ".h5": write_10x_h5,
    "/": write_10x_folder,
    "_v2/": write_10x_folder_v2,
}


def dense(matrix) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def refusal(path, *words, labels=None) -> str:
    with pytest.raises(InputError) as caught:
        read(path, labels=labels)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


def test_every_format_has_a_writer_in_these_tests():
    assert set(READERS) <= set(WRITERS)


@pytest.mark.parametrize("suffix", WRITERS)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    matrix=hnp.arrays(
        np.float32,
        st.tuples(st.integers(3, 6), st.integers(1, 5)),
        elements=st.floats(0, 1e6, width=32, allow_subnormal=False),
    )
)
def test_a_matrix_survives_the_round_trip_through_every_format(suffix, matrix, tmp_path):
    path = tmp_path / f"matrix{suffix}"
    WRITERS[suffix](path, matrix)
    adata = read(path)
    np.testing.assert_array_equal(dense(adata.X), matrix)
    if sparse.issparse(adata.X):
        assert isinstance(adata.X, sparse.csr_matrix)
        assert adata.X.has_sorted_indices
    else:
        assert adata.X.flags.c_contiguous
    assert adata.X.dtype.isnative


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".h5", "/", "_v2/"])
def test_names_come_along(suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    WRITERS[suffix](path, X.astype(np.float32)[:, :2])
    adata = read(path)
    assert list(adata.obs_names) == CELLS
    assert list(adata.var_names) == ["gene 0", "gene 1"]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("bool", "uint8"),
        ("uint8", "uint8"),
        ("int64", "int64"),
        (">i4", "int32"),
        ("float16", "float32"),
        ("float32", "float32"),
        (">f8", "float64"),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_type_of_number_is_kept(dtype, expected, order, tmp_path):
    matrix = np.asarray(X, dtype=dtype, order=order)
    np.save(tmp_path / "m.npy", matrix)
    got = read(tmp_path / "m.npy").X
    assert got.dtype == np.dtype(expected) and got.dtype.isnative
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, matrix.astype(expected))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_every_sparse_form_becomes_csr(form, kind, tmp_path):
    make = getattr(sparse, f"{form}_{kind}")
    sparse.save_npz(tmp_path / "m.npz", make(X.astype(np.float64)))
    got = read(tmp_path / "m.npz").X
    assert isinstance(got, sparse.csr_matrix)
    np.testing.assert_array_equal(got.toarray(), X)


def test_repeated_entries_of_a_sparse_file_are_added_up(tmp_path):
    entries = (np.array([1, 2, 4]), (np.array([0, 0, 2]), np.array([1, 1, 0])))
    sparse.save_npz(tmp_path / "m.npz", sparse.coo_matrix(entries, shape=(3, 2)))
    np.testing.assert_array_equal(
        read(tmp_path / "m.npz").X.toarray(), [[0, 3], [0, 0], [4, 0]]
    )


def test_unsorted_and_repeated_entries_of_a_csr_file_are_put_in_order(tmp_path):
    parts = (np.array([1, 2, 4, 8]), np.array([2, 0, 2, 1]), np.array([0, 3, 4, 4]))
    sparse.save_npz(tmp_path / "m.npz", sparse.csr_matrix(parts, shape=(3, 3)))
    got = read(tmp_path / "m.npz").X
    assert got.has_canonical_format
    np.testing.assert_array_equal(got.indices, [0, 2, 1])
    np.testing.assert_array_equal(got.data, [2, 5, 8])


def test_the_one_matrix_of_an_archive_is_found(tmp_path):
    np.savez(tmp_path / "m.npz", names=np.array(GENES, object), sums=X.sum(0), counts=X)
    np.testing.assert_array_equal(read(tmp_path / "m.npz").X, X)


# --- tables --------------------------------------------------------------------------

NUMBERED = [str(i) for i in range(4)]
TABLES = {
    "bare": ("0,2,5\n1,0,0\n7,0,3\n0,4,10\n", None, None),
    "header": ("CD3E,LYZ,NKG7\n0,2,5\n1,0,0\n7,0,3\n0,4,10\n", None, GENES),
    "corner": (",CD3E,LYZ,NKG7\nc1,0,2,5\nc2,1,0,0\nc3,7,0,3\nc4,0,4,10\n", CELLS, GENES),
    "short-header": (
        "CD3E,LYZ,NKG7\nc1,0,2,5\nc2,1,0,0\nc3,7,0,3\nc4,0,4,10\n",
        CELLS,
        GENES,
    ),
    "index-only": ("c1,0,2,5\nc2,1,0,0\nc3,7,0,3\nc4,0,4,10\n", CELLS, None),
    "named-index": (
        "x,CD3E,LYZ,NKG7\nc1,0,2,5\nc2,1,0,0\nc3,7,0,3\nc4,0,4,10\n",
        CELLS,
        GENES,
    ),
    "numbered": (",0,1,2\n0,0,2,5\n1,1,0,0\n2,7,0,3\n3,0,4,10\n", None, None),
    "numbered-cells": (
        "cell,9,8,7\n1,0,2,5\n2,1,0,0\n3,7,0,3\n4,0,4,10\n",
        list("1234"),
        list("987"),
    ),
    "numeric-short-header": (
        "9,8,7\nc1,0,2,5\nc2,1,0,0\nc3,7,0,3\nc4,0,4,10\n",
        CELLS,
        list("987"),
    ),
    "quoted": (
        '"","CD3E","LYZ","NKG7"\n"c1",0,2,5\n"c2",1,0,0\n"c3",7,0,3\n"c4",0,4,10',
        CELLS,
        GENES,
    ),
    "crlf": ("0,2,5\r\n1,0,0\r\n7,0,3\r\n0,4,10\r\n", None, None),
    "bom": ("\ufeffCD3E,LYZ,NKG7\n0,2,5\n1,0,0\n7,0,3\n0,4,10\n", None, GENES),
    "blank-lines": ("\n0,2,5\n1,0,0\n\n7,0,3\n0,4,10\n\n\n", None, None),
    "semicolon": ("CD3E;LYZ;NKG7\n0;2;5\n1;0;0\n7;0;3\n0;4;10\n", None, GENES),
    "cell-called-NA": (
        ",CD3E,LYZ,NKG7\nNA,0,2,5\nc2,1,0,0\nc3,7,0,3\nc4,0,4,10\n",
        ["NA", *CELLS[1:]],
        GENES,
    ),
}


@pytest.mark.parametrize("text, cells, genes", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".txt.gz"])
def test_header_and_index_are_told_from_numbers(text, cells, genes, suffix, tmp_path):
    if suffix == ".tsv":
        text = text.replace(",", "\t")
    data = text.encode()
    path = tmp_path / f"table{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    adata = read(path)
    np.testing.assert_array_equal(adata.X, X)
    assert adata.X.dtype == np.float64
    assert list(adata.obs_names) == (cells or NUMBERED)
    assert list(adata.var_names) == (genes or NUMBERED[:3])


@pytest.mark.parametrize(
    ("text", "genes"),
    [
        pytest.param(" 0 2  5\n1 0 0 \n7 0 3\n0 4 10\n", NUMBERED[:3], id="aligned"),
        pytest.param(
            '"T cell" b c\n"c 1" 0 2 5\nc2 1 0 0\nc3 7 0 3\nc4 0 4 10\n',
            ["T cell", "b", "c"],
            id="as R writes it",
        ),
    ],
)
def test_text_with_spaces_is_read(text, genes, tmp_path):
    (tmp_path / "table.txt").write_text(text)
    adata = read(tmp_path / "table.txt")
    np.testing.assert_array_equal(adata.X, X)
    assert list(adata.var_names) == genes


def test_a_named_column_of_numbered_cells_above_numbered_genes_is_no_gene(tmp_path):
    rows = "".join(f"s{i},1,2,3,4,{i}\n" for i in range(3))
    (tmp_path / "t.csv").write_text("sample,0,1,2,3,4\n" + rows)
    assert read(tmp_path / "t.csv").shape == (3, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            ",A,B\nc1,1,2\nc2,3,oops\nc3,5,6\n",
            ["'oops'", "cell 2 (row 2", "'c2'", "gene 2 (column 2, 'B')"],
            id="text-inside",
        ),
        pytest.param(
            "1,2\n3,\n5,6\n", ["1 missing value", "cell 2", "gene 2"], id="empty-field"
        ),
        pytest.param(
            "A,B\n1,2\n3\n5,6\n", ["1 missing", "gene 2 (column 2, 'B')"], id="short-row"
        ),
        pytest.param("1,2\n3,4,5\n6,7\n", ["line 2", "saw 3", "as many fields"], id="long-row"),
        pytest.param(
            "A,B,C,D\nx,1,2\ny,3,4\nz,5,6\n", ["names 4 genes", "has 2"], id="long-header"
        ),
        pytest.param("A,B\n", ["no row of numbers"], id="header-only"),
        pytest.param("\n\n", ["blank lines"], id="blank"),
        pytest.param('a,b\n"1,5",2\n3,4\n5,6\n', ["'1,5'", "cell 1"], id="decimal-comma"),
        pytest.param(
            "x,y\nthree,2\n4,5\n6,7\n",
            ["first column", "'three'", "cell 1", "'4'", "cell 2"],
            id="first-column",
        ),
        pytest.param("1,2\n3,-4\n5,6\n", ["1 negative", "cell 2", "is -4"], id="negative"),
        pytest.param("1,2\n3,inf\n5,6\n", ["1 infinite"], id="infinite"),
    ],
)
def test_a_mistake_in_a_table_is_placed(text, words, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    refusal(path, str(path), *words)


def test_text_deep_in_a_long_table_is_placed(tmp_path):
    lines = ["1,2"] * 2500
    lines[2100] = "1,many"
    (tmp_path / "t.csv").write_text("A,B\n" + "\n".join(lines))
    refusal(tmp_path / "t.csv", "'many'", "cell 2,101", "gene 2 (column 2, 'B')")


# --- what is refused -----------------------------------------------------------------


def test_a_missing_file_offers_the_closest_name(tmp_path):
    np.save(tmp_path / "counts.npy", X)
    refusal(tmp_path / "count.npy", "no file or folder", "Did you mean 'counts.npy'?")
    refusal(tmp_path / "nowhere" / "x.npy", "does not exist either")


def test_an_unknown_kind_lists_the_known_ones(tmp_path):
    path = tmp_path / "counts.xlsx"
    path.write_bytes(b"x")
    refusal(path, "'.xlsx'", *(suffix for suffix in READERS if suffix != "/"), "10x")


@pytest.mark.parametrize("suffix", [suffix for suffix in READERS if suffix != "/"])
def test_an_empty_file_is_said_to_be_empty(suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    path.touch()
    refusal(path, str(path), "is empty (0 bytes)")


@pytest.mark.parametrize("suffix", [suffix for suffix in READERS if suffix != "/"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_file_is_refused(suffix, damage, tmp_path):
    path = tmp_path / f"m{suffix}"
    WRITERS[suffix](path, np.random.default_rng(0).random((40, 30)))
    data = path.read_bytes()
    cut = data[: len(data) // 2]
    if damage == "cut" and suffix in (".csv", ".tsv", ".txt"):
        cut = cut[
            : cut.rindex(b"\t" if suffix == ".tsv" else b"," if suffix == ".csv" else b" ")
        ]
    path.write_bytes(cut if damage == "cut" else b"\x80\x04 not what it says")
    refusal(path, str(path))


def test_a_cut_matrix_in_a_folder_is_refused(tmp_path):
    write_10x_folder(tmp_path / "m", np.ones((4, 3)))
    mtx = tmp_path / "m" / "matrix.mtx.gz"
    mtx.write_bytes(mtx.read_bytes()[:-20])
    refusal(tmp_path / "m", "could not be read")


def test_a_sparse_file_whose_indices_point_outside_is_refused(tmp_path):
    csr = sparse.csr_matrix(X)
    csr.indices[-1] = 99
    sparse.save_npz(tmp_path / "m.npz", csr)
    refusal(tmp_path / "m.npz", "m.npz")


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("raw", [False, True], ids=["object-array", "bare-pickle"])
def test_nothing_is_ever_unpickled(suffix, raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"m{suffix}"
    if raw:
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        (np.save if suffix == ".npy" else np.savez)(path, np.array([[Bomb()]] * 3))
    message = refusal(path, str(path))
    assert "bjects" in message or raw
    refusal_of_labels = tmp_path / "matrix.npy"
    np.save(refusal_of_labels, X)
    if suffix == ".npy":
        refusal(refusal_of_labels, str(path), labels=path)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        pytest.param(np.ones(5), ["1 dimension", "(5,)"], id="1-d"),
        pytest.param(np.ones((2, 3, 4)), ["3 dimensions", "(2, 3, 4)"], id="3-d"),
        pytest.param(np.ones((0, 5)), ["0 cells and 5 genes"], id="no-cells"),
        pytest.param(np.ones((5, 0)), ["5 cells and 0 genes"], id="no-genes"),
        pytest.param(X.astype(complex), ["complex"], id="complex"),
        pytest.param(X.astype("U2"), ["no plain numbers"], id="text"),
        pytest.param(np.array(X, "datetime64[s]"), ["no plain numbers"], id="dates"),
        pytest.param(np.where(X == 10, np.nan, X), ["NaN", "cell 4", "gene 3"], id="nan"),
        pytest.param(X - 1, ["5 negative", "first at cell 1", "z-scored"], id="negative"),
        pytest.param(X[:2], ["2 cells", "at least 3"], id="two-cells"),
    ],
)
def test_an_array_that_is_no_matrix_of_expression_is_refused(array, words, tmp_path):
    np.save(tmp_path / "m.npy", array)
    refusal(tmp_path / "m.npy", "m.npy", *words)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": X, "b": X}, ["2 arrays", "'a' (shape (4, 3))", "'b'"]),
        ({"a": X[0]}, ["0 arrays", "'a' (shape (3,))"]),
        ({}, ["no arrays"]),
    ],
    ids=["two", "1-d", "none"],
)
def test_an_archive_without_exactly_one_matrix_lists_its_arrays(arrays, words, tmp_path):
    np.savez(tmp_path / "m.npz", **arrays)
    refusal(tmp_path / "m.npz", *words)


def test_names_are_said_where_a_bad_value_stands(tmp_path):
    bad = X.astype(float)
    bad[2, 1] = np.inf
    frame(bad).set_axis(GENES, axis=1).to_csv(tmp_path / "m.csv")
    refusal(tmp_path / "m.csv", "(row 3, 'c3')", "(column 2, 'LYZ')")


def test_an_h5ad_without_a_matrix_lists_its_layers(tmp_path):
    adata = anndata.AnnData(X)
    adata.layers["counts"] = adata.X
    adata.X = None
    adata.write_h5ad(tmp_path / "m.h5ad")
    refusal(tmp_path / "m.h5ad", "no matrix in X", "'counts'")


def test_a_layer_takes_the_place_of_the_matrix(tmp_path):
    adata = anndata.AnnData(X / 2)
    adata.layers["counts"] = sparse.csc_matrix(X)
    adata.write_h5ad(tmp_path / "m.h5ad")
    got = read(tmp_path / "m.h5ad", layer="counts").X
    assert isinstance(got, sparse.csr_matrix)
    np.testing.assert_array_equal(got.toarray(), X)
    adata.X = None
    adata.write_h5ad(tmp_path / "m.h5ad")
    np.testing.assert_array_equal(read(tmp_path / "m.h5ad", layer="counts").X.toarray(), X)
    with pytest.raises(InputError, match=r"'count'.*'counts'.*Did you mean 'counts'\?"):
        read(tmp_path / "m.h5ad", layer="count")
    np.save(tmp_path / "m.npy", X)
    with pytest.raises(InputError, match=r"layer is 'counts'.*its layers: none"):
        read(tmp_path / "m.npy", layer="counts")


def test_a_file_is_opened_without_its_matrix(tmp_path):
    adata = anndata.AnnData(X.astype(np.float32), obs=pd.DataFrame(index=CELLS))
    adata.write_h5ad(tmp_path / "m.h5ad")
    opened = open_h5ad(tmp_path / "m.h5ad")
    assert opened.isbacked and list(opened.obs_names) == CELLS
    np.testing.assert_array_equal(opened.X[:], X)
    opened.file.close()
    (tmp_path / "m.h5ad").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"could not be read as \.h5ad"):
        open_h5ad(tmp_path / "m.h5ad")
    with pytest.raises(InputError, match="no file or folder"):
        open_h5ad(tmp_path / "other.h5ad")


def test_repeated_names_are_left_alone(tmp_path):
    adata = anndata.AnnData(X.astype(float), var=pd.DataFrame(index=["a", "b", "c"]))
    adata.write_h5ad(tmp_path / "m.h5ad")
    with h5py.File(tmp_path / "m.h5ad", "r+") as file:
        file["var/_index"][:] = ["a", "a", "b"]
    assert list(read(tmp_path / "m.h5ad").var_names) == ["a", "a", "b"]
    write_10x_folder(tmp_path / "m", X, version=2)
    (tmp_path / "m" / "genes.tsv").write_text("E1\ta\nE2\ta\nE3\tb\n")
    assert list(read(tmp_path / "m").var_names) == ["a", "a", "b"]
    (tmp_path / "m.csv").write_text("a,a,b\n1,2,3\n4,5,6\n7,8,9\n")
    assert list(read(tmp_path / "m.csv").var_names) == ["a", "a", "b"]


def test_an_h5_of_another_kind_is_refused(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["table/values"] = X
    refusal(tmp_path / "m.h5", "not one of 10x Genomics", "'table'")
    anndata.AnnData(X).write_h5ad(tmp_path / "n.h5")
    refusal(tmp_path / "n.h5", "rename it so that it ends in .h5ad")


def test_a_folder_of_another_kind_lists_what_is_in_it(tmp_path):
    (tmp_path / "notes.md").touch()
    refusal(tmp_path, "not one of 10x Genomics", "'notes.md'")
    write_10x_folder(tmp_path / "m", X)
    (tmp_path / "m" / "features.tsv.gz").unlink()
    (tmp_path / "m" / "features.tsv").touch()
    refusal(tmp_path / "m", "with gzip")


def test_features_other_than_genes_of_a_folder_are_left_out(tmp_path):
    write_10x_folder(tmp_path / "m", X)
    features = tmp_path / "m" / "features.tsv.gz"
    kinds = ["Gene Expression", "Antibody Capture", "Gene Expression"]
    lines = "".join(f"E{i}\tg{i}\t{kind}\n" for i, kind in enumerate(kinds))
    features.write_bytes(gzip.compress(lines.encode()))
    adata = read(tmp_path / "m")
    np.testing.assert_array_equal(adata.X.toarray(), X[:, [0, 2]])
    assert list(adata.var_names) == ["g0", "g2"]
    assert list(adata.var["feature_types"]) == ["Gene Expression"] * 2


def test_a_folder_with_a_common_prefix_is_read(tmp_path):
    write_10x_folder(tmp_path / "m", X, prefix="GSM1_")
    np.testing.assert_array_equal(read(tmp_path / "m").X.toarray(), X)


# --- labels --------------------------------------------------------------------------


@pytest.fixture
def matrix(tmp_path) -> Path:
    adata = anndata.AnnData(X.astype(np.float32))
    adata.obs_names = CELLS
    adata.obs["cell_type"] = pd.Categorical(["T", "B", "T", "NK"])
    adata.obs["cluster"] = [10.0, 2.0, 1.0, 2.0]
    adata.obs["partly"] = pd.Categorical(["T", None, "B", None])
    adata.write_h5ad(tmp_path / "m.h5ad")
    return tmp_path / "m.h5ad"


LABEL_FILES = {
    "lines": ("l.txt", b"T\nB\nT\nNK\n", ["T", "B", "T", "NK"]),
    "no-last-newline": ("l.txt", b"T\nB\nT\nNK", ["T", "B", "T", "NK"]),
    "blank-end": ("l.txt", b"T\nB\nT\nNK\n\n \n", ["T", "B", "T", "NK"]),
    "crlf": ("l.txt", b"T\r\nB\r\nT\r\nNK\r\n", ["T", "B", "T", "NK"]),
    "bom": ("l.txt", "\ufeffT\nB\nT\nNK\n".encode(), ["T", "B", "T", "NK"]),
    "spaces": ("l.txt", b" T cell \nB\n\tT cell\nNK", ["T cell", "B", "T cell", "NK"]),
    "csv": ("l.csv", b'"CD4, naive"\nB\nB\nNK\n', ["CD4, naive", "B", "B", "NK"]),
    "text-with-comma": ("l.txt", b"CD4, naive\nB\nB\nNK\n", ["CD4, naive", "B", "B", "NK"]),
    "gzipped": ("l.txt.gz", gzip.compress(b"T\nB\nT\nNK\n"), ["T", "B", "T", "NK"]),
    "whole-floats": ("l.txt", b"0.0\n1.0\n2.0\n1.0\n", ["0", "1", "2", "1"]),
    "savetxt": ("l.txt", b"1.000000000000000000e+01\n0e0\n2e0\n2e0", ["10", "0", "2", "2"]),
    "fractions": ("l.txt", b"0.5\n1.0\n2.0\n1.0\n", ["0.5", "1.0", "2.0", "1.0"]),
    "leading-zeros": ("l.txt", b"007\n01\n01\n01\n", ["007", "01", "01", "01"]),
    "umlaut": ("l.txt", "Müller\nB\nB\nB".encode(), ["Müller", "B", "B", "B"]),
}


@pytest.mark.parametrize("name, data, expected", LABEL_FILES.values(), ids=LABEL_FILES)
def test_labels_are_read_from_text(name, data, expected, matrix, tmp_path):
    (tmp_path / name).write_bytes(data)
    label = read(matrix, labels=tmp_path / name).obs["label"]
    assert list(label) == expected
    assert label.dtype == "category" and not label.cat.ordered
    assert all(type(category) is str for category in label.cat.categories)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(np.array(["T", "B", "T", "NK"]), ["T", "B", "T", "NK"], id="strings"),
        pytest.param(np.array([b"T", b"B", b"T", b"NK"]), ["T", "B", "T", "NK"], id="bytes"),
        pytest.param(np.array([3, 10, 3, 1]), ["3", "10", "3", "1"], id="integers"),
        pytest.param(np.array([3.0, 10.0, 3.0, 1.0]), ["3", "10", "3", "1"], id="floats"),
        pytest.param(np.array([[3], [10], [3], [1]]), ["3", "10", "3", "1"], id="column"),
    ],
)
def test_labels_are_read_from_npy(array, expected, matrix, tmp_path):
    np.save(tmp_path / "l.npy", array)
    assert list(read(matrix, labels=str(tmp_path / "l.npy")).obs["label"]) == expected


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        pytest.param(["10", "2", "1", "2"], ["1", "2", "10"], id="numbers"),
        pytest.param(["1.5", "-2", "1e1", "1.5"], ["-2", "1.5", "1e1"], id="real-numbers"),
        pytest.param(["c10", "c2", "C1", "c2"], ["C1", "c2", "c10"], id="numbered"),
        pytest.param(["NK", "B", "T", "10"], ["10", "B", "NK", "T"], id="mixed"),
    ],
)
def test_categories_stand_in_natural_order(labels, order, matrix, tmp_path):
    (tmp_path / "l.txt").write_text("\n".join(labels))
    assert list(read(matrix, labels=tmp_path / "l.txt").obs["label"].cat.categories) == order


def test_labels_are_read_from_a_column(matrix):
    assert list(read(matrix, labels="cell_type").obs["label"]) == ["T", "B", "T", "NK"]
    label = read(matrix, labels="cluster").obs["label"]
    assert list(label) == ["10", "2", "1", "2"]
    assert list(label.cat.categories) == ["1", "2", "10"]


def test_without_labels_none_are_added(matrix):
    assert "label" not in read(matrix).obs


def test_a_column_goes_before_a_file_of_the_same_name(matrix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cell_type").write_text("x\nx\nx\nx\n")
    assert "x" not in set(read(matrix, labels="cell_type").obs["label"])


def test_labels_found_nowhere_name_both_places(matrix):
    refusal(
        matrix,
        "'cel_type'",
        "neither as a file nor as a column of obs",
        "'cell_type', 'cluster', 'partly'",
        "Did you mean 'cell_type'?",
        labels="cel_type",
    )


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("l.txt", b"T\n\nT\nB\n", ["Line 2", "blank"], id="blank"),
        pytest.param("l.txt", b"T\nB\nT\nnan\n", ["Line 4", "'nan'"], id="nan"),
        pytest.param("l.csv", b"0,T\n1,B\n2,T\n3,B\n", ["Line 1", "2 columns"], id="columns"),
        pytest.param("l.txt", b"T\nB\n", ["2 labels", "4 cells", "3 genes"], id="few"),
        pytest.param("l.txt", b"T\nB\nB\n", ["3 labels", "transposed"], id="transposed"),
        pytest.param(
            "l.txt", b"label\nT\nB\nT\nB\n", ["5 labels", "'label'", "header"], id="header"
        ),
        pytest.param("l.txt", b"", ["0 labels"], id="empty"),
        pytest.param("l.txt", b"T\xff\nB\n", ["UTF-8"], id="latin"),
        pytest.param("l.txt.gz", b"T\nB\n", ["could not be read"], id="not-gzip"),
        pytest.param("l.npy", b"T\nB\n", ["not a NumPy file"], id="not-npy"),
        pytest.param("l.npy", b"\x93NUMPY\x01", ["could not be read"], id="cut-npy"),
    ],
)
def test_a_mistake_in_the_labels_is_placed(name, data, words, matrix, tmp_path):
    (tmp_path / name).write_bytes(data)
    refusal(matrix, name, *words, labels=tmp_path / name)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((4, 2)), ["(4, 2)"]),
        (np.array([1.0, np.nan, 2.0, np.nan]), ["2 of 4", "cell 2"]),
        (np.array(["T", " ", "B", "B"]), ["1 of 4", "cell 2"]),
        (np.ones(4, complex), ["complex128"]),
        (np.array(["T", "B", "T", None]), ["objects"]),
    ],
    ids=["2-d", "nan", "blank", "complex", "objects"],
)
def test_a_mistake_in_an_array_of_labels_is_placed(array, words, matrix, tmp_path):
    np.save(tmp_path / "l.npy", array)
    refusal(matrix, "l.npy", *words, labels=tmp_path / "l.npy")


def test_missing_labels_in_a_column_are_counted(matrix):
    refusal(matrix, "'partly'", "2 of 4 cells", "cell 2 (row 2, 'c2')", labels="partly")


def test_importing_is_quick():
    heavy = "{'anndata', 'scanpy', 'pandas', 'jax', 'h5py'}"
    code = f"import sys, cellglass.read; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize(("part", "change"), [
    ("indices", lambda a: np.where(np.arange(len(a)) == 2, 10**8, a)),
    ("indices", lambda a: np.where(np.arange(len(a)) == 2, -5, a)),
    ("indices", lambda a: np.where(np.arange(len(a)) == 2, 3, a)),
    ("indices", lambda a: a[:-1]),
    ("indptr", lambda a: np.where(np.arange(len(a)) == 1, 10**6, a)),
    ("indptr", lambda a: a[:-1]),
    ("indptr", lambda a: a + 1),
    ("shape", lambda a: np.array([3, 5])),
    ("shape", lambda a: np.array([2, 4])),
    ("data", lambda a: a[:-1]),
])  # fmt: skip
def test_a_10x_file_whose_parts_point_outside_of_each_other_is_refused(part, change, tmp_path):
    path = tmp_path / "m.h5"
    write_10x_h5(path, np.arange(1, 13).reshape(4, 3))
    with h5py.File(path, "r+") as file:
        values = file["matrix"][part][()]
        del file["matrix"][part]
        file["matrix"][part] = change(values)
    with pytest.raises(InputError, match="do not fit together"):
        read(path)


def test_raw_of_an_h5ad_comes_with_its_own_genes(tmp_path):
    adata = anndata.AnnData(np.arange(12.0).reshape(4, 3), obs={"kind": list("abab")})
    adata.var_names = ["x", "y", "z"]
    adata.raw = adata
    adata = adata[:, :1].copy()
    adata.write_h5ad(tmp_path / "m.h5ad")
    found = read(tmp_path / "m.h5ad", labels="kind", use_raw=True)
    assert list(found.var_names) == ["x", "y", "z"] and list(found.obs["label"]) == list("abab")
    np.testing.assert_array_equal(found.X, np.arange(12.0).reshape(4, 3))
    del adata.raw
    adata.layers["counts"] = adata.X
    adata.write_h5ad(tmp_path / "m.h5ad")
    with pytest.raises(InputError, match=r"has none \(its layers: 'counts'\)"):
        read(tmp_path / "m.h5ad", use_raw=True)
    with pytest.raises(InputError, match="only one matrix"):
        read(tmp_path / "m.h5ad", use_raw=True, layer="counts")
