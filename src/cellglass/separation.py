"""How many clusters: no finer than those found again, and as far apart as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellglass.consensus import consensus, voices
from cellglass.matrices import sample_rows
from cellglass.metrics import silhouettes
from cellglass.mixture import tied_membership
from cellglass.partition import kmeans
from cellglass.resolution import Scan, scan_resolutions

CELLS = 5000
"""Of more cells, so many drawn at random decide: else the finest clusters that are found again
would be the finer the more cells there are."""
FURTHER = 6
"""A number is taken when none of so many further ones is separated better."""


@dataclass(frozen=True)
class Separation:
    """How far clusters are apart, by their number.

    Attributes
    ----------
    n_clusters
        Numbers that were tried, from 2; none where no clusters are stable.
    silhouette
        At each, the mean silhouette of the clusters over the spaces; None where all cells
        were in one.
    chosen
        The number that was taken; 1 where no clusters are stable.
    finest
        The largest number considered: that of the finest clusters which Leiden finds again
        in subsamples, the (lower) median over the spaces.
    scan
        Leiden's in a space in which it finds so many.
    n_cells
        How many cells decided.
    """

    n_clusters: tuple[int, ...]
    silhouette: tuple[float | None, ...]
    chosen: int
    finest: int
    scan: Scan
    n_cells: int


def choose_number(
    spaces: Sequence[np.ndarray],
    *,
    beside: np.ndarray | None = None,
    beside_votes: float = 1.0,
    n_neighbors: int = 15,
    random_state: int,
) -> Separation:
    """Choose how many clusters cells have, by two things that know no labels.

    The first is that clusters are there again when a fifth of the cells is not
    (:func:`cellglass.resolution.scan_resolutions`): the median over the spaces of the finest
    such clusters is the largest number considered, and if it is 1, there are no clusters. The
    second is how far apart they are: k-means, with the probabilities of a mixture started
    from it, votes in every space, and of the clusters on which the spaces agree
    (:func:`cellglass.consensus.consensus`) the mean silhouette (Rousseeuw 1987) is taken, over
    the spaces. The first number that none of the six after it betters is chosen. A random
    5,000 of the cells decide where there are more. A space in which all cells lie in one place,
    that of a network which has learned nothing, is not asked unless all are such.

    Parameters
    ----------
    spaces, beside, beside_votes, n_neighbors
        As in :func:`cellglass.cluster_space.consensus_of_spaces`; silhouettes and Leiden's
        clusters are those in `spaces` alone.
    random_state
        Decides everything random.
    """
    sample = sample_rows(len(spaces[0]), CELLS, random_state)
    spaces = [space[sample] for space in spaces]
    spaces = [space for space in spaces if np.ptp(space, axis=0).any()] or spaces
    voting = [*spaces, *([] if beside is None else [beside[sample]])]
    scans = [
        scan_resolutions(space, n_neighbors=n_neighbors, random_state=random_state)
        for space in spaces
    ]
    scans.sort(key=lambda scan: int(scan.clusters.max()))
    scan = scans[(len(scans) - 1) // 2]
    finest = int(scan.clusters.max()) + 1
    found: list[float | None] = []
    best = -1  # a place among them
    while len(found) < finest - 1 and len(found) <= best + FURTHER:
        # Several numbers at a time: the distances of a space are computed once for all.
        first = 2 + len(found)
        numbers = range(first, min(finest, first + FURTHER) + 1)
        found += _silhouettes(spaces, voting, beside_votes, numbers, random_state)
        best = _first_unbettered(found)
    del found[best + 1 + FURTHER :]
    return Separation(
        n_clusters=tuple(range(2, 2 + len(found))), silhouette=tuple(found),
        chosen=2 + best, finest=finest, scan=scan, n_cells=len(sample),
    )  # fmt: skip


def _first_unbettered(found: Sequence[float | None]) -> int:
    """Give the first place whose value none of the next six exceeds."""
    values = [-1.0 if value is None else value for value in found]
    return next(i for i in range(len(values)) if values[i] >= max(values[i : i + 1 + FURTHER]))


def _silhouettes(
    spaces: Sequence[np.ndarray],
    voting: Sequence[np.ndarray],
    beside_votes: float,
    numbers: Sequence[int],
    random_state: int,
) -> list[float | None]:
    """Mean silhouette over the spaces of what the voting ones agree on, by number."""
    partitions = []
    for k in numbers:
        votes = [tied_membership(X, kmeans(X, k, random_state=random_state)) for X in voting]
        weights = voices(votes, len(spaces), beside_votes)
        agreed = consensus(votes, weights=weights, n_clusters=k)
        partitions.append(agreed.argmax(axis=1))
    by_space = [silhouettes(X, partitions) for X in spaces]
    # A partition of one part has none in any space.
    return [
        None if None in values else float(np.mean(values))
        for values in zip(*by_space, strict=True)
    ]
