"""Whether the autoencoder is better than PCA, and trained for long enough."""

from __future__ import annotations

from typing import Any

from cellglass.report.conclusions.numbers import (
    ENTRIES,
    METHODS,
    Conclusion,
    Summary,
    baseline_values,
    main_loss,
    reconstruction,
    values,
)
from cellglass.report.contrast import SAME_ERROR, Contrast, mean, percent


def answer(summary: Summary) -> Conclusion:
    """Hold the main loss against PCA of the same rank, on held-out cells if there are any."""
    loss = main_loss(summary)
    question = f"Is the autoencoder ({loss}) better than PCA with as many components?"
    kind = summary["settings"]["loss_scored_by"][loss]
    sentences, verdicts, evidence = [], [], {}
    for size in sorted(summary["settings"]["n_latent"]):
        path = reconstruction(f"{kind}_validation")
        where = f"over {ENTRIES[kind]} of held-out cells"
        if not values(summary, loss, size, *path):
            path, where = reconstruction(kind), f"over {ENTRIES[kind]}"
        error = Contrast(
            baseline_values(summary, size, *path),
            values(summary, loss, size, *path),
            is_error=True,
        )
        evidence[str(size)] = {path[-1]: error.evidence}
        text = f"With {size} dimensions, from PCA to {loss}, the MSE {where} {error.moves()}"
        for method, name in METHODS.items():
            ari = ("clustering", method, "ari")
            before = baseline_values(summary, size, *ari)
            after = values(summary, loss, size, *ari)
            if before and after:
                clusters = Contrast(before, after, is_error=False)
                evidence[str(size)][f"{method}_ari"] = clusters.evidence
                text += f"; the ARI of {name} {clusters.moves()}"
        verdicts.append(error.verdict)
        sentences.append(f"{text}.")
        words, evidence[str(size)]["training"] = _length_of_training(summary, loss, size)
        sentences += words
    if set(verdicts) == {"lower"}:
        short = f"By its error {where}, yes."
    elif "lower" in verdicts:
        short = f"By its error {where}, at some sizes only."
    elif set(verdicts) == {"none"}:
        short = f"In the error {where}, no difference was found."
    else:
        short = f"By its error {where}, no: it is not lower at any size."
    return question, [short, *sentences], evidence


def _length_of_training(
    summary: Summary, loss: str, n_latent: int
) -> tuple[list[str], dict[str, Any]]:
    """Say so where the held-out loss, by epoch, speaks for fewer or for more epochs."""
    curves = values(summary, loss, n_latent, "history", "validation")
    if not curves or not curves[0]:
        return [], {}
    curve = [mean(losses) for losses in zip(*curves, strict=True)]  # over seeds
    lowest = min(range(len(curve)), key=curve.__getitem__)
    rise = curve[-1] / curve[lowest] - 1 if curve[lowest] > 0 else 0.0
    recent = max(1, len(curve) // 10)
    earlier = curve[-1 - recent] if len(curve) > recent else 0.0
    fall = 1 - curve[-1] / earlier if earlier > 0 else 0.0
    evidence = {"lowest_epoch": lowest + 1, "rise_since": rise, "recent_fall": fall}
    if rise >= SAME_ERROR:
        return [
            f"There the loss on held-out cells was lowest after epoch {lowest + 1} of "
            f"{len(curve)} and has risen by {percent(rise)} since: fewer epochs would "
            "describe new cells better."
        ], evidence
    if fall >= SAME_ERROR:
        epochs = "epoch" if recent == 1 else f"{recent} epochs"
        return [
            f"There the loss on held-out cells was still falling, by {percent(fall)} over the "
            f"last {epochs}: more epochs may lower it further."
        ], evidence
    return [], evidence
