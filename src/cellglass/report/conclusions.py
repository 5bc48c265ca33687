"""Sentences that follow from the numbers of a comparison.

Every function here takes the plain dictionary of :mod:`cellglass.report.summarize` and
looks at nothing else, so a sentence can say only what ``results.json`` holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cellglass.report.contrast import (
    SAME_ERROR,
    SAME_SCORE,
    Contrast,
    mean,
    number,
    percent,
)

Summary = dict[str, Any]


def conclude(summary: Summary) -> list[dict[str, Any]]:
    """Answer the questions a comparison is made for.

    Parameters
    ----------
    summary
        With ``dataset``, ``settings``, ``original``, ``runs`` and ``baselines``.

    Returns
    -------
    list of dict
        Each with ``question``, ``answer`` (sentences), ``short`` (the first of them) and
        ``evidence`` (the numbers and verdicts the sentences were made from).
    """
    found = [
        _latent_size(summary),
        _reconstructions(summary),
        _latent_spaces(summary),
        _losses(summary),
        _against_pca(summary),
        _certainty(summary),
    ]
    return [
        {
            "question": question,
            "short": sentences[0],
            "answer": " ".join(sentences),
            "evidence": evidence,
        }
        for question, sentences, evidence in found
    ]


SMOOTHED, INFLATED = 0.95, 1.05
"""Shares of the original's variance below and above which a reconstruction is called so."""

Conclusion = tuple[str, list[str], dict[str, Any]]


# --- finding numbers in a summary -------------------------------------------------------


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
    for key in path:
        tree = tree[key]
    return tree


def main_loss(summary: Summary) -> str:
    """Name the loss the others are held against: mse where it was trained, else the first."""
    losses = summary["settings"]["loss"]
    return "mse" if "mse" in losses else losses[0]


def _main_first(summary: Summary) -> list[str]:
    return sorted(summary["settings"]["loss"], key=lambda loss: loss != main_loss(summary))


def main_size(summary: Summary) -> int:
    """Name the size that maps and losses are compared at: the smallest."""
    return min(summary["settings"]["n_latent"])


def _reconstruction(kind: str) -> tuple[str, str]:
    return "reconstruction", kind


# --- the questions ----------------------------------------------------------------------


def _latent_size(summary: Summary) -> Conclusion:
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
    small, large = sizes[0], sizes[-1]
    sentences: list[str] = []
    evidence: dict[str, Any] = {}
    for loss in _main_first(summary):
        kind = summary["settings"]["loss_scored_by"][loss]
        contrasts = {}
        for name in (kind, f"{kind}_validation"):
            path = _reconstruction(name)
            before = values(summary, loss, small, *path)
            after = values(summary, loss, large, *path)
            if before and after:
                contrasts[name] = Contrast(before, after, is_error=True)
        if kind not in contrasts:
            continue
        further = (large - small) / (summary["dataset"]["n_genes"] - small)
        by_any = further if kind == "mse_all" else None
        everywhere, held_out = contrasts[kind], contrasts.get(f"{kind}_validation")
        if not sentences:
            sentences.append(_short_on_size(everywhere, held_out))
        sentences.append(
            f"Trained with {loss} and widened from {small} to {large} latent dimensions, the "
            f"network's MSE over {ENTRIES[kind]} {everywhere.moves()}."
        )
        if held_out:
            sentences.append(f"On held-out cells it {held_out.moves()}.")
            sentences += _generalises(everywhere, held_out, by_any)
        evidence[loss] = {name: c.evidence for name, c in contrasts.items()}
        evidence[loss]["n_latent"] = [small, large]
        evidence[loss]["fall_by_any_directions"] = by_any
    if len(sizes) > 2:
        sentences.append("Sizes in between are in the table and in the figure.")
    return question, sentences, evidence


CLEARLY_MORE = 1.25
"""How many times the share of arbitrary directions a fall must be to speak of structure."""
ENTRIES = {"mse_all": "all entries", "mse_nonzero": "the non-zero entries"}


