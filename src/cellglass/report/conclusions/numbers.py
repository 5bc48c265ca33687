"""Finding numbers in a summary, and the words that all answers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cellglass.report.contrast import Contrast

Summary = dict[str, Any]
Conclusion = tuple[str, list[str], dict[str, Any]]
"""A question, the sentences that answer it, and their evidence."""

METHODS = {"kmeans": "k-means", "leiden": "Leiden"}
SIGNIFICANT = 0.05
"""A p-value below it is called above chance."""
ENTRIES = {"mse_all": "all entries", "mse_nonzero": "the non-zero entries"}


def values(summary: Summary, loss: str, n_latent: int, *path: str) -> tuple[float, ...]:
    """Find the numbers at a path in the runs of one loss and size, by seed."""
    found = (
        _walk(run, path)
        for run in summary["runs"]
        if run["loss"] == loss and run["n_latent"] == n_latent
    )
    return tuple(value for value in found if value is not None)


def baseline_values(summary: Summary, n_components: int, *path: str) -> tuple[float, ...]:
    """Find the number at a path in the PCA of one rank; empty if missing."""
    found = (
        _walk(baseline, path)
        for baseline in summary["baselines"]
        if baseline["n_components"] == n_components
    )
    return tuple(value for value in found if value is not None)


def _walk(tree: Any, path: Sequence[str]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree.get(path[-1])  # a PCA lacks some numbers that runs have


def main_loss(summary: Summary) -> str:
    """Name the loss the others are held against: mse where it was trained, else the first."""
    losses = summary["settings"]["loss"]
    return "mse" if "mse" in losses else losses[0]


def main_first(summary: Summary) -> list[str]:
    """List the losses, the main one first."""
    return sorted(summary["settings"]["loss"], key=lambda loss: loss != main_loss(summary))


def main_size(summary: Summary) -> int:
    """Name the size that maps and losses are compared at: the smallest."""
    return min(summary["settings"]["n_latent"])


def reconstruction(kind: str) -> tuple[str, str]:
    """Make the path of an error of the reconstruction."""
    return "reconstruction", kind


def held_out(summary: Summary, kind: str) -> tuple[tuple[str, str], str]:
    """Make the path of an error on held-out cells, on all cells where none were held out.

    Returns
    -------
    tuple
        The path, and ``held-out`` or nothing.
    """
    if summary["dataset"]["n_validation"]:
        return reconstruction(f"{kind}_validation"), "held-out "
    return reconstruction(kind), ""


class Measure(NamedTuple):
    """By what a loss is to be judged.

    Attributes
    ----------
    kind
        Its key in the results, without what tells the cells.
    noun
        What it is called.
    better
        ``lower`` or ``higher``: the verdict that means better.
    """

    kind: str
    noun: str
    better: str

    def outcome(self, contrast: Contrast) -> str:
        """``better``, ``worse`` or ``none``: what a contrast of it says."""
        if contrast.verdict == "none":
            return "none"
        return "better" if contrast.verdict == self.better else "worse"


LIKELIHOOD = Measure("log_likelihood", "log-likelihood of the counts", "higher")


def measure_of(summary: Summary, loss: str) -> Measure:
    """Name what a loss is judged by: one on counts by the log-likelihood of the counts."""
    kind = summary["settings"]["loss_scored_by"][loss]
    if kind == LIKELIHOOD.kind:
        return LIKELIHOOD
    return Measure(kind, f"MSE over {ENTRIES[kind]}", "lower")


def group_name(group: Summary) -> str:
    """Name what the runs of one loss and size share."""
    return f"{group['loss']}_{group['n_latent']}"


def listed(names: Sequence[str]) -> str:
    """Join words with commas, and the last with «and»."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def changes(found: dict[str, Contrast]) -> str:
    """Tell what changes, by how much, and name what does not.

    Parameters
    ----------
    found
        Contrasts by what they are of.
    """
    parts = [f"{noun} {c.change}" for noun, c in found.items() if c.verdict != "none"]
    same = [noun for noun, c in found.items() if c.verdict == "none"]
    if same:
        parts.append(f"no difference in {listed(same)}")
    return ", ".join(parts)


def by_whom(verdicts: dict[str, str]) -> str:
    """Name the method where only one of them tells a difference."""
    telling = [m for m in METHODS if verdicts.get(m) in ("lower", "higher")]
    return f" by {METHODS[telling[0]]} alone" if len(telling) == 1 else ""
