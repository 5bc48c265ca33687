"""Sentences that follow from the numbers of a comparison.

Every function here takes the plain dictionary of :mod:`cellglass.report.summarize` and
looks at nothing else, so a sentence can say only what ``results.json`` holds.
"""

from __future__ import annotations

import math
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


SMOOTHED = 0.95
"""Share of the original's variance below which a reconstruction is called smoothed."""
HALF = 0.5

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
        for cells in ("", "_train", "_validation"):
            path = _reconstruction(kind + cells)
            before = values(summary, loss, small, *path)
            after = values(summary, loss, large, *path)
            if before and after:
                contrasts[cells] = Contrast(before, after, is_error=True)
        if "_train" not in contrasts:  # no such entry among the cells trained on
            continue
        everywhere, trained = contrasts[""], contrasts["_train"]
        held_out = contrasts.get("_validation")
        short = _short_on_size(trained, held_out).format(small=small, large=large, loss=loss)
        sentences += [] if sentences else [short]
        sentences.append(
            f"Trained with {loss} and widened from {small} to {large} latent dimensions, the "
            f"network's MSE over {ENTRIES[kind]} {everywhere.moves()}."
        )
        if held_out:
            sentences.append(
                f"On the cells it was trained on it {trained.moves()}; on held-out cells it "
                f"{held_out.moves()}."
            )
        sentences += _what_follows(trained, held_out)
        evidence[loss] = {kind + cells: c.evidence for cells, c in contrasts.items()}
        evidence[loss]["n_latent"] = [small, large]
    if not sentences:
        sentences.append("No error could be computed, so this run cannot tell.")
    if len(sizes) > 2:
        sentences.append("Sizes in between are in the table and in the figure.")
    return question, sentences, evidence


ENTRIES = {"mse_all": "all entries", "mse_nonzero": "the non-zero entries"}


def _short_on_size(trained: Contrast, held_out: Contrast | None) -> str:
    """Name the verdicts on the cells trained on and on those held out."""
    step = "From {small} to {large} dimensions ({loss}) "
    if held_out is not None and trained.verdict != held_out.verdict:
        fate = {"lower": "gets better", "higher": "gets worse", "none": "stays as it was"}
        return (
            f"{step}the reconstruction of the training cells {fate[trained.verdict]}, that of "
            f"cells never trained on {fate[held_out.verdict]}."
        )
    if trained.verdict == "none":
        return f"{step}no difference in error was found."
    change = "gets better" if trained.verdict == "lower" else "gets worse"
    cells = (
        "; for new cells, this run cannot tell." if held_out is None else ", of new cells too."
    )
    return f"{step}the reconstruction {change}{cells}"


