"""Reads a matrix of cells × genes, with labels if there are any, from a path.

A format is one function, path → AnnData, with one row in ``READERS``.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from scipy import sparse

from cellglass.checks import check_array, check_labels_length, check_matrix, suggest
from cellglass.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

# First fields of a header that say: this column names the cells.
_INDEX_HEADERS = {"", "unnamed: 0", "index", "barcode", "barcodes", "cell", "cells"}
_INDEX_HEADERS |= {"cell_id", "cell id", "cellid", "cell_name", "cell name"}

# What pandas takes as a missing value: no number, but no name either.
_MISSING = {"", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "None", "NULL", "null"}
_MISSING |= {"NaN", "nan", "-NaN", "-nan"}


# --- one function a format -----------------------------------------------------------


def _read_npy(path: Path) -> AnnData:
    """Read NumPy's own format, one array."""
    return _wrap(_load_npy(path), path)


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
            f"{path} is not a table: {_first_line(error)} Every row must have as many "
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
    if not any(
        all((path / (prefix + name)).is_file() for name in s) for s in (plain, gzipped)
    ):
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


def read(
    path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None
) -> AnnData:
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
                f"{path} could not be read as {_kind_of(path)}: {_first_line(error)} It is "
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
        if labels is not None:
            _add_labels(adata, labels, path)
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
        where = (
            "" if parent.is_dir() else f" Its folder {str(parent)!r} does not exist either."
        )
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


def _first_line(error: BaseException) -> str:
    """Return what another library says in its first line, as a sentence."""
    lines = str(error).strip().strip("'\"").splitlines()
    text = lines[0].strip() if lines else ""
    return f"{text or type(error).__name__}{'' if text.endswith('.') else '.'}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what anndata says about names and old files: nothing a reader must act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="(Variable|Observation) names are not unique"
        )
        warnings.filterwarnings("ignore", message="Transforming to str index")
        warnings.filterwarnings("ignore", message=".*written without encoding metadata")
        yield


# --- the matrix ----------------------------------------------------------------------


