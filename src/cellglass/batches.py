"""Batches of cells from a matrix that lies on the device, dense or sparse."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import sparse

DENSE_BUDGET_BYTES = 2 * 1024**3
"""A sparse matrix is made dense on the device if the dense one fits in this."""


class Batch(NamedTuple):
    """Some cells, as training passes them.

    Attributes
    ----------
    x
        What the network sees: log-normalised values, shape (n_cells, n_genes).
    y
        What it is to give back, same shape: the same values, except where some are hidden
        from the network.
    size_factors
        Counts of every cell over the total that it was scaled to, shape (n_cells,); None
        where the matrix was not raw counts.
    visible
        True for entries that the loss may see, shape (n_cells, n_genes); None: all.
    """

    x: Array
    y: Array
    size_factors: Array | None = None
    visible: Array | None = None

    @property
    def counts(self) -> Array:
        """Raw counts, shape (n_cells, n_genes).

        They are whole numbers, and y = log(1 + counts / size factor) keeps 24 bits: up to
        about a million rounding gives them back exactly, and no second matrix is held.
        """
        return jnp.round(jnp.expm1(self.y) * self.depth)

    @property
    def depth(self) -> Array:
        """Size factors as a column, (n_cells, 1)."""
        if self.size_factors is None:
            raise TypeError("These cells have no size factors: they were not raw counts.")
        return self.size_factors[:, None]


class Rows(Protocol):
    """A cells × genes matrix on the device that hands out dense batches."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of genes."""

    @property
    def size_factors(self) -> Array | None:
        """Of all cells, shape (n_cells,); None where the matrix was not raw counts."""

    def take(self, cells: Array) -> Array:
        """Rows ``cells`` (shape (B,), integers) as a dense array (B, n_genes)."""

    def batch(self, cells: Array) -> Batch:
        """Rows ``cells`` with all that training needs."""


def _plain_batch(rows: Rows, cells: Array) -> Batch:
    """Hand out cells whose network sees what it is to give back."""
    x, known = rows.take(cells), rows.size_factors
    return Batch(x, x, None if known is None else known[cells])


class DenseRows(eqx.Module):
    """A dense matrix, shape (n_cells, n_genes), float32."""

    values: Array
    size_factors: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of genes."""
        n_cells, n_genes = self.values.shape
        return n_cells, n_genes

    def take(self, cells: Array) -> Array:
        """Gather rows."""
        return self.values[cells]

    def batch(self, cells: Array) -> Batch:
        """Rows ``cells`` with all that training needs."""
        return _plain_batch(self, cells)


class SparseRows(eqx.Module):
    """The non-zero entries of every cell, each row padded to the longest one's length.

    A fixed row length lets the epoch stay one compiled program. A padded slot points
    one past the last gene, where the scatter drops it.
    """

    genes: Array  # (n_cells, longest) integers
    values: Array  # (n_cells, longest) float32
    n_genes: int = eqx.field(static=True)
    size_factors: Array | None = None

    @classmethod
    def from_csr(cls, X: sparse.csr_matrix, size_factors: Array | None = None) -> SparseRows:
        """Lay out a CSR matrix of shape (n_cells, n_genes)."""
        n_cells, n_genes = X.shape
        lengths = np.diff(X.indptr)
        longest = int(lengths.max(initial=0))
        cell = np.repeat(np.arange(n_cells), lengths)
        slot = np.arange(X.nnz) - np.repeat(X.indptr[:-1], lengths)
        genes = np.full((n_cells, longest), n_genes, np.int32)
        values = np.zeros((n_cells, longest), np.float32)
        genes[cell, slot] = X.indices
        values[cell, slot] = X.data
        return cls(jnp.asarray(genes), jnp.asarray(values), n_genes, size_factors)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of genes."""
        return self.genes.shape[0], self.n_genes

    def take(self, cells: Array) -> Array:
        """Scatter the rows' non-zero entries into a dense batch."""
        batch = jnp.zeros((cells.shape[0], self.n_genes), self.values.dtype)
        row = jnp.arange(cells.shape[0])[:, None]
        return batch.at[row, self.genes[cells]].set(self.values[cells], mode="drop")

    def batch(self, cells: Array) -> Batch:
        """Rows ``cells`` with all that training needs."""
        return _plain_batch(self, cells)


class MaskedRows(eqx.Module):
    """A dense matrix of which some entries are hidden, from the network and from the loss.

    The network sees the mean of the gene's visible entries in their place.
    """

    values: Array  # (n_cells, n_genes) float32
    hidden: Array  # (n_cells, n_genes) bool
    fill: Array  # (n_genes,) float32
    size_factors: Array | None = None

    @classmethod
    def hiding(cls, X: np.ndarray, hidden: np.ndarray) -> MaskedRows:
        """Hide entries of a matrix of log-normalised values, shape (n_cells, n_genes)."""
        means = X.mean(axis=0, where=~hidden, dtype=np.float64)
        return cls(
            jnp.asarray(X, jnp.float32), jnp.asarray(hidden), jnp.asarray(means, jnp.float32)
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of genes."""
        n_cells, n_genes = self.values.shape
        return n_cells, n_genes

    def take(self, cells: Array) -> Array:
        """Gather rows as the network sees them."""
        return jnp.where(self.hidden[cells], self.fill, self.values[cells])

    def batch(self, cells: Array) -> Batch:
        """Rows ``cells`` with all that training needs."""
        return Batch(self.take(cells), self.values[cells], None, ~self.hidden[cells])


def on_device(
    X: np.ndarray | sparse.csr_matrix,
    size_factors: np.ndarray | None = None,
    *,
    dense_budget_bytes: int = DENSE_BUDGET_BYTES,
    may_share: bool = False,
) -> Rows:
    """Put a matrix on the device in the form that trains fastest within the budget.

    Parameters
    ----------
    X
        Preprocessed values, shape (n_cells, n_genes), float32; a numpy array or CSR.
    size_factors
        :meth:`cellglass.preprocess.Preprocessor.size_factors` of the cells, which losses
        on counts need.
    dense_budget_bytes
        A CSR matrix whose dense form is larger stays sparse. Training and encoding give
        the same numbers either way.
    may_share
        Whether the memory of a dense matrix may be used as it is, where the device is the
        CPU and :func:`cellglass.matrices.aligned_empty` made it: for whoever sees to it
        that the matrix stays as it is.
    """
    known = None if size_factors is None else jnp.asarray(size_factors, jnp.float32)
    if isinstance(X, np.ndarray):
        if may_share and X.dtype == np.float32:
            return DenseRows(jax.device_put(X, may_alias=True), known)
        return DenseRows(jnp.array(X, jnp.float32), known)  # asarray may share memory
    if X.shape[0] * X.shape[1] * 4 <= dense_budget_bytes:
        return DenseRows(jnp.asarray(X.toarray(), jnp.float32), known)
    return SparseRows.from_csr(X, known)
