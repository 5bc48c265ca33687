"""What the size of the latent space does to the reconstruction error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cellglass.report.conclusions.numbers import (
    Conclusion,
    Measure,
    Summary,
    main_first,
    measure_of,
    reconstruction,
    values,
)
from cellglass.report.contrast import Contrast

IN_FULL = 2
"""With more losses than this, all but the main one get a sentence each."""


def answer(summary: Summary) -> Conclusion:
    """Say how the error changes from the smallest to the largest latent size."""
    question = "How does the size of the latent space change the reconstruction error?"
    sizes = sorted(summary["settings"]["n_latent"])
    if len(sizes) == 1:
        return (
            question,
            [
                f"Only one latent size, {sizes[0]}, was trained, so this run cannot tell; "
                "give two or more, such as --n-latent 10 50."
            ],
            {},
        )
    small, large, n_losses = sizes[0], sizes[-1], len(summary["settings"]["loss"])
    sentences: list[str] = []
    evidence: dict[str, Any] = {}
    for loss in main_first(summary):
        measure = measure_of(summary, loss)
        kind = measure.kind
        contrasts = {}
        for cells in ("", "_train", "_validation"):
            path = reconstruction(kind + cells)
            before = values(summary, loss, small, *path)
            after = values(summary, loss, large, *path)
            if before and after:
                contrasts[cells] = Contrast(before, after, is_error=True)
        if "_train" not in contrasts:  # no such entry among the cells trained on
            continue
        evidence[loss] = {kind + cells: c.evidence for cells, c in contrasts.items()}
        evidence[loss]["n_latent"] = [small, large]
        everywhere, trained = contrasts[""], contrasts["_train"]
        held_out = contrasts.get("_validation")
        if sentences and n_losses > IN_FULL:
            cells = "held-out cells" if held_out else "all cells"
            sentences.append(
                f"With {loss}, the {measure.noun} of {cells} "
                f"{(held_out or everywhere).moves()}."
            )
            continue
        fates = measure.outcome(trained), measure.outcome(held_out) if held_out else None
        short = _short_on_size(*fates).format(small=small, large=large, loss=loss)
        sentences += [] if sentences else [short]
        sentences.append(
            f"Trained with {loss} and widened from {small} to {large} latent dimensions, the "
            f"network's {measure.noun} {everywhere.moves()}."
        )
        if held_out:
            sentences.append(
                f"On the cells it was trained on it {trained.moves()}; on held-out cells it "
                f"{held_out.moves()}."
            )
        sentences += _what_follows(measure, *fates)
    if not sentences:
        sentences.append("No error could be computed, so this run cannot tell.")
    if len(sizes) > 2:
        sentences.append("Sizes in between are in the table and in the figure.")
    return question, sentences, evidence


def _short_on_size(trained: str, held_out: str | None) -> str:
    """Name the outcomes on the cells trained on and on those held out."""
    step = "From {small} to {large} dimensions ({loss}) "
    if held_out is not None and trained != held_out:
        fate = {"better": "gets better", "worse": "gets worse", "none": "stays as it was"}
        return (
            f"{step}the reconstruction of the training cells {fate[trained]}, that of "
            f"cells never trained on {fate[held_out]}."
        )
    if trained == "none":
        return f"{step}no difference in the reconstruction was found."
    cells = (
        "; for new cells, this run cannot tell." if held_out is None else ", of new cells too."
    )
    return f"{step}the reconstruction gets {trained}{cells}"


def _what_follows(measure: Measure, trained: str, held_out: str | None) -> Iterator[str]:
    """Say what the two kinds of cells tell together.

    A lower error on held-out cells is no proof of structure: the encoder sees them, and
    every direction that it passes on, also one of mere noise, carries a part of them.
    """
    if held_out and trained == "better" and held_out != "better":
        yield (
            "So the wider layer fits its training cells more closely without describing new "
            "ones better."
        )
    elif held_out and trained == held_out == "better":
        yield (
            "A wider layer also passes on more of the noise of the cells it encodes, held-out "
            f"ones included, so a {measure.better} "
            f"{'error' if measure.better == 'lower' else 'likelihood'} alone does not show "
            "that there is more structure."
        )
    elif trained == "worse":
        yield (
            "A wider layer can represent all that a narrower one can, so this is a matter of "
            "training: more epochs or another learning rate may turn it round."
        )
