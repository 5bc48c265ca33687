"""A selection as a plain dictionary: the content of its results.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass.held_out import MEASURES
from cellglass.losses import LOSSES
from cellglass.losses.base import start_at_zero
from cellglass.outputs import csv_text
from cellglass.report.contrast import percent
from cellglass.report.summarize import SCHEMA, environment, of_preprocessor
from cellglass.select import HIDDEN_FRACTION, PCA

if TYPE_CHECKING:
    import pandas as pd

    from cellglass.select import Curve, Selection

LATE = 0.02
"""A training whose last tenth has a larger share of the fall of its loss is not at its end."""

RISE = 0.1
"""A network of the largest size that gives up more than this share of the best one's gain
over none has fitted noise."""

NAMES = {PCA: "PCA"}
"""Models that are written otherwise than they are called in the results."""


def summarize_selection(selection: Selection) -> dict[str, Any]:
    """Turn a selection into numbers, strings, lists and dictionaries.

    Returns
    -------
    dict
        With the keys ``schema``, ``dataset``, ``settings``, ``held_out`` (what was, and
        how), ``n_latent`` (the size to use with the first loss, or None), ``curves`` (one
        for every loss and for PCA), ``trainings``, ``conclusions`` and ``environment``.
    """
    settings = selection.settings
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": {
            "name": selection.source.get("matrix"),
            "layer_name": selection.source.get("layer"),
            "use_raw": bool(selection.source.get("use_raw")),
            "sha256": selection.data,
            "n_cells": selection.n_cells,
            "n_genes": selection.n_genes,
            "fraction_zero": selection.fraction_zero,
            **of_preprocessor(selection.preprocessor),
            "warnings": list(selection.preprocessor.warnings),
        },
        "settings": {
            **settings.to_dict(),
            "n_latent": list(settings.n_latent),
            "loss": list(settings.loss),
            "loss_formula": {name: LOSSES[name].formula for name in settings.loss},
        },
        "held_out": _held_out(selection),
        "n_latent": selection.n_latent,
        "curves": [_curve(curve) for curve in selection.curves],
        "trainings": [
            {
                "loss": t.loss, "n_latent": t.n_latent, "split": t.split, "seed": t.seed,
                "epochs": t.epochs, "best_epoch": t.best_epoch, "loss_first": t.loss_first,
                "loss_last": t.loss_last, "late_fall": t.late_fall, "error": t.error,
                "seconds": {"train": t.seconds},
            }
            for t in selection.trainings
        ],
    }  # fmt: skip
    summary["conclusions"] = list(_conclude(summary))
    summary["environment"] = environment(settings.random_state)
    return summary


def errors_frame(summary: dict[str, Any]) -> pd.DataFrame:
    """Flatten the curves of a summary to a table.

    Returns
    -------
    pandas.DataFrame
        One row a model, split, seed and size, with the columns ``model``, ``measure``,
        ``split``, ``seed``, ``n_latent``, ``error`` and ``null_error``.
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "model": curve["model"], "measure": curve["measure"],
                "split": replicate["split"], "seed": replicate["seed"],
                "n_latent": size, "error": error, "null_error": replicate["null_error"],
            }
            for curve in summary["curves"]
            for replicate in curve["replicates"]
            for size, error in zip(curve["choice"]["sizes"], replicate["errors"], strict=True)
        ]
    )  # fmt: skip


def errors_csv(summary: dict[str, Any]) -> str:
    """Write :func:`errors_frame` as CSV, in which no text is a spreadsheet's formula."""
    frame = errors_frame(summary)
    return frame.map(lambda cell: csv_text(cell) if isinstance(cell, str) else cell).to_csv(
        index=False, lineterminator="\n"
    )


def model_name(curve: dict[str, Any]) -> str:
    """Name the model of a curve as it is written."""
    return NAMES.get(curve["model"], curve["model"])


