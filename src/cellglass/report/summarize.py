"""A comparison as a plain dictionary: the content of results.json."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass import __version__
from cellglass.evaluate import JUDGED_IN_FULL, SILHOUETTE_CELLS, Clustering, Space
from cellglass.expectation import count_scores
from cellglass.losses import LOSSES, Loss
from cellglass.metrics import mean_squared_errors
from cellglass.neighbors import N_NEIGHBORS
from cellglass.outputs import csv_text
from cellglass.project import N_COMPONENTS, Maps
from cellglass.report.conclusions import conclude
from cellglass.report.groups import flatten, group_runs, highest_by_chance
from cellglass.tsne import tsne_gradient
from cellglass.uncertainty import N_PERMUTATIONS, neighbors_by_chance

if TYPE_CHECKING:
    import pandas as pd

    from cellglass.compare import Comparison
    from cellglass.evaluate import Baseline, Evaluation
    from cellglass.preprocess import Preprocessor

Limits = tuple[np.ndarray, np.ndarray] | None
SCHEMA = 1
PACKAGES = (
    "jax",
    "equinox",
    "optax",
    "numpy",
    "scipy",
    "scikit-learn",
    "igraph",
)


def summarize(comparison: Comparison) -> dict[str, Any]:
    """Turn a comparison into numbers, strings, lists and dictionaries.

    Nothing in the result depends on the time or the place of the run except the values
    under ``seconds``: the same data, settings, versions and machine give the same
    dictionary.

    Parameters
    ----------
    comparison
        All runs and baselines.

    Returns
    -------
    dict
        With the keys ``schema``, ``dataset``, ``settings``, ``original``, ``runs``,
        ``baselines``, ``groups`` (runs over their seeds), ``chance`` (what scores are worth
        by chance), ``conclusions`` and ``environment``; missing numbers are None.
    """
    judged = comparison.is_validation, comparison.likelihood_limits
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": _dataset(comparison),
        "settings": _settings(comparison),
        "original": {
            **_space(comparison.original),
            "variance_by_entry": comparison.total_variance / len(comparison.gene_names),
            "maps": _maps(comparison.original_maps),
        },
        "runs": [_run(run, *judged) for run in comparison.runs],
        "baselines": [_baseline(baseline, *judged) for baseline in comparison.baselines],
    }
    clusters = {
        run.name: {method: c.clusters for method, c in run.latent.clustering.items()}
        for run in comparison.runs
    }
    summary["groups"] = group_runs(summary["runs"], clusters)
    summary["chance"] = _chance(summary)
    summary["conclusions"] = conclude(summary)
    summary["environment"] = {
        **environment(comparison.settings.random_state),
        "tsne": f"gradient {tsne_gradient(len(comparison.cell_names))}",
    }
    return summary


def metrics_frame(summary: dict[str, Any]) -> pd.DataFrame:
    """Flatten the runs of a summary to a table with one row a run.

    Returns
    -------
    pandas.DataFrame
        Columns are the paths of the numbers in ``results.json``, joined by underscores:
        ``reconstruction_mse_all``, ``clustering_kmeans_ari``, ...
    """
    import pandas as pd

    skipped = ("history", "maps")
    return pd.DataFrame(
        [
            dict(flatten({key: v for key, v in run.items() if key not in skipped}))
            for run in summary["runs"]
        ]
    )


def metrics_csv(summary: dict[str, Any]) -> str:
    """Write :func:`metrics_frame` as CSV, in which no text is a spreadsheet's formula."""
    return _csv(metrics_frame(summary))


def scores_frame(summary: dict[str, Any]) -> pd.DataFrame:
    """Flatten the groups of a summary to a table with one row a loss and latent size.

    Returns
    -------
    pandas.DataFrame
        Columns are the paths of the numbers under ``scores`` in ``results.json``, joined by
        underscores: ``reconstruction_mse_all_mean``, ``reconstruction_mse_all_low``, ...,
        and ``stability_kmeans_ari_mean``, ...
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                **dict(flatten({k: v for k, v in group.items() if k != "scores"})),
                **dict(flatten(group["scores"])),
            }
            for group in summary["groups"]
        ]
    )


def scores_csv(summary: dict[str, Any]) -> str:
    """Write :func:`scores_frame` as CSV, in which no text is a spreadsheet's formula."""
    return _csv(scores_frame(summary))


def _csv(frame: pd.DataFrame) -> str:
    return frame.map(lambda cell: csv_text(cell) if isinstance(cell, str) else cell).to_csv(
        index=False, lineterminator="\n"
    )


def figure_names(runs: Sequence[str]) -> list[str]:
    """Name all figures of a report, without suffix, given the names of its runs."""
    kinds = ("pca_reconstruction", "tsne_reconstruction", "pca_latent", "tsne_latent", "loss")
    names = [f"{kind}_{run}" for run in runs for kind in kinds]
    return [*names, "mse_by_latent", "clustering_by_run"]


def agreement_scores(summary: dict[str, Any]) -> list[str]:
    """Name the scores of clusters against labels; none without labels."""
    if summary["dataset"]["n_labels"] is None:
        return []
    return list(summary["original"]["clustering"]["kmeans"]["permutation"])


def data_and_labels(data: str, labels: Iterable[object] | None) -> str:
    """Checksum of a matrix, given as its own, and of the labels of its cells."""
    named = None if labels is None else list(map(str, labels))
    return hashlib.sha256(json.dumps([data, named]).encode()).hexdigest()


