"""Clusters of cells in one space, and how sure each cell's place among them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from cellglass.confidence import joint_membership, membership
from cellglass.consensus import consensus, voices
from cellglass.matrices import sample_rows
from cellglass.mixture import gaussian_mixture, n_parameters, tied_membership
from cellglass.neighbors import nearest_neighbors
from cellglass.partition import by_size, kmeans, leiden
from cellglass.resolution import Scan, scan_resolutions
from cellglass.separation import Separation, choose_number

CELLS_A_PARAMETER = 5
"""With fewer cells for each of its parameters a mixture has no say in a consensus: the most
likely one then tells outliers from all other cells."""
CELLS_A_NEIGHBOR = 200
"""A cell of a consensus hears one neighbour for so many cells there are."""
HEARD = 20_000
"""Of more cells, the neighbours that are heard are among so many drawn at random."""
METHODS = ("consensus", "leiden", "kmeans", "gaussian_mixture", "idec")
SURE = 0.8
"""Cells less sure of their cluster than that are reported as being between clusters."""


@dataclass(frozen=True)
class Clusters:
    """Clusters of cells, and how sure the place of every cell is.

    Attributes
    ----------
    clusters
        Cluster of every cell, from 0, the largest first, shape (n_cells,). It need not be
        the one of the highest membership.
    membership
        Probability of every cluster for every cell, shape (n_cells, n_clusters).
    n_clusters_from
        What decided on their number: ``given``, ``leiden`` (its resolution, or that it finds
        no stable clusters), or ``silhouette``.
    scan
        What Leiden found at all resolutions; None where it tried one, or none.
    separation
        How far clusters are apart by their number; None where that was not asked.
    members
        Of a consensus, the clusters that every member found by itself, each of shape
        (n_cells,); else empty.
    beside_votes
        How many members the vote of a space beside them counted for; None without one.
    """

    clusters: np.ndarray
    membership: np.ndarray
    n_clusters_from: str
    scan: Scan | None = None
    separation: Separation | None = None
    members: tuple[np.ndarray, ...] = ()
    beside_votes: float | None = None

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.membership.shape[1])

    @property
    def resolution(self) -> float | None:
        """Leiden's, where it found the clusters by itself; None where it was told how."""
        if self.scan is None or self.separation is not None:
            return None
        return self.scan.resolution

    @property
    def confidence(self) -> np.ndarray:
        """Probability of every cell's own cluster, shape (n_cells,)."""
        own: np.ndarray = self.membership[np.arange(len(self.clusters)), self.clusters]
        return own

    @property
    def second(self) -> np.ndarray:
        """Most probable other cluster of every cell, shape (n_cells,); −1 if there is none."""
        if self.n_clusters == 1:
            return np.full(len(self.clusters), -1)
        others = self.membership.copy()
        others[np.arange(len(others)), self.clusters] = -1
        second: np.ndarray = others.argmax(axis=1)
        return second

    @property
    def between(self) -> np.ndarray:
        """True for cells whose confidence is below 0.8, shape (n_cells,)."""
        unsure: np.ndarray = self.confidence < SURE
        return unsure

    def moved(self, clusters: np.ndarray, *, before: np.ndarray) -> Clusters:
        """Take over what joint training has made of the clusters.

        It draws cells to the centres: only the space before it, shape (n_cells,
        n_dimensions), can tell how sure their places are.
        """
        return replace(self, clusters=clusters, membership=membership(before, clusters))


def cluster_space(
    X: np.ndarray,
    method: str,
    *,
    n_clusters: int | None = None,
    resolution: float | None = None,
    n_neighbors: int = 15,
    random_state: int = 0,
) -> Clusters:
    """Find clusters in one space.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells ≥ 2, n_dimensions).
    method
        ``leiden``, ``kmeans`` or ``gaussian_mixture``.
    n_clusters
        How many. Default: what Leiden finds; of other methods, as many as Leiden finds at
        `resolution`, or without one as :func:`cellglass.separation.choose_number` chooses.
    resolution
        Of Leiden. Default: the one :func:`cellglass.resolution.scan_resolutions` chooses.
    n_neighbors
        Nearest neighbours of every cell in Leiden's graph.
    random_state
        Decides everything random.
    """
    if method == "leiden":
        scan = None
        if resolution is None:
            scan = scan_resolutions(
                X, n_neighbors=n_neighbors, random_state=random_state, n_clusters=n_clusters
            )
            clusters = scan.clusters
        else:
            clusters = _leiden(X, n_neighbors, resolution, random_state)
        origin = "leiden" if n_clusters is None else "given"
        return Clusters(clusters, membership(X, clusters), origin, scan)
    if n_clusters is None and resolution is not None:
        by_leiden = _leiden(X, n_neighbors, resolution, random_state)
        number = _Number(int(by_leiden.max()) + 1, "leiden")
    else:
        number = _number([X], n_clusters, n_neighbors=n_neighbors, random_state=random_state)
    if method == "gaussian_mixture":
        found = gaussian_mixture(X, number.k, random_state=random_state)
        clusters = by_size(found.argmax(axis=1))
    else:
        clusters = kmeans(X, number.k, random_state=random_state)
    return number.of(clusters, membership(X, clusters))


