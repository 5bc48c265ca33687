"""Reads the two forms in which 10x Genomics' Cell Ranger writes a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from scipy import sparse

from cellglass.errors import InputError
from cellglass.files import open_bytes, open_text, refuse_nul
from cellglass.hdf5 import OBJECT_BYTES, check_hdf5
from cellglass.memory import check_fits

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

# Row, column and value of an entry while it is read and converted.
ENTRY_BYTES = 32

# "1 1\n", an entry of a pattern.
SHORTEST_ENTRY = 4

LONGEST_LINE = 1 << 16


def read_10x_h5(path: Path) -> AnnData:
    """Read the HDF5 file that Cell Ranger writes."""
    import h5py
    import scanpy

    check_hdf5(path)
    with h5py.File(path, "r") as file:
        keys = list(file)
        groups = [file[key] for key in keys if isinstance(file[key], h5py.Group)]
        matrices = [g for g in groups if {"data", "indices", "indptr", "barcodes"} <= set(g)]
        for group in matrices:
            _check_compressed(group, path)
    if not matrices:
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


def _check_compressed(group: h5py.Group, path: Path) -> None:
    """Check the parts of a sparse matrix, cell by cell, before SciPy believes them.

    Rules: ``indptr`` begins at 0, never falls, and ends at the number of entries; there are
    as many ``indices`` as ``data``, each the number of one of the genes; ``shape`` is genes ×
    cells, with a barcode for every cell.
    """
    indptr, indices, shape = (
        np.ravel(group[name][()]) for name in ("indptr", "indices", "shape")
    )
    n_genes, n_cells = (int(length) for length in shape[:2])
    n_entries = len(group["data"])
    fine = (
        len(shape) == 2
        and all(part.dtype.kind in "iu" for part in (indptr, indices, shape))
        and len(indptr) == n_cells + 1 == len(group["barcodes"]) + 1
        and indptr[0] == 0
        and bool((np.diff(indptr.astype(np.int64)) >= 0).all())
        and indptr[-1] == n_entries == len(indices)
        and (not n_entries or (indices.min() >= 0 and indices.max() < n_genes))
    )
    if not fine:
        raise InputError(
            f"The parts of the sparse matrix in {path} do not fit together: its {group.name!r} "
            f"says that there are {n_genes:,} genes and {n_cells:,} cells, but its indices "
            "point beyond them or their numbers differ. It is damaged. Copy it again."
        )


def read_10x_folder(path: Path) -> AnnData:
    """Read the folder that Cell Ranger writes: a matrix, its genes and its cells."""
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
    is_plain = (path / f"{prefix}genes.tsv").is_file()
    table, end = ("genes", "") if is_plain else ("features", ".gz")
    matrix = path / f"{prefix}matrix.mtx{end}"
    X = sparse.csr_matrix(_read_mtx(matrix).T)
    genes = _read_columns(path / f"{prefix}{table}.tsv{end}")
    cells = [fields[0] for fields in _read_columns(path / f"{prefix}barcodes.tsv{end}")]
    if X.shape != (len(cells), len(genes)):
        raise InputError(
            f"{matrix} holds {X.shape[1]:,} genes (rows) × {X.shape[0]:,} cells (columns), "
            f"but {table}.tsv{end} beside it has {len(genes):,} lines and barcodes.tsv{end} "
            f"{len(cells):,}; every gene and every cell must have one. Copy the three files "
            "of one run again."
        )
    return _as_anndata(X, genes, cells)


def _as_anndata(X: sparse.csr_matrix, genes: list[list[str]], cells: list[str]) -> AnnData:
    """Put the three together, and leave out features other than gene expression."""
    import pandas as pd
    from anndata import AnnData

    kinds = [fields[2] if len(fields) > 2 else "Gene Expression" for fields in genes]
    var = pd.DataFrame(
        {"gene_ids": [fields[0] for fields in genes], "feature_types": kinds},
        index=[fields[1] if len(fields) > 1 else fields[0] for fields in genes],
    )
    adata = AnnData(X, obs=pd.DataFrame(index=cells), var=var)
    is_gene = np.array(kinds) == "Gene Expression"
    return adata if is_gene.all() else adata[:, is_gene].copy()


def _read_columns(path: Path) -> list[list[str]]:
    """Cut every line at its tabs."""
    with open_text(path) as file:
        return [line.rstrip("\r\n").split("\t") for line in file if line.strip()]


def _read_mtx(path: Path) -> Any:
    """Read a matrix of genes × cells, float32, in the Matrix Market format.

    What its first lines claim is checked before SciPy believes it.
    """
    from scipy.io import mmread

    with open_bytes(path) as file:
        n_rows, n_columns, n_entries = _mtx_size(file, path)
    is_gzipped = path.name.lower().endswith(".gz")
    if not is_gzipped and n_entries * SHORTEST_ENTRY > path.stat().st_size:
        raise InputError(
            f"{path} says that it holds {n_entries:,} entries, more than fit into its "
            f"{path.stat().st_size:,} bytes. It is damaged, cut short or made to do harm. "
            "Copy or save it again."
        )
    check_fits(ENTRY_BYTES * n_entries + OBJECT_BYTES * (n_rows + n_columns), name=str(path))
    with open_bytes(path) as file, np.errstate(over="ignore"):
        return mmread(_Lines(file, path)).astype(np.float32)


def _mtx_size(file: BinaryIO, path: Path) -> tuple[int, int, int]:
    """Read how many rows, columns and entries a Matrix Market file claims."""
    first = file.readline(LONGEST_LINE).lower().split()
    if first[:2] != [b"%%matrixmarket", b"matrix"] or len(first) < 5:
        raise InputError(
            f"{path} does not begin with '%%MatrixMarket matrix', as files of this format "
            "do. Save it again with scipy.io.mmwrite."
        )
    while (line := file.readline(LONGEST_LINE)).startswith(b"%") or line.isspace():
        pass
    sizes = [int(field) for field in line.split()]
    if first[2] == b"array" and len(sizes) == 2:
        sizes.append(sizes[0] * sizes[1])
    if len(sizes) != 3 or min(sizes) < 0:
        raise InputError(
            f"{path} holds {line[:60].decode('latin-1')!a} where the numbers of rows, "
            "columns and entries were expected. Save it again with scipy.io.mmwrite."
        )
    n_rows, n_columns, n_entries = sizes
    # Of a symmetric one, only one half is written.
    return n_rows, n_columns, n_entries if first[4] == b"general" else 2 * n_entries


class _Lines:
    """A file of text whose last line ends, and which holds no NUL.

    Where a line has no end, or a NUL before it, SciPy's reader goes on beyond its memory.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._ends = True

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        refuse_nul(piece, self._path)
        if piece:
            self._ends = piece.endswith(b"\n")
        elif not self._ends:
            self._ends = True
            return b"\n"
        return piece