def _short_on_size(everywhere: Contrast, held_out: Contrast | None) -> str:
    if everywhere.verdict == "higher":
        return "The larger latent space reconstructs worse."
    if everywhere.verdict == "none":
        return "No difference in error was found between the latent sizes."
    if held_out is None:
        return (
            "The larger latent space reconstructs better; on new cells, this run cannot tell."
        )
    return {
        "lower": "The larger latent space reconstructs better, cells it never saw included.",
        "none": "The larger latent space reconstructs its training cells better, but not "
        "cells it never saw.",
        "higher": "The larger latent space reconstructs its training cells better, but cells "
        "it never saw worse.",
    }[held_out.verdict]


def _generalises(
    everywhere: Contrast, held_out: Contrast, by_any_directions: float | None
) -> Iterator[str]:
    """Say what it means for the cells that were held out.

    A lower error on them is no proof of structure: the encoder sees them, and directions
    in which nothing but noise varies evenly also carry their share of it. Of the variance
    that n_latent of n_genes directions leave, m further ones, whichever they are, carry
    m / (n_genes − n_latent) on average.
    """
    if everywhere.verdict == "lower" and held_out.verdict != "lower":
        yield "So what the wider layer adds is noise of single cells that it has stored."
    elif everywhere.verdict == "lower" and by_any_directions is not None:
        fall = 1 - mean(held_out.after) / mean(held_out.before)
        yield (
            "The encoder sees held-out cells too, so as many further directions, whichever "
            f"they are, would lower that error by about {percent(by_any_directions)}; "
            + (
                "this is more, a sign of further structure."
                if fall > CLEARLY_MORE * by_any_directions
                else "this is not clearly more, so it is no sign of further structure."
            )
        )
    elif everywhere.verdict == "higher":
        yield (
            "A wider layer can represent all that a narrower one can, so this is a matter of "
            "training: more epochs or another learning rate may turn it round."
        )


def _reconstructions(summary: Summary) -> Conclusion:
    size, loss = main_size(summary), main_loss(summary)
    question = (
        f"How do the reconstructions compare with the original ({loss}, {size} latent "
        "dimensions)?"
    )
    kept = values(summary, loss, size, "reconstruction", "variance_kept")
    neighbors = values(summary, loss, size, "reconstruction", "neighbors_preserved")
    axes = [
        sum(run["maps"]["reconstruction"]["pca_variance_ratio"])
        for run in summary["runs"]
        if run["loss"] == loss and run["n_latent"] == size
    ]
    axes_before = sum(summary["original"]["maps"]["pca_variance_ratio"])
    sentences = []
    separation = None
    evidence: dict[str, Any] = {
        "variance_kept": list(kept),
        "neighbors_preserved": list(neighbors),
        "pca_variance_ratio": {"original": axes_before, "reconstruction": axes},
    }
    if kept:
        what = "hardly any of the spread between cells is lost"
        if mean(kept) < SMOOTHED:
            what = (
                "what the bottleneck leaves out, noise of single cells and whatever structure "
                "was not learnt, is gone"
            )
        elif mean(kept) > INFLATED:
            what = "more spread is predicted than there is"
        sentences.append(
            f"The reconstruction has {percent(mean(kept))} of the original's total variance: "
            f"{what}."
        )
    axes_now = mean(axes)
    sentences.append(
        f"Two principal axes show {percent(axes_now)} of its variance, against "
        f"{percent(axes_before)} of the original's, so its PCA map "
        + (
            "shows far more of what there is to see."
            if axes_now > 1.5 * axes_before
            else "shows about as much of what there is to see."
            if axes_now > axes_before / 1.5
            else "shows less of what there is to see."
        )
    )
    after = values(summary, loss, size, "reconstruction", "label_silhouette")
    before = summary["original"]["label_silhouette"]
    if after and before is not None:
        contrast = Contrast((before,), after, is_error=False)
        evidence["label_silhouette"] = contrast.evidence
        separation = contrast.verdict
        sentences.append(f"The silhouette of the labels in it {contrast.moves()}.")
    chance = summary["dataset"]["n_neighbors"] / max(1, summary["dataset"]["n_cells"] - 1)
    sentences.append(
        f"A cell keeps {percent(mean(neighbors))} of its {summary['dataset']['n_neighbors']} "
        f"nearest neighbours ({percent(chance)} would be chance), so "
        + (
            "neighbourhoods within groups are preserved as well."
            if mean(neighbors) > 0.5
            else "the t-SNE map of the reconstruction shows groups, but not who was whose "
            "neighbour within them."
        )
    )
    evidence["neighbors_by_chance"] = chance
    return question, [_short_on_reconstruction(kept, separation), *sentences], evidence


