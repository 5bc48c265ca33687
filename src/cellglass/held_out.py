"""One division of a matrix into what a model sees and what it is judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from cellglass.batches import MaskedRows, Rows, on_device
from cellglass.errors import InputError
from cellglass.fit import dense_if_small
from cellglass.held_out_errors import poisson_deviance, rates_from_log, squared_error
from cellglass.losses.base import Loss
from cellglass.masked_pca import masked_pca
from cellglass.preprocess import Preprocessor
from cellglass.references import (
    null_of_counts,
    null_of_entries,
    null_rates,
    pca_predictions,
)
from cellglass.splitting import mask_entries, split_counts

SQUARED_ERROR = "squared_error"
POISSON_DEVIANCE = "poisson_deviance"

MEASURES = {
    SQUARED_ERROR: "mean squared error of log-normalised values",
    POISSON_DEVIANCE: "mean Poisson deviance of counts",
}
"""What a held-out error is, by its name in the results."""


def measure_of(loss: Loss) -> str:
    """Name the error that networks of a loss are judged by.

    Losses on counts are judged by the Poisson deviance of the counts, all others by the
    squared error of the log-normalised values.

    Raises
    ------
    InputError
        If the loss leaves some entries free: then no error over all entries is its own,
        and one over the others would ask how deeply a cell was sequenced, not how many
        dimensions its state has.
    """
    if not loss.penalises_zeros:
        raise InputError(
            f"The loss {loss.name} cannot choose the latent size: it leaves its predictions "
            "for zeros free. An error over all entries would judge what it was never trained "
            "for; one over the non-zero entries alone, whose values depend mostly on how "
            "deeply a cell was sequenced, would find dimensions in pure noise. Choose the "
            "size with mse, or, from raw counts, with poisson or nb, and train with it."
        )
    return POISSON_DEVIANCE if loss.on_counts else SQUARED_ERROR


class HeldOut(Protocol):
    """A division of a matrix, and how predictions of what is held out are judged."""

    def rows(self) -> Rows:
        """Put what a network may see on the device, shape (n_cells, n_genes)."""

    def error(self, prediction: np.ndarray, measure: str) -> float:
        """Judge log-normalised predictions, shape (n_cells, n_genes); lower is better."""

    def null_error(self, measure: str) -> float:
        """Judge the better of the predictions that know no latent space."""

    def pca(self, sizes: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Predict by PCA of what may be seen, for ascending sizes, (n_cells, n_genes)."""


class SplitCounts:
    """Counts in two halves that are independent of each other, each normalised by itself.

    Parameters
    ----------
    X
        Raw counts, shape (n_cells, n_genes), dense or sparse. Never modified.
    dispersion
        φ of every gene, shape (n_genes,).
    preprocessor
        Fitted to ``X`` as counts.
    rng
        Where randomness comes from.

    Attributes
    ----------
    seen
        Log-normalised values of what a model may see, shape (n_cells, n_genes).
    """

    def __init__(
        self,
        X: np.ndarray | sparse.spmatrix,
        dispersion: np.ndarray,
        preprocessor: Preprocessor,
        rng: np.random.Generator,
    ) -> None:
        self._train, self._test = split_counts(X, rng, dispersion=dispersion)
        self.seen = dense_if_small(preprocessor.transform(self._train))
        self._target = dense_if_small(preprocessor.transform(self._test))
        self._size_factors = preprocessor.size_factors(self._train)
        self._seed = int(rng.integers(2**32))

    def rows(self) -> Rows:
        """Put what a network may see on the device, shape (n_cells, n_genes)."""
        return on_device(self.seen, self._size_factors)

    def error(self, prediction: np.ndarray, measure: str) -> float:
        """Judge log-normalised predictions, shape (n_cells, n_genes); lower is better."""
        if measure == POISSON_DEVIANCE:
            return poisson_deviance(rates_from_log(prediction), self._train, self._test)
        return squared_error(prediction, self._target)

    def null_error(self, measure: str) -> float:
        """Judge the better of the predictions that know no latent space."""
        if measure == POISSON_DEVIANCE:
            return poisson_deviance(null_rates(self._train), self._train, self._test)
        totals = np.asarray(self._train.sum(axis=1), dtype=np.float64).ravel()
        return min(
            squared_error(null, self._target) for null in null_of_counts(self.seen, totals)
        )

    def pca(self, sizes: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Predict by PCA of what may be seen, for ascending sizes, (n_cells, n_genes)."""
        return pca_predictions(self.seen, sizes, random_state=self._seed)


class HiddenEntries:
    """Log-normalised values some of which are hidden.

    Parameters
    ----------
    X
        Log-normalised, shape (n_cells, n_genes), dense, float32. Never modified.
    fraction
        Share of the entries to hide.
    rng
        Where randomness comes from.
    """

    def __init__(self, X: np.ndarray, fraction: float, rng: np.random.Generator) -> None:
        self._values = X
        self._mask = mask_entries((X.shape[0], X.shape[1]), rng, fraction)
        self._rng = rng

    def rows(self) -> Rows:
        """Put what a network may see on the device, shape (n_cells, n_genes)."""
        return MaskedRows.hiding(self._values, self._mask)

    def error(self, prediction: np.ndarray, measure: str) -> float:
        """Judge log-normalised predictions, shape (n_cells, n_genes); lower is better."""
        return squared_error(prediction, self._values, self._mask)

    def null_error(self, measure: str) -> float:
        """Judge the better of the predictions that know no latent space."""
        nulls: Any = null_of_entries(self._values, self._mask)
        return min(self.error(null, measure) for null in nulls)

    def pca(self, sizes: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Predict by PCA of what may be seen, for ascending sizes, (n_cells, n_genes)."""
        return masked_pca(self._values, self._mask, sizes, self._rng)