def _load_npy(path: Path) -> np.ndarray:
    """Load one array, and never unpickle."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(
                f"{path} is not a NumPy file: its first bytes are not those of the .npy "
                "format. If it is a pickle, load it where you trust it and save the matrix "
                "with numpy.save."
            )
        file.seek(0)
        try:
            return np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
            raise InputError(
                f"{path} holds pickled Python objects (data type object) and is refused, "
                "because unpickling can run any code; plain numbers (or strings, for "
                "labels) were expected. Load it where you trust it, convert it, for "
                "instance with array.astype('float32'), and save it again with numpy.save."
            ) from error


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
            f"{_first_line(error)} It is probably damaged. Save it again."
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


def _open_text(path: Path) -> TextIO:
    """Open text, gzipped or not, with or without a byte order mark."""
    if path.name.lower().endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


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
    with _open_text(path) as file:
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
    cut = [_split(row, separator) for row in rows]
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


def _split(line: str, separator: str) -> list[str]:
    """Cut one line of a table into its fields."""
    if separator == " ":
        line = line.strip()
    fields = next(
        csv.reader([line], delimiter=separator, skipinitialspace=separator == " ")
    )
    return [field.strip() for field in fields]


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


# --- labels --------------------------------------------------------------------------


def _add_labels(adata: AnnData, labels: str | os.PathLike[str], path: Path) -> None:
    """Store labels, from a column or a file, in ``obs["label"]``."""
    import pandas as pd

    if isinstance(labels, str) and labels in adata.obs:
        name = f"The column {labels!r} of obs in {path}"
        found = _labels_in_column(adata, labels, name)
    elif Path(labels).is_file():
        name = str(labels)
        found = _labels_in_file(Path(labels))
        check_labels_length(
            len(found),
            adata.n_obs,
            adata.n_vars,
            labels_name=name,
            matrix_name=str(path),
            first_label=found[0] if found else None,
        )
    else:
        columns = list(map(str, adata.obs.columns))
        listed = ", ".join(map(repr, columns)) or "none"
        parent = Path(labels).parent
        files = [p.name for p in parent.iterdir() if p.is_file()] if parent.is_dir() else []
        close = suggest(labels, columns) or suggest(Path(labels).name, files)
        raise InputError(
            f"The labels {str(labels)!r} were found neither as a file nor as a column of "
            f"obs in {path} (its columns: {listed}).{close} Give a text file with one "
            "label a line, or the name of such a column."
        )
    found = _plain_whole_numbers(found)
    categories = sorted(set(found), key=_natural_key(found))
    adata.obs["label"] = pd.Categorical(found, categories=categories)


def _labels_in_column(adata: AnnData, column: str, name: str) -> list[str]:
    """Return a column as strings; every cell must have a value that is not blank."""
    values = adata.obs[column]
    text = [str(value).strip() for value in values]
    missing = np.flatnonzero(values.isna().to_numpy() | np.array([not t for t in text]))
    if missing.size:
        first = int(missing[0])
        raise InputError(
            f"{name} has no label for {missing.size:,} of {len(values):,} cells, the "
            f"first being cell {first + 1:,} (row {first + 1:,}, "
            f"{adata.obs_names[first]!r}), but every cell needs one. Remove these cells, "
            "or name their group, for instance 'unknown'."
        )
    return text


def _labels_in_file(path: Path) -> list[str]:
    """Return one string for each line, or for each entry of an array."""
    if path.name.lower().endswith(".npy"):
        return _labels_in_npy(path)
    try:
        with _open_text(path) as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8: byte {error.start + 1:,} of it cannot be read, "
            "but one label a line was expected. Save it again as UTF-8 text."
        ) from error
    except (OSError, EOFError) as error:
        raise InputError(
            f"The labels in {path} could not be read: {_first_line(error)} Copy or save "
            "the file again."
        ) from error
    while lines and not lines[-1]:
        lines.pop()
    found = []
    is_table = _kind_of(path).startswith((".csv", ".tsv"))
    separator = "\t" if _kind_of(path).startswith(".tsv") else ","
    for number, line in enumerate(lines, start=1):
        fields = _split(line, separator) if is_table and line else [line]
        if len(fields) > 1:
            raise InputError(
                f"Line {number:,} of {path}, {line!r}, has {len(fields)} columns, but the "
                "labels must be the only column, one label a line. Save that column by "
                "itself, or put a label that holds a comma in double quotes."
            )
        label = fields[0]
        if len(label) > 1 and label[0] == label[-1] == '"':
            label = label[1:-1].strip()
        if not label or label.lower() in ("nan", "<na>"):
            what = f"is {label!r}, a missing value" if label else "is blank"
            raise InputError(
                f"Line {number:,} of {path} {what}, but every line must hold the label of "
                "one cell. Fill it in, for instance with 'unknown', or remove the cell "
                "from the matrix and the line from the labels."
            )
        found.append(label)
    return found


def _labels_in_npy(path: Path) -> list[str]:
    """Return the entries of an array as strings."""
    if path.stat().st_size == 0:
        return []
    try:
        array = _load_npy(path)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(
            f"The labels in {path} could not be read: {_first_line(error)} Copy or save "
            "the file again."
        ) from error
    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim != 1 or array.dtype.kind not in "buifUS":
        raise InputError(
            f"{path} holds an array of shape {array.shape} and data type {array.dtype}, "
            "but the labels must be one row of strings or of numbers, one for each cell. "
            "Save them as such."
        )
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    found = [str(value).strip() for value in array]
    missing = [place for place, label in enumerate(found) if label in ("", "nan")]
    if missing:
        raise InputError(
            f"{path} holds no label for {len(missing):,} of {len(found):,} cells, the "
            f"first being cell {missing[0] + 1:,} (entry {missing[0] + 1:,}), but every "
            "cell needs one. Fill them in, for instance with a number of their own."
        )
    return found


def _as_number(label: str) -> float | None:
    """Return a label's value where it is a finite number."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in label else None


def _plain_whole_numbers(labels: list[str]) -> list[str]:
    """Write "1.0" as "1" where all labels are whole numbers; "007" stays as it is."""
    values = [_as_number(label) for label in labels]
    if any(value is None or value != math.floor(value) for value in values):
        return labels
    return [
        label if re.fullmatch(r"[+-]?\d+", label) else str(int(float(label)))
        for label in labels
    ]


def _natural_key(labels: Sequence[str]) -> Callable[[str], tuple[Any, ...]]:
    """Return a sort key: numbers by size if all are, else text with numbers by size."""
    if all(_as_number(label) is not None for label in labels):
        return lambda label: (float(label), label)

    def key(label: str) -> tuple[Any, ...]:
        parts = re.split(r"([0-9]+)", label)
        parts[::2] = [text.lower() for text in parts[::2]]
        runs = [int(part) if i % 2 else part for i, part in enumerate(parts)]
        return (runs, label)

    return key