def consensus_of_spaces(
    spaces: Sequence[np.ndarray],
    *,
    beside: np.ndarray | None = None,
    beside_votes: float = 1.0,
    n_clusters: int | None = None,
    n_neighbors: int = 15,
    random_state: int = 0,
) -> Clusters:
    """Find the clusters on which several spaces of the same cells agree best.

    In each space two methods of different faults find clusters: k-means, which prefers groups
    as wide in every direction, with the probabilities of a mixture started from them
    (:func:`cellglass.mixture.tied_membership`); and a Gaussian mixture by itself
    (:func:`cellglass.mixture.gaussian_mixture`), which does not, and sometimes ends badly;
    it is left out where there are fewer than five cells for each of its parameters.
    The probabilities are averaged, first of both methods, then of all spaces
    (:func:`cellglass.consensus.consensus`).

    Then cells hear their neighbours, so that unsure ones are not torn from those around them:
    a cell goes where its own probabilities pⱼ and what its n nearest other cells say, in each
    space, are highest together, pⱼ + Σ over neighbours of pⱼ / (n + 1). A cell that is certain
    stays. n is one for every 200 cells, at most `n_neighbors` and a quarter of the cluster
    where the cell is likeliest by itself, and no cluster loses its last cell; of more than
    20,000 cells, a random 20,000 can be heard.

    How sure a cell's place among these clusters is, all spaces tell together
    (:func:`cellglass.confidence.joint_membership`).

    Parameters
    ----------
    spaces
        Such as latent vectors of networks with different seeds, each of shape (n_cells,
        n_dimensions).
    beside
        One more space, of another kind, such as principal components. It is not among the
        ``members`` of the result.
    beside_votes
        How many spaces its vote counts for at most (:func:`cellglass.consensus.voices`).
    n_clusters
        How many. Default: as :func:`cellglass.separation.choose_number` chooses.
    n_neighbors, random_state
        As in :func:`cluster_space`.
    """
    number = _number(
        spaces, n_clusters, beside=beside, beside_votes=beside_votes,
        n_neighbors=n_neighbors, random_state=random_state,
    )  # fmt: skip
    voting = [*spaces, *([] if beside is None else [beside])]
    votes = [_by_both(space, number.k, random_state) for space in voting]
    weights = voices(votes, len(spaces), beside_votes)
    own = tuple(by_size(vote.argmax(axis=1)) for vote in votes[: len(spaces)])
    found = consensus(votes, weights=weights, n_clusters=number.k)
    clusters = by_size(
        _heard(found, voting, weights, n_neighbors=n_neighbors, random_state=random_state)
    )
    sure = joint_membership(voting, weights, clusters)
    counted = None if beside is None else weights[-1]
    return replace(number.of(clusters, sure), members=own, beside_votes=counted)


def neighbors_heard(n_cells: int, n_neighbors: int) -> int:
    """Give how many other cells a cell of a consensus hears at most.

    One for every 200 cells there are, and no more than `n_neighbors`.
    """
    return min(n_neighbors, n_cells // CELLS_A_NEIGHBOR)


def _heard(
    found: np.ndarray,
    spaces: Sequence[np.ndarray],
    weights: Sequence[float],
    *,
    n_neighbors: int,
    random_state: int,
) -> np.ndarray:
    """Give every cell's cluster when it has heard its neighbours, shape (n_cells,)."""
    own = found.argmax(axis=1)
    n_heard = neighbors_heard(len(found), n_neighbors)
    among = sample_rows(len(found), HEARD, random_state)
    sizes = np.bincount(own[among], minlength=found.shape[1])
    limit = np.minimum(n_heard, sizes[own] // 4)  # of every cell
    if not limit.any():
        return own
    is_heard = np.arange(n_heard) < limit[:, None]  # (n_cells, n_heard), the nearest first
    shares, ends = np.repeat(1 / (limit + 1), limit), np.cumsum(limit)
    said = np.zeros_like(found)
    for X, weight in zip(spaces, weights, strict=True):
        near = nearest_neighbors(X, n_heard, among)[is_heard]
        graph = sparse.csr_matrix((shares, near, np.r_[0, ends]), (len(found), len(found)))
        said += weight / sum(weights) * (graph @ found)
    clusters: np.ndarray = (found + said).argmax(axis=1)
    while len(emptied := np.setdiff1d(own, clusters)):  # which its neighbours must not do
        clusters = np.where(np.isin(own, emptied), own, clusters)
    return clusters


@dataclass(frozen=True)
class _Number:
    """How many clusters are looked for, and why."""

    k: int
    origin: str
    separation: Separation | None = None

    def of(self, clusters: np.ndarray, sure: np.ndarray) -> Clusters:
        """Put clusters together with what is known of their number."""
        scan = None if self.separation is None else self.separation.scan
        return Clusters(clusters, sure, self.origin, scan, self.separation)


def _number(spaces: Sequence[np.ndarray], n_clusters: int | None, **how: Any) -> _Number:
    """Take the number that is given, or choose one."""
    if n_clusters is not None:
        return _Number(n_clusters, "given")
    found = choose_number(spaces, **how)
    return _Number(found.chosen, "leiden" if found.chosen == 1 else "silhouette", found)


def _leiden(
    X: np.ndarray, n_neighbors: int, resolution: float, random_state: int
) -> np.ndarray:
    """Cluster by Leiden, cells in the very same place together."""
    places, of_cell = np.unique(X, axis=0, return_inverse=True)
    if len(places) == 1:
        return np.zeros(len(X), np.int64)
    if len(places) < len(X):
        return by_size(_leiden(places, n_neighbors, resolution, random_state)[of_cell])
    near = nearest_neighbors(X, n_neighbors)
    return leiden(near, resolution=resolution, random_state=random_state)


def _by_both(X: np.ndarray, n_clusters: int, random_state: int) -> np.ndarray:
    """Average the probabilities of k-means' clusters and of a mixture, (n_cells, k)."""
    by_kmeans = tied_membership(X, kmeans(X, n_clusters, random_state=random_state))
    if len(X) < CELLS_A_PARAMETER * n_parameters(X.shape[1], n_clusters):
        return by_kmeans
    by_mixture = gaussian_mixture(X, n_clusters, random_state=random_state)
    return consensus([by_kmeans, by_mixture], n_clusters=n_clusters)