def _short_on_reconstruction(kept: tuple[float, ...], separation: str | None) -> str:
    """Name the fate of the spread between cells, and of the classes."""
    looks = "a copy of the original"
    if kept and mean(kept) < SMOOTHED:
        looks = "a smoothed original"
    elif kept and mean(kept) > INFLATED:
        looks = "a distorted original, spread wider than the cells are"
    classes = {
        "higher": " in which the known classes stand further apart",
        "lower": " in which the known classes lie closer together",
        "none": " in which the known classes are separated as they were",
        None: "",
    }[separation]
    return f"The reconstruction is {looks}{classes}."


def _latent_spaces(summary: Summary) -> Conclusion:
    loss, sizes = main_loss(summary), sorted(summary["settings"]["n_latent"])
    question = (
        "How do the latent spaces compare with the original, and how does their size change "
        "the clusters?"
    )
    if summary["dataset"]["n_labels"] is None:
        return question, *_latent_spaces_without_labels(summary, loss, sizes)
    k_from = summary["dataset"]["n_clusters_from"]
    told = " (told the number of classes)" if k_from == "labels" else ""
    sentences = []
    evidence: dict[str, Any] = {"kmeans_ari": {}, "leiden_ari": {}, "label_silhouette": {}}
    original = summary["original"]["clustering"]["kmeans"]["ari"]
    by_size = {n: values(summary, loss, n, "clustering", "kmeans", "ari") for n in sizes}
    small = Contrast((original,), by_size[sizes[0]], is_error=False)
    evidence["kmeans_ari"][f"original_to_{sizes[0]}"] = small.evidence
    sentences.append(
        f"From the original to the {loss} latent space of {sizes[0]} dimensions, the "
        f"agreement of k-means{told} with the labels (ARI) {small.moves()}."
    )
    silhouettes = {n: values(summary, loss, n, "label_silhouette") for n in sizes}
    before = summary["original"]["label_silhouette"]
    if before is not None and silhouettes[sizes[0]]:
        contrast = Contrast((before,), silhouettes[sizes[0]], is_error=False)
        evidence["label_silhouette"][f"original_to_{sizes[0]}"] = contrast.evidence
        sentences.append(f"The silhouette of the labels {contrast.moves()}.")
    for method, name in (("kmeans", "k-means"), ("leiden", "Leiden")):
        if len(sizes) == 1:
            break
        contrast = Contrast(
            values(summary, loss, sizes[0], "clustering", method, "ari"),
            values(summary, loss, sizes[-1], "clustering", method, "ari"),
            is_error=False,
        )
        evidence[f"{method}_ari"][f"{sizes[0]}_to_{sizes[-1]}"] = contrast.evidence
        start = f"From {sizes[0]} to {sizes[-1]} dimensions the ARI of {name}"
        sentences.append(f"{start} {contrast.moves()}.")
    short = {
        "higher": "k-means finds the known classes better in the latent space than in the "
        "original",
        "lower": "k-means finds the known classes worse in the latent space than in the "
        "original",
        "none": "k-means finds the known classes as well in the latent space as in the "
        "original",
    }[small.verdict]
    which = "only one size was trained"
    if len(sizes) > 1:
        which = _which_size(evidence, sizes)
    return question, [f"{short}; {which}.", *sentences], evidence


def _which_size(evidence: dict[str, Any], sizes: Sequence[int]) -> str:
    step = f"{sizes[0]}_to_{sizes[-1]}"
    verdicts = {evidence[f"{method}_ari"][step]["verdict"] for method in ("kmeans", "leiden")}
    if verdicts == {"no difference"}:
        return f"{sizes[0]} or {sizes[-1]} dimensions make no difference to the clusters"
    if verdicts <= {"higher", "no difference"}:
        return f"of the sizes, {sizes[-1]} dimensions cluster better than {sizes[0]}"
    if verdicts <= {"lower", "no difference"}:
        return f"of the sizes, {sizes[0]} dimensions cluster better than {sizes[-1]}"
    return "k-means and Leiden disagree on which size clusters better"


