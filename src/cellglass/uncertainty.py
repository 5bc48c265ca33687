"""How far scores can be trusted: over seeds, between clusterings, against chance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellglass.metrics import AGREEMENT, Agreement, contingency_table

N_PERMUTATIONS = 999
"""Shuffles of the labels that a score is held against; the smallest p-value is 1/1000."""
MAX_ENTRIES = 2_000_000
"""Entries of contingency tables held at a time; changes memory, not the result."""
LEVEL = 0.95
"""Share of intervals that hold the true mean, and the quantile of chance that is told."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, and how well it is known.

    Attributes
    ----------
    mean
        Of the values.
    sd
        Standard deviation of the values, with n − 1; None with fewer than two.
    low, high
        Student's t interval of the mean; None with fewer than two values.
    half_width
        Half of high − low; None with fewer than two values.
    n
        Number of values.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    half_width: float | None
    n: int


@dataclass(frozen=True)
class Stability:
    """How alike the clusterings of several runs are.

    Attributes
    ----------
    ari_mean, ari_min, ari_max
        Of the adjusted Rand indices of all pairs of runs; None with fewer than two runs.
    n_pairs
        Number of those pairs.
    """

    ari_mean: float | None
    ari_min: float | None
    ari_max: float | None
    n_pairs: int


@dataclass(frozen=True)
class Chance:
    """What a score against labels is worth beside shuffled labels.

    Attributes
    ----------
    mean, q95
        Mean and 95 % quantile of the score over the shuffles.
    p
        (b + 1) / (m + 1) for b of m shuffles that score at least as high as the labels
        (Phipson & Smyth 2010).
    """

    mean: float
    q95: float
    p: float


def mean_and_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of one score over seeds, with the Student's t interval of that mean.

    Seeds share the data and the held-out cells, so the interval tells how much the mean
    would move if the training were repeated with other seeds, not if other cells were
    measured. It supposes that the values of single seeds are about normally distributed,
    and does not know the bounds of a score: with two or three seeds it may reach beyond.

    Parameters
    ----------
    values
        One a seed; at least one.
    level
        Share of such intervals that hold the true mean, in (0, 1).

    Raises
    ------
    ValueError
        If there is no value, or the level lies outside of (0, 1).
    """
    from scipy.stats import t

    n = len(values)
    if n == 0:
        raise ValueError("There are no values to take the mean of; give one or more.")
    if not 0 < level < 1:
        raise ValueError(f"The level {level} is no share between 0 and 1.")
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, None, None, None, None, 1)
    sd = float(np.std(values, ddof=1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * sd / n**0.5
    return Interval(mean, sd, mean - half, mean + half, half, n)


def stability(partitions: Sequence[np.ndarray]) -> Stability:
    """Compare the clusterings of the same cells by several runs, each pair by its ARI.

    1 where all runs find the same clusters, about 0 where they have no more in common than
    by chance. Labels are not needed: clusters that are stable may still be wrong.

    Parameters
    ----------
    partitions
        One a run, each of shape (n_cells,).
    """
    ari = AGREEMENT["ari"]
    found = [ari(a, b) for a, b in itertools.combinations(partitions, 2)]
    if not found:
        return Stability(None, None, None, 0)
    return Stability(float(np.mean(found)), min(found), max(found), len(found))


def permutation_baseline(
    labels: np.ndarray,
    clusters: np.ndarray,
    score: Agreement,
    n_permutations: int,
    rng: np.random.Generator,
) -> Chance:
    """Hold a score against its distribution when the labels are shuffled among the cells.

    A score of agreement sees nothing but the contingency table, and shuffling keeps the
    sizes of labels and clusters. So the tables themselves are drawn, from their exact
    distribution given those sizes: the same as shuffling, at a cost that hardly grows with
    the number of cells.

    Parameters
    ----------
    labels, clusters
        Shape (n_cells,).
    score
        One of ``metrics.AGREEMENT``.
    n_permutations
        Number of shuffles, at least 1.
    rng
        Draws the tables.

    Returns
    -------
    Chance
        The p-value is that of this one score; nothing corrects for looking at many.
    """
    from scipy.stats import random_table

    table = contingency_table(labels, clusters)
    if 1 in table.shape:  # shuffling changes nothing, and SciPy's draws would be wrong
        only = float(score.of_tables(table))
        return Chance(mean=only, q95=only, p=1.0)
    draw = random_table(table.sum(axis=1), table.sum(axis=0))
    at_once = max(1, MAX_ENTRIES // table.size)  # tables that are held at a time
    sizes = [min(at_once, n_permutations - done) for done in range(0, n_permutations, at_once)]
    by_chance = np.concatenate(
        [score.of_tables(draw.rvs(size=size, random_state=rng)) for size in sizes]
    )  # (n_permutations,)
    # The same score can differ in its last digits with the order in which it is summed.
    as_high = by_chance >= score.of_tables(table) - 1e-9
    return Chance(
        mean=float(by_chance.mean()),
        q95=float(np.quantile(by_chance, LEVEL)),
        p=float((as_high.sum() + 1) / (n_permutations + 1)),
    )


def neighbors_by_chance(n_neighbors: int, n_cells: int) -> float:
    """Share of nearest neighbours that a random space would keep.

    Any of the other n_cells − 1 cells is then as likely a neighbour as any other.
    """
    return n_neighbors / max(1, n_cells - 1)
