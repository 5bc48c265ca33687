"""The number of clusters: of those found again, the number that is separated best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellglass.consensus import consensus
from cellglass.matrices import sample_rows
from cellglass.metrics import silhouettes
from cellglass.mixture import membership
from cellglass.partition import kmeans
from cellglass.resolution import Scan, scan_resolutions

CELLS = 5000
"""Of more cells, so many drawn at random decide: else the finest clusters that are found again
would be the finer the more cells there are."""
FURTHER = 6
"""A number is taken when none of so many further ones is separated better."""


@dataclass(frozen=True)
class Numbers:
    """How well clusters are separated, by their number.

    Attributes
    ----------
    n_clusters
        Numbers that were tried, from 2; none where no clusters are stable.
    silhouette
        At each, the mean silhouette of the clusters over the spaces.
    chosen
        The one that was taken; 1 where no clusters are stable.
    finest
        The largest that Leiden finds again in subsamples, the median over the spaces.
    scan
        Leiden's in the space that is nearest to this median.
    n_cells
        How many cells decided.
    """

    n_clusters: tuple[int, ...]
    silhouette: tuple[float, ...]
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
) -> Numbers:
    """Choose how many clusters cells have, by two things that know no labels.

    The first is that clusters are there again when a fifth of the cells is not
    (:func:`cellglass.resolution.scan_resolutions`): the median over the spaces of the finest
    such clusters is the largest number considered, and if it is 1, there are no clusters. The
    second is how far apart they are: k-means, with the probabilities of a mixture started
    from it, votes in every space, and of the clusters on which the spaces agree
    (:func:`cellglass.consensus.consensus`) the mean silhouette (Rousseeuw 1987) is taken, over
    the spaces. The first number that none of the six after it betters is chosen. A random
    5,000 of the cells decide where there are more.

    Parameters
    ----------
    spaces, beside, beside_votes, n_neighbors
        As in :func:`cellglass.cluster_space.consensus_of_spaces`; silhouettes are those in
        `spaces` alone.
    random_state
        Decides everything random.
    """
    sample = sample_rows(len(spaces[0]), CELLS, random_state)
    spaces = [space[sample] for space in spaces]
    voting = [*spaces, *([] if beside is None else [beside[sample]])]
    weights = [1.0] * len(spaces) + [beside_votes] * (beside is not None)
    scans = [
        scan_resolutions(space, n_neighbors=n_neighbors, random_state=random_state)
        for space in spaces
    ]
    counts = np.array([int(one.clusters.max()) + 1 for one in scans])
    finest = int(np.median(counts))
    tried: list[int] = []
    separated: list[float] = []
    best = 0
    while len(tried) < finest - 1 and len(tried) - best <= FURTHER:
        # Several numbers at a time: the distances of a space are computed once for all.
        numbers = range(2 + len(tried), min(finest, 1 + len(tried) + FURTHER) + 1)
        tried += numbers
        separated += _separation(spaces, voting, weights, numbers, random_state)
        best = _first_unbettered(separated)
    return Numbers(
        n_clusters=tuple(tried), silhouette=tuple(separated),
        chosen=tried[best] if tried else 1, finest=finest,
        scan=scans[int(np.abs(counts - finest).argmin())], n_cells=len(sample),
    )  # fmt: skip


def _first_unbettered(values: Sequence[float]) -> int:
    """Give the first place whose value none of the next six exceeds."""
    return next(i for i in range(len(values)) if values[i] >= max(values[i : i + 1 + FURTHER]))


def _separation(
    spaces: Sequence[np.ndarray],
    voting: Sequence[np.ndarray],
    weights: Sequence[float],
    numbers: Sequence[int],
    random_state: int,
) -> list[float]:
    """Mean silhouette over the spaces of what they agree on, at each number of clusters."""
    partitions = []
    for k in numbers:
        votes = [membership(X, kmeans(X, k, random_state=random_state)) for X in voting]
        agreed = consensus(votes, weights=weights, n_clusters=k)
        partitions.append(agreed.argmax(axis=1))
    by_space = [silhouettes(X, partitions) for X in spaces]
    # None where all cells are in one cluster, which separates nothing.
    return [
        float(np.mean([-1.0 if value is None else value for value in values]))
        for values in zip(*by_space, strict=True)
    ]
