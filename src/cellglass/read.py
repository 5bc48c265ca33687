"""Reads a matrix of cells × genes, with labels if there are any, from a path.

A format is one function, path → AnnData, with one row in ``READERS``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_array, check_matrix, suggest
from cellglass.errors import InputError
from cellglass.files import first_line, load_npy, open_text, split_line
from cellglass.labels import read_labels

if TYPE_CHECKING:
    from anndata import AnnData

SOURCE_KEY = "cellglass_source"
"""Entry of ``uns`` with the names of the files that the matrix and labels came from."""

# First fields of a header that say: this column names the cells.
_INDEX_HEADERS = {"", "unnamed: 0", "index", "barcode", "barcodes", "cell", "cells"}
_INDEX_HEADERS |= {"cell_id", "cell id", "cellid", "cell_name", "cell name"}

# What pandas takes as a missing value: no number, but no name either.
_MISSING = {"", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "None", "NULL", "null"}
_MISSING |= {"NaN", "nan", "-NaN", "-nan"}


# --- one function a format -----------------------------------------------------------


def _read_npy(path: Path) -> AnnData:
    """Read NumPy's own format, one array."""
    return _wrap(load_npy(path), path)


def _read_npz(path: Path) -> AnnData:
    """Read a zip of arrays: one sparse matrix as SciPy saves it, or one dense matrix."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise InputError(
                f"{path} is not an .npz archive: its first bytes are not those of a zip "
                "file. Save the matrix again with scipy.sparse.save_npz or numpy.savez."
            )
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            if {"format", "shape"} <= set(archive.files):
                file.seek(0)
                return _wrap(sparse.load_npz(file), path)
            shapes: dict[str, str] = {}
            matrices = {}
            for name in archive.files:
                try:
                    array = archive[name]
                except ValueError:  # Python objects, for instance an array of strings
                    shapes[name] = "Python objects"
                    continue
                shapes[name] = f"shape {array.shape}"
                if array.ndim == 2:
                    matrices[name] = array
    if len(matrices) != 1:
        inside = ", ".join(f"{name!r} ({shape})" for name, shape in shapes.items())
        raise InputError(
            f"{path} holds {len(matrices)} arrays with two dimensions, but exactly one was "
            f"expected, the matrix of cells × genes. Inside are: {inside or 'no arrays'}. "
            "Save the matrix by itself, with numpy.save as .npy or with "
            "scipy.sparse.save_npz."
        )
    return _wrap(next(iter(matrices.values())), path)


def _read_table(path: Path) -> AnnData:
    """Read text, one line a cell; how a header and an index are told is said in `read`."""
    import pandas as pd

    skip, separator, header, has_index = _table_layout(path)
    options: dict[str, Any] = {
        "sep": r"\s+" if separator == " " else separator,
        "header": None,
        "skiprows": skip,
        "encoding": "utf-8-sig",
        # By name, a cell called "NA" stays that; as a number it would be missing.
        "converters": {0: str.strip} if has_index else None,
    }
    n_columns = pd.read_csv(path, nrows=1, **options).shape[1]
    values = range(int(has_index), n_columns)
    genes = header
    if header is not None:
        genes = header[1:] if has_index and len(header) == n_columns else header
        if len(genes) != len(values):
            raise InputError(
                f"The header of {path} names {len(genes):,} genes, but the first row of "
                f"numbers below it has {len(values):,} (with fields separated by "
                f"{separator!r}). Give every column one name; only the first field, above "
                "the names of the cells, may be left out."
            )
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(values, np.float64),
            float_precision="round_trip",
            **options,
        )
    except pd.errors.ParserError as error:
        raise InputError(
            f"{path} is not a table: {first_line(error)} Every row must have as many "
            f"fields as the first ({n_columns:,}, separated by {separator!r}). Correct "
            "that line and save the file again."
        ) from error
    except ValueError as error:
        _refuse_text(path, values, genes, options)
        raise error
    adata = _wrap(table.iloc[:, int(has_index) :].to_numpy(), path)
    if has_index:
        names = table[0].tolist()
        if header is None or (len(header) == n_columns and not _names_cells(header)):
            _refuse_mixed_names(path, names)
        adata.obs_names = names
    if genes is not None:
        adata.var_names = genes
    return adata


def _read_h5ad(path: Path) -> AnnData:
    """Read AnnData's own format."""
    import anndata

    adata = anndata.read_h5ad(path)
    if adata.X is None:
        layers = ", ".join(map(repr, adata.layers)) or "none"
        raise InputError(
            f"{path} has no matrix in X (its layers: {layers}). Put the raw counts or the "
            "log-normalised values there, for instance with adata.X = "
            'adata.layers["counts"], and save it again.'
        )
    return adata


