"""How sure the numbers are: between seeds, and beside chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cellglass.report.conclusions.numbers import (
    METHODS,
    SIGNIFICANT,
    Conclusion,
    Summary,
    group_name,
    listed,
    main_loss,
    main_size,
    values,
)
from cellglass.report.contrast import (
    SAME_ERROR,
    SAME_SCORE,
    mean,
    number,
    percent,
    plus_minus,
    score,
)

ALIKE = 0.9
"""From this ARI between runs on, their clusters are called nearly the same."""
PARTLY_ALIKE = 0.5
"""Below this ARI between runs, their clusters are called different."""
NAMED = 3
"""The most clusterings that one sentence names."""


def answer(summary: Summary) -> Conclusion:
    """Say how the numbers move from seed to seed, and whether they are above chance."""
    question = "How sure is this?"
    seeds = summary["settings"]["seeds"]
    evidence: dict[str, Any] = {"seeds": seeds}
    if seeds == 1:
        sentences = [
            "One seed cannot tell.",
            "It is not known how far these numbers would move, or whether the clusters would "
            "be the same, if the first weights and the order of the cells were drawn again; "
            f"--seeds 5 shows it. Until then, errors within {percent(SAME_ERROR)} and scores "
            f"within {SAME_SCORE} of each other are called practically the same.",
        ]
    else:
        sentences = [*_stability(summary, evidence), *_spread(summary, evidence)]
    return question, [*sentences, *_chance(summary, evidence)], evidence


def _stability(summary: Summary, evidence: dict[str, Any]) -> list[str]:
    """Say whether the runs of one loss and size find the same clusters."""
    found = {group_name(group): group["stability"] for group in summary["groups"]}
    evidence["stability"] = found
    main = f"{main_loss(summary)}_{main_size(summary)}"
    kmeans, leiden = (found[main][method] for method in METHODS)
    first = _how_alike(kmeans["ari_mean"])
    second = _how_alike(leiden["ari_mean"])
    n_pairs = kmeans["n_pairs"]
    headline = (
        f"k-means on {main} gives {first} from seed to seed (ARI {score(kmeans['ari_mean'])} "
        f"between runs, {n_pairs} pair{'s' if n_pairs > 1 else ''}), "
        + ("and so does Leiden" if first == second else f"Leiden {second}")
        + f" ({score(leiden['ari_mean'])})."
    )
    least = min(
        ((name, method) for name, by_method in found.items() for method in by_method),
        key=lambda place: found[place[0]][place[1]]["ari_mean"],
    )
    sentences = [headline]
    worst = found[least[0]][least[1]]
    if min(kmeans["ari_mean"], leiden["ari_mean"]) - worst["ari_mean"] >= SAME_SCORE:
        sentences.append(
            f"Least alike between seeds are the clusters of {METHODS[least[1]]} on {least[0]} "
            f"(ARI {score(worst['ari_mean'])}, at worst {score(worst['ari_min'])})."
        )
    return sentences


def _how_alike(ari: float) -> str:
    if ari >= ALIKE:
        return "nearly the same clusters" if ari < 1 else "the same clusters"
    return "partly the same clusters" if ari >= PARTLY_ALIKE else "different clusters"


def _spread(summary: Summary, evidence: dict[str, Any]) -> list[str]:
    """Say how far errors and scores move between seeds, and what counts as a difference."""
    settings, size = summary["settings"], main_size(summary)
    seeds = settings["seeds"]
    groups = {g["loss"]: g["scores"] for g in summary["groups"] if g["n_latent"] == size}
    errors = {loss: scores["reconstruction"]["mse_all"] for loss, scores in groups.items()}
    found = {loss: values(summary, loss, size, "reconstruction", "mse_all") for loss in groups}
    evidence["relative_range_mse_all"] = {
        loss: (max(v) - min(v)) / mean(v) if mean(v) else 0.0 for loss, v in found.items()
    }
    evidence["intervals"] = {"mse_all": errors}
    told = [f"the MSE over all entries is {_each(errors, number)}"]
    agreement = {loss: scores["clustering"]["kmeans"]["ari"] for loss, scores in groups.items()}
    if all(agreement.values()):
        evidence["intervals"]["kmeans_ari"] = agreement
        told.append(f"the ARI of k-means with the labels {_each(agreement, score)}")
    return [
        f"Every network was trained {seeds} times, with other first weights and another order "
        f"of the cells: with {size} latent dimensions, {', '.join(told)} (mean ± half its "
        "95\u00a0% interval).",
        "That is the uncertainty of the training alone: all seeds share the cells"
        + (", and which are held out." if summary["dataset"]["n_validation"] else "."),
        "A difference is reported only where the 95\u00a0% interval of the difference of the "
        f"means (Welch’s t) leaves out 0 and it is at least {percent(SAME_ERROR)} (errors) or "
        f"{SAME_SCORE} (scores). Where there is none, the interval leaves out 0 by chance once "
        "in twenty times, and this page draws many."
        + (" With so few seeds only large differences show." if seeds < 4 else ""),
    ]


def _each(intervals: dict[str, Any], form: Callable[[float], str]) -> str:
    shown = {loss: form(interval["mean"]) for loss, interval in intervals.items()}
    return listed(
        [
            f"{text} {plus_minus(text, intervals[loss]['half_width'])} for {loss}"
            for loss, text in shown.items()
        ]
    )


def _chance(summary: Summary, evidence: dict[str, Any]) -> list[str]:
    """Say whether the clusters agree with the labels better than with shuffled ones."""
    n_labels = summary["dataset"]["n_labels"]
    if n_labels is None or n_labels == 1:
        return []
    found = {
        f"{name} on {run['run']}": run["clustering"][method]["permutation"]["ari"]
        for run in summary["runs"]
        for method, name in METHODS.items()
    }
    n_permutations = summary["chance"]["n_permutations"]
    highest = max(chance["q95"] for chance in found.values())
    largest = max(chance["p"] for chance in found.values())
    evidence["chance"] = {
        "n_permutations": n_permutations,
        "highest_q95": highest,
        "largest_p": largest,
    }
    failed = [place for place, chance in found.items() if chance["p"] >= SIGNIFICANT]
    if not failed:
        return [
            "Every clustering of the latent vectors agrees with the labels better than chance "
            f"would: with the labels shuffled {n_permutations} times, 95\u00a0% of the ARIs "
            f"stay below {score(highest)}, and p is {number(largest)} at most."
        ]
    named = [f"{place} (p\u00a0=\u00a0{number(found[place]['p'])})" for place in failed[:NAMED]]
    more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return [
        f"With the labels shuffled {n_permutations} times, the ARI of {len(failed)} of the "
        f"{len(found)} clusterings of latent vectors is not above chance: "
        f"{', '.join(named)}{more}. Each p is by itself: of many clusterings of nothing, "
        "one in twenty is below .05."
    ]
