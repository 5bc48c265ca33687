"""What held-out values look like to PCA, or to a model without latent dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cellglass.pca import fit_pca


def pca_predictions(
    values: Any, sizes: Sequence[int], *, random_state: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Reconstruct a matrix by PCA of several sizes, all from one fit.

    Parameters
    ----------
    values : array or scipy.sparse.csr_matrix, shape (n_cells, n_genes)
        Log-normalised; of split counts, the train half.
    sizes : sequence of int
        Numbers of axes, each at least 1 and at most min(n_cells, n_genes).
    random_state : int
        Seed of the start vector where the axes are found by iteration.

    Yields
    ------
    (size, prediction) : tuple of int and numpy.ndarray, shape (n_cells, n_genes)
        Log-normalised predictions of all entries.
    """
    pca = fit_pca(values, max(sizes), random_state=random_state)
    scores = pca.transform(values)
    for size in sizes:
        yield size, scores[:, :size] @ pca.axes[:size] + pca.mean


def null_of_counts(values: Any, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predict log-normalised counts from no latent space, in two ways.

    The first prediction is the mean of each gene. Even without any structure, though,
    log(1 + x) of normalised counts depends on how deeply a cell was sequenced: the second
    is, for each gene, the quadratic function of the logarithm of the cell's total that
    fits best by least squares. Where there is little such dependence the first is better.
    A latent space is of use if it surpasses the better of the two.

    Parameters
    ----------
    values : array or scipy.sparse.csr_matrix, shape (n_cells, n_genes)
        Log-normalised train half.
    totals : numpy.ndarray, shape (n_cells,)
        Raw counts of every cell in the train half.

    Returns
    -------
    mean, quadratic : numpy.ndarray of float64, shape (n_cells, n_genes)
        The first is a view of one row, not to be written to.
    """
    design = _quadratic(np.log(np.maximum(totals, 0.5)))
    coefficients = np.asarray(np.linalg.pinv(design) @ values)
    mean = np.asarray(values.mean(axis=0, dtype=np.float64)).ravel()
    return np.broadcast_to(mean, values.shape), design @ coefficients


def null_rates(train: Any) -> np.ndarray:
    """Predict the same rates in every cell: each gene's share of all counts.

    Parameters
    ----------
    train : array or scipy.sparse.csr_matrix, shape (n_cells, n_genes)
        Raw counts of the train half.

    Returns
    -------
    numpy.ndarray of float64, shape (n_cells, n_genes)
        Counts per 10,000 of a cell; a view of one row, not to be written to.
    """
    of_genes = np.asarray(train.sum(axis=0), dtype=np.float64).ravel()
    share = of_genes / max(of_genes.sum(), 1.0)
    return np.broadcast_to(1e4 * share, train.shape)


def null_of_entries(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predict held-out log-normalised values from no latent space, in two ways.

    As :func:`null_of_counts`, both fitted to visible entries alone, and with the logarithm
    of the share of non-zero values among a cell's visible entries in the place of its
    total, which normalised values do not tell. Where no value is zero, both are the same.

    Parameters
    ----------
    values : numpy.ndarray, shape (n_cells, n_genes)
        Log-normalised. What stands in held-out entries has no influence.
    mask : numpy.ndarray of bool, shape (n_cells, n_genes)
        True where the entry is held out; every cell and every gene needs a visible entry.

    Returns
    -------
    mean, quadratic : numpy.ndarray of float64, shape (n_cells, n_genes)
        The first is a view of one row, not to be written to.
    """
    visible = ~mask
    n_visible = visible.sum(axis=1)
    detected = (visible & (values != 0)).sum(axis=1)
    design = _quadratic(np.log(np.maximum(detected, 0.5) / n_visible))
    n_terms = design.shape[1]
    # Normal equations of every gene over its own visible cells.
    weight = visible.astype(np.float64)
    pairs = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    left = (weight.T @ pairs).reshape(-1, n_terms, n_terms)
    right = np.where(visible, values, 0).T.astype(np.float64) @ design  # (n_genes, n_terms)
    coefficients = (np.linalg.pinv(left, hermitian=True) @ right[:, :, None])[:, :, 0]
    mean = right[:, 0] / visible.sum(axis=0)
    return np.broadcast_to(mean, values.shape), design @ coefficients.T


def _quadratic(covariate: np.ndarray) -> np.ndarray:
    """Columns 1, z and z² of the standardised covariate; only 1 where it is constant."""
    spread = covariate.std()
    if not spread > 1e-9:
        return np.ones((len(covariate), 1))
    z = (covariate - covariate.mean()) / spread
    return np.column_stack([np.ones(len(z)), z, z**2])
