"""Every check on the values of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from cellglass.errors import InputError
from cellglass.matrices import row_chunks, to_csr


def describe_place(
    row: int,
    column: int,
    cell_names: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
) -> str:
    """Say in words where in the matrix a value stands.

    Parameters
    ----------
    row, column : int
        Position, counted from 0.
    cell_names, gene_names : sequence of str, optional
        Names of all cells and of all genes; default none.

    Returns
    -------
    str
        For instance ``"cell 2 (row 2, 'AAAC-1') and gene 7 (column 7, 'CD3E')"``,
        counted from 1.
    """
    cell = f", {str(cell_names[row])!r}" if cell_names is not None else ""
    gene = f", {str(gene_names[column])!r}" if gene_names is not None else ""
    return (
        f"cell {row + 1:,} (row {row + 1:,}{cell}) and "
        f"gene {column + 1:,} (column {column + 1:,}{gene})"
    )


def check_array(X: Any, *, name: str) -> None:
    """Check that something is a matrix of real numbers with something in it.

    Rules: an array or sparse matrix; exactly two dimensions; whole, floating or
    boolean numbers (booleans count as 0 and 1), neither complex nor text nor Python
    objects; at least one row and one column; no entry of a masked array is masked; the
    parts of a sparse matrix fit together, so that none of its entries lies outside.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Raw counts or log-normalised values.
    name : str
        What to call the matrix in the message, such as its file name.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    if shape is None or dtype is None:
        raise InputError(
            f"{name} is a {type(X).__name__}, but a matrix is needed: give a NumPy array "
            "or a SciPy sparse matrix of cells × genes."
        )
    if len(shape) != 2:
        raise InputError(
            f"{name} is an array with {len(shape)} dimension{'s' * (len(shape) != 1)} "
            f"(shape {tuple(shape)}), but a matrix with two is needed, one row a cell and "
            "one column a gene. Reshape it, or take the matrix out of it, and save that."
        )
    kind = np.dtype(dtype).kind
    if kind not in "buif":
        what = "complex numbers" if kind == "c" else "no plain numbers"
        raise InputError(
            f"{name} holds {what} (data type {dtype}), but every value must be a real "
            "number, a raw count or a log-normalised one. Convert the matrix to float32 "
            "or to a whole-number type and save it again."
        )
    if 0 in shape:
        raise InputError(
            f"{name} holds {shape[0]:,} cells and {shape[1]:,} genes, so there is nothing "
            "to learn from. Check the step that wrote it: a filter may have removed "
            "everything."
        )
    if np.ma.is_masked(X):
        places = np.argwhere(np.ma.getmaskarray(X))
        raise InputError(
            f"{name} is a masked array with {len(places):,} masked, that is missing, "
            f"value{'s' * (len(places) != 1)}, the first at {describe_place(*places[0])}, "
            "but every value is needed: fill them in with X.filled(...), or remove these "
            "cells or genes."
        )
    if sparse.issparse(X) and not _fits_together(X):
        raise InputError(
            f"{name} is a sparse matrix whose parts do not fit together: some of its entries "
            f"lie outside its {shape[0]:,} cells × {shape[1]:,} genes. It is probably "
            "damaged. Make it anew from where it came from."
        )


def _fits_together(X: Any) -> bool:
    """Whether all entries of a sparse matrix lie inside it.

    SciPy looks at that for the other formats, but not for these three, and would read and
    write outside of their memory.
    """
    if X.format not in ("csr", "csc", "bsr"):
        return True
    height, width = getattr(X, "blocksize", (1, 1))
    n_major, n_minor = X.shape[0] // height, X.shape[1] // width
    if X.format == "csc":
        n_major, n_minor = n_minor, n_major
    indptr, indices = X.indptr, X.indices
    return bool(
        len(indptr) == n_major + 1
        and indptr[0] == 0
        and indptr[-1] <= min(len(indices), len(X.data))
        and np.all(indptr[1:] >= indptr[:-1])
        and indices.min(initial=0) >= 0
        and indices.max(initial=-1) < n_minor
    )


