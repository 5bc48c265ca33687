"""A trained network and a matrix give latent vectors and reconstructions."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cellglass.batches import Rows
from cellglass.network import AutoencoderNetwork

CHUNK = 1024
"""Cells encoded at a time: wide enough to keep the cores busy, small enough for memory."""


def encode(network: AutoencoderNetwork, rows: Rows) -> np.ndarray:
    """Latent vectors of all cells.

    Parameters
    ----------
    network
        A trained network.
    rows
        Preprocessed values, shape (n_cells, n_genes).

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_latent), float32.
    """
    return np.concatenate([np.asarray(z)[:n] for z, n in _chunks(_encode, network, rows)])


def reconstruct(network: AutoencoderNetwork, rows: Rows) -> np.ndarray:
    """Reconstructions of all cells, on the scale of the input.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_genes), float32.
    """
    out = np.empty(rows.shape, np.float32)
    start = 0
    for x_hat, n in _chunks(_reconstruct, network, rows):
        out[start : start + n] = x_hat[:n]
        start += n
    return out


def reconstruction_coordinates(network: AutoencoderNetwork, rows: Rows) -> np.ndarray:
    """Reconstructions in coordinates of the subspace that they lie in.

    The last layer is linear, ŷ = hW + b, so reconstructions span no more dimensions than
    h has. With Wᵀ = QR, the distance of ŷ and ŷ' is that of hRᵀ and h'Rᵀ, because Q keeps
    distances: whatever depends on distances alone, such as neighbours, silhouettes,
    principal components and t-SNE, comes out the same from n_hidden coordinates as from
    n_genes, at a fraction of the time.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, min(n_hidden, n_genes)), float32.
    """
    H = np.concatenate([np.asarray(h)[:n] for h, n in _chunks(_last_hidden, network, rows)])
    weight = np.asarray(network.decoder[-1].weight, np.float64)  # (n_hidden, n_genes)
    R = np.linalg.qr(weight.T).R
    return (H @ R.T).astype(np.float32)


@jax.jit
def _last_hidden(network: AutoencoderNetwork, rows: Rows, cells: Array) -> Array:
    return network.last_hidden(rows.take(cells))


@jax.jit
def _encode(network: AutoencoderNetwork, rows: Rows, cells: Array) -> Array:
    return network.encode(rows.take(cells))


@jax.jit
def _reconstruct(network: AutoencoderNetwork, rows: Rows, cells: Array) -> Array:
    return network(rows.take(cells))


def _chunks(
    program: jax.stages.Wrapped, network: AutoencoderNetwork, rows: Rows
) -> Iterator[tuple[Array, int]]:
    """Run a program over all cells; the last chunk repeats a cell to keep its shape."""
    n_cells = rows.shape[0]
    width = min(CHUNK, n_cells)
    for start in range(0, n_cells, width):
        cells = np.minimum(np.arange(start, start + width), n_cells - 1)
        yield program(network, rows, jnp.asarray(cells)), min(width, n_cells - start)
