"""Gaussian mixtures with one covariance: clusters, and votes for them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

N_INIT = 10
"""Starts of a mixture; the most likely end is taken."""
FLOOR = 1e-6
"""Least variance, as a share of the mean variance: duplicates must not make it 0."""


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
    X = whitened(X)
    return _probabilities(X, _fitted(X, n_clusters, n_init=N_INIT, random_state=random_state))


def tied_membership(X: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Soften hard clusters, as votes for a consensus.

    A mixture of Gaussian distributions with one covariance is fitted, starting from the
    clusters, by expectation-maximisation (Dempster et al. 1977) until nothing changes. Votes of
    :func:`cellglass.confidence.membership`, which tells better how sure a cell is, find known
    types less well.

    Parameters
    ----------
    X
        Cells in the space that the clusters were found in, shape (n_cells, n_dimensions).
    clusters
        Shape (n_cells,), integers from 0.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_clusters); rows add up to 1.
    """
    if clusters.max() == 0:
        return np.ones((len(X), 1))
    X = whitened(X)
    found: np.ndarray = _fitted_from(X, clusters).predict_proba(X)
    return found


def n_parameters(n_dimensions: int, n_clusters: int) -> int:
    """Count the parameters of a mixture: its means, one covariance, and its shares."""
    return n_clusters * n_dimensions + n_dimensions * (n_dimensions + 1) // 2 + n_clusters - 1


def whitened(X: np.ndarray) -> np.ndarray:
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


def _probabilities(X: np.ndarray, model: Any) -> np.ndarray:
    found: np.ndarray = model.predict_proba(X)
    return found[:, np.argsort(-found.sum(axis=0), kind="stable")]