def _read_10x_h5(path: Path) -> AnnData:
    """Read the HDF5 file that Cell Ranger writes."""
    import h5py
    import scanpy

    with h5py.File(path, "r") as file:
        keys = list(file)
        groups = [file[key] for key in keys if isinstance(file[key], h5py.Group)]
        is_10x = any({"data", "indices", "indptr", "barcodes"} <= set(g) for g in groups)
    if not is_10x:
        remedy = (
            "It looks like an AnnData file: rename it so that it ends in .h5ad."
            if {"X", "obs", "var"} <= set(keys)
            else "Give the filtered_feature_bc_matrix.h5 of Cell Ranger, or save the "
            "matrix as .h5ad with anndata."
        )
        raise InputError(
            f"{path} is an HDF5 file, but not one of 10x Genomics: none of its groups "
            f"({', '.join(map(repr, keys)) or 'it has none'}) holds barcodes, data, "
            f"indices and indptr. {remedy}"
        )
    return scanpy.read_10x_h5(path)


def _read_10x_folder(path: Path) -> AnnData:
    """Read the folder that Cell Ranger writes."""
    import scanpy

    found = sorted(path.glob("*matrix.mtx*"))
    prefix = found[0].name.split("matrix.mtx")[0] if len(found) == 1 else ""
    plain = ["matrix.mtx", "barcodes.tsv", "genes.tsv"]
    gzipped = ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"]
    if not any(all((path / (prefix + name)).is_file() for name in s) for s in (plain, gzipped)):
        inside = sorted(entry.name for entry in path.iterdir())
        listed = ", ".join(map(repr, inside[:8])) + (", …" if len(inside) > 8 else "")
        unzipped = (path / f"{prefix}features.tsv").is_file()
        raise InputError(
            f"{path} is a folder, but not one of 10x Genomics, which holds either "
            f"{', '.join(gzipped)} or {', '.join(plain)}. It holds: {listed or 'nothing'}. "
            + (
                "Compress its three files with gzip."
                if unzipped
                else "Give such a folder, or the path of a file."
            )
        )
    return scanpy.read_10x_mtx(path, prefix=prefix, make_unique=False)


#: End of a file's name → its reader; ``"/"`` stands for a folder. The longest end that
#: fits is taken, so that ``".zarr/"`` could be told from other folders.
READERS: dict[str, Callable[[Path], AnnData]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_table,
    ".csv.gz": _read_table,
    ".tsv": _read_table,
    ".tsv.gz": _read_table,
    ".txt": _read_table,
    ".txt.gz": _read_table,
    ".h5ad": _read_h5ad,
    ".h5": _read_10x_h5,
    "/": _read_10x_folder,
}


# --- the public function -------------------------------------------------------------


