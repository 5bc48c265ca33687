"""Genes that vary, out of all."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def most_variable_genes(X: np.ndarray | sparse.csr_matrix, n_top_genes: int) -> np.ndarray:
    """Choose the genes of largest variance.

    Parameters
    ----------
    X
        Log-normalised values, shape (n_cells, n_genes). On counts the variance would follow
        the mean; the logarithm takes most of that away.
    n_top_genes
        How many; all where there are no more.

    Returns
    -------
    numpy.ndarray
        Columns, in rising order, shape (at most n_top_genes,). Of genes that vary alike the
        first ones.
    """
    n_cells, n_genes = X.shape
    if n_top_genes >= n_genes:
        return np.arange(n_genes)
    if isinstance(X, np.ndarray):
        variance = X.var(axis=0, dtype=np.float64)
    else:
        mean = np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
        square = np.bincount(X.indices, np.square(X.data, dtype=np.float64), minlength=n_genes)
        variance = square / n_cells - np.square(mean)
    return np.sort(np.argsort(-variance, kind="stable")[:n_top_genes])
