"""Reads new cells in runs of rows, checked and brought into a model's order of genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_array, check_largest, check_matrix
from cellglass.errors import InputError
from cellglass.genes import GeneMatch
from cellglass.matrices import CHUNK, to_csr
from cellglass.memory import check_fits
from cellglass.preprocess import Preprocessor
from cellglass.slots import find_matrix, raw_of

if TYPE_CHECKING:
    from anndata import AnnData

MOST_ROWS = 4096
RUN_VALUES = 1 << 23
"""A run has at most that many rows and, as far as whole chunks allow, values."""


@dataclass(frozen=True)
class NewCells:
    """Cells that a model is applied to.

    Attributes
    ----------
    read
        Gives rows ``start`` to ``stop`` of the matrix as it is stored.
    shape
        Of that matrix: number of cells, number of its genes.
    genes
        Names of the model's genes.
    match
        Where they stand in the matrix; None where it has them in the model's order.
    cell_names, gene_names
        Of the matrix, for messages; None where they have none.
    """

    read: Callable[[int, int], Any]
    shape: tuple[int, int]
    genes: Sequence[str]
    match: GeneMatch | None = None
    cell_names: Sequence[str] | None = None
    gene_names: Sequence[str] | None = None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.shape[0]

    def runs(self, preprocessor: Preprocessor) -> Iterator[tuple[int, np.ndarray]]:
        """Go through all cells, a limited number at a time.

        Yields
        ------
        tuple
            Row of the first cell of the run, from 0, and what the network sees: shape
            (cells in the run, n_genes), float32.

        Raises
        ------
        InputError
            If a value cannot be used; that all of them are of the wrong kind may be known
            only at the end.
        """
        n_cells, n_columns = self.shape
        whole_chunks = RUN_VALUES // max(1, n_columns) // CHUNK * CHUNK
        step = max(CHUNK, min(MOST_ROWS, whole_chunks))
        kind = _Kind(preprocessor, self)
        for start in range(0, max(1, n_cells), step):
            X = self.read(start, min(start + step, n_cells))
            if sparse.issparse(X):
                check_array(X, name="the matrix")
                X = to_csr(X)
            elif not isinstance(X, np.ndarray):
                raise InputError(
                    f"The rows of the matrix come as {type(X).__name__}, expected a NumPy "
                    "array or a SciPy sparse matrix. Read the AnnData into memory first, with "
                    "adata.to_memory()."
                )
            check_matrix(
                X, name="the matrix", cell_names=self.cell_names, gene_names=self.gene_names,
                least_cells=1, first_row=start,
            )  # fmt: skip
            if self.match is not None:
                X = self.match.take(X)
            kind.look_at(X, start)
            check_largest(X, counts=preprocessor.input == "counts", first_row=start)
            values = preprocessor.transform(X)
            yield start, values.toarray() if sparse.issparse(values) else values
        kind.decide()


class _Kind:
    """Tells raw counts from log-normalised values where the model does too."""

    def __init__(self, preprocessor: Preprocessor, cells: NewCells) -> None:
        self._wanted = preprocessor.input if preprocessor.detected else None
        self._cells = cells
        self._any_value = self._any_fraction = False

    def look_at(self, X: np.ndarray | sparse.csr_matrix, first_row: int) -> None:
        """Look at a run of rows, and refuse a fraction where counts are wanted."""
        if self._wanted is None:
            return
        values = X if isinstance(X, np.ndarray) else np.asarray(X.data)
        self._any_value = self._any_value or bool(values.any())
        if self._any_fraction or values.dtype.kind != "f":
            return
        self._any_fraction = bool((values != np.floor(values)).any())
        if not (self._any_fraction and self._wanted == "counts"):
            return
        first = int(np.flatnonzero(values != np.floor(values))[0])
        if isinstance(X, np.ndarray):
            row, gene = divmod(first, X.shape[1])
        else:
            row = int(np.searchsorted(X.indptr, first, side="right")) - 1
            gene = int(X.indices[first])
        value, row = values.flat[first], first_row + row
        names = self._cells.cell_names
        cell = "" if names is None else f" ({str(names[row])!r})"
        raise InputError(
            "The model was trained on raw counts, which are whole numbers, but the value of "
            f"gene {self._cells.genes[gene]!r} in cell {row + 1:,}{cell} is "
            f"{value:.6g}. Give the raw counts of these cells; AnnData often "
            'keeps them in a layer (layer="counts") or in raw (use_raw=True).'
        )

    def decide(self) -> None:
        """Refuse whole numbers only, seen over all cells, where logarithms are wanted."""
        if self._wanted == "log" and self._any_value and not self._any_fraction:
            raise InputError(
                "The model was trained on log-normalised values, but all values of the new "
                f"cells ({self._cells.n_cells:,}) are whole numbers, as raw counts are. "
                "Normalise them as the training data were, for instance with "
                "scanpy.pp.normalize_total and scanpy.pp.log1p."
            )


def new_cells(
    data: AnnData | np.ndarray | sparse.spmatrix,
    genes: Sequence[str],
    *,
    layer: str | None,
    use_raw: bool,
    match: Callable[[AnnData], GeneMatch],
) -> NewCells:
    """Prepare what was given for being read in runs of rows.

    Parameters
    ----------
    data
        AnnData, array or sparse matrix, shape (n_cells, n_genes).
    genes
        Names of the model's genes.
    layer, use_raw
        Which matrix of the AnnData: a layer, ``raw``, or ``X``.
    match
        Finds the model's genes in an AnnData object.

    Raises
    ------
    InputError
        If it is something else, has another shape or lacks what was asked for.
    """
    from anndata import AnnData

    if isinstance(data, AnnData):
        found = match(data)
        names = raw_of(data).var_names if use_raw else data.var_names
        return NewCells(
            _reader(data, layer, use_raw), (data.n_obs, len(names)), genes, found,
            cell_names=data.obs_names, gene_names=names,
        )  # fmt: skip
    if not (isinstance(data, np.ndarray) or sparse.issparse(data)):
        hint = (
            " anndata.AnnData(frame) makes one of a table and keeps its names of genes."
            if type(data).__name__ == "DataFrame"
            else ""
        )
        raise InputError(
            f"The cells are given as {type(data).__name__}; expected AnnData, or a NumPy "
            f"array or SciPy sparse matrix with the genes of model.genes.{hint}"
        )
    if layer is not None or use_raw:
        raise InputError(
            "A layer or raw can be taken only from AnnData, but the cells are given as "
            f"{type(data).__name__}. Give the AnnData object, or leave out layer and use_raw."
        )
    if data.ndim != 2 or data.shape[1] != len(genes):
        raise InputError(
            f"The matrix has shape {data.shape}, but the model was trained on "
            f"{len(genes)} genes; expected cells × {len(genes)}, with the genes in the order "
            "of model.genes. AnnData with names of genes may have any order."
        )
    return cells_of_matrix(data, genes)


def cells_of_matrix(X: np.ndarray | sparse.spmatrix, genes: Sequence[str]) -> NewCells:
    """Prepare a matrix whose genes are the model's, in the model's order.

    Raises
    ------
    InputError
        If it fails :func:`cellglass.checks.check_array`.
    """
    check_array(X, name="the matrix")
    X = to_csr(X) if sparse.issparse(X) else X
    return NewCells(lambda start, stop: X[start:stop], X.shape, genes, gene_names=genes)


def _reader(adata: AnnData, layer: str | None, use_raw: bool) -> Callable[[int, int], Any]:
    """Make the function that reads some rows, without reading all of them first."""
    on_disk = adata.isbacked and layer is None
    by_cells = _turned(adata, "raw/X" if use_raw else "X") if on_disk else None
    if by_cells is not None and not adata.is_view:
        return lambda start, stop: by_cells[start:stop]
    if on_disk and adata.is_view:
        # AnnData makes no view of a view of a file, so rows are taken from the file itself;
        # HDF5 gives them in increasing order only, each once.
        parent = adata._adata_ref
        rows = np.arange(parent.n_obs)[adata._oidx]
        columns = slice(None) if use_raw else adata._vidx
        if by_cells is not None:
            return lambda start, stop: by_cells[rows[start:stop]][:, columns]

        def read(start: int, stop: int) -> Any:
            distinct, place = np.unique(rows[start:stop], return_inverse=True)
            return _matrix_of(parent[distinct], layer, use_raw)[place][:, columns]

        return read
    if adata.is_view and not adata.isbacked:
        first = _matrix_of(adata[:1], layer, use_raw)
        if not (sparse.issparse(first) and first.format == "csc"):
            # The matrix of a view is a copy, of all its rows.
            return lambda start, stop: _matrix_of(adata[start:stop], layer, use_raw)
    X = _matrix_of(adata, layer, use_raw)
    if sparse.issparse(X):
        check_array(X, name="the matrix")
        X = to_csr(X)
    return lambda start, stop: X[start:stop]


def _matrix_of(adata: AnnData, layer: str | None, use_raw: bool) -> Any:
    return find_matrix(adata, layer=layer, use_raw=use_raw).X


def _turned(adata: AnnData, place: str) -> sparse.csr_matrix | None:
    """Read a matrix that a file holds gene by gene (CSC), and turn it; None for any other.

    A few cells of it cost as much as all of them.

    Raises
    ------
    InputError
        If it does not fit into memory twice, as it is and turned.
    """
    import h5py
    from anndata.io import sparse_dataset

    if not adata.file.is_open:
        adata.file.open()
    if place not in adata.file:
        return None
    stored = adata.file[place]
    if not isinstance(stored, h5py.Group):
        return None
    matrix = sparse_dataset(stored)
    if matrix.format != "csc":
        return None
    check_fits(
        2 * sum(stored[part].nbytes for part in ("data", "indices", "indptr")),
        name=f"{adata.filename}, which is stored gene by gene (CSC),",
        remedy="Write its matrix anew cell by cell, X.tocsr(): then runs of cells are read.",
    )
    X = matrix.to_memory()
    check_array(X, name="the matrix")
    return to_csr(X)
