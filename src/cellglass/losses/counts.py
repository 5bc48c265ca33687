"""Likelihoods of raw counts: Poisson, negative binomial, zero-inflated.

All of them let the network's output η set the mean of a cell's counts::

    μ = size factor · exp(η),    size factor = total counts of the cell / 10,000

so exp(η) is the expected number of counts in a cell scaled to 10,000, and log(1 + exp(η)),
the softplus of η, stands on the scale of the log-normalised values. How deeply a cell was
sequenced enters as a known factor and need not pass through the bottleneck.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cellglass.batches import Batch
from cellglass.losses.base import GeneStatistics, Loss
from cellglass.losses.likelihoods import (
    nb_log_likelihood,
    poisson_log_likelihood,
    zinb_log_likelihood,
)
from cellglass.network import Output

DISPERSION = 20.0
"""Largest |log φ| that a decoder may give for an entry: nothing else bounds it where a count
fits any dispersion, and at 44 terms of the likelihood overflow."""
LEAST_DEPTH = 1e-8
"""A size factor is taken to be no less; that of a cell with one count is 1e-4."""
FIRST_DROPOUT_LOGIT = -3.0
"""Where zero inflation starts: 5 % of the entries."""


def log_mean(batch: Batch, output: Output) -> Array:
    """Log μ of every entry, shape (n_cells, n_genes), on the scale of raw counts."""
    # A cell without counts has a mean of next to nothing, and so no say in anything.
    return output.eta + jnp.log(jnp.maximum(batch.depth, LEAST_DEPTH))


def poisson(batch: Batch, output: Output) -> Array:
    """Negative log-likelihood of every entry, shape (n_cells, n_genes), in nats.

    Counts are Poisson around μ, as molecules drawn at random are (Townes et al. 2019).
    """
    return -poisson_log_likelihood(batch.counts, log_mean(batch, output))


def nb(batch: Batch, output: Output) -> Array:
    """Negative log-likelihood of every entry, shape (n_cells, n_genes), in nats.

    Counts are negative binomial around μ, with variance μ + φ_g μ² (Robinson & Smyth 2008);
    each gene has its own dispersion φ_g, as by default in scVI (Lopez et al. 2018).
    """
    log_dispersion = output.gene_parameters["log_dispersion"]
    return -nb_log_likelihood(batch.counts, log_mean(batch, output), log_dispersion)


def nb_gene_cell(batch: Batch, output: Output) -> Array:
    """Negative log-likelihood of every entry, shape (n_cells, n_genes), in nats.

    As :func:`nb`, with a dispersion for every cell and gene that the decoder gives, as in
    DCA (Eraslan et al. 2019), within what 32 bits can tell from Poisson's limit.
    """
    log_dispersion = jnp.clip(output.heads["log_dispersion"], -DISPERSION, DISPERSION)
    return -nb_log_likelihood(batch.counts, log_mean(batch, output), log_dispersion)


def zinb(batch: Batch, output: Output) -> Array:
    """Negative log-likelihood of every entry, shape (n_cells, n_genes), in nats.

    A count is 0 with the probability π that the decoder gives for the cell and gene, and
    otherwise negative binomial as in :func:`nb` (Greene 1994; Eraslan et al. 2019).
    """
    return -zinb_log_likelihood(
        batch.counts,
        log_mean(batch, output),
        output.gene_parameters["log_dispersion"],
        output.heads["dropout_logit"],
    )


def expression(output: Output) -> Array:
    """log(1 + exp(η)): the mean of a cell scaled to the common total, on the log scale."""
    return jax.nn.softplus(output.eta)


def expression_with_dropout(output: Output) -> Array:
    """log(1 + (1 − π)·exp(η)): the mean of zero-inflated counts, likewise."""
    kept = jax.nn.log_sigmoid(-output.heads["dropout_logit"])  # log(1 − π)
    return jax.nn.softplus(output.eta + kept)


def start(statistics: GeneStatistics) -> Mapping[str, np.ndarray]:
    """Begin with the mean of every gene over all cells.

    Dispersions begin at 1. Those of the genes over all cells would be a poor start: they
    hold the differences between kinds of cells, which then pass for noise.
    """
    if statistics.rate is None:
        raise TypeError("A loss on counts cannot start from values that are not counts.")
    return {
        "eta": np.log(statistics.rate),
        "dropout_logit": np.full(len(statistics.rate), FIRST_DROPOUT_LOGIT),
    }


POISSON = Loss(
    name="poisson",
    entries=poisson,
    formula="−Σ log Poisson(x; μ) / (n_cells · n_genes)",
    on_counts=True,
    expression=expression,
    start=start,
)
NB = Loss(
    name="nb",
    entries=nb,
    formula="−Σ log NB(x; μ, φ_g) / (n_cells · n_genes)",
    on_counts=True,
    expression=expression,
    gene_parameters=("log_dispersion",),
    start=start,
)
NB_GENE_CELL = Loss(
    name="nb_gene_cell",
    entries=nb_gene_cell,
    formula="−Σ log NB(x; μ, φ) / (n_cells · n_genes)",
    on_counts=True,
    expression=expression,
    heads=("log_dispersion",),
    start=start,
)
ZINB = Loss(
    name="zinb",
    entries=zinb,
    formula="−Σ log ZINB(x; μ, φ_g, π) / (n_cells · n_genes)",
    on_counts=True,
    expression=expression_with_dropout,
    heads=("dropout_logit",),
    gene_parameters=("log_dispersion",),
    start=start,
)
