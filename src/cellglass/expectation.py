"""What a model expects of raw counts, and how well counts bear it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse
from scipy.special import gammaln, xlogy

from cellglass.matrices import Parts

LEAST_SHARE = 0.01
"""No mean is taken below this share of the gene's rate over the training cells."""


def counts_of(Y: np.ndarray, size_factors: np.ndarray) -> np.ndarray:
    """Raw counts, whole numbers, from log-normalised values.

    Parameters
    ----------
    Y
        log(1 + counts / size factor), shape (n_cells, n_genes), dense.
    size_factors
        :meth:`cellglass.preprocess.Preprocessor.size_factors`, shape (n_cells,).

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_genes), float64.
    """
    return np.rint(np.expm1(Y.astype(np.float64)) * size_factors[:, None])


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
        for part in self._parts():
            self._totals += self._counts(part)[is_train[part]].sum(axis=0)
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
        for part in self._parts():
            means = _rates(X_hat[part]) * self._size_factors[part, None]
            predicted += means[self._is_train[part]].sum(axis=0)
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
        factors = self.factors(X_hat)
        return self._of_rates(lambda part: _rates(X_hat[part]) * factors)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the same of the rates of the genes, and of the counts themselves, (n_cells,)."""
        found = self._of_rates(lambda part: self.rates[None])
        best = np.zeros(len(found))
        for part in self._parts():
            counts = self._counts(part)
            best[part] = _poisson(counts, counts)
        return found, best

    def _of_rates(self, rates_of: Callable[[slice], np.ndarray]) -> np.ndarray:
        found = np.zeros(len(self._size_factors))
        for part in self._parts():
            rates = np.maximum(rates_of(part), LEAST_SHARE * self.rates)
            found[part] = _poisson(self._counts(part), rates * self._size_factors[part, None])
        return found

    def _parts(self) -> Iterator[slice]:
        for start in range(0, len(self._size_factors), self._chunk):
            yield slice(start, start + self._chunk)

    def _counts(self, part: slice) -> np.ndarray:
        return counts_of(_dense(self._X[part]), self._size_factors[part])


def _rates(X_hat: np.ndarray) -> np.ndarray:
    return np.expm1(np.maximum(X_hat.astype(np.float64), 0))


def _poisson(counts: np.ndarray, means: np.ndarray) -> np.ndarray:
    return (xlogy(counts, means) - means - gammaln(counts + 1)).sum(axis=1)


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


def _dense(X: np.ndarray | sparse.csr_matrix) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()
