"""What a loss gains, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cellglass.report.conclusions.numbers import (
    METHODS,
    SIGNIFICANT,
    Conclusion,
    Summary,
    by_whom,
    changes,
    held_out,
    listed,
    main_loss,
    main_size,
    values,
)
from cellglass.report.contrast import Contrast, mean, number


def answer(summary: Summary) -> Conclusion:
    """Say which loss does best at what, and what leaving out the zeros does.

    Losses differ in their units, so their own values are never compared: errors and
    likelihoods are, which are computed alike for all.
    """
    size, reference = main_size(summary), main_loss(summary)
    others = [name for name in summary["settings"]["loss"] if name != reference]
    question = (
        f"What does another loss than {reference} gain, and what does it cost ({size} latent "
        "dimensions)?"
    )
    if not others:
        return (
            question,
            [
                f"Only one loss, {reference}, was trained, so this run cannot tell; give two "
                "or more, such as --loss mse nonzero_mse."
            ],
            {},
        )
    sentences: list[str] = []
    evidence: dict[str, Any] = {}
    masked = [name for name in others if _leaves_zeros_out(summary, name)]
    if others != masked:
        rankings = list(_rankings(summary, size))
        sentences = [_headline(rankings), *(ranking.sentence() for ranking in rankings)]
        evidence["best"] = {ranking.key: ranking.evidence for ranking in rankings}
    for loss in others:
        contrasts = _contrasts(summary, loss, reference, size)
        evidence[loss] = {name: c.evidence for name, c in contrasts.items()}
        if loss in masked:
            at_zeros = _at_zeros(summary, loss, reference, size)
            evidence[loss]["mean_at_zeros"] = at_zeros
            told = _masked_in_full if len(others) == 1 else _masked_in_short
            sentences += told(loss, reference, contrasts, at_zeros)
        else:
            sentences.append(_against(loss, reference, contrasts))
    return question, sentences, evidence


def _leaves_zeros_out(summary: Summary, loss: str) -> bool:
    return bool(summary["settings"]["loss_scored_by"][loss] == "mse_nonzero")


# --- which loss does best ---------------------------------------------------------------


@dataclass(frozen=True)
class _Ranking:
    """The losses by one quantity.

    Attributes
    ----------
    key
        Name of the quantity in the evidence.
    title, noun
        How it is written at the start of a sentence, and within one.
    found
        Values by loss, one a seed.
    is_error
        As in :class:`cellglass.report.contrast.Contrast`.
    lowest
        Whether the lowest values are the best.
    """

    key: str
    title: str
    noun: str
    found: dict[str, tuple[float, ...]]
    is_error: bool
    lowest: bool

    @property
    def best(self) -> str:
        sign = 1 if self.lowest else -1
        return min(self.found, key=lambda loss: sign * mean(self.found[loss]))

    @property
    def no_different(self) -> list[str]:
        """Other losses that cannot be told from the best."""
        return [
            loss
            for loss in self.found
            if loss != self.best
            and Contrast(self.found[self.best], self.found[loss], self.is_error).verdict
            == "none"
        ]

    def sentence(self) -> str:
        best = self.found[self.best]
        shown = Contrast(best, best, self.is_error).show(best)
        text = f"{self.title}: {shown} with {self.best}"
        if self.no_different:
            text += f"; no difference was found to {listed(self.no_different)}"
        return f"{text}."

    @property
    def evidence(self) -> dict[str, Any]:
        return {
            "loss": self.best,
            "no_difference_to": self.no_different,
            "values": {loss: list(found) for loss, found in self.found.items()},
        }


def _rankings(summary: Summary, size: int) -> Iterator[_Ranking]:
    """Rank the losses by every quantity that at least two of them have."""
    error, cells = held_out(summary, "mse_all")
    of_cells = f"of {cells}cells" if cells else "of all cells"
    likelihood, _ = held_out(summary, "log_likelihood")
    wanted: list[tuple[tuple[str, ...], str, str, bool, bool]] = [
        (
            error,
            f"Lowest MSE over all entries {of_cells}",
            f"the lowest {cells}MSE",
            True,
            True,
        ),
        (
            likelihood,
            f"Highest log-likelihood {of_cells} (Poisson, nats an entry)",
            f"the highest {cells}log-likelihood",
            True,
            False,
        ),
        *(
            (
                ("clustering", method, "ari"),
                f"Highest ARI of {name}",
                f"the best {name} clusters",
                False,
                False,
            )
            for method, name in METHODS.items()
        ),
    ]
    for path, title, noun, is_error, lowest in wanted:
        found = {
            loss: numbers
            for loss in summary["settings"]["loss"]
            if (numbers := values(summary, loss, size, *path))
        }
        if path[0] == "clustering" and not _above_chance(summary, size, path[1]):
            continue  # the best of clusters that agree with nothing is nothing
        if len(found) > 1:
            key = path[-1] if path[0] == "reconstruction" else f"{path[1]}_{path[2]}"
            yield _Ranking(key, title, noun, found, is_error, lowest)


def _above_chance(summary: Summary, size: int, method: str) -> bool:
    """Whether any loss finds clusters that shuffled labels would not agree with."""
    chances = [
        run["clustering"][method]["permutation"]["ari"]
        for run in summary["runs"]
        if run["n_latent"] == size
    ]
    return any(chance is not None and chance["p"] < SIGNIFICANT for chance in chances)


def _headline(rankings: Sequence[_Ranking]) -> str:
    """Name the best loss, or the best few, for each quantity."""
    nouns: dict[tuple[str, ...], list[str]] = {}
    for ranking in rankings:
        first = [ranking.best, *ranking.no_different]
        everyone = len(first) == len(ranking.found)
        nouns.setdefault(() if everyone else tuple(sorted(first)), []).append(ranking.noun)
    parts = [
        f"{listed(who)} {'share' if len(who) > 1 else 'has'} {listed(what)}"
        for who, what in nouns.items()
        if who
    ]
    if () in nouns:
        parts.append(f"all losses share {listed(nouns[()])}")
    text = "; ".join(parts) or "no quantity was found to compare the losses by"
    return f"{text[0].upper()}{text[1:]}." if text.startswith("all") else f"{text}."


# --- one loss against the main one ------------------------------------------------------


def _contrasts(summary: Summary, loss: str, reference: str, size: int) -> dict[str, Contrast]:
    """Hold a loss against the main one; what either lacks is left out."""
    likelihood, _ = held_out(summary, "log_likelihood")
    paths = {
        "mse_nonzero": ("reconstruction", "mse_nonzero"),
        "mse_nonzero_validation": ("reconstruction", "mse_nonzero_validation"),
        "mse_zero": ("reconstruction", "mse_zero"),
        "mse_all": ("reconstruction", "mse_all"),
        "mse_all_validation": ("reconstruction", "mse_all_validation"),
        likelihood[-1]: likelihood,
        "kmeans_ari": ("clustering", "kmeans", "ari"),
        "leiden_ari": ("clustering", "leiden", "ari"),
        "label_silhouette": ("label_silhouette",),
    }
    found = {}
    for name, path in paths.items():
        before = values(summary, reference, size, *path)
        after = values(summary, loss, size, *path)
        if before and after:
            is_error = path[0] == "reconstruction"
            found[name] = Contrast(before, after, is_error=is_error)
    return found


def _against(loss: str, reference: str, contrasts: dict[str, Contrast]) -> str:
    """Put what changes from the main loss to another into one short sentence."""
    told = {
        "mse_all_validation" if "mse_all_validation" in contrasts else "mse_all": "MSE",
        "log_likelihood_validation": "log-likelihood",
        "log_likelihood": "log-likelihood",
        "kmeans_ari": "ARI of k-means",
        "leiden_ari": "ARI of Leiden",
        "label_silhouette": "silhouette of the labels",
    }
    found = {noun: contrasts[name] for name, noun in told.items() if name in contrasts}
    return f"{loss} against {reference}: {changes(found)}."


def _at_zeros(summary: Summary, loss: str, reference: str, size: int) -> dict[str, list[float]]:
    path = "reconstruction", "mean_at_zeros"
    return {name: list(values(summary, name, size, *path)) for name in (reference, loss)}


def _predicted_at_zeros(loss: str, at_zeros: dict[str, list[float]]) -> list[str]:
    if not all(at_zeros.values()):
        return []
    (reference,) = (name for name in at_zeros if name != loss)
    return [
        f"Where a gene reads zero, the {loss} network predicts "
        f"{number(mean(at_zeros[loss]))} on average, the {reference} network "
        f"{number(mean(at_zeros[reference]))}."
    ]


def _masked_in_short(
    loss: str,
    reference: str,
    contrasts: dict[str, Contrast],
    at_zeros: dict[str, list[float]],
) -> list[str]:
    verdicts = {name: c.verdict for name, c in contrasts.items()}
    return [
        f"Against {reference}, {_verdict_on_masked(loss, verdicts)}",
        *_predicted_at_zeros(loss, at_zeros),
    ]


def _masked_in_full(
    loss: str,
    reference: str,
    contrasts: dict[str, Contrast],
    at_zeros: dict[str, list[float]],
) -> list[str]:
    told = {
        "mse_nonzero": f"From {reference} to {loss}, the MSE over the non-zero entries",
        "mse_nonzero_validation": "On held-out cells it",
        "mse_zero": "Over the zeros the MSE",
        "mse_all": "Over all entries the MSE",
        "kmeans_ari": "The ARI of k-means on the latent vectors",
        "leiden_ari": "That of Leiden",
        "label_silhouette": "The silhouette of the labels in the latent space",
    }
    sentences = [
        f"{start} {contrasts[name].moves()}."
        for name, start in told.items()
        if name in contrasts
    ]
    first = sum(name in contrasts for name in list(told)[:3])
    sentences[first:first] = _predicted_at_zeros(loss, at_zeros)
    return [_verdict_on_masked(loss, {n: c.verdict for n, c in contrasts.items()}), *sentences]


def _verdict_on_masked(loss: str, verdicts: dict[str, str]) -> str:
    expressed = verdicts.get("mse_nonzero_validation", verdicts.get("mse_nonzero"))
    gain = {
        "lower": "describes the expressed entries better",
        "higher": "describes the expressed entries worse",
        "none": "describes the expressed entries no better",
    }.get(expressed or "", "cannot be judged on the expressed entries")
    cost = {
        "higher": "pays for it at the zeros",
        "lower": "is better at the zeros too",
        "none": "costs nothing at the zeros",
    }.get(verdicts.get("mse_zero", ""))
    if expressed != "lower" and verdicts.get("mse_zero") == "higher":
        cost = "is worse at the zeros"
    clusters = {m: verdicts[f"{m}_ari"] for m in METHODS if f"{m}_ari" in verdicts}
    decided = {v for v in clusters.values() if v != "none"}
    if not clusters:
        found = None
    elif not decided:
        found = "makes no difference to the clusters"
    elif len(decided) > 1:
        found = "gives better clusters by one method and worse by the other"
    else:
        grade = "better" if decided == {"higher"} else "worse"
        found = f"gives {grade} clusters{by_whom(clusters)}"
    parts = [part for part in (gain, cost, found) if part]
    last = f" and {parts[-1]}" if len(parts) > 1 else ""
    return f"{loss} {', '.join(parts[:-1]) if last else parts[0]}{last}."
