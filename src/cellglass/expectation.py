"""What a model expects of raw counts, and how well counts bear it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from cellglass.matrices import Parts, nonzeros

LEAST_SHARE = 0.01
"""No mean is taken below this share of the gene's rate over the training cells."""


class Counts(NamedTuple):
    """Raw counts of some cells, those that are not 0.

    Attributes
    ----------
    cells
        Row of each, from 0.
    genes
        Column of each.
    values
        Whole numbers above 0, float64.
    """

    cells: np.ndarray
    genes: np.ndarray
    values: np.ndarray


def counts_of(Y: np.ndarray | sparse.csr_matrix, size_factors: np.ndarray) -> Counts:
    """Find raw counts from log-normalised values.

    Parameters
    ----------
    Y
        log(1 + counts / size factor), shape (n_cells, n_genes).
    size_factors
        :meth:`cellglass.preprocess.Preprocessor.size_factors`, shape (n_cells,).
    """
    cells, genes, values = nonzeros(Y)
    counts = np.rint(np.expm1(values.astype(np.float64)) * size_factors[cells])
    there = counts > 0
    if not there.all():
        cells, genes, counts = cells[there], genes[there], counts[there]
    return Counts(cells, genes, counts)


class CountScale:
    """The counts behind a matrix, and how well the means that any model predicts fit them.

    Squared losses and PCA predict log(1 + mean) with an error that has two costs on the
    scale of counts. What they predict is the mean of a logarithm, which lies below the
    logarithm of the mean: so the means of every model, whatever its loss, are multiplied by
    a factor of the gene that makes them add up to its counts over the training cells. And
    they may predict 0 or less, under which a single count is impossible: so no mean is taken
    below a share (``LEAST_SHARE``) of the gene's rate, the same for every model.

    Parameters
    ----------
    X
        Log-normalised values, shape (n_cells, n_genes), dense or CSR.
    size_factors
        :meth:`cellglass.preprocess.Preprocessor.size_factors`, shape (n_cells,).
    is_train
        True for the training cells, from which rates and factors are taken, shape (n_cells,).
    chunk
        Cells handled at a time; changes memory, not the result.

    Attributes
    ----------
    rates
        Counts of the training cells over their size factors, shape (n_genes,): the mean of
        a cell of size factor 1. Above 0: a gene without counts is taken to have one.
    """

    def __init__(
        self,
        X: np.ndarray | sparse.csr_matrix,
        size_factors: np.ndarray,
        is_train: np.ndarray,
        *,
        chunk: int = 1024,
    ) -> None:
        self._X, self._size_factors, self._is_train = X, size_factors, is_train
        self._chunk = chunk
        self._totals = np.zeros(X.shape[1])
        self._log_factorials = np.zeros(X.shape[0])  # Σ log x! of every cell
        self._best = np.zeros(X.shape[0])  # log-likelihood of the counts under themselves
        for part in self._parts():
            cells, genes, x = self._counts(part)
            train = is_train[part][cells]
            self._totals += np.bincount(genes[train], x[train], X.shape[1])
            n_cells = len(size_factors[part])
            self._log_factorials[part] = np.bincount(cells, gammaln(x + 1), n_cells)
            self._best[part] = np.bincount(cells, x * np.log(x) - x, n_cells)
        self._best -= self._log_factorials
        everything = size_factors[is_train].sum()
        self.rates = np.maximum(self._totals, 1) / (everything if everything > 0 else 1)

    def factors(self, X_hat: np.ndarray | Parts) -> np.ndarray:
        """Give the factor of every gene, shape (n_genes,); 0 where nothing was predicted.

        Parameters
        ----------
        X_hat
            A reconstruction on the log-normalised scale, shape (n_cells, n_genes), dense.
        """
        predicted = np.zeros(len(self._totals))
        depth = np.where(self._is_train, self._size_factors, 0)
        for part in self._parts():
            predicted += depth[part] @ _rates(X_hat[part])
        return np.divide(
            self._totals, predicted, out=np.zeros_like(predicted), where=predicted > 0
        )

    def log_likelihoods(self, X_hat: np.ndarray | Parts) -> np.ndarray:
        """Log-likelihood of every cell's counts under a Poisson distribution, in nats.

        The mean is μ = size factor · factor of the gene · (exp(x̂) − 1). Of all means the true
        one has the highest expected value, for counts that vary more than Poisson's, too (a
        proper score of means: Gneiting 2011), so models of any loss can be held against each
        other by it.

        Parameters
        ----------
        X_hat
            As in :meth:`factors`.

        Returns
        -------
        numpy.ndarray
            Summed over the genes, shape (n_cells,), float64. 0 for cells without counts.
        """
        factors, least = self.factors(X_hat), LEAST_SHARE * self.rates
        found = -self._log_factorials
        for part in self._parts():
            rates = _rates(X_hat[part])
            rates *= factors
            np.maximum(rates, least, out=rates)
            cells, genes, x = self._counts(part)
            of_counts = rates.ravel().take(cells * rates.shape[1] + genes)
            found[part] += self._of_counts(part, cells, x, of_counts)
            found[part] -= rates.sum(axis=1) * self._size_factors[part]
        return found

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the same of the rates of the genes, and of the counts themselves, (n_cells,)."""
        found = -self._log_factorials - self.rates.sum() * self._size_factors
        for part in self._parts():
            cells, genes, x = self._counts(part)
            found[part] += self._of_counts(part, cells, x, self.rates[genes])
        return found, self._best

    def _of_counts(
        self, part: slice, cells: np.ndarray, x: np.ndarray, rates: np.ndarray
    ) -> np.ndarray:
        """Σ x log μ of every cell, by its counts above 0 and the rates of their genes."""
        depth = self._size_factors[part]
        return np.bincount(cells, x * np.log(rates * depth[cells]), len(depth))

    def _parts(self) -> Iterator[slice]:
        for start in range(0, len(self._size_factors), self._chunk):
            yield slice(start, start + self._chunk)

    def _counts(self, part: slice) -> Counts:
        return counts_of(self._X[part], self._size_factors[part])


def _rates(X_hat: np.ndarray) -> np.ndarray:
    return np.expm1(np.maximum(X_hat.astype(np.float64), 0))


def count_scores(
    by_cell: np.ndarray | None,
    limits: tuple[np.ndarray, np.ndarray] | None,
    n_genes: int,
    is_validation: np.ndarray,
) -> dict[str, float | None]:
    """How well counts bear out predicted means, under the names in the results.

    Parameters
    ----------
    by_cell
        :meth:`CountScale.log_likelihoods`, shape (n_cells,); None where the matrix was not
        raw counts.
    limits
        :meth:`CountScale.limits`; None likewise.
    n_genes
        Entries of a cell.
    is_validation
        True for cells held out of the training, shape (n_cells,).

    Returns
    -------
    dict
        ``log_likelihood``: mean of an entry, in nats, over all cells; with ``_train`` over
        the training cells, with ``_validation`` over the held-out ones.
        ``deviance_explained``, likewise: where that lies between the means of the genes (0)
        and the counts themselves (1), the share of the Poisson deviance. None where there is
        nothing to tell.
    """
    everywhere = np.ones_like(is_validation)
    parts = {"": everywhere, "_train": ~is_validation, "_validation": is_validation}
    numbers: dict[str, float | None] = {}
    for suffix, cells in parts.items():
        found = by_cell is not None and bool(cells.any())
        mean = float(by_cell[cells].mean() / n_genes) if by_cell is not None and found else None
        numbers[f"log_likelihood{suffix}"] = mean
    for suffix, cells in parts.items():
        share = None
        if by_cell is not None and limits is not None and cells.any():
            null, best = (limit[cells].sum() for limit in limits)
            share = (
                float((by_cell[cells].sum() - null) / (best - null)) if best > null else None
            )
        numbers[f"deviance_explained{suffix}"] = share
    return numbers
