"""The resolution of Leiden, and with it the number of clusters, by stability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cellglass.metrics import AGREEMENT
from cellglass.neighbors import find_neighbors
from cellglass.partition import by_size, communities, neighbor_graph

RESOLUTIONS = tuple(float(r) for r in np.geomspace(0.05, 2.5, 14).round(3))
"""What is scanned, from few clusters to many."""
N_SUBSAMPLES = 5
KEPT = 0.8
"""Share of the cells in a subsample."""
STABLE = 0.75
"""Clusters whose subsamples agree less, at every resolution, are not there. Cells drawn from
one normal distribution come to .3 where there are hundreds of them in ten dimensions, and to .7
where there are a few dozen, or two dimensions; real sets with known types to .95 and more."""
FOUND_AGAIN = 0.75
"""A cluster of a lower mean Jaccard index with its best match is not stable (Hennig 2007)."""
SPARED = 0.05
"""Share of the cells that may be in such clusters."""
NEARLY = 0.95
"""Clusters that are stable to so much of the most stable resolution are as good."""


@dataclass(frozen=True)
class Scan:
    """How stable Leiden's clusters are at every resolution.

    Attributes
    ----------
    resolutions
        From low to high.
    stability
        At every one, the mean adjusted Rand index of the clusterings of two subsamples, over
        the cells that are in both. Where most clusterings have one cluster, or less than two
        cells in a cluster, it is 0: such ones agree whatever the cells are.
    n_clusters
        At every one, clusters of all cells.
    chosen
        Which one was taken; None where no clusters are stable.
    clusters
        Of all cells that were looked at, at that one, from 0, the largest first, shape
        (n_cells,). Without stable clusters all cells are in one.
    """

    resolutions: tuple[float, ...]
    stability: tuple[float, ...]
    n_clusters: tuple[int, ...]
    chosen: int | None
    clusters: np.ndarray

    @property
    def resolution(self) -> float | None:
        """The one that was taken."""
        return None if self.chosen is None else self.resolutions[self.chosen]


def scan_resolutions(
    X: np.ndarray,
    *,
    n_neighbors: int = 15,
    n_clusters: int | None = None,
    resolutions: Sequence[float] = RESOLUTIONS,
    random_state: int,
) -> Scan:
    """Find the finest clusters that are there again when a fifth of the cells is not.

    At every resolution, subsamples of four fifths of the cells are clustered, each by the
    graph of its own nearest neighbours, and compared by the cells that two of them share. Of
    the resolutions that are stable to 95 % of the most stable one, and at which no more than
    5 % of the cells are in clusters that subsamples do not find again, the highest is taken:
    low resolutions are always stable, and always coarse. If the agreement is below 0.75 at
    all of them, there are no clusters. No labels are looked at.

    Cells in the very same place, such as those of a network that tells nothing apart, cannot
    be in different clusters: each place is looked at once.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions).
    n_neighbors
        Nearest neighbours in the graph.
    n_clusters
        If given, only resolutions that come nearest to so many clusters are considered;
        further ones between those scanned are tried where none gives as many.
    resolutions
        What to scan, in rising order.
    random_state
        Decides the subsamples and Leiden's order of the cells.
    """
    places, of_cell = np.unique(X, axis=0, return_inverse=True)
    if len(places) < len(X):
        scan = scan_resolutions(
            places, n_neighbors=n_neighbors, n_clusters=n_clusters, resolutions=resolutions,
            random_state=random_state,
        )  # fmt: skip
        return replace(scan, clusters=by_size(scan.clusters[of_cell]))
    n_cells = len(X)
    if n_cells == 1:
        n = len(resolutions)
        return Scan(tuple(resolutions), (0.0,) * n, (1,) * n, None, np.zeros(1, np.int64))
    rng = np.random.default_rng(random_state)
    # As many neighbours in all cells as leave enough of them in nearly every subsample.
    near = find_neighbors(X, min(n_cells - 1, int(n_neighbors / KEPT * 1.6) + 2)).indices
    subsamples = [
        np.sort(rng.choice(n_cells, max(2, round(KEPT * n_cells)), replace=False))
        for _ in range(N_SUBSAMPLES)
    ]
    graphs = [
        neighbor_graph(near[:, :n_neighbors]),
        *(
            neighbor_graph(_neighbors_within(X, near, cells, n_neighbors))
            for cells in subsamples
        ),
    ]
    tried: dict[float, tuple[np.ndarray, float, float]] = {}

    def attempt(resolution: float) -> int:
        """Cluster all cells at a resolution; give the number of clusters."""
        if resolution not in tried:
            whole, *parts = (
                communities(graph, resolution=resolution, random_state=random_state)
                for graph in graphs
            )
            tried[resolution] = (
                whole, _stability(parts, subsamples, n_cells),
                _share_lost(whole, parts, subsamples),
            )  # fmt: skip
        return int(tried[resolution][0].max()) + 1

    for resolution in resolutions:
        attempt(resolution)
    if n_clusters is not None:
        _search(attempt, n_clusters, sorted(tried))
    done = sorted(tried)
    counts = [int(tried[r][0].max()) + 1 for r in done]
    stability = [tried[r][1] for r in done]
    allowed = list(range(len(done)))
    if n_clusters is not None:
        off = [abs(count - n_clusters) for count in counts]
        allowed = [i for i in allowed if off[i] == min(off)]
    best = max(stability[i] for i in allowed)
    if best < STABLE and n_clusters is None:
        alone = np.zeros(n_cells, np.int64)
        return Scan(tuple(done), tuple(stability), tuple(counts), None, alone)
    good = [i for i in allowed if stability[i] >= NEARLY * best]
    lost = [tried[done[i]][2] for i in good]
    chosen = max(
        i for i, share in zip(good, lost, strict=True) if share <= max(SPARED, min(lost))
    )
    return Scan(tuple(done), tuple(stability), tuple(counts), chosen, tried[done[chosen]][0])


def _search(attempt, n_clusters: int, done: list[float]) -> None:  # type: ignore[no-untyped-def]
    """Try resolutions between those tried, until one gives the number of clusters."""
    low, high = done[0] / 8, done[-1] * 4
    for resolution in done:
        count = attempt(resolution)
        if count == n_clusters:
            return
        if count < n_clusters:
            low = max(low, resolution)
        elif high > resolution:
            high = resolution
            break
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        count = attempt(middle)
        if count == n_clusters:
            return
        low, high = (middle, high) if count < n_clusters else (low, middle)


def _neighbors_within(
    X: np.ndarray, near: np.ndarray, cells: np.ndarray, n_neighbors: int
) -> np.ndarray:
    """Nearest neighbours of some cells among themselves, by those among all.

    A cell too few of whose neighbours are left is looked at anew.
    """
    n_neighbors = min(n_neighbors, len(cells) - 1)
    place = np.full(len(X), -1)
    place[cells] = np.arange(len(cells))
    there = place[near[cells]]  # (n_kept, n_near), −1 for those that are not
    found = np.full((len(cells), n_neighbors), -1)
    order = np.argsort(there < 0, axis=1, kind="stable")[:, :n_neighbors]
    found[:, : order.shape[1]] = np.take_along_axis(there, order, axis=1)
    short = np.flatnonzero((found < 0).any(axis=1))
    if len(short):
        found[short] = place[find_neighbors(X, n_neighbors, cells, of=cells[short]).indices]
    return found


def _stability(
    parts: Sequence[np.ndarray], subsamples: Sequence[np.ndarray], n_cells: int
) -> float:
    """Mean adjusted Rand index of all pairs of clusterings, by the cells of both."""
    n_clusters = np.median([part.max() + 1 for part in parts])
    if n_clusters == 1 or 2 * n_clusters > len(subsamples[0]):
        return 0.0
    placed = np.full((len(parts), n_cells), -1)
    for row, part, cells in zip(placed, parts, subsamples, strict=True):
        row[cells] = part
    return float(
        np.mean(
            [
                AGREEMENT["ari"](a[both], b[both])
                for a, b in combinations(placed, 2)
                if (both := (a >= 0) & (b >= 0)).any()
            ]
        )
    )


def _share_lost(
    whole: np.ndarray, parts: Sequence[np.ndarray], subsamples: Sequence[np.ndarray]
) -> float:
    """Share of the cells in clusters that subsamples do not find again."""
    sizes = np.bincount(whole)
    again = np.zeros(len(sizes))
    for part, cells in zip(parts, subsamples, strict=True):
        shared = np.zeros((len(sizes), int(part.max()) + 1))
        np.add.at(shared, (whole[cells], part), 1)
        either = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
        again += (shared / np.maximum(either, 1)).max(axis=1)
    lost = again / len(parts) < FOUND_AGAIN
    return float(sizes[lost].sum() / len(whole))
