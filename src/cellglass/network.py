"""The symmetric fully connected encoder and decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

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

    @classmethod
    def zeros(cls, n_in: int, n_out: int) -> Dense:
        """Make a layer that begins with an output of 0, whatever it is given."""
        layer = cls(n_in, n_out, key=jax.random.key(0))
        return eqx.tree_at(lambda d: d.weight, layer, jnp.zeros((n_in, n_out)))

    def __call__(self, x: Array) -> Array:
        """Apply the layer to x of shape (n_cells, n_in)."""
        return x @ self.weight + self.bias


class Output(NamedTuple):
    """What a network gives for a batch of cells.

    Attributes
    ----------
    eta
        Of the last layer, shape (n_cells, n_genes). What it means is the loss's: the
        log-normalised values themselves, or the logarithm of a mean.
    heads
        Further values by cell and gene that a loss asked for, each of shape (n_cells,
        n_genes), by name.
    gene_parameters
        Values by gene that a loss asked for, each of shape (n_genes,), by name.
    """

    eta: Array
    heads: dict[str, Array]
    gene_parameters: dict[str, Array]


@dataclass(frozen=True)
class Noise:
    """What disturbs a network while it is trained, and never afterwards.

    Attributes
    ----------
    dropout_rate
        Share of the hidden values that each cell loses; those left are scaled up so that
        their mean stays (Srivastava et al. 2014).
    input_noise
        Standard deviation of Gaussian noise on the log-normalised values that the encoder
        sees; what is to be given back stays as it is (denoising autoencoder, Vincent et
        al. 2008).
    """

    dropout_rate: float = 0.0
    input_noise: float = 0.0


class AutoencoderNetwork(eqx.Module):
    """n_genes → n_hidden → n_latent → n_hidden → n_genes, the decoder the mirror.

    Hidden layers have a ReLU; the input, the latent layer and the output have no
    activation, so latent vectors and outputs may take any real value.

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
    heads
        Names of further last layers, each with values by cell and gene.
    gene_parameters
        Names of parameters with one value a gene; they begin at 0.
    variational
        Whether the encoder gives a Gaussian distribution of latent vectors, by its mean
        and the logarithm of its variances, instead of one vector (Kingma & Welling 2014).
    key
        JAX key that the first weights are drawn with.
    """

    encoder: tuple[Dense, ...]
    decoder: tuple[Dense, ...]
    log_variance: Dense | None
    heads: dict[str, Dense]
    gene_parameters: dict[str, Array]

    def __init__(
        self,
        n_genes: int,
        n_latent: int,
        *,
        n_hidden: int,
        n_layers: int,
        heads: Sequence[str] = (),
        gene_parameters: Sequence[str] = (),
        variational: bool = False,
        key: Array,
    ) -> None:
        widths = [n_genes, *[n_hidden] * n_layers, n_latent]
        encoder_key, decoder_key = jax.random.split(key)
        self.encoder = _stack(widths, encoder_key)
        self.decoder = _stack(widths[::-1], decoder_key)
        # Drawn from keys of their own: the weights above are the same with or without.
        self.log_variance = Dense.zeros(widths[-2], n_latent) if variational else None
        self.heads = {
            name: Dense(
                widths[1] if n_layers else n_latent, n_genes, key=jax.random.fold_in(key, i)
            )
            for i, name in enumerate(heads, start=1)
        }
        self.gene_parameters = {name: jnp.zeros(n_genes) for name in gene_parameters}

    @property
    def n_latent(self) -> int:
        """Width of the bottleneck."""
        return int(self.encoder[-1].bias.shape[0])

    def encode(self, x: Array) -> Array:
        """Map cells (n_cells, n_genes) to latent vectors (n_cells, n_latent).

        Of a variational network these are the means.
        """
        return self.encoder[-1](_hidden(self.encoder[:-1], x))

    def last_hidden(self, z: Array) -> Array:
        """Map latent vectors to the input of the last layer, (n_cells, n_hidden).

        That is the latent vectors where there are no hidden layers.
        """
        return _hidden(self.decoder[:-1], z)

    def decode(self, z: Array) -> Output:
        """Map latent vectors (n_cells, n_latent) to outputs for every gene."""
        return self._outputs(self.last_hidden(z))

    def __call__(self, x: Array) -> Output:
        """Pass cells (n_cells, n_genes) through the bottleneck."""
        return self.decode(self.encode(x))

    def disturbed(self, x: Array, noise: Noise, key: Array) -> tuple[Output, Array]:
        """Pass cells through the bottleneck as in training.

        Returns
        -------
        tuple of Output and Array
            The outputs; and for every cell and latent dimension, shape (n_cells, n_latent),
            the Kullback–Leibler divergence of its latent distribution from the standard
            normal one, in nats (Kingma & Welling 2014, appendix B). It is 0 unless the
            network is variational.
        """
        input_key, encoder_key, latent_key, decoder_key = jax.random.split(key, 4)
        if noise.input_noise:
            x = x + noise.input_noise * jax.random.normal(input_key, x.shape)
        h = _hidden(self.encoder[:-1], x, noise.dropout_rate, encoder_key)
        z = self.encoder[-1](h)  # (B, n_latent)
        divergence = jnp.zeros_like(z)
        if self.log_variance is not None:
            mean, log_variance = z, self.log_variance(h)
            divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)
            z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(latent_key, z.shape)
        h = _hidden(self.decoder[:-1], z, noise.dropout_rate, decoder_key)
        return self._outputs(h), divergence

    def starting_from(self, values: Mapping[str, Array]) -> AutoencoderNetwork:
        """Set biases and parameters of genes, each of shape (n_genes,), by name.

        ``eta`` is the bias of the last layer; other names are those of heads, whose biases
        are set, and of parameters. Names that the network does not have are left aside.
        """
        network = self
        if "eta" in values:
            network = eqx.tree_at(lambda n: n.decoder[-1].bias, network, values["eta"])
        for name in self.heads.keys() & values.keys():
            heads = {**network.heads}
            heads[name] = eqx.tree_at(lambda head: head.bias, heads[name], values[name])
            network = eqx.tree_at(lambda n: n.heads, network, heads)
        parameters = {k: values.get(k, v) for k, v in self.gene_parameters.items()}
        return eqx.tree_at(lambda n: n.gene_parameters, network, parameters)

    def _outputs(self, h: Array) -> Output:
        heads = {name: layer(h) for name, layer in self.heads.items()}
        return Output(self.decoder[-1](h), heads, self.gene_parameters)


def _stack(widths: Sequence[int], key: Array) -> tuple[Dense, ...]:
    keys = jax.random.split(key, len(widths) - 1)
    return tuple(
        Dense(n_in, n_out, key=k)
        for (n_in, n_out), k in zip(pairwise(widths), keys, strict=True)
    )


def _hidden(
    layers: tuple[Dense, ...], x: Array, dropout_rate: float = 0.0, key: Array | None = None
) -> Array:
    """Apply hidden layers, with dropout where a rate is given."""
    for i, layer in enumerate(layers):
        x = jax.nn.relu(layer(x))  # (B, n_hidden)
        if dropout_rate and key is not None:
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - dropout_rate, x.shape)
            x = jnp.where(kept, x / (1 - dropout_rate), 0)
    return x
