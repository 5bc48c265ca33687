"""The nearest neighbours of every cell, exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

CHUNK = 1024
ROWS_AT_A_TIME = 16_384
"""Cells whose neighbours are looked for in one go: few enough for little memory, and enough
to share out among many cores."""
N_NEIGHBORS = 15
"""Neighbours of a cell in graphs and neighbourhood scores: scanpy's default."""


class Neighbors(NamedTuple):
    """The nearest other cells of every cell, nearest first.

    Attributes
    ----------
    indices
        Row numbers, shape (n_cells, n_neighbors), int32. A cell is never its own neighbour,
        also among duplicates.
    distances
        Euclidean, same shape, in the type of the cells.
    """

    indices: np.ndarray
    distances: np.ndarray

    def first(self, n_neighbors: int) -> Neighbors:
        """Keep the nearest of them."""
        return Neighbors(self.indices[:, :n_neighbors], self.distances[:, :n_neighbors])


def find_neighbors(
    X: np.ndarray | sparse.csr_matrix,
    n_neighbors: int,
    among: np.ndarray | None = None,
    *,
    of: np.ndarray | None = None,
) -> Neighbors:
    """Find the nearest other cells by Euclidean distance.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions).
    n_neighbors
        How many; fewer if there are not that many other cells.
    among
        Row numbers of the cells that may be neighbours. Default: all.
    of
        Row numbers of the cells whose neighbours are found. Default: all.

    Returns
    -------
    Neighbors
        Of these cells; with `of`, in that order.
    """
    from sklearn.neighbors import NearestNeighbors

    there = X if among is None else X[among]
    among = np.arange(X.shape[0]) if among is None else among
    wanted, n_wanted = (X, X.shape[0]) if of is None else (X[of], len(of))
    own = np.arange(n_wanted) if of is None else of
    n_neighbors = min(n_neighbors, len(among) - 1)
    finder = NearestNeighbors(n_neighbors=n_neighbors + 1, algorithm="brute").fit(there)
    indices = np.empty((n_wanted, n_neighbors), np.int32)
    distances = np.empty((n_wanted, n_neighbors), X.dtype)
    for start in range(0, n_wanted, ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        far, place = finder.kneighbors(wanted[part])
        near = among[place]
        others = near != own[part, None]
        # Not found: it is not among them, or they are more duplicates than were looked for.
        others[others.all(axis=1), -1] = False
        indices[part] = near[others].reshape(-1, n_neighbors)
        distances[part] = far[others].reshape(-1, n_neighbors)
    return Neighbors(indices, distances)


def nearest_neighbors(
    X: np.ndarray | sparse.csr_matrix,
    n_neighbors: int = N_NEIGHBORS,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Give what :func:`find_neighbors` finds without the distances."""
    return find_neighbors(X, n_neighbors, among).indices


def neighbors_preserved(before: np.ndarray, after: np.ndarray) -> float:
    """Mean share of a cell's neighbours in one space that it keeps in another.

    Parameters
    ----------
    before, after
        Neighbours of the same cells in two spaces, each of shape (n_cells, n_neighbors).

    Returns
    -------
    float
        1 where all neighbourhoods are the same sets; about n_neighbors / n_cells by chance.
    """
    n_cells, n_neighbors = before.shape
    kept = (_adjacency(before).multiply(_adjacency(after))).nnz
    return kept / (n_cells * n_neighbors)


def shared_neighbor_graph(neighbors: np.ndarray) -> sparse.csr_matrix:
    """Weigh neighbouring cells by how many neighbours they share.

    The weight of two cells, of which at least one has the other among its nearest, is
    the Jaccard index of their neighbourhoods, each cell counted into its own: the graph
    of PhenoGraph (Levine et al. 2015).

    Parameters
    ----------
    neighbors
        Shape (n_cells, n_neighbors).

    Returns
    -------
    scipy.sparse.csr_matrix
        Symmetric weights in (0, 1], zero diagonal, shape (n_cells, n_cells).
    """
    n_cells, n_neighbors = neighbors.shape
    near = _adjacency(neighbors)
    around = near + sparse.identity(n_cells, format="csr")
    linked = ((near + near.T) > 0).astype(np.float64)
    shared = sparse.vstack(
        [  # in parts: where many cells share one neighbour, the whole product is dense
            (around[i : i + CHUNK] @ around.T).multiply(linked[i : i + CHUNK])
            for i in range(0, n_cells, CHUNK)
        ],
        format="csr",
    )
    shared.data = shared.data / (2 * (n_neighbors + 1) - shared.data)
    return shared


def _adjacency(neighbors: np.ndarray) -> sparse.csr_matrix:
    n_cells, n_neighbors = neighbors.shape
    starts = np.arange(0, n_cells * n_neighbors + 1, n_neighbors)
    ones = np.ones(neighbors.size)
    return sparse.csr_matrix((ones, neighbors.ravel(), starts), shape=(n_cells, n_cells))
