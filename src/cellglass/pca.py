"""PCA of a matrix, by an exact method that fits its shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

COVARIANCE_LIMIT = 4000
"""Up to this many genes the covariance matrix is decomposed; beyond, Lanczos iterations
find the leading axes to machine precision."""
CHUNK = 2048
"""Cells that are held in float64 at a time."""


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

    def first(self, n_components: int) -> PCA:
        """Keep the leading axes, all where there are no more."""
        return PCA(self.mean, self.axes[:n_components], self.variance_ratio[:n_components])

    def transform(self, X: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        """Scores of cells (n_cells, n_genes) along the axes, (n_cells, n_components)."""
        scores = np.empty((X.shape[0], len(self.axes)))
        for start in range(0, X.shape[0], CHUNK):
            part = slice(start, start + CHUNK)
            scores[part] = np.asarray(X[part] @ self.axes.T) - self.mean @ self.axes.T
        return scores

    def inverse_transform(self, scores: np.ndarray) -> np.ndarray:
        """Reconstructions (n_cells, n_genes) from scores (n_cells, n_components)."""
        return scores @ self.axes + self.mean


def fit_pca(
    X: np.ndarray | sparse.csr_matrix,
    n_components: int,
    *,
    random_state: int,
    cells: np.ndarray | None = None,
) -> PCA:
    """Fit principal axes in float64.

    Parameters
    ----------
    X
        Values, shape (n_cells, n_genes), dense or CSR.
    n_components
        Number of axes; at most min(n_cells, n_genes) are found.
    random_state
        Seed of the start vector where the axes are found by iteration.
    cells
        True for the cells to fit them to, shape (n_cells,). Default: all.
    """
    if cells is None:
        cells = np.ones(X.shape[0], bool)
    n_components = min(n_components, int(cells.sum()), X.shape[1])
    if X.shape[1] <= COVARIANCE_LIMIT:
        return _by_covariance(X, n_components, cells)
    return _by_iteration(X[cells], n_components, random_state)


def _by_covariance(
    X: np.ndarray | sparse.csr_matrix, n_components: int, cells: np.ndarray
) -> PCA:
    """Decompose the covariance matrix, which is summed up over runs of cells."""
    from scipy.linalg import eigh

    rows, n_genes = np.flatnonzero(cells), X.shape[1]
    parts = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    mean = np.zeros(n_genes)
    for part in parts:
        mean += np.asarray(X[part].astype(np.float64).sum(axis=0)).ravel()
    mean /= len(rows)
    scatter = np.zeros((n_genes, n_genes))
    for part in parts:
        centred = (X[part] if isinstance(X, np.ndarray) else X[part].toarray()) - mean
        scatter += centred.T @ centred
    values, vectors = eigh(
        scatter, subset_by_index=(n_genes - n_components, n_genes - 1), overwrite_a=True,
        check_finite=False,
    )  # fmt: skip
    return _of_axes(mean, vectors.T[::-1], values[::-1], float(np.trace(scatter)))


def _of_axes(mean: np.ndarray, axes: np.ndarray, values: np.ndarray, total: float) -> PCA:
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.where(axes[np.arange(len(axes)), largest] < 0, -1.0, 1.0)[:, None]
    shares = np.maximum(values, 0) / total if total > 0 else np.zeros(len(values))
    return PCA(mean, np.ascontiguousarray(axes), shares)


def _by_iteration(
    X: np.ndarray | sparse.csr_matrix, n_components: int, random_state: int
) -> PCA:
    from sklearn import decomposition

    if n_components < min(X.shape):
        solver = "arpack"
    else:
        solver, X = "full", X if isinstance(X, np.ndarray) else X.toarray()
    model = decomposition.PCA(n_components, svd_solver=solver, random_state=random_state)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing varies: 0 / 0
        model.fit(X.astype(np.float64))
    return PCA(model.mean_, model.components_, np.nan_to_num(model.explained_variance_ratio_))