def _latent_spaces_without_labels(
    summary: Summary, loss: str, sizes: Sequence[int]
) -> tuple[list[str], dict[str, Any]]:
    sentences = [
        "Without labels there is no truth to hold clusters against.",
        "What can be said is how compact they are and how much of the original's "
        "neighbourhoods remains.",
    ]
    evidence: dict[str, Any] = {"kmeans_silhouette": {}, "neighbors_preserved": {}}
    before = summary["original"]["clustering"]["kmeans"]["silhouette"]
    after = values(summary, loss, sizes[0], "clustering", "kmeans", "silhouette")
    if before is not None and after:
        contrast = Contrast((before,), after, is_error=False)
        evidence["kmeans_silhouette"][f"original_to_{sizes[0]}"] = contrast.evidence
        sentences.append(
            f"From the original to the {loss} latent space of {sizes[0]} dimensions, the "
            f"silhouette of the k-means clusters {contrast.moves()}."
        )
    kept = values(summary, loss, sizes[0], "neighbors_preserved")
    evidence["neighbors_preserved"][str(sizes[0])] = list(kept)
    sentences.append(f"A cell keeps {percent(mean(kept))} of its nearest neighbours there.")
    if len(sizes) > 1:
        more = values(summary, loss, sizes[-1], "neighbors_preserved")
        contrast = Contrast(kept, more, is_error=False)
        evidence["neighbors_preserved"][f"{sizes[0]}_to_{sizes[-1]}"] = contrast.evidence
        sentences.append(
            f"From {sizes[0]} to {sizes[-1]} dimensions that share {contrast.moves()}."
        )
    return sentences, evidence


def _losses(summary: Summary) -> Conclusion:
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
    for loss in others:
        words, evidence[loss] = _loss_against(summary, loss, reference, size)
        sentences += words
    return question, sentences, evidence


def _loss_against(
    summary: Summary, loss: str, reference: str, size: int
) -> tuple[list[str], dict[str, Any]]:
    def contrast(*path: str, is_error: bool = True) -> Contrast | None:
        before = values(summary, reference, size, *path)
        after = values(summary, loss, size, *path)
        return Contrast(before, after, is_error=is_error) if before and after else None

    contrasts = {
        "mse_nonzero": contrast("reconstruction", "mse_nonzero"),
        "mse_nonzero_validation": contrast("reconstruction", "mse_nonzero_validation"),
        "mse_zero": contrast("reconstruction", "mse_zero"),
        "mse_all": contrast("reconstruction", "mse_all"),
        "kmeans_ari": contrast("clustering", "kmeans", "ari", is_error=False),
        "leiden_ari": contrast("clustering", "leiden", "ari", is_error=False),
        "label_silhouette": contrast("label_silhouette", is_error=False),
    }
    told = {
        "mse_nonzero": f"From {reference} to {loss}, the MSE over the non-zero entries",
        "mse_nonzero_validation": "On held-out cells it",
        "mse_zero": "Over the zeros the MSE",
        "mse_all": "Over all entries the MSE",
        "kmeans_ari": "The ARI of k-means on the latent vectors",
        "leiden_ari": "That of Leiden",
        "label_silhouette": "The silhouette of the labels in the latent space",
    }
    sentences = [f"{told[name]} {c.moves()}." for name, c in contrasts.items() if c]
    at_zeros = {
        name: values(summary, name, size, "reconstruction", "mean_at_zeros")
        for name in (reference, loss)
    }
    if all(at_zeros.values()):
        sentences.insert(
            sum(contrasts[name] is not None for name in list(contrasts)[:3]),
            f"Where a gene reads zero, the {loss} network predicts "
            f"{number(mean(at_zeros[loss]))} on average, the {reference} network "
            f"{number(mean(at_zeros[reference]))}.",
        )
    evidence = {name: c.evidence for name, c in contrasts.items() if c}
    evidence["mean_at_zeros"] = {name: list(v) for name, v in at_zeros.items()}
    short = _verdict_on_loss(loss, {n: c.verdict for n, c in contrasts.items() if c})
    return [short, *sentences], evidence


