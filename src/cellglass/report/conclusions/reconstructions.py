"""What the reconstructions keep of the original."""

from __future__ import annotations

from typing import Any

from cellglass.report.conclusions.numbers import (
    LIKELIHOOD,
    Conclusion,
    Summary,
    main_loss,
    main_size,
    measure_of,
    values,
)
from cellglass.report.contrast import Contrast, mean, percent

SMOOTHED = 0.95
"""Share of the original's variance below which a reconstruction is called smoothed."""
HALF = 0.5


def answer(summary: Summary) -> Conclusion:
    """Say what of the original's variance, classes and neighbourhoods is still there."""
    size, loss = main_size(summary), main_loss(summary)
    question = (
        f"How do the reconstructions compare with the original ({loss}, {size} latent "
        "dimensions)?"
    )
    spread = summary["original"]["variance_by_entry"]
    errors = values(summary, loss, size, "reconstruction", "mse_all")
    if not spread or not errors:
        return question, ["The original does not vary, so there is nothing to compare."], {}
    kept = values(summary, loss, size, "reconstruction", "variance_kept")
    counted = measure_of(summary, loss) is LIKELIHOOD
    shares = values(summary, loss, size, "reconstruction", "deviance_explained")
    explained = mean(shares) if counted and shares else 1 - mean(errors) / spread
    of_what = "the deviance of the counts" if counted else "it"
    neighbors = values(summary, loss, size, "reconstruction", "neighbors_preserved")
    axes = [
        sum(run["maps"]["reconstruction"]["pca_variance_ratio"])
        for run in summary["runs"]
        if run["loss"] == loss and run["n_latent"] == size
    ]
    axes_before = sum(summary["original"]["maps"]["pca_variance_ratio"])
    dataset = summary["dataset"]
    chance = dataset["n_neighbors"] / max(1, dataset["n_cells"] - 1)
    evidence: dict[str, Any] = {
        "variance_kept": list(kept),
        "deviance_explained" if counted else "variance_explained": explained,
        "neighbors_preserved": list(neighbors),
        "neighbors_by_chance": chance,
        "pca_variance_ratio": {"original": axes_before, "reconstruction": axes},
    }
    sentences = [
        f"The reconstruction has {percent(mean(kept))} of the original's total variance and "
        + (
            f"explains {percent(explained)} of {of_what}: what the bottleneck leaves out, "
            "noise of single cells and whatever structure was not learnt, is gone."
            if explained > 0
            else f"explains none of {of_what}: the mean of every gene would be closer to the "
            "original."
        ),
        f"Two principal axes show {percent(mean(axes))} of its variance, against "
        f"{percent(axes_before)} of the original's.",
    ]
    separation = None
    after = values(summary, loss, size, "reconstruction", "label_silhouette")
    before = summary["original"]["label_silhouette"]
    if after and before is not None:
        contrast = Contrast((before,), after, is_error=False)
        evidence["label_silhouette"] = contrast.evidence
        separation = contrast.verdict
        sentences.append(f"The silhouette of the labels {contrast.moves()}.")
    same = mean(neighbors)
    sentences.append(
        f"A cell keeps {percent(same)} of its {dataset['n_neighbors']} nearest neighbours "
        f"({percent(chance)} would be chance), so its t-SNE map shows "
        f"{_how_much(same, chance)} of the original's neighbourhoods."
    )
    short = _short_on_reconstruction(explained, mean(kept), separation)
    return question, [short, *sentences], evidence


def _how_much(share: float, chance: float) -> str:
    """Name a share of kept neighbours between chance and all."""
    if share < 2 * chance:
        return "hardly anything"
    return "most" if share > HALF else "only a part"


def _short_on_reconstruction(explained: float, kept: float, separation: str | None) -> str:
    """Name what became of the values, and of the classes."""
    looks = "close to the original"
    if explained <= 0:
        looks = "further from the original than the mean of every gene is"
    elif kept < SMOOTHED:
        looks = "a smoothed original"
    elif explained < HALF:
        looks = "spread like the original, but explains less than half of it"
    classes = {
        "higher": "; the known classes stand further apart in it",
        "lower": "; the known classes lie closer together in it",
        "none": "; the known classes are separated in it as they were",
        None: "",
    }[separation]
    return f"The reconstruction is {looks}{classes}."
