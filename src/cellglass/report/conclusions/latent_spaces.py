"""How well classes are found in the latent spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellglass.report.conclusions.numbers import (
    METHODS,
    Conclusion,
    Summary,
    by_whom,
    main_loss,
    values,
)
from cellglass.report.contrast import Contrast, mean, percent


def answer(summary: Summary) -> Conclusion:
    """Hold the clusters of the latent spaces against those of the original."""
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


def _which_size(evidence: dict[str, Any], sizes: Sequence[int]) -> str:
    step = f"{sizes[0]}_to_{sizes[-1]}"
    verdicts = {method: evidence[f"{method}_ari"][step]["verdict"] for method in METHODS}
    decided = {v for v in verdicts.values() if v != "no difference"}
    if not decided:
        return f"{sizes[0]} or {sizes[-1]} dimensions make no difference to the clusters"
    if len(decided) > 1:
        return "k-means and Leiden disagree on which size clusters better"
    better, worse = (sizes[-1], sizes[0]) if decided == {"higher"} else (sizes[0], sizes[-1])
    return f"{better} dimensions cluster better than {worse}{by_whom(verdicts)}"


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
