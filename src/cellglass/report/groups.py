"""Runs that differ in their seed only, taken together: means, intervals, stability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cellglass.uncertainty import mean_and_interval, stability

SCORES = ("reconstruction", "clustering", "label_silhouette", "neighbors_preserved")
"""What of a run in ``results.json`` is a score, or holds some."""


def group_runs(
    runs: Sequence[Mapping[str, Any]], clusters: Mapping[str, Mapping[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """Summarise the runs of every loss and latent size over their seeds.

    Parameters
    ----------
    runs
        As in ``results.json``.
    clusters
        By the name of the run, then by method: cluster of every cell, shape (n_cells,).

    Returns
    -------
    list of dict
        In the order of the runs, each with ``loss``, ``n_latent``, ``seeds``, ``scores``
        (nested as in a run; every number is an ``uncertainty.Interval``, None where no run
        has the score) and ``stability`` (by method, an ``uncertainty.Stability``).
    """
    members: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for run in runs:
        members.setdefault((run["loss"], run["n_latent"]), []).append(run)
    return [
        {
            "loss": loss,
            "n_latent": n_latent,
            "seeds": len(group),
            "scores": {name: _over_seeds([run[name] for run in group]) for name in SCORES},
            "stability": {
                method: asdict(stability([clusters[run["run"]][method] for run in group]))
                for method in group[0]["clustering"]
            },
        }
        for (loss, n_latent), group in members.items()
    ]


def _over_seeds(items: Sequence[Any]) -> dict[str, Any] | None:
    """Put an interval in the place of every number of equal trees."""
    if isinstance(items[0], Mapping):
        return {
            key: _over_seeds([item[key] for item in items])
            for key in items[0]
            if key != "permutation"  # its p-values belong to single clusterings
        }
    found = [item for item in items if item is not None]
    return asdict(mean_and_interval(found)) if found else None


def highest_by_chance(spaces: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Find the most that shuffled labels reach in any space.

    Parameters
    ----------
    spaces
        Parts of ``results.json`` with a ``clustering``.

    Returns
    -------
    dict
        By method and score: the highest ``q95`` and the highest ``p``, None without labels.
    """
    return {
        method: {
            score: {key: _highest(spaces, method, score, key) for key in ("q95", "p")}
            for score in found["permutation"]
        }
        for method, found in spaces[0]["clustering"].items()
    }


def _highest(
    spaces: Sequence[Mapping[str, Any]], method: str, score: str, key: str
) -> float | None:
    found = (space["clustering"][method]["permutation"][score] for space in spaces)
    return max((chance[key] for chance in found if chance is not None), default=None)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Turn nested dictionaries into pairs of a path, joined by underscores, and a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}_")
        else:
            yield prefix + key, value
