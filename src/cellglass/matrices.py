"""Brings sparse matrices into canonical CSR, and cuts matrices into runs of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

# A temporary of this many values stays below 10 MB, whatever the matrix is.
CHUNK_VALUES = 1 << 20

CHUNK = 512
"""Cells that are encoded, and held in float64, at a time: enough to keep the cores busy, few
enough to fill up for one."""


ALIGNMENT = 64
"""Bytes that the device wants memory to begin at a multiple of."""


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Make an array like ``numpy.empty``'s whose memory the device can use as it is."""
    n_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


@dataclass(frozen=True)
class Parts:
    """A dense matrix of which runs of rows are computed whenever they are asked for.

    Attributes
    ----------
    shape
        Rows and columns.
    compute
        Gives the rows of a slice.
    """

    shape: tuple[int, int]
    compute: Callable[[slice], np.ndarray]

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.compute(part)

    def __len__(self) -> int:
        return self.shape[0]


def all_finite(X: np.ndarray | Parts) -> bool:
    """Tell whether no value is infinite or NaN, looking at a few rows at a time."""
    return all(
        bool(np.isfinite(X[start : start + CHUNK]).all()) for start in range(0, len(X), CHUNK)
    )


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


def sample_rows(n_rows: int, at_most: int, random_state: int) -> np.ndarray:
    """Give all rows, or of more than `at_most` a random sample of so many, sorted."""
    if n_rows <= at_most:
        return np.arange(n_rows)
    rng = np.random.default_rng(random_state)
    return np.sort(rng.choice(n_rows, at_most, replace=False))


def nonzeros(
    X: np.ndarray | sparse.csr_matrix,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the entries that are not 0, row after row.

    Parameters
    ----------
    X
        Dense, or canonical CSR, shape (n_rows, n_columns); stored zeros are passed over.

    Returns
    -------
    rows, columns, values
        Of every such entry, all of one length.
    """
    if isinstance(X, np.ndarray):
        # Several times as fast as numpy.nonzero of two dimensions.
        rows, columns = np.divmod(np.flatnonzero(X != 0), X.shape[1])
        return rows, columns, X[rows, columns]
    rows, columns = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), X.indices
    there = X.data != 0
    if there.all():
        return rows, columns, X.data
    return rows[there], columns[there], X.data[there]


def to_csr(X: Any) -> sparse.csr_matrix:
    """Bring a sparse matrix or array of any format into canonical CSR.

    Parameters
    ----------
    X : sparse matrix or sparse array, shape (n_cells, n_genes)
        Any values. Never modified; its parts must fit together, which
        :func:`cellglass.checks.check_array` makes sure of.

    Returns
    -------
    scipy.sparse.csr_matrix
        Sorted indices, no place twice, in this machine's byte order; zeros that were
        stored stay. Entries of one place are added up, in 64 bits if they are whole
        numbers: in the eight of ``int8``, 100 + 100 would be −56. The type of number is
        that of ``X`` wherever the sums fit into it. Shares its memory with ``X`` if that
        was canonical already.
    """
    dtype = X.dtype.newbyteorder("=")
    if X.format == "csr" and X.has_canonical_format:
        return sparse.csr_matrix(X).astype(dtype, copy=False)
    narrow = dtype.kind in "iu" and dtype.itemsize < 8
    Y = sparse.csr_matrix(X.astype(np.int64 if narrow else dtype))
    Y.sum_duplicates()
    if narrow and Y.nnz:
        limits = np.iinfo(dtype)
        narrow = bool(limits.min <= Y.data.min() and Y.data.max() <= limits.max)
    return Y.astype(dtype) if narrow else Y
