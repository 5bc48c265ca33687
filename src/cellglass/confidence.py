"""How sure the place of every cell among clusters is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from cellglass.mixture import FLOOR, whitened

FOLDS = 10
"""A mixture that judges a cell was fitted without the tenth of the cells that it is in."""
ROUNDS = 5
"""Of expectation-maximisation: enough to find what of a cluster reaches over its borders, and
too few for a cluster to move elsewhere."""
SHRINKAGE = 3
"""The common covariance counts for so many times d + 2 cells in that of every cluster."""
FITTED = 20_000
"""Of more cells, mixtures are fitted to half as many at least, and hardly more than so many."""


def membership(X: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Tell how probable each cluster is for every cell.

    A mixture of Gaussian distributions is fitted, starting from the clusters, by five rounds of
    expectation-maximisation (Dempster et al. 1977). A hard clustering cuts off what reaches
    over its borders, so that shares and variances taken from it as it is would make every cell
    too sure of its place.

    Each cluster has a covariance of its own, for one may be wider than others; with few cells
    it is drawn to the common one, as if 3 (d + 2) further cells in d dimensions had that: the
    posterior mode under an inverse Wishart distribution (Fraley & Raftery 2007, with another
    number of cells). A cell has no say in the mixture that judges it, for in many dimensions
    each of a few cells would draw its cluster to itself: every tenth of the cells is judged by
    a mixture fitted to the others (cross-fitting).

    Parameters
    ----------
    X
        Cells in the space that the clusters were found in, shape (n_cells, n_dimensions).
    clusters
        Shape (n_cells,), integers from 0, all of which occur.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_clusters); rows add up to 1. The most probable cluster of a cell need
        not be its own.
    """
    if clusters.max() == 0:
        return np.ones((len(X), 1))
    with threadpool_limits(1):  # many small products
        logs = _judged_by_others(whitened(X), clusters, _own_widths)
    return np.asarray(softmax(logs, axis=1))


def joint_membership(
    spaces: Sequence[np.ndarray], weights: Sequence[float], clusters: np.ndarray
) -> np.ndarray:
    """Tell how probable each cluster is for every cell, by several views of the same cells.

    In each space a cell has one linear discriminant score a cluster: the logarithm of its
    density there, but for what all clusters share, by a mixture with one covariance that was
    fitted to other cells. Scores are averaged over the spaces, and in the space of these means
    a mixture as that of :func:`membership` decides. So it is measured, not assumed,
    how far the errors of the spaces cancel: spaces that err alike are as sure together as one
    of them is, and spaces that err independently are surer.

    Parameters
    ----------
    spaces
        Such as latent vectors of several networks, each of shape (n_cells, n_dimensions).
    weights
        How much the scores of each space count.
    clusters
        Shape (n_cells,), integers from 0, all of which occur.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_clusters); rows add up to 1.
    """
    if clusters.max() == 0:
        return np.ones((len(clusters), 1))
    scores = np.zeros((len(clusters), int(clusters.max()) + 1))
    with threadpool_limits(1):
        for space, weight in zip(spaces, weights, strict=True):
            own = _judged_by_others(whitened(space), clusters, _one_width)
            scores += weight * (own - own.mean(axis=1, keepdims=True))
        X = whitened(scores / sum(weights))
        fitted = np.flatnonzero(_some(_places(clusters), len(X)))
        logs = _fitted(X[fitted], clusters[fitted], _own_widths).logs(X)
    return np.asarray(softmax(logs, axis=1))


@dataclass(frozen=True)
class _Groups:
    """Gaussian distributions of cells."""

    log_shares: np.ndarray  # (n_clusters,)
    means: np.ndarray  # (n_clusters, n_dimensions)
    roots: np.ndarray  # Cholesky factors, (n_clusters, n_dimensions, n_dimensions), or (1, …)

    def logs(self, X: np.ndarray) -> np.ndarray:
        """Logarithms of shares times densities, but for what all clusters have alike.

        Shape (n_cells, n_clusters).
        """
        if len(self.roots) == 1:
            X, means = (
                solve_triangular(self.roots[0], values.T, lower=True).T
                for values in (X, self.means)
            )
            return self.log_shares + X @ means.T - 0.5 * (means**2).sum(axis=1)
        found = np.tile(self.log_shares, (len(X), 1))
        for j, (mean, root) in enumerate(zip(self.means, self.roots, strict=True)):
            apart = solve_triangular(root, (X - mean).T, lower=True)
            found[:, j] -= np.log(np.diag(root)).sum() + 0.5 * (apart**2).sum(axis=0)
        return found


_Widths = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Gives the covariances by the sums of squares within every cluster, and by their sizes."""


def _own_widths(within: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One covariance a cluster, drawn to the common one."""
    further = SHRINKAGE * (within.shape[1] + 2)
    drawn: np.ndarray = within + further * _one_width(within, sizes)
    return drawn / (sizes + further)[:, None, None]


def _one_width(within: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One covariance for all clusters."""
    common = within.sum(axis=0) / sizes.sum() + FLOOR * np.eye(within.shape[1])
    return np.asarray(common)[None]


def _fitted(X: np.ndarray, clusters: np.ndarray, widths: _Widths) -> _Groups:
    """Fit a mixture, starting from clusters."""
    groups = _groups_of(X, np.eye(int(clusters.max()) + 1)[clusters], widths)
    for _ in range(ROUNDS - 1):
        groups = _groups_of(X, softmax(groups.logs(X), axis=1), widths)
    return groups


def _groups_of(X: np.ndarray, shares: np.ndarray, widths: _Widths) -> _Groups:
    """Fit every cluster to its share of each cell, (n_cells, n_clusters)."""
    sizes = np.maximum(shares.sum(axis=0), np.finfo(float).tiny)
    means = (shares.T @ X) / sizes[:, None]
    within = np.stack(
        [((X - mean).T * own) @ (X - mean) for mean, own in zip(means, shares.T, strict=True)]
    )
    roots = np.linalg.cholesky(widths(within, sizes))
    return _Groups(np.log(sizes / len(X)), means, roots)


def _judged_by_others(X: np.ndarray, clusters: np.ndarray, widths: _Widths) -> np.ndarray:
    """Give :meth:`_Groups.logs` by mixtures that were fitted to other cells."""
    found = np.empty((len(X), int(clusters.max()) + 1))
    for judged, fitted in _folds(clusters):
        found[judged] = _fitted(X[fitted], clusters[fitted], widths).logs(X[judged])
    return found


def _folds(clusters: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give ten parts of the cells, each with those that a mixture for it is fitted to.

    Every part has a tenth of every cluster. A cell that is alone in its cluster stays in.
    """
    places = _places(clusters)
    alone = np.bincount(clusters)[clusters] == 1
    some = _some(places, len(clusters))
    for fold in range(FOLDS):
        inside = places % FOLDS == fold
        if inside.any():
            yield np.flatnonzero(inside), np.flatnonzero(some & (~inside | alone))


def _places(clusters: np.ndarray) -> np.ndarray:
    """Give every cell its number in its cluster, from 0."""
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters)
    places = np.empty(len(clusters), np.int64)
    places[order] = np.arange(len(clusters)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return places


def _some(places: np.ndarray, n_cells: int) -> np.ndarray:
    """Say which cells mixtures may be fitted to: of many, some of every part and cluster."""
    return np.asarray(places // FOLDS % -(-n_cells // FITTED) == 0)
