"""A trained network and a matrix give latent vectors and reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cellglass.batches import Rows
from cellglass.losses.base import Loss
from cellglass.matrices import CHUNK, Parts
from cellglass.network import AutoencoderNetwork


def encode(network: AutoencoderNetwork, rows: Rows | np.ndarray) -> np.ndarray:
    """Latent vectors of all cells.

    Parameters
    ----------
    network
        A trained network.
    rows
        Preprocessed values, shape (n_cells, n_genes), on the device or as an array.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_latent), float32.
    """
    return _collect(_encode, network, rows, network.encoder[-1].bias.shape[0])


def decode(network: AutoencoderNetwork, Z: np.ndarray, loss: Loss) -> np.ndarray:
    """Cells, on the log-normalised scale, from latent vectors (n_cells, n_latent).

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_genes), float32.
    """
    program = partial(_decode, loss=loss)
    return _collect(program, network, Z, network.decoder[-1].bias.shape[0])


def reconstruct(network: AutoencoderNetwork, rows: Rows | np.ndarray, loss: Loss) -> np.ndarray:
    """Reconstructions of all cells, on the log-normalised scale.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_genes), float32.
    """
    return _collect(partial(_reconstruct, loss=loss), network, rows, rows.shape[1])


def predictions(network: AutoencoderNetwork, rows: Rows, loss: Loss) -> Parts:
    """Reconstructions like :func:`reconstruct`'s, of which no more than asked for is made."""
    program = partial(_reconstruct, loss=loss)
    n_cells, n_genes = rows.shape

    def compute(part: slice) -> np.ndarray:
        return _collect(program, network, rows, n_genes, part)

    return Parts((n_cells, n_genes), compute)


def reconstruction_coordinates(
    network: AutoencoderNetwork, rows: Rows, loss: Loss
) -> np.ndarray | Parts:
    """Reconstructions in coordinates of the subspace that they lie in.

    Where the loss takes the last layer as it is, ŷ = hW + b, reconstructions span no more
    dimensions than h has. With WWᵀ = UΛUᵀ, the distance of ŷ and ŷ' is that of hUΛ^½ and
    h'UΛ^½: whatever depends on distances alone, such as neighbours,
    silhouettes, principal components and t-SNE, comes out the same from n_hidden
    coordinates as from n_genes, at a fraction of the time. Otherwise they are given gene by
    gene, and no more of them than is asked for.

    Returns
    -------
    numpy.ndarray or Parts
        Shape (n_cells, min(n_hidden, n_genes)), or (n_cells, n_genes), float32.
    """
    if not loss.is_linear:
        return predictions(network, rows, loss)
    weight = np.asarray(network.decoder[-1].weight, np.float64)  # (n_hidden, n_genes)
    H = _collect(_last_hidden, network, rows, weight.shape[0])
    values, vectors = np.linalg.eigh(weight @ weight.T)
    values, vectors = values[-weight.shape[1] :], vectors[:, -weight.shape[1] :]
    coordinates: np.ndarray = H @ (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    return coordinates


@jax.jit
def _take(rows: Rows, cells: Array) -> Array:
    return rows.take(cells)


@jax.jit
def _last_hidden(network: AutoencoderNetwork, x: Array) -> Array:
    return network.last_hidden(network.encode(x))


@jax.jit
def _encode(network: AutoencoderNetwork, x: Array) -> Array:
    return network.encode(x)


@partial(jax.jit, static_argnames="loss")
def _decode(network: AutoencoderNetwork, z: Array, *, loss: Loss) -> Array:
    return loss.expression(network.decode(z))


@partial(jax.jit, static_argnames="loss")
def _reconstruct(network: AutoencoderNetwork, x: Array, *, loss: Loss) -> Array:
    return loss.expression(network(x))


def _collect(
    program: Callable[[AutoencoderNetwork, Array], Array],
    network: AutoencoderNetwork,
    rows: Rows | np.ndarray,
    width: int,
    part: slice = slice(None),
) -> np.ndarray:
    """Run a program over a run of cells, always CHUNK at a time, shape (n_cells, width).

    Where there are fewer, the chunk is filled up: matrices of other shapes are multiplied
    in another order, which would show in the last bits, and compiled anew. Products are of
    full 32 bits: an accelerator's own default has fewer, which is enough to train with, but
    a model would not give the same there as on a CPU.
    """
    first, last, _ = part.indices(rows.shape[0])
    out = np.empty((max(last - first, 0), width), np.float32)
    with jax.default_matmul_precision("highest"):
        for start in range(first, last, CHUNK):
            n = min(CHUNK, last - start)
            if isinstance(rows, np.ndarray):
                x = jnp.asarray(np.pad(rows[start : start + n], ((0, CHUNK - n), (0, 0))))
            else:
                cells = np.minimum(np.arange(start, start + CHUNK), last - 1)
                x = _take(rows, jnp.asarray(cells))
            out[start - first : start - first + n] = np.asarray(program(network, x))[:n]
    return out
