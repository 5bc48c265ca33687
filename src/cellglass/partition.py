"""Clusters of cells in any space."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from cellglass.neighbors import shared_neighbor_graph

if TYPE_CHECKING:
    import igraph

# Warnings are silenced, and igraph given its randomness, for the whole process.
warnings_silenced = threading.RLock()
_igraph_seeded = threading.RLock()


def kmeans(
    X: np.ndarray | sparse.csr_matrix, n_clusters: int, *, random_state: int
) -> np.ndarray:
    """k-means, the best of ten starts by k-means++.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions).
    n_clusters
        Number of clusters; no more than cells are made.
    random_state
        Seed of the starts.

    Returns
    -------
    numpy.ndarray
        Cluster of every cell, from 0, the largest cluster first, shape (n_cells,).
    """
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    model = KMeans(min(n_clusters, X.shape[0]), n_init=10, random_state=random_state)
    # Threads add their sums in the order in which they finish, so that the last bits of
    # the centres, and with them a cell on a border, would change from run to run.
    with warnings_silenced, threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct cells than k
        return by_size(model.fit_predict(X))


def leiden(neighbors: np.ndarray, *, resolution: float = 1.0, random_state: int) -> np.ndarray:
    """Leiden communities (Traag et al. 2019) of the shared-neighbour graph.

    Parameters
    ----------
    neighbors
        Nearest neighbours of every cell, shape (n_cells, n_neighbors).
    resolution
        Of the modularity that is made large; more gives more clusters.
    random_state
        Seed of the order in which cells are moved.

    Returns
    -------
    numpy.ndarray
        Cluster of every cell, from 0, the largest cluster first, shape (n_cells,).
    """
    graph = neighbor_graph(neighbors)
    return communities(graph, resolution=resolution, random_state=random_state)


def neighbor_graph(neighbors: np.ndarray) -> igraph.Graph:
    """Make the graph that :func:`leiden` partitions: its edges weigh as many shared neighbours.

    Parameters
    ----------
    neighbors
        Shape (n_cells, n_neighbors).
    """
    import igraph

    weights = sparse.triu(shared_neighbor_graph(neighbors), k=1).tocoo()
    edges = np.column_stack([weights.row, weights.col])
    return igraph.Graph(len(neighbors), edges, edge_attrs={"weight": weights.data})


def communities(graph: igraph.Graph, *, resolution: float, random_state: int) -> np.ndarray:
    """Partition a :func:`neighbor_graph`; the rest as in :func:`leiden`."""
    with _igraph_seeded, _igraph_seed(random_state):
        found = graph.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution,
            n_iterations=10,
        )  # fmt: skip
    return by_size(np.asarray(found.membership))


@contextmanager
def _igraph_seed(random_state: int) -> Iterator[None]:
    """Let igraph, whose only source of randomness is a global one, draw from a seed."""
    import igraph

    igraph.set_random_number_generator(random.Random(int(random_state)))  # noqa: S311
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)


def by_size(clusters: np.ndarray) -> np.ndarray:
    """Renumber clusters from the largest, so that equal partitions have equal numbers.

    Clusters of one size keep the order in which they first appear.
    """
    _, first, inverse, sizes = np.unique(
        clusters, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(sizes), np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[inverse]


def first_cells(clusters: np.ndarray) -> np.ndarray:
    """Give the first cell of every cluster, in order of their numbers, (n_clusters,)."""
    first: np.ndarray = np.unique(clusters, return_index=True)[1]
    return first
