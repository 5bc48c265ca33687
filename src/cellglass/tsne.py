"""t-SNE: a layout of cells in which near ones stay near."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from cellglass.neighbors import N_NEIGHBORS, Neighbors, find_neighbors

PERPLEXITY = 30.0
EXACT_CELLS = 10_000
"""Up to this many cells the gradient is exact; beyond, it is interpolated on a grid."""


def n_tsne_neighbors(n_cells: int) -> int:
    """Give how many neighbours of a cell t-SNE looks at: three times the perplexity."""
    return min(n_cells - 1, int(3 * perplexity_of(n_cells) + 1))


def perplexity_of(n_cells: int) -> float:
    """Give the perplexity: 30, or less where there are too few cells for it."""
    return min(PERPLEXITY, (n_cells - 1) / 3)


def neighbors_of_map(scores: np.ndarray) -> Neighbors:
    """Find as many neighbours as t-SNE looks at, and no fewer than a space is judged by."""
    n_cells = len(scores)
    return find_neighbors(scores, max(n_tsne_neighbors(n_cells), min(N_NEIGHBORS, n_cells - 1)))


def affinities_of_map(near: Neighbors) -> sparse.csr_matrix:
    """Joint probabilities, :func:`affinities`, by which t-SNE lays such neighbours out."""
    n_cells = len(near.indices)
    return affinities(near.first(n_tsne_neighbors(n_cells)), perplexity_of(n_cells))


def tsne(scores: np.ndarray, *, P: sparse.csr_matrix | None = None) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) from a start by PCA (Kobak & Berens 2019).

    Up to 10,000 cells by the exact gradient, beyond by one that is interpolated on a grid
    (Linderman et al. 2019); :mod:`cellglass.layout` says how.

    Parameters
    ----------
    scores
        Principal components of the cells, shape (n_cells, n_components ≥ 2).
    P
        Their :func:`affinities_of_map`, where known.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, 2), centred, float64.
    """
    n_cells = len(scores)
    if np.ptp(scores, axis=0).max() == 0:
        return np.zeros((n_cells, 2))  # all cells are alike: there is nothing to lay out
    start = 1e-4 * scores[:, :2] / scores[:, 0].std()
    from cellglass.layout import descend

    if P is None:
        P = affinities_of_map(neighbors_of_map(scores))
    layout = descend(P, start, exact=n_cells <= EXACT_CELLS)
    layout = np.asarray(layout, np.float64)
    return layout - layout.mean(axis=0)


def affinities(neighbors: Neighbors, perplexity: float) -> sparse.csr_matrix:
    """Joint probabilities of neighbouring cells (van der Maaten & Hinton 2008, section 2).

    The conditional probabilities of a cell's neighbours are Gaussian in their distance, with
    a variance by which their entropy is that of as many equally likely ones as the
    perplexity says; the joint ones are the mean of both directions.

    Parameters
    ----------
    neighbors
        Of every cell, as many as the perplexity times three.
    perplexity
        At least 1 and below the number of neighbours.

    Returns
    -------
    scipy.sparse.csr_matrix
        Symmetric, of sum 1, shape (n_cells, n_cells), float32.
    """
    from cellglass.perplexity import conditional_probabilities

    n_cells, n_neighbors = neighbors.distances.shape
    conditional = conditional_probabilities(neighbors.distances, perplexity)
    conditional /= 2 * n_cells
    starts = np.arange(0, conditional.size + 1, n_neighbors)
    one_way = sparse.csr_matrix(
        (conditional.ravel(), neighbors.indices.ravel(), starts), shape=(n_cells, n_cells)
    )
    return (one_way + one_way.T).tocsr()


def tsne_gradient(n_cells: int) -> str:
    """Name the gradient by which so many cells are laid out."""
    return "exact" if n_cells <= EXACT_CELLS else "interpolated on a grid"
