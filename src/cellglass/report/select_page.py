"""A selection's summary and its figures as one self-contained page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from cellglass.report.panels import Drawing
from cellglass.report.render import (
    as_code,
    image_source,
    matrix_words,
    option_words,
    page_environment,
    reading_code,
)
from cellglass.report.select_figures import figure_name
from cellglass.report.select_summary import measures_of, model_name

OPTIONS = (
    "splits", "seeds", "n_hidden", "n_layers", "max_epochs", "batch_size", "learning_rate",
    "schedule", "patience", "min_delta", "validation_fraction", "dropout_rate",
    "input_noise", "weight_decay", "variational", "kl_warmup_epochs", "free_bits", "input",
    "random_state",
)  # fmt: skip


def render_selection(summary: dict[str, Any], drawings: Sequence[Drawing]) -> str:
    """Fill the page's template.

    Parameters
    ----------
    summary
        The content of ``results.json``; every number on the page is from here.
    drawings
        All figures.

    Returns
    -------
    str
        HTML that loads nothing from anywhere. Text from the user's files is escaped.
    """
    figures = {drawing.name: drawing for drawing in drawings}
    measures = [
        {
            "name": measure,
            "figure": figures[figure_name(measure)],
            "curves": [curve for curve in summary["curves"] if curve["measure"] == measure],
        }
        for measure in measures_of(summary)
    ]
    return page_environment().get_template("select.html").render(
        summary=summary, measures=measures, model_name=model_name,
        images=[(drawing, image_source(drawing)) for drawing in drawings],
        error=error_text, standard_error=standard_error_text, command=command(summary),
        python_call=python_call(summary),
    )  # fmt: skip


def error_text(curve: dict[str, Any], i: int | None) -> str:
    """Write an error: of the i-th size, or without any latent dimension (None)."""
    choice = curve["choice"]
    mean = choice["null_error"] if i is None else choice["errors"][i]
    return f"{mean:.{_decimals(choice)}f}"


def standard_error_text(curve: dict[str, Any], i: int | None) -> str:
    """Write the standard error of the same."""
    choice = curve["choice"]
    uncertain = choice["null_standard_error"] if i is None else choice["standard_errors"][i]
    return f"{uncertain:.{_decimals(choice)}f}"


def _decimals(choice: dict[str, Any]) -> int:
    """Count decimals for all errors of a curve, which show a tenth of their smallest spread."""
    uncertain = [error for error in choice["standard_errors"] if error > 0]
    decimals = 1 - math.floor(math.log10(min(uncertain))) if uncertain else 4
    return min(max(decimals, 0), 8)


def command(summary: dict[str, Any]) -> str | None:
    """Write the command line that repeats a selection, every setting spelt out.

    None where the data came from no file, or a schedule from Python.
    """
    settings, dataset = summary["settings"], summary["dataset"]
    if settings["schedule"] == "custom" or not dataset["name"]:
        return None
    words = ["cellglass", "select", *matrix_words(dataset)]
    words += ["--n-latent", *map(str, settings["n_latent"]), "--loss", *settings["loss"]]
    return shlex.join([*words, *option_words(settings, OPTIONS), "-o", "selection/"])


def python_call(summary: dict[str, Any]) -> str:
    """Write the same as a call from Python."""
    settings, dataset = summary["settings"], summary["dataset"]
    read = [reading_code(dataset)] if dataset["name"] else []
    return "\n".join(
        [
            "import cellglass as cg",
            *read,
            "selection = cg.select(",
            "    adata,",
            *(
                f"    {name}={as_code(name, settings[name])},"
                for name in ("n_latent", "loss", *OPTIONS)
                if settings[name] is not None
            ),
            ")",
            'selection.report("selection/")',
        ]
    )