class _Tally:
    """How often one kind of bad value occurs, and where first."""

    def __init__(self, one: str, many: str) -> None:
        self.one, self.many = one, many
        self.count = 0
        self.first: tuple[int, int] | None = None

    def add(self, mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Count the marked values, whose places come row by row."""
        found = np.flatnonzero(mask)
        if found.size and self.first is None:
            top = found[rows[found] == rows[found[0]]]
            self.first = int(rows[found[0]]), int(columns[top].min())
        self.count += found.size


def _suspects(X: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield values, rows and columns of each chunk that is not plainly fine."""
    for start, stop in row_chunks(X):
        chunk = X[start:stop]
        values = chunk.data if sparse.issparse(chunk) else chunk
        if not values.size:
            continue
        with np.errstate(invalid="ignore"):
            # Both comparisons are false for NaN, so it never counts as fine.
            if values.min() >= 0 and values.max() < np.inf:
                continue
        if sparse.issparse(chunk):
            rows = np.repeat(np.arange(start, stop), np.diff(chunk.indptr))
            yield values, rows, chunk.indices
        else:
            rows, columns = np.indices(chunk.shape, sparse=True)
            wide = (rows + start, columns)
            places = [np.broadcast_to(part, chunk.shape).ravel() for part in wide]
            yield np.ravel(values), places[0], places[1]


def check_matrix(
    X: Any,
    *,
    name: str,
    cell_names: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
    least_cells: int = 3,
    first_row: int = 0,
) -> None:
    """Check every value of a matrix before anything is done with it.

    Rules, beyond those of :func:`check_array`: at least ``least_cells`` cells; no value is
    missing (NaN), infinite or negative. Constant genes and empty cells break no rule, see
    :func:`find_constant_genes`. The scan is in full, run of rows after run of rows; of
    a sparse matrix it reads the stored values only.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Raw counts or log-normalised values. Sparse formats other than CSR are
        converted first.
    name : str
        What to call the matrix in the message, such as its file name.
    cell_names, gene_names : sequence of str, optional
        Names for the message; default none, then only the numbers are said.
    least_cells : int, default 3
        Fewest cells: two to learn from and one held out.
    first_row : int, default 0
        Where ``X`` is a run of rows of a larger matrix: the row of its first cell there,
        from 0, so that messages name the larger one's cells. ``cell_names`` are those of
        the larger one.

    Raises
    ------
    InputError
        If a rule is broken: how many values break it, where the first is, and what to
        do about it.
    """
    check_array(X, name=name)
    n_cells, n_genes = X.shape
    if n_cells < least_cells:
        raise InputError(
            f"{name} holds {n_cells} cell{'s' * (n_cells != 1)} (rows) and {n_genes:,} "
            f"gene{'s' * (n_genes != 1)} (columns), but at least {least_cells} cells are "
            "needed. If the genes stand in the rows, transpose the matrix."
        )
    if np.dtype(X.dtype).kind in "bu":
        return
    X = to_csr(X) if sparse.issparse(X) else np.asarray(X)

    missing = _Tally("missing value (NaN)", "missing values (NaN)")
    infinite = _Tally("infinite value", "infinite values")
    negative = _Tally("negative value", "negative values")
    lowest = 0.0
    for values, rows, columns in _suspects(X):
        missing.add(np.isnan(values), rows, columns)
        infinite.add(np.isinf(values), rows, columns)
        below = (values < 0) & ~np.isinf(values)
        negative.add(below, rows, columns)
        lowest = min(lowest, values[below].min(initial=0))
    found = [tally for tally in (missing, infinite, negative) if tally.count]
    if not found:
        return

    parts = []
    for tally in found:
        row, column = tally.first or (0, 0)
        place = describe_place(first_row + row, column, cell_names, gene_names)
        noun = tally.one if tally.count == 1 else tally.many
        where = "at" if tally.count == 1 else "the first at"
        value = f" is {X[row, column]:.6g}" if tally is negative else ""
        parts.append(f"{tally.count:,} {noun} ({where} {place}{value})")
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    remedies = []
    if missing.count:
        remedies.append(
            "A missing value often comes from an empty field, a row that is too short or "
            "a division by zero: fill it in, or remove the cell or the gene."
        )
    if infinite.count:
        remedies.append(
            "An infinite value often comes from the logarithm of zero or a division by "
            "zero: use log(1 + x), and leave out cells without counts."
        )
    if negative.count:
        remedies.append(
            f"Negative values in data (the lowest is {lowest:.6g}) suggest a matrix that was "
            "scaled or z-scored: give the matrix from before that step, raw counts or "
            "log-normalised."
        )
    raise InputError(
        f"{name} contains {listed}, but every value must be a finite number of at least 0: "
        f"a raw count or a log-normalised value. {' '.join(remedies)}"
    )


def check_counts(
    X: Any,
    *,
    name: str,
    loss: str,
    remedy: str,
    cell_names: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
) -> None:
    """Check that every value is a count that its likelihood can be computed of.

    Rules: it is a whole number, and at most 1e9, beyond which likelihoods in 32 bits are no
    longer finite.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Values that passed :func:`check_matrix`.
    name : str
        What to call the matrix in the message.
    loss : str
        What needs counts.
    remedy : str
        What to do about values that are not whole numbers.
    cell_names, gene_names : sequence of str, optional
        Names for the message.

    Raises
    ------
    InputError
        If a rule is broken: how many values break it, and where the first one is.
    """
    if sparse.issparse(X):
        X = to_csr(X)
    above = f"above {LARGEST_COUNT_OF_A_LOSS:.0e}, the largest that it can be computed of"
    rules = (
        (
            lambda values: values != np.floor(values),
            ("value of {} is not a whole number", "values of {} are not whole numbers"),
            remedy,
        ),
        (
            lambda values: values > LARGEST_COUNT_OF_A_LOSS,
            (f"value of {{}} is {above}", f"values of {{}} are {above}"),
            "No sequencer gives such counts: remove these cells or genes.",
        ),
    )
    for breaks, (one, many), advice in rules[np.dtype(X.dtype).kind in "biu" :]:
        found = _tally(X, breaks)
        if found.first is not None:
            row, column = found.first
            what = (one if found.count == 1 else many).format(name)
            place = describe_place(row, column, cell_names, gene_names)
            raise InputError(
                f"The loss {loss} needs raw counts, but {found.count:,} {what}; the first is "
                f"{X[row, column]:.9g} at {place}. {advice}"
            )


def _tally(X: Any, breaks: Callable[[np.ndarray], np.ndarray]) -> _Tally:
    """Count the values of a matrix, dense or canonical CSR, that break a rule."""
    tally = _Tally("value", "values")
    for start, stop in row_chunks(X):
        chunk = X[start:stop]
        odd = breaks(chunk.data if sparse.issparse(chunk) else np.asarray(chunk))
        if not odd.any():
            continue
        if sparse.issparse(chunk):
            rows = np.repeat(np.arange(start, stop), np.diff(chunk.indptr))
            tally.add(odd, rows, chunk.indices)
        else:
            rows, columns = np.indices(chunk.shape, sparse=True)
            places = [np.broadcast_to(p, chunk.shape).ravel() for p in (rows + start, columns)]
            tally.add(odd.ravel(), *places)
    return tally


# Where 32-bit numbers end.
LARGEST_COUNT = float(np.finfo(np.float32).max)

# Gradients grow with the square of a value and Adam squares them once more: the fourth
# power, 1e36 here, must stay below 3.4e38. Sums of squares over any batch do so by far.
LARGEST_USED_AS_IS = 1e9

# Of NumPy's own type, so that narrow floats are widened to be compared.
LARGEST_COUNT_OF_A_LOSS = np.float64(1e9)


def check_largest(X: Any, *, counts: bool, first_row: int = 0) -> None:
    """Check that no value of a matrix is too large to be trained on.

    Training computes with 32-bit numbers, which end at 3.4e38. Rules: a raw count, which
    is normalised in 64 bits first, may be as large as that; a value that is used as it is
    may be at most 1e9 (see ``LARGEST_USED_AS_IS``), beyond which no log-normalised value
    comes near. A missing value (NaN) breaks both.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Raw counts or log-normalised values that passed :func:`check_array`.
    counts : bool
        Whether they are raw counts.
    first_row : int, default 0
        As in :func:`check_matrix`.

    Raises
    ------
    InputError
        If a rule is broken, with the first value that does and its place.
    """
    # A Python float would be rounded to the matrix's own type, which may be 16-bit.
    limit = np.float64(LARGEST_COUNT if counts else LARGEST_USED_AS_IS)
    X = to_csr(X) if sparse.issparse(X) else X
    for start, stop in row_chunks(X):
        chunk = X[start:stop]
        values = chunk.data if sparse.issparse(chunk) else np.asarray(chunk)
        # `not (a <= b)` is also true for NaN, which must not get past either.
        if not values.size or (-limit <= values.min() and values.max() <= limit):
            continue
        dense = chunk.toarray() if sparse.issparse(chunk) else values
        row, column = np.argwhere(~((-limit <= dense) & (dense <= limit)))[0].tolist()
        place = describe_place(first_row + start + row, column)
        rule = (
            f"which end at {limit:.3g}. Give raw counts or log-normalised values, whose size "
            "stays far below that."
            if counts
            else f'and values that are used as they are (input="log") may be at most '
            f"{limit:.3g}, so that the squares of gradients do not overflow. Take log(1 + x) "
            'first; if they are raw counts, give input="counts".'
        )
        raise InputError(
            f"The value {dense[row, column]:.6g} at {place} cannot be used: training computes "
            f"with 32-bit numbers, {rule}"
        )


class ConstantGenes(NamedTuple):
    """Genes and cells that tell nothing: kept, and reported.

    Attributes
    ----------
    zero_genes : numpy.ndarray of int, shape (n_zero_genes,)
        Columns, from 0, of genes that are 0 in every cell.
    constant_genes : numpy.ndarray of int, shape (n_constant_genes,)
        Columns, from 0, of genes with one and the same value, not 0, in every cell.
    zero_cells : numpy.ndarray of int, shape (n_zero_cells,)
        Rows, from 0, of cells that are 0 in every gene.
    """

    zero_genes: np.ndarray
    constant_genes: np.ndarray
    zero_cells: np.ndarray

    @property
    def n_zero_genes(self) -> int:
        """Number of genes that are 0 in every cell."""
        return len(self.zero_genes)

    @property
    def n_constant_genes(self) -> int:
        """Number of genes with the same value, not 0, in every cell."""
        return len(self.constant_genes)

    @property
    def n_zero_cells(self) -> int:
        """Number of cells that are 0 in every gene."""
        return len(self.zero_cells)


def find_constant_genes(X: Any) -> ConstantGenes:
    """Find genes that never vary and cells without any value.

    Nothing found here is an error: such genes and cells stay in the matrix, and the
    report says how many there are.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Raw counts or log-normalised values that passed :func:`check_matrix`.

    Returns
    -------
    ConstantGenes
        Positions and counts.
    """
    X = to_csr(X) if sparse.issparse(X) else np.asarray(X)
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    empty = []
    for start, stop in row_chunks(X):
        chunk = X[start:stop]
        if sparse.issparse(chunk):
            chunk_low = chunk.min(axis=0).toarray().ravel()
            chunk_high = chunk.max(axis=0).toarray().ravel()
            stored = np.concatenate([[0], np.cumsum(chunk.data != 0)])
            any_value = stored[chunk.indptr[1:]] > stored[chunk.indptr[:-1]]
        else:
            chunk_low, chunk_high = chunk.min(axis=0), chunk.max(axis=0)
            any_value = chunk.any(axis=1)
        low = chunk_low if low is None else np.minimum(low, chunk_low)
        high = chunk_high if high is None else np.maximum(high, chunk_high)
        empty.append(start + np.flatnonzero(~any_value))
    if low is None or high is None:
        nothing = np.empty(0, dtype=np.intp)
        return ConstantGenes(nothing, nothing, nothing)
    constant = low == high
    return ConstantGenes(
        zero_genes=np.flatnonzero(constant & (high == 0)),
        constant_genes=np.flatnonzero(constant & (high != 0)),
        zero_cells=np.concatenate(empty),
    )
