"""What a loss is to the rest of the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from cellglass.batches import Batch
from cellglass.network import Output


class GeneStatistics(NamedTuple):
    """What is known of every gene before training, from the training cells alone.

    Attributes
    ----------
    mean, variance
        Of the log-normalised values, shape (n_genes,), float64.
    rate
        Counts of all cells over their size factors, shape (n_genes,): the mean of a cell
        scaled to the common total. Never 0, not even for a gene without counts. None where
        the matrix was not raw counts.
    """

    mean: np.ndarray
    variance: np.ndarray
    rate: np.ndarray | None


def identity(output: Output) -> Array:
    """Take the network's output as log-normalised values."""
    return output.eta


def start_at_zero(statistics: GeneStatistics) -> Mapping[str, np.ndarray]:
    """Leave the biases of the last layer at 0."""
    return {}


@dataclass(frozen=True)
class Loss:
    """A loss as one function of an entry, averaged over all entries that it counts.

    Attributes
    ----------
    name
        The word used in the API, on the command line and in the report.
    entries
        ``entries(batch, output)``: the loss of every entry, shape (n_cells, n_genes), of
        a :class:`cellglass.batches.Batch` and the network's
        :class:`cellglass.network.Output`. Must be traceable by JAX.
    formula
        The loss over all cells in one line, for the report.
    counted
        ``counted(y)``: True for entries that enter the loss, same shape. None: all do.
    on_counts
        Whether the loss is one of raw counts, which the matrix must then hold.
    expression
        ``expression(output)``: what the network predicts, on the scale of log-normalised
        values, so that all losses can be judged alike. Losses on squares predict them
        as they are; those on counts log(1 + mean of a cell scaled to the common total).
    heads
        Names of further outputs by cell and gene that the loss needs.
    gene_parameters
        Names of parameters by gene that the loss needs.
    start
        From a :class:`GeneStatistics` to first values, each of shape (n_genes,): by
        the name of a head its bias, by the name of a parameter its value, and as
        ``"eta"`` the bias of the last layer. What is not named starts at 0.
    """

    name: str
    entries: Callable[[Batch, Output], Array]
    formula: str
    counted: Callable[[Array], Array] | None = None
    on_counts: bool = False
    expression: Callable[[Output], Array] = identity
    heads: tuple[str, ...] = ()
    gene_parameters: tuple[str, ...] = ()
    start: Callable[[GeneStatistics], Mapping[str, np.ndarray]] = start_at_zero

    @property
    def penalises_zeros(self) -> bool:
        """Whether the prediction for a zero entry enters the loss.

        Where it does not, the network may predict anything there.
        """
        return self.counted is None

    @property
    def is_linear(self) -> bool:
        """Whether what is predicted is the output of the last layer as it is."""
        return self.expression is identity

    def mean(self, batch: Batch, output: Output) -> Array:
        """Give the expected raw counts, shape (n_cells, n_genes).

        μ = size factor · (exp(expression) − 1): the scale on which any two losses can be
        held against the counts. Losses on squares may predict less than 0.
        """
        return batch.depth * jnp.expm1(self.expression(output))

    def terms(self, batch: Batch, output: Output) -> tuple[Array, Array]:
        """Add up the loss, and the entries that it counts, for every cell.

        Both sums are kept apart until the end, because a mean of per-batch ratios is not
        the ratio of the sums as soon as batches differ in size or in the number of entries
        that count.

        Returns
        -------
        tuple of Array
            Numerators and denominators, each of shape (n_cells,).
        """
        entries = self.entries(batch, output)  # (B, n_genes)
        counts = None if self.counted is None else self.counted(batch.y)
        if batch.visible is not None:
            counts = batch.visible if counts is None else counts & batch.visible
        if counts is None:
            n_cells, n_genes = entries.shape
            return entries.sum(axis=1), jnp.full(n_cells, n_genes, entries.dtype)
        return (
            jnp.where(counts, entries, 0).sum(axis=1),
            counts.astype(entries.dtype).sum(axis=1),
        )
