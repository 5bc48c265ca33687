"""The Gaussian likelihood of log-normalised values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jax import Array

from cellglass.batches import Batch
from cellglass.losses.base import GeneStatistics, Loss
from cellglass.losses.likelihoods import gaussian_log_likelihood
from cellglass.network import Output

SMALLEST_VARIANCE = 1e-4
"""A gene's variance starts no lower, so that a constant gene does not outweigh all others."""


def gaussian(batch: Batch, output: Output) -> Array:
    """Negative log-likelihood of every entry, shape (n_cells, n_genes), in nats.

    Values are log-normalised, and normal around the output of the last layer with a
    variance that each gene has for itself (Nix & Weigend 1994, who let a network learn its
    own error): mse with every gene weighed by how well it can be predicted at all.
    """
    log_variance = output.gene_parameters["log_variance"]
    return -gaussian_log_likelihood(batch.y, output.eta, log_variance)


def start(statistics: GeneStatistics) -> Mapping[str, np.ndarray]:
    """Begin with the mean and the variance of every gene."""
    variance = np.maximum(statistics.variance, SMALLEST_VARIANCE)
    return {"eta": statistics.mean, "log_variance": np.log(variance)}


GAUSSIAN = Loss(
    name="gaussian",
    entries=gaussian,
    formula="−Σ log Normal(y; ŷ, σ_g²) / (n_cells · n_genes)",
    gene_parameters=("log_variance",),
    start=start,
)
