"""Genes that vary, out of all."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from cellglass.metrics import gene_variances


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
    n_genes = X.shape[1]
    if n_top_genes >= n_genes:
        return np.arange(n_genes)
    return np.sort(np.argsort(-gene_variances(X), kind="stable")[:n_top_genes])