def _what_follows(trained: Contrast, held_out: Contrast | None) -> Iterator[str]:
    """Say what the two kinds of cells tell together.

    A lower error on held-out cells is no proof of structure: the encoder sees them, and
    every direction that it passes on, also one of mere noise, carries a part of them.
    """
    if held_out and trained.verdict == "lower" and held_out.verdict != "lower":
        yield (
            "So the wider layer fits its training cells more closely without describing new "
            "ones better."
        )
    elif held_out and trained.verdict == held_out.verdict == "lower":
        yield (
            "A wider layer also passes on more of the noise of the cells it encodes, held-out "
            "ones included, so a lower error alone does not show that there is more structure."
        )
    elif trained.verdict == "higher":
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
    spread = summary["original"]["variance_by_entry"]
    errors = values(summary, loss, size, "reconstruction", "mse_all")
    if not spread or not errors:
        return question, ["The original does not vary, so there is nothing to compare."], {}
    kept = values(summary, loss, size, "reconstruction", "variance_kept")
    explained = 1 - mean(errors) / spread
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
        "variance_explained": explained,
        "neighbors_preserved": list(neighbors),
        "neighbors_by_chance": chance,
        "pca_variance_ratio": {"original": axes_before, "reconstruction": axes},
    }
    sentences = [
        f"The reconstruction has {percent(mean(kept))} of the original's total variance and "
        + (
            f"explains {percent(explained)} of it: what the bottleneck leaves out, noise of "
            "single cells and whatever structure was not learnt, is gone."
            if explained > 0
            else "explains none of it: the mean of every gene would be closer to the original."
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


def _latent_spaces(summary: Summary) -> Conclusion:
    loss, sizes = main_loss(summary), sorted(summary["settings"]["n_latent"])
    question = (
        "How do the latent spaces compare with the original, and how does their size change "
        "the clusters?"
    )
    if summary["dataset"]["n_labels"] is None:
        return question, *_latent_spaces_without_labels(summary, loss, sizes)
    if summary["dataset"]["n_labels"] == 1:
        return question, ["All cells have one label, which no clustering can miss."], {}
    k_from = summary["dataset"]["n_clusters_from"]
    told = " (told the number of classes)" if k_from == "labels" else ""
    sentences = []
    evidence: dict[str, Any] = {"kmeans_ari": {}, "leiden_ari": {}, "label_silhouette": {}}
    against = {}
    for method in METHODS:
        path = ("clustering", method, "ari")
        original = summary["original"]["clustering"][method]["ari"]
        contrast = Contrast((original,), values(summary, loss, sizes[0], *path), is_error=False)
        evidence[f"{method}_ari"][f"original_to_{sizes[0]}"] = contrast.evidence
        against[method] = contrast
    sentences.append(
        f"From the original to the {loss} latent space of {sizes[0]} dimensions, the "
        f"agreement of k-means{told} with the labels (ARI) {against['kmeans'].moves()}, that "
        f"of Leiden {against['leiden'].moves()}."
    )
    n_found = values(summary, loss, sizes[0], "clustering", "leiden", "n_clusters")
    few, many = min(n_found), max(n_found)
    sentences.append(
        f"Leiden finds {summary['original']['clustering']['leiden']['n_clusters']} clusters in "
        f"the original and {few if few == many else f'{few} to {many}'} in the latent space, "
        f"for {summary['dataset']['n_labels']} classes."
    )
    silhouettes = {n: values(summary, loss, n, "label_silhouette") for n in sizes}
    before = summary["original"]["label_silhouette"]
    if before is not None and silhouettes[sizes[0]]:
        contrast = Contrast((before,), silhouettes[sizes[0]], is_error=False)
        evidence["label_silhouette"][f"original_to_{sizes[0]}"] = contrast.evidence
        sentences.append(f"The silhouette of the labels {contrast.moves()}.")
    for method, name in METHODS.items():
        if len(sizes) == 1:
            break
        path = ("clustering", method, "ari")
        contrast = Contrast(
            values(summary, loss, sizes[0], *path), values(summary, loss, sizes[-1], *path),
            is_error=False,
        )  # fmt: skip
        evidence[f"{method}_ari"][f"{sizes[0]}_to_{sizes[-1]}"] = contrast.evidence
        start = f"From {sizes[0]} to {sizes[-1]} dimensions the ARI of {name}"
        sentences.append(f"{start} {contrast.moves()}.")
    word = {"higher": "better", "lower": "worse", "none": "equally well"}
    found = {method: word[against[method].verdict] for method in METHODS}
    short = f"Compared with the original, k-means finds the known classes {found['kmeans']} in "
    short += f"the latent space and Leiden {found['leiden']}"
    if found["kmeans"] == found["leiden"]:
        short = "Compared with the original, k-means and Leiden find the known classes "
        short += f"{found['kmeans']} in the latent space"
    which = _which_size(evidence, sizes) if len(sizes) > 1 else "only one size was trained"
    return question, [f"{short}; {which}.", *sentences], evidence


METHODS = {"kmeans": "k-means", "leiden": "Leiden"}


def _which_size(evidence: dict[str, Any], sizes: Sequence[int]) -> str:
    step = f"{sizes[0]}_to_{sizes[-1]}"
    verdicts = {method: evidence[f"{method}_ari"][step]["verdict"] for method in METHODS}
    decided = {v for v in verdicts.values() if v != "no difference"}
    if not decided:
        return f"{sizes[0]} or {sizes[-1]} dimensions make no difference to the clusters"
    if len(decided) > 1:
        return "k-means and Leiden disagree on which size clusters better"
    better, worse = (sizes[-1], sizes[0]) if decided == {"higher"} else (sizes[0], sizes[-1])
    return f"{better} dimensions cluster better than {worse}{_by_whom(verdicts)}"


def _by_whom(verdicts: dict[str, str]) -> str:
    """Name the method where only one of them tells a difference."""
    telling = [m for m in METHODS if verdicts.get(m) in ("lower", "higher")]
    return f" by {METHODS[telling[0]]} alone" if len(telling) == 1 else ""


def _latent_spaces_without_labels(
    summary: Summary, loss: str, sizes: Sequence[int]
) -> tuple[list[str], dict[str, Any]]:
    sentences = ["Without labels there is no truth to hold clusters against."]
    evidence: dict[str, Any] = {"kmeans_silhouette": {}, "neighbors_preserved": {}}
    before = summary["original"]["clustering"]["kmeans"]["silhouette"]
    after = values(summary, loss, sizes[0], "clustering", "kmeans", "silhouette")
    if before is not None and after:
        contrast = Contrast((before,), after, is_error=False)
        evidence["kmeans_silhouette"][f"original_to_{sizes[0]}"] = contrast.evidence
        compact = {"higher": "more compact than", "lower": "less compact than"}
        sentences = [
            f"The k-means clusters are {compact.get(contrast.verdict, 'as compact as')} in the "
            "original; whether they are right, only labels could tell."
        ]
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
        found = f"gives {grade} clusters{_by_whom(clusters)}"
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
        "A difference is reported only where the ranges over seeds do not overlap and the "
        f"means differ by {percent(SAME_ERROR)} (errors) or {SAME_SCORE} (scores). Between "
        f"two sets of {seeds} values without any difference, the ranges lie apart by chance in "
        f"{percent(2 / math.comb(2 * seeds, seeds))} of cases. With "
        f"{size} latent dimensions the MSE over all entries ranges over "
        + " and ".join(f"{percent(s)} of its mean for {loss}" for loss, s in spread.items())
        + ".",
    ]
    if summary["dataset"]["n_validation"]:
        sentences.append("The split into training and held-out cells is the same for all.")
    return question, sentences, {"seeds": seeds, "relative_range_mse_all": spread}