def measures_of(summary: dict[str, Any]) -> list[str]:
    """Name what is measured, in the order of the curves."""
    return list(dict.fromkeys(curve["measure"] for curve in summary["curves"]))


def _held_out(selection: Selection) -> dict[str, Any]:
    dispersion = selection.dispersion
    if dispersion is None:
        return {"what": "entries", "fraction": HIDDEN_FRACTION, "dispersion": None}
    low, middle, high = np.quantile(dispersion, (0.25, 0.5, 0.75))
    quartiles = {"lower": float(low), "median": float(middle), "upper": float(high)}
    return {"what": "molecules", "fraction": 0.5, "dispersion": quartiles}


def _curve(curve: Curve) -> dict[str, Any]:
    rows = zip(curve.replicates, curve.errors, curve.null_errors, strict=True)
    return {
        "model": curve.model,
        "measure": curve.measure,
        "measure_is": MEASURES[curve.measure],
        "choice": curve.choice.to_dict(),
        "replicates": [
            {
                "split": split, "seed": seed, "null_error": float(null),
                "errors": [float(error) for error in errors],
            }
            for (split, seed), errors, null in rows
        ],
    }  # fmt: skip


# --- sentences ---------------------------------------------------------------------------


def _conclude(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Answer the questions of a reader, each answer beginning with its short form."""
    answers = [
        {
            "question": f"How many latent dimensions should a network with the loss "
            f"{curve['model']} have?",
            **_parts(curve["choice"]["sentence"]),
            "evidence": {"model": curve["model"], "choice": curve["choice"]},
        }
        for curve in summary["curves"]
        if curve["model"] != PCA
    ]
    answers += [
        _beside_pca(curve, pca, summary["settings"]["n_layers"])
        for curve in summary["curves"]
        for pca in summary["curves"]
        if curve["model"] != PCA == pca["model"] and curve["measure"] == pca["measure"]
    ]
    return [*answers, *_about_noise(summary), _about_training(summary)]


def _parts(sentence: str) -> dict[str, str]:
    """Split what is said first from the rest."""
    ends = [sentence.index(mark) for mark in (";", ",", ".") if mark in sentence]
    return {"short": sentence[: min(ends)], "answer": sentence}


def _beside_pca(curve: dict[str, Any], pca: dict[str, Any], n_layers: int) -> dict[str, Any]:
    """Hold a network's curve against PCA's, each at its best size, paired by split."""
    best, of_pca = curve["choice"]["best"], pca["choice"]["best"]
    ours, theirs = _by_split(curve, best), _by_split(pca, of_pca)
    gaps = [theirs[split] - error for split, error in ours.items()]
    mean = float(np.mean(gaps)) / max(float(np.mean(list(theirs.values()))), 1e-300)
    error = float(np.std(gaps, ddof=1) / len(gaps) ** 0.5)
    error /= max(float(np.mean(list(theirs.values()))), 1e-300)
    said = (
        f"At its best size, {best}, its held-out error is {100 * abs(mean):.2g} % "
        f"{'lower' if mean > 0 else 'higher'} than that of PCA at its best, {of_pca} "
        f"(standard error {100 * error:.2g} %)."
    )
    if abs(mean) <= 2 * error:
        short = "No difference between the two is found."
    elif mean > 0:
        short = f"Yes, {curve['model']} does."
    else:
        short = "No, PCA does."
    if pca["choice"]["chosen"] is None:
        use = "By itself PCA finds nothing."
    else:
        use = f"By itself PCA would ask for {_dimensions(pca['choice']['chosen'])}."
        if n_layers and 0 < (curve["choice"]["chosen"] or 0) < pca["choice"]["chosen"]:
            use += " A network with hidden layers bends, and so may need fewer."
    return {
        "question": f"Does {curve['model']} predict what it has not seen better than PCA?",
        "short": short,
        "answer": f"{short} {said} {use}",
        "evidence": {"relative_gain": mean, "standard_error": error, "pca": pca["choice"]},
    }


def _by_split(curve: dict[str, Any], size: int) -> dict[int, float]:
    column = curve["choice"]["sizes"].index(size)
    found: dict[int, list[float]] = {}
    for replicate in curve["replicates"]:
        found.setdefault(replicate["split"], []).append(replicate["errors"][column])
    return {split: float(np.mean(errors)) for split, errors in found.items()}


def _about_noise(summary: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tell of networks that have learnt noise, if the largest are much worse than the best."""
    settings, rises = summary["settings"], {}
    for curve in summary["curves"]:
        choice = curve["choice"]
        lowest, last = min(choice["errors"]), choice["errors"][-1]
        if (
            curve["model"] != PCA
            and choice["chosen"] is not None
            and last - lowest > RISE * (choice["null_error"] - lowest)
        ):
            rises[curve["model"]] = {"best": choice["best"], "rise": last / lowest - 1}
    if not rises:
        return
    largest = settings["n_latent"][-1]
    worse = " and ".join(
        f"{100 * found['rise']:.2g} % worse than with {found['best']} ({loss})"
        for loss, found in rises.items()
    )
    remedies = [] if settings["dropout_rate"] else ["a dropout_rate of 0.2"]
    if not settings["validation_fraction"]:
        remedies.append("a validation_fraction of 0.1, which keeps the best epoch,")
    tried = " or ".join(remedies or ["more dropout"])
    short = "Yes, the larger ones."
    yield {
        "question": "Did networks learn noise?",
        "short": short,
        "answer": f"{short} With {_dimensions(largest)} what was held out is predicted "
        f"{worse}. Whatever else a network can hold it fills with the noise of what it sees, "
        f"the more so the longer it is trained. Trying {tried} "
        "may lower that end of the curve, and show that more dimensions are of use.",
        "evidence": {"largest": largest, "by_loss": rises},
    }


def _about_training(summary: dict[str, Any]) -> dict[str, Any]:
    settings, trainings = summary["settings"], summary["trainings"]
    epochs = sorted({training["epochs"] for training in trainings})
    span = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    short = "Networks that are trained as these were."
    late = float(np.median([training["late_fall"] for training in trainings]))
    layers = settings["n_layers"]
    hidden = (
        f"{layers} hidden layer{'s' * (layers != 1)} of {settings['n_hidden']} on either side"
        if layers
        else "no hidden layers"
    )
    return {
        "question": "For which networks does this hold?",
        "short": short,
        "answer": f"{short} {len(trainings)} networks with {hidden} were trained for {span} "
        f"epoch{'s' * (epochs[-1] != 1)} at a learning rate of {settings['learning_rate']:g}. "
        f"{_ending(late)}{_means(settings['loss'])} A curve shows what networks have learnt "
        "as well as what there is to learn: with other layers another size may be best.",
        "evidence": {"n_trainings": len(trainings), "epochs": epochs, "late_fall": late},
    }


def _ending(late: float) -> str:
    """Say whether trainings had come to their end."""
    share = percent(max(late, 0))
    said = f"Of the fall of the training loss, {share} (median) came in the last tenth"
    if late > LATE:
        return (
            f"{said} of the epochs: they had not come to their end, and more epochs may well "
            "change the choice. Give a larger max_epochs."
        )
    return f"{said} of the epochs: they had come close to their end."


def _means(losses: list[str]) -> str:
    """Say which networks have the means of the genes to learn as well."""
    learn = [name for name in losses if LOSSES[name].start is start_at_zero]
    if not learn:
        return ""
    return (
        f" With {' and '.join(learn)} a network learns the means of the genes, too, and may "
        "spend a dimension on them; PCA and the losses with a likelihood start from them."
    )


def _dimensions(n: int) -> str:
    return f"{n} dimension{'s' * (n != 1)}"
