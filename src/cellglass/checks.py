"""Every check on what enters, with the message a user reads when it fails.

Each function returns ``None`` when all is well and raises
:class:`~cellglass.errors.InputError` when it is not. Its docstring is the one place
where its rules are written down.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from cellglass.errors import InputError

# A temporary of this many values stays below 10 MB, whatever the matrix is.
CHUNK_VALUES = 1 << 20


def row_chunks(X: Any) -> Iterator[tuple[int, int]]:
    """Cut the rows of a matrix into runs whose temporaries stay small.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Only its shape is looked at, so a dense matrix and its CSR twin are cut at the
        same rows.

    Yields
    ------
    (start, stop) : tuple of int
        Half-open ranges of rows that together cover ``X`` in order.
    """
    n_rows, n_columns = X.shape
    step = max(1, CHUNK_VALUES // max(1, n_columns))
    for start in range(0, n_rows, step):
        yield start, min(start + step, n_rows)


def suggest(value: object, choices: Iterable[object]) -> str:
    """Phrase the closest of some names as a question.

    Parameters
    ----------
    value : object
        What was given.
    choices : iterable
        What would have been accepted.

    Returns
    -------
    str
        ``" Did you mean 'nonzero_mse'?"``, with its leading space, or ``""`` when no
        choice is close.
    """
    names = {str(choice).lower(): str(choice) for choice in choices}
    close = difflib.get_close_matches(str(value).lower(), names, n=1, cutoff=0.6)
    return f" Did you mean {names[close[0]]!r}?" if close else ""


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
    objects; at least one row and one column.

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
    X = X.tocsr() if sparse.issparse(X) else np.asarray(X)

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
        place = describe_place(row, column, cell_names, gene_names)
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
            f"Negative values (the lowest is {lowest:.6g}) suggest a matrix that was "
            "scaled or z-scored: give the matrix from before that step, raw counts or "
            "log-normalised."
        )
    raise InputError(
        f"{name} contains {listed}, but every value must be a finite number of at least 0: "
        f"a raw count or a log-normalised value. {' '.join(remedies)}"
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
    X = X.tocsr() if sparse.issparse(X) else np.asarray(X)
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


def check_labels_length(
    n_labels: int,
    n_cells: int,
    n_genes: int,
    *,
    labels_name: str = "labels",
    matrix_name: str = "the matrix",
    first_label: str | None = None,
) -> None:
    """Check that there is one label for every cell.

    Rule: as many labels as cells. Where there are as many labels as genes instead, the
    message says that the matrix looks transposed; where there is one label too many, it
    says that the first line may be a header.

    Parameters
    ----------
    n_labels, n_cells, n_genes : int
        Number of labels, of rows and of columns.
    labels_name, matrix_name : str
        What to call the two in the message, such as their file names.
    first_label : str, optional
        The first label, quoted where it may be a header; default none.

    Raises
    ------
    InputError
        If the rule is broken.
    """
    if n_labels == n_cells:
        return
    message = (
        f"{labels_name} holds {n_labels:,} label{'s' * (n_labels != 1)}, but {matrix_name} "
        f"holds {n_cells:,} cell{'s' * (n_cells != 1)} (rows) × {n_genes:,} "
        f"gene{'s' * (n_genes != 1)} (columns); there must be exactly one label for every "
        "cell, in the order of the rows."
    )
    quoted = f" ({first_label!r})" if first_label else ""
    header = (
        f" One label too many may mean that the first line{quoted} is a header: remove "
        "that line if it is."
    )
    if n_labels == n_genes:
        message += (
            " There are as many labels as genes, so the matrix looks transposed, genes × "
            "cells: save it as cells × genes, for instance with np.save(path, X.T) or "
            "adata.T.write_h5ad(path)."
        )
        if n_labels == n_cells + 1:
            message += header
    elif n_labels == n_cells + 1:
        message += header
    else:
        message += " Check that both come from the same set of cells, after the same filtering."
    raise InputError(message)


def _is_whole(value: object) -> bool:
    """Whether a value is an integer; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def _shown(value: object) -> object:
    """Turn a NumPy number, whose repr is ``np.float64(0.5)``, into what was written."""
    return value.item() if isinstance(value, np.generic) else value