def _dataset(comparison: Comparison) -> dict[str, Any]:
    labels = comparison.labels
    sizes = {} if labels is None else dict(labels.value_counts())
    n_cells = len(comparison.cell_names)
    n_validation = int(comparison.is_validation.sum())
    return {
        "name": comparison.source.get("matrix"),
        "labels_name": comparison.source.get("labels"),
        "layer_name": comparison.source.get("layer"),
        "use_raw": bool(comparison.source.get("use_raw")),
        "command": comparison.source.get("command"),
        "sha256": data_and_labels(comparison.data, labels),
        "n_cells": n_cells,
        "n_genes": len(comparison.gene_names),
        "fraction_zero": comparison.fraction_zero,
        "n_labels": None if labels is None else len(labels.categories),
        "label_sizes": {str(label): int(size) for label, size in sizes.items()},
        "n_train": n_cells - n_validation,
        "n_validation": n_validation,
        **of_preprocessor(comparison.preprocessor),
        "warnings": list(comparison.warnings),
        "n_zero_genes": comparison.constant.n_zero_genes,
        "n_constant_genes": comparison.constant.n_constant_genes,
        "n_zero_cells": comparison.constant.n_zero_cells,
        "n_clusters": comparison.n_clusters,
        "n_clusters_from": comparison.n_clusters_from,
        "n_silhouette_cells": min(n_cells, SILHOUETTE_CELLS),
        "n_judged_components": N_COMPONENTS if n_cells > JUDGED_IN_FULL else None,
        "n_neighbors": min(N_NEIGHBORS, n_cells - 1),
    }


def _settings(comparison: Comparison) -> dict[str, Any]:
    settings = comparison.settings
    return {
        **settings.to_dict(),
        "n_latent": list(settings.n_latent),
        "loss": list(settings.loss),
        "loss_formula": {name: LOSSES[name].formula for name in settings.loss},
        "loss_scored_by": {name: _scored_by(LOSSES[name]) for name in settings.loss},
    }


def _scored_by(loss: Loss) -> str:
    """Name what speaks for a loss: what it is about, on a scale that all losses share."""
    if loss.on_counts:
        return "log_likelihood"
    return "mse_all" if loss.penalises_zeros else "mse_nonzero"


def _run(run: Evaluation, held_out: np.ndarray, limits: Limits) -> dict[str, Any]:
    return {
        "run": run.name,
        "loss": run.settings.loss,
        "n_latent": run.settings.n_latent,
        "seed": run.settings.seed,
        "epochs": len(run.training.loss_train),
        "best_epoch": run.training.best_epoch,
        "reconstruction": {
            **mean_squared_errors(run.errors, held_out),
            **count_scores(run.log_likelihoods, limits, run.errors.n_genes, held_out),
            "variance_kept": run.variance_kept,
            "mean_at_zeros": run.mean_at_zeros,
            "label_silhouette": run.reconstruction.label_silhouette,
            "neighbors_preserved": run.reconstruction.neighbors_preserved,
        },
        **_space(run.latent),
        "seconds": {"train": run.training.seconds},
        "history": run.training.history,
        "maps": {
            "latent": _maps(run.latent_maps),
            "reconstruction": _maps(run.reconstruction_maps),
        },
    }


def _baseline(baseline: Baseline, held_out: np.ndarray, limits: Limits) -> dict[str, Any]:
    return {
        "name": "pca",
        "n_components": baseline.n_components,
        "reconstruction": {
            **mean_squared_errors(baseline.errors, held_out),
            **count_scores(baseline.log_likelihoods, limits, baseline.errors.n_genes, held_out),
        },
        **_space(baseline.space),
    }


def _space(space: Space) -> dict[str, Any]:
    return {
        "clustering": {method: _scores(c) for method, c in space.clustering.items()},
        "label_silhouette": space.label_silhouette,
        "neighbors_preserved": space.neighbors_preserved,
    }


def _scores(clustering: Clustering) -> dict[str, Any]:
    return {
        **clustering.agreement,
        "silhouette": clustering.silhouette,
        "n_clusters": clustering.n_clusters,
        "permutation": {
            name: None if chance is None else asdict(chance)
            for name, chance in clustering.chance.items()
        },
    }


def _chance(summary: dict[str, Any]) -> dict[str, Any]:
    dataset = summary["dataset"]
    spaces = [summary["original"], *summary["baselines"], *summary["runs"]]
    return {
        "n_permutations": None if dataset["n_labels"] is None else N_PERMUTATIONS,
        "clustering": highest_by_chance(spaces),
        "neighbors_preserved": neighbors_by_chance(dataset["n_neighbors"], dataset["n_cells"]),
    }


def _maps(maps: Maps) -> dict[str, list[float]]:
    return {"pca_variance_ratio": [float(share) for share in maps.pca_variance_ratio]}


def environment(random_state: int) -> dict[str, Any]:
    """Name all versions, the machine and the random state that numbers depend on."""
    import jax

    device = jax.devices()[0]
    return {
        "cellglass": __version__,
        **{package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "device": f"{device.platform} ({device.device_kind})",
        "system": f"{platform.system()} {platform.machine()}",
        "random_state": random_state,
    }


def of_preprocessor(preprocessor: Preprocessor) -> dict[str, Any]:
    """Say what the values are and what was made of them."""
    return {
        "input": preprocessor.input,
        "input_detected": preprocessor.detected,
        "input_reason": preprocessor.reason,
        "target_sum": preprocessor.target_sum if preprocessor.input == "counts" else None,
    }
