"""A clustering's summary and its figures as one self-contained page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from cellglass.cluster import Settings
from cellglass.report.cluster_summary import METHOD_NAMES
from cellglass.report.panels import Drawing, Legend
from cellglass.report.render import (
    as_code,
    image_source,
    labels_words,
    matrix_words,
    option_words,
    page_environment,
    reading_code,
    swatches,
)

OPTIONS = (
    "method", "n_clusters", "n_top_genes", "seeds", "resolution", "n_neighbors", "n_latent",
    "gamma", "n_hidden", "n_layers", "max_epochs", "batch_size", "learning_rate", "schedule",
    "patience", "min_delta", "validation_fraction", "dropout_rate", "input_noise",
    "weight_decay", "variational", "kl_warmup_epochs", "free_bits", "input", "random_state",
)  # fmt: skip
OF_ONE_METHOD = {"seeds": "consensus", "gamma": "idec"}
"""Options that one method uses."""


def render_clustering(
    summary: dict[str, Any], drawings: Sequence[Drawing], legends: dict[str, Legend]
) -> str:
    """Fill the page's template.

    Parameters
    ----------
    summary
        The content of ``results.json``; every number on the page is from here.
    drawings
        All figures.
    legends
        How ``clusters``, and where there are any ``labels``, are drawn.

    Returns
    -------
    str
        HTML that loads nothing from anywhere. Text from the user's files is escaped.
    """
    return page_environment().get_template("cluster.html").render(
        summary=summary, method=METHOD_NAMES[summary["settings"]["method"]],
        legends={name: swatches(legend) for name, legend in legends.items()},
        figures={drawing.name: drawing for drawing in drawings},
        images=[(drawing, image_source(drawing)) for drawing in drawings],
        command=command(summary), python_call=python_call(summary),
    )  # fmt: skip


def told_options(settings: dict[str, Any]) -> list[str]:
    """Leave out the options that the method does not use, unless they were given."""
    spared = [
        name for name, method in OF_ONE_METHOD.items()
        if settings["method"] != method and settings[name] == getattr(Settings, name)
    ]  # fmt: skip
    return [name for name in OPTIONS if name not in spared]


def command(summary: dict[str, Any]) -> str | None:
    """Write the command line that repeats a clustering.

    None where the data came from no file, or a schedule from Python.
    """
    settings, dataset = summary["settings"], summary["dataset"]
    if settings["schedule"] == "custom" or not dataset["name"]:
        return None
    words = ["cellglass", "cluster", *matrix_words(dataset)]
    if dataset["labels_name"]:
        words += ["--labels", dataset["labels_name"]]
    words += ["--loss", *settings["loss"]]
    apart = ("n_top_genes", "variational")
    words += option_words(settings, [n for n in told_options(settings) if n not in apart])
    words += ["--n-top-genes", str(settings["n_top_genes"] or 0)]
    words += ["--variational" if settings["variational"] else "--no-variational"]
    return shlex.join([*words, "-o", "clusters/"])


def python_call(summary: dict[str, Any]) -> str:
    """Write the same as a call from Python."""
    settings, dataset = summary["settings"], summary["dataset"]
    read = [reading_code(dataset)] if dataset["name"] else []
    options = [
        f"    {name}={as_code(name, settings[name])},"
        for name in told_options(settings)
        if settings[name] is not None or name == "n_top_genes"
    ]
    return "\n".join(
        [
            "import cellglass as cg", *read, "clustering = cg.cluster(", "    adata,",
            *labels_words(dataset), f"    loss={settings['loss'][0]!r},", *options, ")",
            'clustering.report("clusters/")',
        ]
    )  # fmt: skip
