"""Sentences that follow from the numbers of a comparison.

Every module here answers one question, with its function ``answer``, from the plain
dictionary of :mod:`cellglass.report.summarize`. It looks at nothing else, so a sentence can
say only what ``results.json`` holds.
"""

from __future__ import annotations

from typing import Any

from cellglass.report.conclusions import (
    certainty,
    latent_spaces,
    losses,
    pca,
    reconstructions,
    sizes,
)
from cellglass.report.conclusions.numbers import Conclusion, Summary

QUESTIONS = (sizes, reconstructions, latent_spaces, losses, pca, certainty)
"""Modules that answer one question each, in the order of the page."""


def conclude(summary: Summary) -> list[dict[str, Any]]:
    """Answer the questions a comparison is made for.

    Parameters
    ----------
    summary
        With ``dataset``, ``settings``, ``original``, ``runs``, ``baselines``, ``groups`` and
        ``chance``.

    Returns
    -------
    list of dict
        Each with ``question``, ``answer`` (sentences), ``short`` (the first of them) and
        ``evidence`` (the numbers and verdicts the sentences were made from).
    """
    found = [module.answer(summary) for module in QUESTIONS]
    return [
        {
            "question": question,
            "short": sentences[0],
            "answer": " ".join(sentences),
            "evidence": evidence,
        }
        for question, sentences, evidence in (_hedged(summary, *item) for item in found)
    ]


FEW_SEEDS = 4
"""With fewer seeds than this, headlines say how few they rest on."""


def _hedged(
    summary: Summary, question: str, sentences: list[str], evidence: dict[str, Any]
) -> Conclusion:
    """Let a headline that says what was found also say on how few seeds it rests."""
    seeds = summary["settings"]["seeds"]
    if seeds < FEW_SEEDS and any(_has_verdict(value) for value in evidence.values()):
        few = "In this one run, " if seeds == 1 else f"Over only {seeds} seeds, "
        sentences = [few + sentences[0][0].lower() + sentences[0][1:], *sentences[1:]]
    return question, sentences, evidence


def _has_verdict(evidence: Any) -> bool:
    """Whether something was compared."""
    if not isinstance(evidence, dict):
        return False
    return "verdict" in evidence or any(_has_verdict(value) for value in evidence.values())


__all__ = ["conclude"]