def read(path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> AnnData:
    """Read a matrix of cells × genes, and a label for every cell.

    Parameters
    ----------
    path : str or path
        One row a cell, one column a gene; raw counts or log-normalised values. The end
        of the name says what it is:

        - ``.npy``: one array.
        - ``.npz``: a matrix saved by ``scipy.sparse.save_npz``, or an archive with
          exactly one two-dimensional array.
        - ``.csv``, ``.tsv``, ``.txt``, each also with ``.gz``: text in UTF-8, fields
          separated by comma, semicolon or tab (``.txt`` also by spaces), values read
          as float64. The first row is a **header** if any field after its first is not
          a number, if its first field is empty or says that the column names cells
          (such as ``cell`` or ``barcode``), or if it is one field shorter than the
          second row and not both are all numbers. If only its first field is not a
          number, it is a header where the others, five or more, count up (0, 1, 2, …
          or 1, 2, 3, …) or the second row starts with a number, and otherwise the
          first cell. The first column is an **index**, the names of the cells, if it is
          not numeric, or if the header's first field is empty, says so, or is left out;
          one that mixes names and numbers is an error unless the header says so.
          ``NA``, ``nan`` or an empty field inside is a missing value.
        - ``.h5ad``: AnnData; its ``X`` is used.
        - ``.h5``: the file of 10x Genomics (whole numbers of 32 bits come as float32,
          features other than gene expression are left out).
        - a folder: ``matrix.mtx.gz``, ``barcodes.tsv.gz`` and ``features.tsv.gz``, or
          ``matrix.mtx``, ``barcodes.tsv`` and ``genes.tsv``, of 10x Genomics; a common
          prefix is allowed.
    labels : str or path, optional
        Name of a column of ``obs``, which goes first, or a file: text in UTF-8 with one
        label a line, or ``.npy`` with one array of strings or numbers. Blank lines at
        the end are no labels. Default none: nothing is added.

    Returns
    -------
    anndata.AnnData, shape (n_cells, n_genes)
        ``X`` is a C-contiguous array or a CSR matrix (sorted, duplicates added up) in
        this machine's byte order, with the type of number that was read, except that
        booleans become 0 and 1 (uint8) and float16 becomes float32. Names of genes and
        cells are left as they are, repeated ones too. With ``labels``,
        ``obs["label"]`` is an unordered categorical of strings, its categories in
        natural order ("2" before "10"); whole numbers written as 1.0 become "1".

    Raises
    ------
    InputError
        If the path is missing, empty, damaged, of unknown kind or holds Python objects;
        if the matrix fails :func:`cellglass.checks.check_matrix`; if the labels are
        found neither in ``obs`` nor as a file, one is missing or blank, or their number
        fails :func:`cellglass.checks.check_labels_length`.
    """
    path = Path(path)
    reader = _find_reader(path)
    with _quiet():
        try:
            adata = reader(path)
        except (InputError, ImportError):
            raise
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is not text in UTF-8: byte {error.start + 1:,} of it cannot be "
                "read. Save it again as UTF-8 text."
            ) from error
        # A damaged file makes each of the libraries beneath fail in its own way.
        except Exception as error:
            raise InputError(
                f"{path} could not be read as {_kind_of(path)}: {first_line(error)} It is "
                "probably damaged, cut short or of another kind than its name says. Copy "
                "or save it again."
            ) from error
        name = str(path)
        check_array(adata.X, name=name)
        adata.X = _tidy(adata.X, name)
        check_matrix(
            adata.X,
            name=name,
            cell_names=_true_names(adata.obs_names),
            gene_names=_true_names(adata.var_names),
        )
        adata.uns[SOURCE_KEY] = {"matrix": path.name}
        if labels is not None:
            adata.obs["label"] = read_labels(adata, labels, path)
            adata.uns[SOURCE_KEY]["labels"] = Path(labels).name
    return adata


# --- from path to reader -------------------------------------------------------------


def _kind_of(path: Path) -> str:
    """Return the key of ``READERS`` that a path belongs to, or an empty string."""
    name = path.name.lower() + "/" * path.is_dir()
    return max((end for end in READERS if name.endswith(end)), key=len, default="")


def _find_reader(path: Path) -> Callable[[Path], AnnData]:
    """Look up the reader for a path, or say what is wrong with the path."""
    if not path.exists():
        parent = path.parent
        siblings = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
        where = "" if parent.is_dir() else f" Its folder {str(parent)!r} does not exist either."
        raise InputError(
            f"There is no file or folder {str(path)!r} (looked for in {str(Path.cwd())!r})."
            f"{where}{suggest(path.name, siblings)} Check the path."
        )
    kind = _kind_of(path)
    if not kind:
        known = ", ".join(end for end in READERS if end != "/")
        raise InputError(
            f"{path} is of a kind that is not known: its name ends in "
            f"{path.suffix or path.name!r}. Known are {known} and folders of 10x Genomics. "
            "Save the matrix in one of these, for instance as .npy or .h5ad."
        )
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(
            f"{path} is empty (0 bytes), but a matrix of cells × genes was expected. Save "
            "or copy it again."
        )
    return READERS[kind]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what anndata says about names and old files: nothing a reader must act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(Variable|Observation) names are not unique")
        warnings.filterwarnings("ignore", message="Transforming to str index")
        warnings.filterwarnings("ignore", message=".*written without encoding metadata")
        yield


# --- the matrix ----------------------------------------------------------------------


def _wrap(X: Any, path: Path) -> AnnData:
    """Put a matrix into an AnnData, which would itself fail on anything else."""
    import anndata

    check_array(X, name=str(path))
    return anndata.AnnData(_tidy(X, str(path)))


def _tidy(X: Any, name: str) -> Any:
    """Bring a matrix into one of the two forms that `read` promises."""
    dtype = np.dtype(X.dtype)
    wanted = dtype.newbyteorder("=")
    if wanted.kind == "b":
        wanted = np.dtype(np.uint8)
    elif wanted == np.float16:
        wanted = np.dtype(np.float32)
    if not sparse.issparse(X):
        return np.ascontiguousarray(X, dtype=wanted)
    X = sparse.csr_matrix(X.astype(wanted, copy=False))
    try:
        X.check_format(full_check=True)
    except ValueError as error:
        raise InputError(
            f"{name} is a sparse matrix whose parts do not fit together: "
            f"{first_line(error)} It is probably damaged. Save it again."
        ) from error
    X.sum_duplicates()
    return X