def _verdict_on_loss(loss: str, verdicts: dict[str, str]) -> str:
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
    clusters = {verdicts[k] for k in ("kmeans_ari", "leiden_ari") if k in verdicts}
    if not clusters:
        found = None
    elif clusters == {"none"}:
        found = "makes no difference to the clusters"
    elif clusters <= {"higher", "none"}:
        found = "gives better clusters"
    elif clusters <= {"lower", "none"}:
        found = "gives worse clusters"
    else:
        found = "gives better clusters by one method and worse by the other"
    parts = [part for part in (gain, cost, found) if part]
    last = f" and {parts[-1]}" if len(parts) > 1 else ""
    return f"{loss} {', '.join(parts[:-1]) if last else parts[0]}{last}."


def _against_pca(summary: Summary) -> Conclusion:
    loss = main_loss(summary)
    question = f"Is the autoencoder ({loss}) better than PCA with as many components?"
    kind = summary["settings"]["loss_scored_by"][loss]
    sentences, verdicts, evidence = [], [], {}
    for size in sorted(summary["settings"]["n_latent"]):
        path = _reconstruction(f"{kind}_validation")
        where = f"over {ENTRIES[kind]} of held-out cells"
        if not values(summary, loss, size, *path):
            path, where = _reconstruction(kind), f"over {ENTRIES[kind]}"
        error = Contrast(
            baseline_values(summary, size, *path),
            values(summary, loss, size, *path),
            is_error=True,
        )
        evidence[str(size)] = {path[-1]: error.evidence}
        text = f"With {size} dimensions, from PCA to {loss}, the MSE {where} {error.moves()}"
        ari = ("clustering", "kmeans", "ari")
        before, after = (
            baseline_values(summary, size, *ari),
            values(summary, loss, size, *ari),
        )
        if before and after:
            clusters = Contrast(before, after, is_error=False)
            evidence[str(size)]["kmeans_ari"] = clusters.evidence
            text += f", and the ARI of k-means {clusters.moves()}"
        verdicts.append(error.verdict)
        sentences.append(f"{text}.")
        words, evidence[str(size)]["training"] = _length_of_training(summary, loss, size)
        sentences += words
    if set(verdicts) == {"lower"}:
        short = f"Yes: its error {where} is lower."
    elif "lower" in verdicts:
        short = f"In part: its error {where} is lower at some sizes only."
    elif set(verdicts) == {"none"}:
        short = f"No difference was found in the error {where}."
    else:
        short = f"No: its error {where} is not lower at any size."
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
    fall = 1 - curve[-1] / curve[-1 - recent] if len(curve) > recent else 0.0
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


def _certainty(summary: Summary) -> Conclusion:
    seeds = summary["settings"]["seeds"]
    question = "How sure is this?"
    if seeds == 1:
        sentences = [
            "One seed cannot tell.",
            "It is not known how far these numbers would move if the first weights and the "
            "order of the cells were drawn again; --seeds 5 shows it. "
            f"Until then, errors within {percent(SAME_ERROR)} and scores within "
            f"{SAME_SCORE} of each other are called practically the same.",
        ]
        return question, sentences, {"seeds": 1}
    losses, size = summary["settings"]["loss"], main_size(summary)
    spread = {}
    for loss in losses:
        found = values(summary, loss, size, "reconstruction", "mse_all")
        spread[loss] = (max(found) - min(found)) / mean(found) if mean(found) else 0.0
    sentences = [
        f"Every network was trained {seeds} times, with other first weights and another order "
        "of the cells.",
        "A difference is reported only where the ranges over seeds do not "
        "overlap. With "
        f"{size} latent dimensions the MSE over all entries ranges over "
        + " and ".join(f"{percent(s)} of its mean for {loss}" for loss, s in spread.items())
        + ". The split into training and held-out cells is the same for all.",
    ]
    return question, sentences, {"seeds": seeds, "relative_range_mse_all": spread}
