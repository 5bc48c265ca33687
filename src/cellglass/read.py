"""Reads a matrix of cells × genes, with labels if there are any, from a path.

A format is one function, path → AnnData, with one row in ``READERS``.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from zipfile import ZipFile, ZipInfo

import numpy as np
from scipy import sparse

from cellglass.checks import check_array, check_matrix, check_names, suggest
from cellglass.errors import InputError
from cellglass.files import NpyHeader, check_npy, first_line, load_npy, npy_header
from cellglass.hdf5 import OBJECT_BYTES, check_hdf5
from cellglass.labels import read_labels
from cellglass.matrices import to_csr
from cellglass.memory import check_fits
from cellglass.outputs import as_path
from cellglass.tables import read_table
from cellglass.tenx import read_10x_folder, read_10x_h5

if TYPE_CHECKING:
    from anndata import AnnData

SOURCE_KEY = "cellglass_source"
"""Entry of ``uns`` with the names of the files that the matrix and labels came from."""


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
    with zipfile.ZipFile(path) as archive:
        headers = {
            info.filename.removesuffix(".npy"): _npy_header_in(archive, info, path)
            for info in archive.infolist()
        }
        if {"format", "shape"} <= set(headers):
            return _read_sparse_npz(archive, headers, path)
        matrices = [
            name
            for name, header in headers.items()
            if len(header.shape) == 2 and not header.dtype.hasobject
        ]
        if len(matrices) == 1:
            name = matrices[0]
            _check_npy_in(archive, name, headers[name], path)
            with archive.open(f"{name}.npy") as file:
                return _wrap(np.lib.format.read_array(file, allow_pickle=False), path)
    inside = ", ".join(
        f"{name!r} ("
        + ("Python objects" if header.dtype.hasobject else f"shape {header.shape}")
        + ")"
        for name, header in headers.items()
    )
    raise InputError(
        f"{path} holds {len(matrices)} arrays with two dimensions, but exactly one was "
        f"expected, the matrix of cells × genes. Inside are: {inside or 'no arrays'}. "
        "Save the matrix by itself, with numpy.save as .npy or with "
        "scipy.sparse.save_npz."
    )


def _npy_header_in(archive: ZipFile, info: ZipInfo, path: Path) -> NpyHeader:
    """Read the header of one array of an archive, without unpacking the array."""
    # Of the others, a small piece may unpack to many gigabytes at once.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{path} holds {info.filename!r} in a compression that numpy does not write. "
            "Save the matrix again with scipy.sparse.save_npz or numpy.savez_compressed."
        )
    with archive.open(info) as file:
        return npy_header(cast(BinaryIO, file))


def _check_npy_in(archive: ZipFile, name: str, header: NpyHeader, path: Path) -> None:
    held = archive.getinfo(f"{name}.npy").file_size - header.size
    check_npy(header, held, name=f"{path} (its {name!r})")


def _read_sparse_npz(archive: ZipFile, headers: dict[str, NpyHeader], path: Path) -> AnnData:
    """Read a matrix as SciPy saves it, once what it claims is known to fit."""
    for name, header in headers.items():
        _check_npy_in(archive, name, header, path)
    with archive.open("shape.npy") as file:
        shape = np.ravel(np.lib.format.read_array(file, allow_pickle=False))
    # Every row and column gets a name, however empty it is.
    rows_and_columns = sum(abs(int(length)) for length in shape[:2])
    check_fits(
        sum(header.n_bytes for header in headers.values()) + OBJECT_BYTES * rows_and_columns,
        name=str(path),
    )
    return _wrap(sparse.load_npz(path), path)


def _read_text(path: Path) -> AnnData:
    """Read a table of text."""
    table = read_table(path)
    adata = _wrap(table.values, path)
    if table.cells is not None:
        adata.obs_names = table.cells
    if table.genes is not None:
        adata.var_names = table.genes
    return adata


def _read_h5ad(path: Path) -> AnnData:
    """Read AnnData's own format."""
    import anndata

    check_hdf5(path)
    return anndata.read_h5ad(path)


#: End of a file's name → its reader; ``"/"`` stands for a folder. The longest end that
#: fits is taken, so that ``".zarr/"`` could be told from other folders.
READERS: dict[str, Callable[[Path], AnnData]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_text,
    ".csv.gz": _read_text,
    ".tsv": _read_text,
    ".tsv.gz": _read_text,
    ".txt": _read_text,
    ".txt.gz": _read_text,
    ".h5ad": _read_h5ad,
    ".h5": read_10x_h5,
    "/": read_10x_folder,
}


# --- the public function -------------------------------------------------------------