def _true_names(index: Any) -> Sequence[str] | None:
    """Return names, or None if they are only the numbers that AnnData makes up."""
    if len(index) and index[0] == "0" and index[-1] == str(len(index) - 1):
        return None
    names: Sequence[str] = index
    return names


# --- text ----------------------------------------------------------------------------


def _is_number(field: str) -> bool:
    """Whether a field is a number, or a missing one."""
    if field.strip() in _MISSING:
        return True
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # which float() allows, and no table means


def _table_layout(path: Path) -> tuple[int, str, list[str] | None, bool]:
    """Find out how a table is laid out, from its first two rows that are not blank.

    Returns
    -------
    skip : int
        Lines before the first row of numbers.
    separator : str
    header : list of str or None
    has_index : bool
    """
    rows: list[str] = []
    skip = 0
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows.append(line.strip("\r\n"))
                if len(rows) == 1:
                    skip = number
            if len(rows) == 2:
                break
    if not rows:
        raise InputError(
            f"{path} holds no text but blank lines, and a table of numbers was expected, "
            "one line a cell. Save it again."
        )
    kind = _kind_of(path)
    by_suffix = {".csv": ",;\t", ".tsv": "\t,;", ".txt": "\t,; "}[kind.removesuffix(".gz")]
    separator = next((mark for mark in by_suffix if mark in rows[0]), by_suffix[0])
    cut = [split_line(row, separator) for row in rows]
    first, second = cut[0], cut[1] if len(cut) == 2 else None

    numeric = [_is_number(field) for field in first]
    names_cells = _names_cells(first)
    header = names_cells or not all(numeric[1:])
    one_short = False
    if second is not None:
        one_short = len(second) == len(first) + 1 and not (
            all(numeric) and all(map(_is_number, second))
        )
        header = header or one_short
    if not header and not numeric[0]:
        rest = first[1:]
        counting = (list(map(str, range(a, a + len(rest)))) for a in (0, 1))
        header = (len(rest) >= 5 and rest in counting) or (
            second is not None and _is_number(second[0])
        )
    if not header:
        return 0, separator, None, not numeric[0]
    if second is None:
        raise InputError(
            f"{path} holds one row that is a header and no row of numbers below it, but "
            "one line a cell was expected. Save it again."
        )
    return skip, separator, first, names_cells or one_short or not _is_number(second[0])


def _names_cells(header: list[str]) -> bool:
    """Whether a header says that the first column names the cells."""
    return len(header) > 1 and header[0].lower() in _INDEX_HEADERS


def _refuse_mixed_names(path: Path, names: list[str]) -> None:
    """Refuse a first column of which only some fields are numbers.

    More likely than names for only some cells is a number that was mistyped, and as an
    index the column would be lost without a word.
    """
    numeric = [name not in _MISSING and _is_number(name) for name in names]
    if any(numeric):
        row, other = numeric.index(False), numeric.index(True)
        raise InputError(
            f"The first column of {path} holds {names[row]!r} for cell {row + 1:,} (row "
            f"{row + 1:,} of the numbers), which is not a number, but {names[other]!r} for "
            f"cell {other + 1:,}, which is. If it is a gene, correct the first; if it "
            "names the cells, call the column 'cell' in a header line."
        )


def _refuse_text(
    path: Path, columns: range, genes: list[str] | None, options: dict[str, Any]
) -> None:
    """Find the first field of a table that is not a number, and raise with its place."""
    import pandas as pd

    with pd.read_csv(
        path, dtype=dict.fromkeys(columns, str), chunksize=1000, **options
    ) as chunks:
        for chunk in chunks:
            fields = chunk.iloc[:, columns.start :]
            numbers = fields.apply(pd.to_numeric, errors="coerce")
            bad = (numbers.isna() & fields.notna()).to_numpy()
            if not bad.any():
                continue
            row, column = (int(place) for place in np.argwhere(bad)[0])
            cell = f", {chunk.iloc[row, 0]!r}" if columns.start else ""
            gene = f", {genes[column]!r}" if genes is not None else ""
            number = int(chunk.index[row]) + 1
            raise InputError(
                f"{path} holds {fields.iloc[row, column]!r} for cell {number:,} (row "
                f"{number:,} of the numbers{cell}) and gene {column + 1:,} (column "
                f"{column + 1:,}{gene}), but a number was expected there, with a point "
                "before decimals and nothing between thousands. Correct the field, or "
                "remove the column if it is no gene."
            )
