"""The symmetric fully connected encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class Dense(eqx.Module):
    """One fully connected layer, x ↦ xW + b.

    Weights start from Glorot's uniform distribution (Glorot & Bengio 2010, eq. 16),
    biases from zero.
    """

    weight: Array  # (n_in, n_out)
    bias: Array  # (n_out,)

    def __init__(self, n_in: int, n_out: int, *, key: Array) -> None:
        limit = (6 / (n_in + n_out)) ** 0.5
        self.weight = jax.random.uniform(key, (n_in, n_out), minval=-limit, maxval=limit)
        self.bias = jnp.zeros(n_out)

    def __call__(self, x: Array) -> Array:
        """Apply the layer to x of shape (n_cells, n_in)."""
        return x @ self.weight + self.bias


class AutoencoderNetwork(eqx.Module):
    """n_genes → n_hidden → n_latent → n_hidden → n_genes, the decoder the mirror.

    Hidden layers have a ReLU; the input, the latent layer and the output have no
    activation, so latent vectors and reconstructions may take any real value.

    Parameters
    ----------
    n_genes
        Width of the input and of the output.
    n_latent
        Width of the bottleneck.
    n_hidden
        Width of every hidden layer.
    n_layers
        Number of hidden layers on either side of the bottleneck. With 0 there is none
        left, and the network is linear: it can then do no better than PCA.
    key
        JAX key that the first weights are drawn with.
    """

    encoder: tuple[Dense, ...]
    decoder: tuple[Dense, ...]

    def __init__(
        self, n_genes: int, n_latent: int, *, n_hidden: int, n_layers: int, key: Array
    ) -> None:
        widths = [n_genes, *[n_hidden] * n_layers, n_latent]
        encoder_key, decoder_key = jax.random.split(key)
        self.encoder = _stack(widths, encoder_key)
        self.decoder = _stack(widths[::-1], decoder_key)

    def encode(self, x: Array) -> Array:
        """Map cells (n_cells, n_genes) to latent vectors (n_cells, n_latent)."""
        return _apply(self.encoder, x)

    def decode(self, z: Array) -> Array:
        """Map latent vectors (n_cells, n_latent) to reconstructions (n_cells, n_genes)."""
        return _apply(self.decoder, z)

    def last_hidden(self, x: Array) -> Array:
        """Map cells to the input of the last layer, (n_cells, n_hidden).

        That is the latent vectors where there are no hidden layers.
        """
        z = self.encode(x)
        return jax.nn.relu(_apply(self.decoder[:-1], z)) if len(self.decoder) > 1 else z

    def __call__(self, x: Array) -> Array:
        """Reconstruct cells (n_cells, n_genes) through the bottleneck."""
        return self.decode(self.encode(x))


def _stack(widths: Sequence[int], key: Array) -> tuple[Dense, ...]:
    keys = jax.random.split(key, len(widths) - 1)
    return tuple(
        Dense(n_in, n_out, key=k)
        for (n_in, n_out), k in zip(pairwise(widths), keys, strict=True)
    )


def _apply(layers: tuple[Dense, ...], x: Array) -> Array:
    for layer in layers[:-1]:
        x = jax.nn.relu(layer(x))  # (B, n_hidden)
    return layers[-1](x)
