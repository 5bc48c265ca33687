"""One clustering out of several, such as those of networks with different seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from cellglass.metrics import AGREEMENT

FEW = 500
"""Up to so many cells, principal components have as many votes as all networks together."""
BY_CHANCE = 0.05
"""An adjusted Rand index that tells little: mean ones of unrelated clusters stay below."""
ROUNDS = 100
"""Alignment nearly always ends after two or three rounds; this many are its end."""


def consensus(
    memberships: Sequence[np.ndarray],
    *,
    weights: Sequence[float] | None = None,
    n_clusters: int | None = None,
) -> np.ndarray:
    """Average several soft clusterings of the same cells.

    The number of a cluster means nothing, so clusters are matched first: those of every
    member to those of the member that agrees best with all others, one to one by the cells
    that they share (Kuhn 1955), then again to the average until nothing changes (voting,
    Dimitriadou et al. 2002). A cluster that is left over, where members have different
    numbers of them, goes to the one with which it shares most.

    Parameters
    ----------
    memberships
        One array a member, shape (n_cells, n_clusters of the member): probabilities by cell,
        rows that add up to 1.
    weights
        How many members each counts for. Default: one.
    n_clusters
        How many clusters the result has. Default: as many as the median member.

    Returns
    -------
    numpy.ndarray
        Mean probability of every cell and cluster, shape (n_cells, n_clusters).
    """
    members = [np.asarray(member, np.float64) for member in memberships]
    if n_clusters is None:
        n_clusters = int(np.median([member.shape[1] for member in members]))
    weights = [1.0] * len(members) if weights is None else weights
    reference = _resized(members[_most_central(members, weights)], n_clusters)
    before: list[np.ndarray] = []
    for _ in range(ROUNDS):
        places = [_match(member, reference) for member in members]
        if before and all(np.array_equal(a, b) for a, b in zip(places, before, strict=True)):
            break
        before = places
        reference = np.average(
            [
                _moved(member, place, n_clusters)
                for member, place in zip(members, places, strict=True)
            ],
            axis=0, weights=weights,
        )  # fmt: skip
    return reference


def voices(
    memberships: Sequence[np.ndarray], n_members: int, most_beside: float
) -> list[float]:
    """Give how much each of several clusterings counts: members one, others what they earn.

    Whoever votes beside the members has its full say where it agrees with them as much as
    they do with each other, or more; where less, by the third power of the quotient of both
    mean adjusted Rand indices, to which what chance may give (.05) is added. So it helps
    members that each see something else, or nothing, and does not drown what they find and
    it does not. Members whose cells are all in one cluster find nothing: they are not asked,
    and have no vote unless all are such.

    Parameters
    ----------
    memberships
        As :func:`consensus` takes them, members first.
    n_members
        How many of them are members.
    most_beside
        How many members each of the others counts for at most.
    """
    hard = [member.argmax(axis=1) for member in memberships]
    own = hard[:n_members]
    members = [member for member in own if np.ptp(member) > 0]
    among = agreement_of_members(members)
    weights = [float(np.ptp(member) > 0 or not members) for member in own]
    for other in hard[n_members:]:
        share = 1.0
        if among is not None and among > 0:
            with_them = np.mean([AGREEMENT["ari"](other, member) for member in members])
            share = float(np.clip((with_them + BY_CHANCE) / (among + BY_CHANCE), 0, 1))
        weights.append(most_beside * share**3)
    return weights


def votes_of_pca(n_cells: int, seeds: int) -> float:
    """Give how many networks the vote of principal components counts for at most.

    The fewer cells there are, the less do networks find that principal components do not:
    as many as there are networks, up to 500 cells, and less beyond, (500 / n_cells)^1.5 of
    that.
    """
    return seeds * min(1.0, FEW / n_cells) ** 1.5


def agreement_of_members(members: Sequence[np.ndarray]) -> float | None:
    """Mean adjusted Rand index of all pairs of clusterings; None where there are no two."""
    pairs = [AGREEMENT["ari"](a, b) for a, b in combinations(members, 2)]
    return float(np.mean(pairs)) if pairs else None


def _most_central(members: Sequence[np.ndarray], weights: Sequence[float]) -> int:
    hard = [member.argmax(axis=1) for member in members]
    agreement = np.array([[AGREEMENT["ari"](a, b) for b in hard] for a in hard])
    return int((agreement @ np.asarray(weights)).argmax())


def _resized(member: np.ndarray, n_clusters: int) -> np.ndarray:
    """Leave only the largest clusters, or add empty ones."""
    if member.shape[1] <= n_clusters:
        return np.pad(member, ((0, 0), (0, n_clusters - member.shape[1])))
    largest = np.sort(np.argsort(-member.sum(axis=0), kind="stable")[:n_clusters])
    return member[:, largest]


def _match(member: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Give the cluster of the reference for every cluster of a member."""
    from scipy.optimize import linear_sum_assignment

    shared = member.T @ reference  # (clusters of the member, n_clusters)
    place = shared.argmax(axis=1)
    own, theirs = linear_sum_assignment(shared, maximize=True)
    place[own] = theirs
    return place


def _moved(member: np.ndarray, place: np.ndarray, n_clusters: int) -> np.ndarray:
    """Give a member's clusters the numbers that they were matched to."""
    to = np.zeros((member.shape[1], n_clusters))
    to[np.arange(len(place)), place] = 1
    return member @ to
