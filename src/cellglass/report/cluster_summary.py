"""A clustering as a plain dictionary: the content of its results.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass import resolution
from cellglass.cluster_space import HEARD, SURE
from cellglass.consensus import agreement_of_members
from cellglass.losses import LOSSES
from cellglass.report.contrast import percent, score
from cellglass.report.summarize import (
    SCHEMA,
    data_and_labels,
    environment,
    of_preprocessor,
)

if TYPE_CHECKING:
    from cellglass.cluster import Clustering
    from cellglass.resolution import Scan
    from cellglass.separation import Separation

FEW = 5
"""With fewer cells for each of the neighbours, a group may not have as many."""

METHOD_NAMES = {
    "consensus": "consensus of networks and PCA", "leiden": "Leiden", "kmeans": "k-means",
    "gaussian_mixture": "Gaussian mixture", "idec": "IDEC",
}  # fmt: skip
"""Methods as they are written."""

NEARLY = 0.95
"""A number of clusters of so much of the best silhouette would have done as well."""
MARKERS_SHOWN = 8
"""Marker genes of a cluster that a sentence or a table names."""


def summarize_clustering(clustering: Clustering) -> dict[str, Any]:
    """Turn a clustering into numbers, strings, lists and dictionaries.

    Returns
    -------
    dict
        With the keys ``schema``, ``dataset``, ``settings``, ``clusters`` (one for each),
        ``n_between``, ``between_pairs`` (how many cells lie between which two clusters),
        ``scan`` (Leiden's resolutions, or None), ``separation`` (silhouettes by number of
        clusters, or None), ``members_ari``, ``pca_votes`` and
        ``n_heard`` (the most neighbours a cell hears; both of a consensus, else None),
        ``heard_among`` (the most cells that can be heard),
        ``silhouette``, ``agreement`` (with the labels, or None), ``trainings``, ``joint``
        (IDEC's epochs, or None), ``conclusions`` and ``environment``.
    """
    settings, found, labels = clustering.settings, clustering.found, clustering.labels
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": {
            "name": clustering.source.get("matrix"),
            "labels_name": clustering.source.get("labels"),
            "layer_name": clustering.source.get("layer"),
            "use_raw": bool(clustering.source.get("use_raw")),
            "sha256": data_and_labels(clustering.data, labels),
            "n_cells": len(clustering.cell_names),
            "n_genes": len(clustering.gene_names),
            "n_genes_seen": len(clustering.genes),
            "n_labels": None if labels is None else len(labels.categories),
            "fraction_zero": clustering.fraction_zero,
            **of_preprocessor(clustering.preprocessor),
            "warnings": list(clustering.warnings),
        },
        "settings": {
            **settings.to_dict(),
            "loss": [settings.loss],
            "loss_formula": {settings.loss: LOSSES[settings.loss].formula},
        },
        "n_clusters": found.n_clusters,
        "n_clusters_from": found.n_clusters_from,
        "sure": SURE,
        "clusters": list(_clusters(clustering)),
        "n_between": int(found.between.sum()),
        "mean_confidence": float(found.confidence.mean()),
        "between_pairs": list(_pairs(clustering)),
        "scan": None if found.scan is None else _scan(found.scan),
        "separation": None if found.separation is None else _separation(found.separation),
        "members_ari": agreement_of_members(found.members),
        "pca_votes": clustering.pca_votes,
        "n_heard": clustering.n_heard,
        "heard_among": HEARD,
        "silhouette": clustering.silhouette,
        "mapped_seed": clustering.mapped,
        "agreement": clustering.agreement() or None,
        "trainings": [
            {
                "seed": seed, "epochs": len(t.loss_train), "best_epoch": t.best_epoch,
                "loss_first": t.loss_train[0], "loss_last": t.loss_train[-1],
                "seconds": {"train": t.seconds},
            }
            for seed, t in enumerate(clustering.trainings)
        ],
        "joint": None if clustering.joint is None else clustering.joint.history,
    }  # fmt: skip
    summary["conclusions"] = list(_conclude(summary))
    summary["environment"] = environment(settings.random_state)
    return summary


def _clusters(clustering: Clustering) -> Iterator[dict[str, Any]]:
    found, labels, markers = clustering.found, clustering.labels, clustering.markers
    for j in range(found.n_clusters):
        own = found.clusters == j
        sure = found.confidence[own]
        row: dict[str, Any] = {
            "cluster": j,
            "n_cells": int(own.sum()),
            "share": float(own.mean()),
            "confidence": float(sure.mean()) if own.any() else None,
            "n_between": int((sure < SURE).sum()),
            "markers": None if markers is None else list(
                markers.loc[markers["cluster"] == j, "gene"].iloc[:MARKERS_SHOWN]
            ),
            "label": None,
            "label_share": None,
        }  # fmt: skip
        if labels is not None and own.any():
            counts = np.bincount(np.asarray(labels.codes)[own])
            row["label"] = str(labels.categories[int(counts.argmax())])
            row["label_share"] = float(counts.max() / own.sum())
        yield row


def _pairs(clustering: Clustering) -> Iterator[dict[str, Any]]:
    """Count the cells between every two clusters, the most first."""
    found = clustering.found
    at = np.flatnonzero(found.between & (found.second >= 0))
    low = np.minimum(found.clusters[at], found.second[at])
    high = np.maximum(found.clusters[at], found.second[at])
    pairs, counts = np.unique(np.column_stack([low, high]), axis=0, return_counts=True)
    for i in np.argsort(-counts, kind="stable"):
        yield {"clusters": [int(n) for n in pairs[i]], "n_cells": int(counts[i])}


def _scan(scan: Scan) -> dict[str, Any]:
    said = asdict(scan)
    del said["clusters"]
    return {key: list(v) if isinstance(v, tuple) else v for key, v in said.items()} | {
        "resolution": scan.resolution
    }


def _separation(found: Separation) -> dict[str, Any]:
    return {
        "n_clusters": list(found.n_clusters), "silhouette": list(found.silhouette),
        "chosen": found.chosen, "finest": found.finest, "n_cells": found.n_cells,
    }  # fmt: skip


def _conclude(summary: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Say in sentences what follows from the numbers."""
    yield _how_many(summary)
    if summary["n_clusters"] > 1:  # else every cell, and every network, is sure of it
        yield _how_sure(summary)
        if summary["members_ari"] is not None:
            yield _how_stable(summary)
    if summary["agreement"] is not None:
        yield _how_near(summary)


def _conclusion(
    question: str, short: str, rest: str, evidence: dict[str, Any]
) -> dict[str, Any]:
    return {
        "question": question, "short": short, "answer": f"{short} {rest}".strip(),
        "evidence": evidence,
    }  # fmt: skip


def _how_many(summary: dict[str, Any]) -> dict[str, Any]:
    k, scan, separation = summary["n_clusters"], summary["scan"], summary["separation"]
    short = f"{k} cluster{'s' * (k != 1)}."
    smallest = summary["clusters"][-1]
    rest = (
        "It holds all cells."
        if k == 1
        else f"The largest holds {percent(summary['clusters'][0]['share'])} of the cells, the "
        f"smallest {smallest['n_cells']:,} cell{'s' * (smallest['n_cells'] != 1)}."
    )
    if summary["n_clusters_from"] == "given":
        asked = summary["settings"]["n_clusters"]
        rest += (
            " Their number was given, not found."
            if k == asked
            else f" {asked:,} were asked for, but in these data the method finds {k:,}."
        )
    elif scan is not None and scan["chosen"] is None:
        rest = (
            "At every resolution Leiden finds one cluster, or more than one for every two "
            "cells: the networks tell no groups apart."
            if max(scan["stability"]) == 0
            else "At every resolution Leiden finds others when a fifth of the cells is left "
            f"out (adjusted Rand index {score(max(scan['stability']))} at most): what "
            "structure there is has no borders."
        )
        n_cells, near = summary["dataset"]["n_cells"], summary["settings"]["n_neighbors"]
        if n_cells < FEW * near:
            rest += (
                f" Or it does not show: of {n_cells:,} cells, {near} neighbours may be more "
                "than a group has. Fewer (--n-neighbors) may tell groups apart, or give their "
                "number (--n-clusters)."
            )
    elif separation is not None:
        rest += _best_separated(separation, len(summary["trainings"]))
    elif scan is not None:
        stable = scan["stability"][scan["chosen"]]
        rest += (
            f" Their number is Leiden’s at resolution {scan['resolution']:.3g}, the finest at "
            "which clusters are nearly as stable as at any and hardly a cell is in one that is "
            "not found again: leaving out a fifth of the cells "
            f"changes them {'little' if stable >= 0.9 else 'in part'} (adjusted Rand index "
            f"{score(stable)})."
        )
        others = sorted(
            {
                n
                for n, s in zip(scan["n_clusters"], scan["stability"], strict=True)
                if s >= resolution.NEARLY * max(scan["stability"]) and n < k
            }
        )
        if others:
            rest += f" Coarser ones are as stable: {', '.join(map(str, others))}."
    else:
        found = "them" if summary["settings"]["method"] == "leiden" else "as many"
        rest += f" Leiden finds {found} at resolution {summary['settings']['resolution']:g}."
    if separation is not None and separation["n_cells"] < summary["dataset"]["n_cells"]:
        rest += f" A random {separation['n_cells']:,} of the cells decided that."
    return _conclusion(
        "How many clusters are there?", short, rest,
        {"n_clusters": k, "n_clusters_from": summary["n_clusters_from"]},
    )  # fmt: skip


def _best_separated(separation: dict[str, Any], n_networks: int) -> str:
    """Say why it is this number of clusters, and which others would do as well."""
    finest, chosen = separation["finest"], separation["chosen"]
    by_number = dict(zip(separation["n_clusters"], separation["silhouette"], strict=True))
    best = by_number.pop(chosen)
    said = (
        f" Leiden finds no more than {finest} again when a fifth of the cells is left out"
        f"{' (median of the networks)' if n_networks > 1 else ''}"
    )
    if not by_number:
        return f"{said}."
    said += (
        f"; of 2 to {separation['n_clusters'][-1]} clusters, {chosen} lie farthest apart "
        f"(silhouette {score(best)} in the latent vectors"
        f"{', mean of the networks' if n_networks > 1 else ''})."
    )
    others = [k for k, s in by_number.items() if s is not None and s >= NEARLY * best]
    if others:
        said += (
            f" Nearly as far: {', '.join(map(str, others))}. The data do not decide between "
            "them."
        )
    return said


def _how_sure(summary: dict[str, Any]) -> dict[str, Any]:
    n, n_cells = summary["n_between"], summary["dataset"]["n_cells"]
    sure = percent(summary["sure"])
    if n == 0:
        short = f"Every cell belongs to its cluster with a probability of at least {sure}."
        rest = ""
    else:
        lies = "lies" if n == 1 else "lie"
        belongs = "it belongs to its own" if n == 1 else "they belong to theirs"
        short = f"{n:,} of {n_cells:,} cells ({percent(n / n_cells)}) {lies} between clusters:"
        rest = f"{belongs} with a probability below {sure}."
        top = summary["between_pairs"][0]
        a, b = top["clusters"]
        if len(summary["between_pairs"]) > 1:
            if top["n_cells"] > n / 2:
                rest += f" Most of them, {top['n_cells']:,}, lie between clusters {a} and {b}."
            else:
                rest += (
                    f" No pair has more of them than clusters {a} and {b}: {top['n_cells']:,}."
                )
        worst = max(summary["clusters"], key=lambda row: row["n_between"] / row["n_cells"])
        share = worst["n_between"] / worst["n_cells"]
        rest += (
            f" The least sure cluster is {worst['cluster']}: {percent(share)} of its cells lie "
            "between it and others."
        )
    return _conclusion(
        "How sure is the place of every cell?", short, rest,
        {"n_between": n, "mean_confidence": summary["mean_confidence"]},
    )  # fmt: skip


def _how_stable(summary: dict[str, Any]) -> dict[str, Any]:
    ari, seeds = summary["members_ari"], len(summary["trainings"])
    word = "largely agree" if ari >= 0.9 else "agree in part" if ari >= 0.6 else "disagree"
    short = f"The {seeds} networks {word}:"
    rest = (
        f"two of them find partitions with an adjusted Rand index of {score(ari)} on average. "
    )
    rest += (
        "One network alone would have done."
        if ari >= 0.9
        else "What they and PCA have in common is what the clusters here are; one network "
        "alone would have told less."
    )
    return _conclusion(
        "Do networks with other seeds find the same clusters?", short, rest,
        {"members_ari": ari, "seeds": seeds},
    )  # fmt: skip


def _how_near(summary: dict[str, Any]) -> dict[str, Any]:
    question, agreement = "Do the clusters match the labels?", summary["agreement"]
    k, n_labels = summary["n_clusters"], summary["dataset"]["n_labels"]
    if n_labels == 1:
        short = "All cells have the same label,"
        return _conclusion(question, short, "which tells nothing of clusters.", {})
    ari = agreement["ari"]
    word = "closely" if ari >= 0.8 else "in part" if ari >= 0.3 else "poorly"
    short = f"They match the {n_labels} classes {word}:"
    rest = (
        f"adjusted Rand index {score(ari)}, normalised mutual information "
        f"{score(agreement['nmi'])}."
    )
    if k != n_labels:
        rest += (
            f" {k} cluster{'s' * (k != 1)} and {n_labels} classes: that alone keeps the first "
            "below 1."
        )
    return _conclusion(question, short, rest, dict(agreement))
