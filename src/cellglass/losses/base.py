"""What a loss is to the rest of the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jax import Array


@dataclass(frozen=True)
class Loss:
    """A loss as a ratio of two sums over cells.

    Both sums are kept apart until the end, because a mean of per-batch ratios is not
    the ratio of the sums as soon as batches differ in size or in their number of
    non-zero entries.

    Attributes
    ----------
    name
        The word used in the API, on the command line and in the report.
    terms
        ``terms(y, y_hat)`` with both arrays of shape (n_cells, n_genes) gives the
        numerator and the denominator of every cell, each of shape (n_cells,). Must be
        traceable by JAX.
    formula
        The loss over all cells in one line, for the report.
    penalises_zeros
        Whether the prediction for a zero entry enters the loss. Where it does not, the
        network may predict anything there.
    """

    name: str
    terms: Callable[[Array, Array], tuple[Array, Array]]
    formula: str
    penalises_zeros: bool
