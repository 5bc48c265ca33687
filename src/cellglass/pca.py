"""PCA of a matrix, by an exact method that fits its shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

COVARIANCE_LIMIT = 4000
"""Up to this many genes the covariance matrix is decomposed; beyond, Lanczos iterations
find the leading axes to machine precision."""


@dataclass(frozen=True)
class PCA:
    """Principal axes of the cells that they were fitted on.

    Attributes
    ----------
    mean
        Of every gene, shape (n_genes,).
    axes
        Orthonormal, by falling variance, shape (n_components, n_genes). The entry of
        largest magnitude of every axis is positive.
    variance_ratio
        Share of the total variance along every axis, shape (n_components,).
    """

    mean: np.ndarray
    axes: np.ndarray
    variance_ratio: np.ndarray

    def transform(self, X: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        """Scores of cells (n_cells, n_genes) along the axes, (n_cells, n_components)."""
        return np.asarray(X @ self.axes.T) - self.mean @ self.axes.T

    def inverse_transform(self, scores: np.ndarray) -> np.ndarray:
        """Reconstructions (n_cells, n_genes) from scores (n_cells, n_components)."""
        return scores @ self.axes + self.mean


def fit_pca(X: np.ndarray | sparse.csr_matrix, n_components: int, *, random_state: int) -> PCA:
    """Fit principal axes in float64.

    Parameters
    ----------
    X
        Values, shape (n_cells, n_genes), dense or CSR.
    n_components
        Number of axes; at most min(n_cells, n_genes) are found.
    random_state
        Seed of the start vector where the axes are found by iteration.
    """
    from sklearn import decomposition

    n_cells, n_genes = X.shape
    n_components = min(n_components, n_cells, n_genes)
    if n_genes <= COVARIANCE_LIMIT:
        solver = "covariance_eigh"
    elif n_components < min(n_cells, n_genes):
        solver = "arpack"
    else:
        solver, X = "full", X if isinstance(X, np.ndarray) else X.toarray()
    model = decomposition.PCA(n_components, svd_solver=solver, random_state=random_state)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing varies: 0 / 0
        model.fit(X.astype(np.float64))
    return PCA(model.mean_, model.components_, np.nan_to_num(model.explained_variance_ratio_))
