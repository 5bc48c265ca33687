"""How far predictions are from values that the predictor had not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import xlogy

from cellglass.matrices import row_chunks

# Of a gene's average rate; a mean of 0 would make a single count infinitely unlikely.
SMALLEST_RATE = 0.01


def squared_error(prediction: np.ndarray, target: Any, mask: np.ndarray | None = None) -> float:
    """Mean of (y − ŷ)² over all entries, or over those held out.

    Parameters
    ----------
    prediction : numpy.ndarray, shape (n_cells, n_genes)
        ŷ, log-normalised.
    target : array or scipy.sparse.csr_matrix, shape (n_cells, n_genes)
        y, log-normalised. Of counts in two equal halves, the test half normalised by
        itself, which has the distribution of the train half.
    mask : numpy.ndarray of bool, shape (n_cells, n_genes), optional
        True where an entry was held out, of which there must be one. Default: all count.
    """
    total = 0.0
    for start, stop in row_chunks(prediction):
        difference = prediction[start:stop].astype(np.float64) - _dense(target[start:stop])
        if mask is not None:
            difference = difference[mask[start:stop]]
        total += float(np.square(difference).sum())
    return total / (prediction.size if mask is None else int(mask.sum()))


def rates_from_log(prediction: np.ndarray) -> np.ndarray:
    """Undo log(1 + x): log-normalised predictions as counts per 10,000 of a cell.

    Predictions below 0, which no value is, count as 0.
    """
    return np.expm1(np.maximum(prediction, 0))


def poisson_deviance(rates: np.ndarray, train: Any, test: Any) -> float:
    """Mean Poisson deviance of the test half's counts, given rates from the train half.

    The deviance of an entry is 2 (x log(x / μ) − (x − μ)), with x log x = 0 at x = 0: twice
    what the log-likelihood of μ falls short of the best there could be. μ of an entry is
    the test half's total of the cell, times the rate over 10,000, times a factor of the
    gene that makes its predictions for the train half add up to its counts there (means
    of logarithms, brought back, would all be too low), and at least 1 % of what the
    gene's share of all train counts gives. In that share half a count is added to every
    gene, so that it is never 0.

    Parameters
    ----------
    rates : numpy.ndarray, shape (n_cells, n_genes)
        Predicted counts per 10,000 of the cell, at least 0.
    train, test : array or scipy.sparse.csr_matrix, shape (n_cells, n_genes)
        Raw counts, as :func:`cellglass.splitting.split_counts` gives them.
    """
    n_cells, n_genes = rates.shape
    train_total = np.asarray(train.sum(axis=1), dtype=np.float64).reshape(-1, 1) / 1e4
    test_total = np.asarray(test.sum(axis=1), dtype=np.float64).reshape(-1, 1) / 1e4
    of_genes = np.asarray(train.sum(axis=0), dtype=np.float64).ravel()
    expected = sum(
        (rates[start:stop] * train_total[start:stop]).sum(axis=0)
        for start, stop in row_chunks(rates)
    )
    # A gene that is predicted nowhere gets the floor everywhere.
    factor = np.divide(of_genes, expected, out=np.zeros(n_genes), where=expected > 0)
    share = (of_genes + 0.5) / (of_genes.sum() + 0.5 * n_genes)
    floor = SMALLEST_RATE * 1e4 * share
    total = 0.0
    for start, stop in row_chunks(rates):
        mean = np.maximum(rates[start:stop] * factor, floor) * test_total[start:stop]
        x = _dense(test[start:stop]).astype(np.float64)
        # Where the cell's total is 0 so are x and the mean: 0 / 1 instead of 0 / 0.
        ratio = x / np.where(mean > 0, mean, 1)
        total += float((xlogy(x, ratio) - (x - mean)).sum())
    return 2 * total / (n_cells * n_genes)


def _dense(X: Any) -> np.ndarray:
    """Dense values of a few rows."""
    return X.toarray() if sparse.issparse(X) else np.asarray(X)
