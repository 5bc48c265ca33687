"""Squared errors on log-normalised values."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from cellglass.losses.base import Loss


def mse_terms(y: Array, y_hat: Array) -> tuple[Array, Array]:
    """Squared error over all entries, and their number.

    Parameters
    ----------
    y
        Log-normalised values, shape (n_cells, n_genes).
    y_hat
        Their reconstruction, same shape.

    Returns
    -------
    tuple of Array
        Σ_g (y − ŷ)² and n_genes for every cell, each of shape (n_cells,).
    """
    n_cells, n_genes = y.shape
    return jnp.square(y - y_hat).sum(axis=1), jnp.full(n_cells, n_genes, y.dtype)


def nonzero_mse_terms(y: Array, y_hat: Array) -> tuple[Array, Array]:
    """Squared error over the non-zero entries, and their number.

    Masking the prediction, ``y − ŷ·[y ≠ 0]``, makes the difference at a zero exactly
    zero, so nothing that is predicted there changes the loss or its gradient.

    Parameters
    ----------
    y
        Log-normalised values, shape (n_cells, n_genes).
    y_hat
        Their reconstruction, same shape.

    Returns
    -------
    tuple of Array
        Σ_g (y − ŷ·[y ≠ 0])² and Σ_g [y ≠ 0] for every cell, each of shape (n_cells,).
    """
    expressed = (y != 0).astype(y.dtype)  # (B, n_genes)
    return jnp.square(y - y_hat * expressed).sum(axis=1), expressed.sum(axis=1)


MSE = Loss(
    name="mse",
    terms=mse_terms,
    formula="Σ (y − ŷ)² / (n_cells · n_genes)",
    penalises_zeros=True,
)
NONZERO_MSE = Loss(
    name="nonzero_mse",
    terms=nonzero_mse_terms,
    formula="Σ (y − ŷ·[y ≠ 0])² / Σ [y ≠ 0]",
    penalises_zeros=False,
)
