"""Squared errors on log-normalised values."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from cellglass.batches import Batch
from cellglass.losses.base import Loss
from cellglass.network import Output


def squared_error(batch: Batch, output: Output) -> Array:
    """(y − ŷ)² of every entry, shape (n_cells, n_genes), on log-normalised values."""
    return jnp.square(batch.y - output.eta)


def expressed(y: Array) -> Array:
    """Entries that are not zero."""
    return y != 0


MSE = Loss(
    name="mse",
    entries=squared_error,
    formula="Σ (y − ŷ)² / (n_cells · n_genes)",
)
NONZERO_MSE = Loss(
    name="nonzero_mse",
    entries=squared_error,
    formula="Σ (y − ŷ·[y ≠ 0])² / Σ [y ≠ 0]",
    counted=expressed,
)
