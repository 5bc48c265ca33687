"""Batches of cells from a matrix that lies on the device, dense or sparse."""

from __future__ import annotations

from typing import Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import sparse

DENSE_BUDGET_BYTES = 2 * 1024**3
"""A sparse matrix is made dense on the device if the dense one fits in this."""


class Rows(Protocol):
    """A cells × genes matrix on the device that hands out dense batches."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of genes."""

    def take(self, cells: Array) -> Array:
        """Rows ``cells`` (shape (B,), integers) as a dense array (B, n_genes)."""


class DenseRows(eqx.Module):
    """A dense matrix, shape (n_cells, n_genes), float32."""

    values: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of genes."""
        n_cells, n_genes = self.values.shape
        return n_cells, n_genes

    def take(self, cells: Array) -> Array:
        """Gather rows."""
        return self.values[cells]


class SparseRows(eqx.Module):
    """The non-zero entries of every cell, each row padded to the longest one's length.

    A fixed row length lets the epoch stay one compiled program. A padded slot points
    one past the last gene, where the scatter drops it.
    """

    genes: Array  # (n_cells, longest) integers
    values: Array  # (n_cells, longest) float32
    n_genes: int = eqx.field(static=True)

    @classmethod
    def from_csr(cls, X: sparse.csr_matrix) -> SparseRows:
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
        return cls(jnp.asarray(genes), jnp.asarray(values), n_genes)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells, number of genes."""
        return self.genes.shape[0], self.n_genes

    def take(self, cells: Array) -> Array:
        """Scatter the rows' non-zero entries into a dense batch."""
        batch = jnp.zeros((cells.shape[0], self.n_genes), self.values.dtype)
        row = jnp.arange(cells.shape[0])[:, None]
        return batch.at[row, self.genes[cells]].set(self.values[cells], mode="drop")


def on_device(
    X: np.ndarray | sparse.csr_matrix, *, dense_budget_bytes: int = DENSE_BUDGET_BYTES
) -> Rows:
    """Put a matrix on the device in the form that trains fastest within the budget.

    Parameters
    ----------
    X
        Preprocessed values, shape (n_cells, n_genes), float32; a numpy array or CSR.
    dense_budget_bytes
        A CSR matrix whose dense form is larger stays sparse. Training and encoding give
        the same numbers either way.
    """
    if isinstance(X, np.ndarray):
        return DenseRows(jnp.asarray(X, jnp.float32))
    if X.shape[0] * X.shape[1] * 4 <= dense_budget_bytes:
        return DenseRows(jnp.asarray(X.toarray(), jnp.float32))
    return SparseRows.from_csr(X)