def check_n_latent(n_latent: int | Sequence[int], n_cells: int, n_genes: int) -> None:
    """Check the sizes of the bottleneck against the matrix.

    Rules: at least one size; each a whole number of at least 1, and no larger than the
    number of genes or the number of cells; none twice.

    Parameters
    ----------
    n_latent : int or sequence of int
        The size, or all sizes, of the latent layer.
    n_cells, n_genes : int
        Rows and columns of the matrix.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if isinstance(n_latent, str) or not isinstance(n_latent, Iterable):
        n_latent = [n_latent]
    sizes = list(n_latent)
    if not sizes:
        raise InputError(
            "n_latent is empty, but at least one size of the latent layer is needed: give "
            "for instance n_latent=10."
        )
    for place, size in enumerate(sizes):
        if not _is_whole(size) or size < 1:
            raise InputError(
                f"n_latent is {_shown(size)!r}, but the size of the latent layer must be a "
                "whole number of at least 1, such as 10."
            )
        for limit, noun in ((n_genes, "genes (columns)"), (n_cells, "cells (rows)")):
            if size > limit:
                raise InputError(
                    f"n_latent is {size}, but the matrix has only {limit:,} {noun}, and "
                    "the latent layer must not be larger than that. Give an n_latent of at "
                    f"most {min(n_genes, n_cells)}."
                )
        if size in sizes[:place]:
            raise InputError(
                f"n_latent names {size} twice, but each size is trained once: give each "
                "size only once. To repeat a training, ask for more seeds."
            )


def check_choice(option: str, value: object, choices: Iterable[str]) -> None:
    """Check an option that takes one of a few words.

    Rule: the value is one of the choices, spelt exactly so.

    Parameters
    ----------
    option : str
        Name of the option, as the user writes it.
    value : object
        What was given.
    choices : iterable of str
        What is accepted.

    Raises
    ------
    InputError
        If the rule is broken; the message lists the choices and offers the closest.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        listed = ", ".join(repr(choice) for choice in known)
        raise InputError(
            f"{option} is {value!r}, which is not known.{suggest(value, known)} "
            f"It must be one of {listed}."
        )


def check_range(
    option: str,
    value: object,
    *,
    low: float | None = None,
    high: float | None = None,
    low_inclusive: bool = True,
    high_inclusive: bool = True,
    integer: bool = False,
) -> None:
    """Check an option that takes a number.

    Rules: a real number, no text, no boolean, neither NaN nor infinite; a whole one
    where ``integer`` is set (then 3 is taken and 3.0 is not); within the bounds.

    Parameters
    ----------
    option : str
        Name of the option, as the user writes it.
    value : object
        What was given.
    low, high : float, optional
        Bounds; default none.
    low_inclusive, high_inclusive : bool, default True
        Whether the bound itself is accepted.
    integer : bool, default False
        Whether only whole numbers are accepted.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    bounds = []
    if low is not None:
        bounds.append(f"of at least {low:,}" if low_inclusive else f"greater than {low:,}")
    if high is not None:
        bounds.append(f"at most {high:,}" if high_inclusive else f"less than {high:,}")
    kind = "whole number" if integer else "number"
    expected = f"a {kind}" + (f" {' and '.join(bounds)}" if bounds else "")

    fine = _is_whole(value) or (
        not integer and isinstance(value, numbers.Real) and not isinstance(value, bool)
    )
    if fine:
        number = float(value)  # type: ignore[arg-type]
        fine = math.isfinite(number)
        if low is not None:
            fine = fine and (number >= low if low_inclusive else number > low)
        if high is not None:
            fine = fine and (number <= high if high_inclusive else number < high)
    if not fine:
        raise InputError(f"{option} is {_shown(value)!r}, but it must be {expected}.")
