"""What a model expects of raw counts, and how well counts bear it out."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import gammaln, xlogy

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


def least_rates(
    X: np.ndarray | sparse.csr_matrix, size_factors: np.ndarray, cells: np.ndarray
) -> np.ndarray:
    """Least mean that any model is taken to predict, for a cell of size factor 1.

    Squared losses and PCA may predict 0 or less, and under a mean of 0 a single count is
    impossible. So no prediction is taken below a share (``LEAST_SHARE``) of the gene's rate,
    the same for every model.

    Parameters
    ----------
    X
        Log-normalised values, shape (n_cells, n_genes), dense or CSR.
    size_factors
        Shape (n_cells,).
    cells
        True for the cells that the rates are taken from, shape (n_cells,).

    Returns
    -------
    numpy.ndarray
        Shape (n_genes,), above 0: a gene without counts is taken to have one.
    """
    X, size_factors = X[cells], size_factors[cells]
    totals = np.zeros(X.shape[1])
    for start in range(0, X.shape[0], 1024):
        part = slice(start, start + 1024)
        totals += counts_of(_dense(X[part]), size_factors[part]).sum(axis=0)
    everything = size_factors.sum()
    return LEAST_SHARE * np.maximum(totals, 1) / (everything if everything > 0 else 1)


def poisson_log_likelihoods(
    X: np.ndarray | sparse.csr_matrix,
    X_hat: np.ndarray,
    size_factors: np.ndarray,
    least: np.ndarray,
    *,
    chunk: int = 1024,
) -> np.ndarray:
    """Log-likelihood of every cell's counts under a Poisson distribution, in nats.

    The mean is what a model predicts, μ = size factor · (exp(x̂) − 1), whatever loss it was
    trained with. Of all means the true one has the highest expected value, for counts that
    vary more than Poisson's, too (a proper score of means: Gneiting 2011), so models of
    any loss can be held against each other by it. Where a model was trained on
    log-normalised values, x̂ is the mean of a logarithm, and so lies somewhat below the
    logarithm of the mean.

    Parameters
    ----------
    X
        Log-normalised values, shape (n_cells, n_genes), dense or CSR.
    X_hat
        Their reconstruction, same shape, dense.
    size_factors
        Shape (n_cells,).
    least
        :func:`least_rates`, shape (n_genes,).
    chunk
        Cells handled at a time; changes memory, not the result.

    Returns
    -------
    numpy.ndarray
        Summed over the genes, shape (n_cells,), float64. 0 for cells without counts.
    """
    found = np.zeros(X.shape[0])
    for start in range(0, X.shape[0], chunk):
        part = slice(start, start + chunk)
        sizes = size_factors[part]
        counts = counts_of(_dense(X[part]), sizes)
        rates = np.maximum(np.expm1(X_hat[part].astype(np.float64)), least)
        means = rates * sizes[:, None]
        found[part] = (xlogy(counts, means) - means - gammaln(counts + 1)).sum(axis=1)
    return found


def mean_log_likelihoods(
    by_cell: np.ndarray | None, n_genes: int, is_validation: np.ndarray
) -> dict[str, float | None]:
    """Mean log-likelihood of an entry, in nats, under its names in the results.

    Parameters
    ----------
    by_cell
        :func:`poisson_log_likelihoods`, shape (n_cells,); None where the matrix was not
        raw counts.
    n_genes
        Entries of a cell.
    is_validation
        True for cells held out of the training, shape (n_cells,).

    Returns
    -------
    dict
        ``log_likelihood`` over all cells; with ``_train`` over the training cells, with
        ``_validation`` over the held-out ones. None where there are none.
    """
    everywhere = np.ones_like(is_validation)
    parts = {"": everywhere, "_train": ~is_validation, "_validation": is_validation}
    numbers: dict[str, float | None] = {}
    for suffix, cells in parts.items():
        values = np.empty(0) if by_cell is None else by_cell[cells]
        mean = float(values.mean() / n_genes) if values.size else None
        numbers[f"log_likelihood{suffix}"] = mean
    return numbers


def _dense(X: np.ndarray | sparse.csr_matrix) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()
