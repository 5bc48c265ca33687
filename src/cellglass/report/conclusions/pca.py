"""Whether the autoencoder is better than PCA, and trained for long enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellglass.report.conclusions.numbers import (
    LIKELIHOOD,
    METHODS,
    Conclusion,
    Measure,
    Summary,
    baseline_values,
    changes,
    listed,
    main_first,
    measure_of,
    reconstruction,
    values,
)
from cellglass.report.contrast import SAME_ERROR, Contrast, mean, percent

ANSWERS = {
    "better": "yes",
    "sometimes": "at some sizes only",
    "none": "no difference was found",
    "worse": "no",
}


def answer(summary: Summary) -> Conclusion:
    """Hold every loss against PCA of the same rank, on held-out cells if there are any.

    Each is judged by what it is about: one on counts by the log-likelihood of the counts,
    any other by its error.
    """
    question = "Is the autoencoder better than PCA with as many components?"
    sizes = sorted(summary["settings"]["n_latent"])
    losses = main_first(summary)
    sentences: list[str] = []
    evidence: dict[str, Any] = {}
    found: dict[str, str] = {}
    for loss in losses:
        measure = measure_of(summary, loss)
        outcomes, evidence[loss] = [], {}
        for size in sizes if loss == losses[0] else sizes[:1]:
            contrasts = _contrasts(summary, loss, size, measure)
            if measure.kind not in contrasts:  # no such entry among these cells
                continue
            evidence[loss][str(size)] = {n: c.evidence for n, c in contrasts.items()}
            told = _in_full if len(losses) == 1 else _in_short
            sentences.append(told(loss, size, measure, contrasts, _of_cells(summary)))
            if loss == losses[0]:
                words, length = _length_of_training(summary, loss, size)
                evidence[loss][str(size)]["training"] = length
                sentences += words
        for size in sizes:
            contrasts = _contrasts(summary, loss, size, measure)
            if measure.kind in contrasts:
                outcomes.append(measure.outcome(contrasts[measure.kind]))
        if outcomes:
            found[loss] = _taken_together(outcomes)
    return question, [_headline(summary, found), *sentences], evidence


def _taken_together(outcomes: Sequence[str]) -> str:
    """Put the outcomes of all sizes into one word of ``ANSWERS``."""
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return "sometimes" if "better" in outcomes else "worse"


def _headline(summary: Summary, found: dict[str, str]) -> str:
    cells = _of_cells(summary)
    if not found:
        return "There is nothing to hold against PCA."
    if len(found) == 1:
        ((loss, outcome),) = found.items()
        what = f"the {measure_of(summary, loss).noun}{cells}"
        if outcome == "none":
            return f"In {what}, no difference was found."
        ending = ": it is not better at any size" if outcome == "worse" else ""
        return f"By {what}, {ANSWERS[outcome]}{ending}."
    by_answer: dict[str, list[str]] = {}
    for loss, outcome in found.items():
        by_answer.setdefault(ANSWERS[outcome], []).append(loss)
    parts = [f"{said} with {listed(names)}" for said, names in by_answer.items()]
    return f"Each by its own measure{cells}: {'; '.join(parts)}."


def _of_cells(summary: Summary) -> str:
    return " of held-out cells" if summary["dataset"]["n_validation"] else ""


def _contrasts(summary: Summary, loss: str, size: int, measure: Measure) -> dict[str, Contrast]:
    """Hold one loss at one size against PCA; what either lacks is left out."""
    suffix = "_validation" if summary["dataset"]["n_validation"] else ""
    kinds = dict.fromkeys([measure.kind, LIKELIHOOD.kind, "mse_all"])
    paths: dict[str, tuple[str, ...]] = {
        kind: reconstruction(f"{kind}{suffix}") for kind in kinds
    }
    paths |= {f"{method}_ari": ("clustering", method, "ari") for method in METHODS}
    found = {}
    for name, path in paths.items():
        before = baseline_values(summary, size, *path)
        after = values(summary, loss, size, *path)
        if before and after:
            found[name] = Contrast(before, after, is_error=path[0] == "reconstruction")
    return found


NOUNS = {
    LIKELIHOOD.kind: LIKELIHOOD.noun,
    "mse_all": "MSE over all entries",
    "mse_nonzero": "MSE over the non-zero entries",
    **{f"{method}_ari": f"ARI of {name}" for method, name in METHODS.items()},
}


def _in_full(
    loss: str, size: int, measure: Measure, contrasts: dict[str, Contrast], cells: str
) -> str:
    """Tell every change from PCA to a loss with its numbers."""
    kinds = [measure.kind] if measure is not LIKELIHOOD else [measure.kind, "mse_all"]
    kinds += [name for name in contrasts if name.endswith("_ari")]
    parts = []
    for name in kinds:
        of_cells = "" if name.endswith("_ari") else cells
        parts.append(f"the {NOUNS[name]}{of_cells} {contrasts[name].moves()}")
    return f"With {size} dimensions, from PCA to {loss}, {'; '.join(parts)}."


def _in_short(
    loss: str, size: int, measure: Measure, contrasts: dict[str, Contrast], cells: str
) -> str:
    """Tell what changes from PCA to a loss, and name what does not."""
    found = {NOUNS[name]: contrast for name, contrast in contrasts.items()}
    return f"From PCA to {loss} ({size} dimensions{cells and ','}{cells}): {changes(found)}."


def _length_of_training(
    summary: Summary, loss: str, n_latent: int
) -> tuple[list[str], dict[str, Any]]:
    """Say so where the held-out loss, by epoch, speaks for fewer or for more epochs.

    Seeds may have stopped after different epochs, so each curve is looked at by itself.
    """
    found: Sequence[Any] = values(summary, loss, n_latent, "history", "validation")
    curves: list[list[float]] = [curve for curve in found if curve]
    if not curves:
        return [], {}
    lowest = [min(range(len(curve)), key=curve.__getitem__) for curve in curves]
    rise = mean([_share(c[-1] - c[i], c[i]) for c, i in zip(curves, lowest, strict=True)])
    recent = max(1, min(map(len, curves)) // 10)
    fall = mean(
        [
            _share(c[-1 - recent] - c[-1], c[-1 - recent]) if len(c) > recent else 0
            for c in curves
        ]
    )
    epoch, n_epochs = mean([i + 1 for i in lowest]), mean([len(curve) for curve in curves])
    evidence = {"lowest_epoch": epoch, "rise_since": rise, "recent_fall": fall}
    over = " (means over seeds)" if len(curves) > 1 else ""
    if rise >= SAME_ERROR:
        return [
            f"There the loss on held-out cells was lowest after epoch {epoch:.0f} of "
            f"{n_epochs:.0f} and rose by {percent(rise)} until the end{over}; the weights of "
            "that epoch are the ones kept, so fewer epochs would have done."
        ], evidence
    if fall >= SAME_ERROR:
        epochs = "epoch" if recent == 1 else f"{recent} epochs"
        return [
            f"There the loss on held-out cells was still falling, by {percent(fall)} over the "
            f"last {epochs}{over}: more epochs may lower it further."
        ], evidence
    return [], evidence


def _share(part: float, whole: float) -> float:
    """Give a change as a share of where it began; 0 where that is not above 0."""
    return part / whole if whole > 0 else 0.0