def read(
    path: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    least_cells: int = 3,
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
    layer : str, optional
        Of an ``.h5ad``: the layer whose values become ``X``. Default: ``X`` itself.
    use_raw : bool, default False
        Of an ``.h5ad``: take ``raw``, its values and its genes, in place of ``X``.
    least_cells : int, default 3
        Fewest cells: three to train on, one to apply a model to.

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
        if it would not fit into memory (:func:`cellglass.memory.check_fits`) or reaches
        out to other files (:func:`cellglass.hdf5.check_hdf5`); if the matrix fails
        :func:`cellglass.checks.check_matrix`, or a name of a cell or gene
        :func:`cellglass.checks.check_names`; if the labels are
        found neither in ``obs`` nor as a file, one is missing or blank, or their number
        fails :func:`cellglass.checks.check_labels_length`.
    """
    path = as_path(path, "path")
    reader = _find_reader(path)
    with _quiet():
        with _damage_told(path):
            adata = reader(path)
        name = str(path)
        if use_raw:
            adata = _raw_of(adata, layer, path)
        adata.X = _matrix_of(adata, layer, path)
        check_array(adata.X, name=name)
        adata.X = _tidy(adata.X, name)
        check_matrix(
            adata.X,
            name=name,
            cell_names=_true_names(adata.obs_names),
            gene_names=_true_names(adata.var_names),
            least_cells=least_cells,
        )
        _check_names_of(adata, path)
        adata.uns[SOURCE_KEY] = {"matrix": path.name}
        if layer is not None:
            adata.uns[SOURCE_KEY]["layer"] = layer
        if use_raw:
            adata.uns[SOURCE_KEY]["use_raw"] = True
        if labels is not None:
            adata.obs["label"] = read_labels(adata, labels, path)
            adata.uns[SOURCE_KEY]["labels"] = Path(labels).name
    return adata


def open_h5ad(path: str | os.PathLike[str]) -> AnnData:
    """Open an ``.h5ad`` without reading its matrix, which may be larger than the memory.

    Parameters
    ----------
    path : str or path
        AnnData's own file.

    Returns
    -------
    anndata.AnnData, shape (n_cells, n_genes)
        Backed by the file: ``X`` and ``raw.X`` stay there, all else is read. No value is
        checked. Close it with ``adata.file.close()``.

    Raises
    ------
    InputError
        If the path is missing, empty, damaged or no ``.h5ad``; if what is read would not
        fit into memory or reaches out to other files
        (:func:`cellglass.hdf5.check_hdf5`); if a name of a cell or gene fails
        :func:`cellglass.checks.check_names`.
    """
    import anndata

    path = Path(path)
    _find_reader(path)
    with _quiet(), _damage_told(path):
        check_hdf5(path, left_there=("/X", "/raw/X"))
        adata = anndata.read_h5ad(path, backed="r")
    _check_names_of(adata, path)
    return adata


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Say what is wrong with a damaged file, where each library fails in its own way."""
    try:
        yield
    except (InputError, ImportError):
        raise
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8: byte {error.start + 1:,} of it cannot be "
            "read. Save it again as UTF-8 text."
        ) from error
    except Exception as error:
        raise InputError(
            f"{path} could not be read as {_kind_of(path)}: {first_line(error)} It is "
            "probably damaged, cut short or of another kind than its name says. Copy "
            "or save it again."
        ) from error


def _check_names_of(adata: AnnData, path: Path) -> None:
    check_names(adata.obs_names, what=f"the names of cells in {path}")
    check_names(adata.var_names, what=f"the names of genes in {path}")


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


def _raw_of(adata: AnnData, layer: str | None, path: Path) -> AnnData:
    """Make an object of ``raw``, with the same cells."""
    if layer is not None:
        raise InputError(
            f"layer is {layer!r} and raw is asked for as well, but only one matrix of {path} "
            "can be taken. Leave one of them out."
        )
    if adata.raw is None:
        raise InputError(
            f"raw was asked for, but {path} has none (its layers: "
            f"{', '.join(map(repr, adata.layers)) or 'none'}). Leave it out to take X, or give "
            "a layer."
        )
    return adata.raw.to_adata()


def _matrix_of(adata: AnnData, layer: str | None, path: Path) -> Any:
    """Take ``X`` or a layer, or list what there is."""
    layers = list(map(str, adata.layers))
    listed = ", ".join(map(repr, layers)) or "none"
    if layer is not None:
        if layer not in adata.layers:
            raise InputError(
                f"layer is {layer!r}, but {path} has no layer of that name (its layers: "
                f"{listed}).{suggest(layer, layers)} Give one that is there, or leave layer "
                "out to take X."
            )
        return adata.layers[layer]
    if adata.X is None:
        raise InputError(
            f"{path} has no matrix in X (its layers: {listed}). Give one of its layers as "
            "layer, or put the raw counts or the log-normalised values into X and save it "
            "again."
        )
    return adata.X


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
    return to_csr(X).astype(wanted, copy=False)


def _true_names(index: Any) -> Sequence[str] | None:
    """Return names, or None if they are only the numbers that AnnData makes up."""
    if len(index) and index[0] == "0" and index[-1] == str(len(index) - 1):
        return None
    names: Sequence[str] = index
    return names
