"""PCA of a matrix, by an exact method that fits its shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cellglass.matrices import CHUNK, Parts

COVARIANCE_LIMIT = 4000
"""Up to this many genes the covariance matrix is decomposed; beyond, Lanczos iterations
find the leading axes to machine precision."""
AXES_TO_SPARE, PASSES = 10, 6
"""With so many more axes and passes the leading ones are found in what is computed in parts."""


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

    def transform(self, X: np.ndarray | sparse.csr_matrix | Parts) -> np.ndarray:
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
    X: np.ndarray | sparse.csr_matrix | Parts,
    n_components: int,
    *,
    random_state: int,
    cells: np.ndarray | None = None,
) -> PCA:
    """Fit principal axes in float64.

    Parameters
    ----------
    X
        Values, shape (n_cells, n_genes), dense, CSR or computed in parts.
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
    if isinstance(X, Parts):
        return _by_sketch(X, n_components, cells, random_state)
    return _by_iteration(X[cells], n_components, random_state)


def _runs(
    X: np.ndarray | sparse.csr_matrix | Parts, cells: np.ndarray
) -> Iterator[np.ndarray | sparse.csr_matrix]:
    """Give chosen cells a few at a time."""
    for start in range(0, X.shape[0], CHUNK):
        run, chosen = X[start : start + CHUNK], cells[start : start + CHUNK]
        if chosen.any():
            yield run if chosen.all() else run[chosen]


def _by_covariance(
    X: np.ndarray | sparse.csr_matrix | Parts, n_components: int, cells: np.ndarray
) -> PCA:
    """Decompose the covariance matrix, which is summed up over runs of cells."""
    from scipy.linalg import eigh
    from scipy.linalg.blas import dsyrk

    n_genes = X.shape[1]
    mean = _mean(X, cells)
    scatter = np.zeros((n_genes, n_genes), order="F")  # of which eigh reads the lower half
    for run in _runs(X, cells):
        centred = (run if isinstance(run, np.ndarray) else run.toarray()) - mean
        scatter = dsyrk(1.0, centred.T, 1.0, scatter, lower=True, overwrite_c=True)
    values, vectors = eigh(
        scatter, subset_by_index=(n_genes - n_components, n_genes - 1), overwrite_a=True,
        check_finite=False,
    )  # fmt: skip
    return _of_axes(mean, vectors.T[::-1], values[::-1], float(np.trace(scatter)))


def _mean(X: np.ndarray | sparse.csr_matrix | Parts, cells: np.ndarray) -> np.ndarray:
    total = np.zeros(X.shape[1])
    for run in _runs(X, cells):
        total += np.asarray(run.astype(np.float64).sum(axis=0)).ravel()
    return total / cells.sum()


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


def _by_sketch(X: Parts, n_components: int, cells: np.ndarray, random_state: int) -> PCA:
    """Decompose what is computed anew in every pass, in few passes.

    Subspace iterations on the scatter matrix, which is never made, from a random start with
    some axes to spare (Halko et al. 2011, section 4.5). Spectra that fall as fast as those of
    reconstructions are found to several digits.
    """
    mean = _mean(X, cells)
    n_axes = min(n_components + AXES_TO_SPARE, int(cells.sum()), X.shape[1])
    axes = np.random.default_rng(random_state).normal(size=(X.shape[1], n_axes))
    for _ in range(PASSES):
        axes, _ = np.linalg.qr(axes)
        basis, axes, total = axes, np.zeros_like(axes), 0.0
        for run in _runs(X, cells):
            centred = run - mean
            axes += centred.T @ (centred @ basis)
            total += float(np.square(centred, out=centred).sum())
    values, rotation = np.linalg.eigh(basis.T @ axes)
    vectors = (basis @ rotation).T[::-1][:n_components]
    return _of_axes(mean, vectors, values[::-1][:n_components], total)
