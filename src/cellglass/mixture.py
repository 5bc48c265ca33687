"""Gaussian mixtures: clusters, and how sure the place of every cell among clusters is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import softmax

N_INIT = 10
"""Starts of a mixture; the most likely end is taken."""
FLOOR = 1e-6
"""Least variance, as a share of the mean variance: duplicates must not make it 0."""
SHRINKAGE = 3
"""The common covariance counts for so many times d + 2 cells in that of every cluster."""
ROUNDS = 5
"""Of expectation-maximisation in which the widths of clusters are measured: enough to find what
reaches over their borders, and too few for a cluster to move elsewhere."""


def gaussian_mixture(X: np.ndarray, n_clusters: int, *, random_state: int) -> np.ndarray:
    """Fit a mixture of Gaussian distributions that share one covariance.

    The clusters of a latent space should not depend on its coordinates, which the decoder may
    stretch and turn as it likes: unlike those of k-means, which prefers groups as wide in one
    direction as in any other, those of such a mixture stay the same under every invertible
    linear map. One covariance for all keeps small clusters, which could not tell their own,
    from falling apart.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions).
    n_clusters
        Number of Gaussian distributions; no more than cells are made.
    random_state
        Seed of the ten starts by k-means.

    Returns
    -------
    numpy.ndarray
        Probability of every distribution for every cell, the one of the largest share first,
        shape (n_cells, n_clusters).
    """
    n_clusters = min(n_clusters, len(X))
    X = _whitened(X)
    return _probabilities(X, _fitted(X, n_clusters, n_init=N_INIT, random_state=random_state))


def membership(X: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Tell how probable each cluster is for every cell.

    A mixture of Gaussian distributions is fitted, starting from the clusters, by five rounds of
    expectation-maximisation (Dempster et al. 1977). A hard clustering cuts off what reaches
    over its borders, so that shares and variances taken from it as it is would make every cell
    too sure of its place.

    Each cluster has a covariance of its own, for one may be wider than others; with few cells
    it is drawn to the common one, as if 3 (d + 2) further cells in d dimensions had that: the
    posterior mode under an inverse Wishart distribution (Fraley & Raftery 2007, with another
    number of cells).

    Parameters
    ----------
    X
        Cells in the space that the clusters were found in, shape (n_cells, n_dimensions).
    clusters
        Shape (n_cells,), integers from 0.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_clusters); rows add up to 1. The most probable cluster of a cell need
        not be its own.
    """
    if clusters.max() == 0:
        return np.ones((len(X), 1))
    X = _whitened(X)
    found = np.eye(int(clusters.max()) + 1)[clusters]
    for _ in range(ROUNDS):
        found = _own_widths(X, found)
    return found


def tied_membership(X: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Tell the same where all clusters have one covariance, fitted until nothing changes.

    Votes of a consensus are made of these: they find known types again better than those of
    :func:`membership`, which says better how sure they are.
    """
    if clusters.max() == 0:
        return np.ones((len(X), 1))
    X = _whitened(X)
    found: np.ndarray = _fitted_from(X, clusters).predict_proba(X)
    return found


def joint_membership(
    spaces: Sequence[np.ndarray], weights: Sequence[float], clusters: np.ndarray
) -> np.ndarray:
    """Tell how probable each cluster is for every cell, by several views of the same cells.

    In each space a cell has one linear discriminant score a cluster, the logarithm of its
    density there but for what all clusters share. Scores are averaged over the spaces, and
    :func:`membership` is asked in the space of these means. So it is measured, not assumed,
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
    scores = np.zeros((len(clusters), int(clusters.max()) + 1))
    for space, weight in zip(spaces, weights, strict=True):
        X = _whitened(space)
        model = _fitted_from(X, clusters)
        axes = model.precisions_ @ model.means_.T  # (n_dimensions, n_clusters)
        own = X @ axes - 0.5 * (model.means_.T * axes).sum(axis=0)
        scores += weight * (own - own.mean(axis=1, keepdims=True))
    return membership(scores / sum(weights), clusters)


def n_parameters(n_dimensions: int, n_clusters: int) -> int:
    """Count the parameters of a mixture: its means, one covariance, and its shares."""
    return n_clusters * n_dimensions + n_dimensions * (n_dimensions + 1) // 2 + n_clusters - 1


def _whitened(X: np.ndarray) -> np.ndarray:
    """Turn the space so that its coordinates are uncorrelated and of variance 1.

    Directions without variance are left out.
    """
    X = np.asarray(X, np.float64)
    X = X - X.mean(axis=0)
    values, axes = np.linalg.eigh(X.T @ X / len(X))
    there = values > FLOOR**2 * max(float(values[-1]), np.finfo(float).tiny)
    if not there.any():
        return np.zeros((len(X), 1))
    turned: np.ndarray = X @ axes[:, there] / np.sqrt(values[there])
    return turned


def _fitted(
    X: np.ndarray, n_clusters: int, *, n_init: int, random_state: int, **start: Any
) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    from cellglass.partition import warnings_silenced

    model = GaussianMixture(
        n_clusters, covariance_type="tied", n_init=n_init, random_state=random_state,
        reg_covar=FLOOR, max_iter=200, **start,
    )  # fmt: skip
    with warnings_silenced, threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def _fitted_from(X: np.ndarray, clusters: np.ndarray) -> Any:
    """Fit a mixture to whitened values, starting from clusters."""
    n_clusters = int(clusters.max()) + 1
    sizes = np.bincount(clusters, minlength=n_clusters)
    means = np.stack([X[clusters == j].mean(axis=0) for j in range(n_clusters)])
    within = X - means[clusters]
    covariance = within.T @ within / len(X) + FLOOR * np.eye(X.shape[1])
    return _fitted(
        X, n_clusters, n_init=1, random_state=0, weights_init=sizes / len(X),
        means_init=means, precisions_init=np.linalg.inv(covariance),
    )  # fmt: skip


def _own_widths(X: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Do one round: fit every cluster to its share of each cell, and share cells out anew."""
    n_cells, n_dimensions = X.shape
    sizes = np.maximum(found.sum(axis=0), np.finfo(float).tiny)
    means = (found.T @ X) / sizes[:, None]
    within = np.stack(
        [
            ((X - mean).T * share) @ (X - mean)
            for mean, share in zip(means, found.T, strict=True)
        ]
    )
    common = within.sum(axis=0) / n_cells + FLOOR * np.eye(n_dimensions)
    further = SHRINKAGE * (n_dimensions + 2)
    covariances = (within + further * common) / (sizes + further)[:, None, None]
    densities = np.empty_like(found)  # their logarithms, but for what all clusters share
    for j, (mean, root) in enumerate(zip(means, np.linalg.cholesky(covariances), strict=True)):
        apart = solve_triangular(root, (X - mean).T, lower=True)
        densities[:, j] = -np.log(np.diag(root)).sum() - 0.5 * (apart**2).sum(axis=0)
    return softmax(densities + np.log(sizes), axis=1)


def _probabilities(X: np.ndarray, model: Any) -> np.ndarray:
    found: np.ndarray = model.predict_proba(X)
    return found[:, np.argsort(-found.sum(axis=0), kind="stable")]
