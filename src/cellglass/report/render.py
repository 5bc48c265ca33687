"""A summary and its figures as one self-contained page."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cellglass.report.colors import Style
from cellglass.report.conclusions.numbers import group_name
from cellglass.report.contrast import number, percent, plus_minus, score
from cellglass.report.panels import Drawing, Legend
from cellglass.report.summarize import agreement_scores

if TYPE_CHECKING:
    from jinja2 import Environment

GLYPHS = {
    "o": "●", "s": "■", "^": "▲", "X": "✖", "D": "◆", "v": "▼", "P": "✚", "*": "★",
    "<": "◀", ">": "▶", "p": "⬟", "h": "⬢", "d": "⬧",
}  # fmt: skip
"""Characters that look like matplotlib's markers."""


def render(
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
        By run: the classes its maps are coloured by.

    Returns
    -------
    str
        HTML that loads nothing from anywhere. Text from the user's files is escaped.
    """
    by_name = {drawing.name: drawing for drawing in drawings}
    likelihood = likelihood_key(summary)
    return (
        page_environment()
        .get_template("report.html")
        .render(
            summary=summary,
            figures=by_name,
            images=[(drawing, image_source(drawing)) for drawing in drawings],
            legends={run: swatches(legend) for run, legend in legends.items()},
            agreement=agreement_scores(summary),
            groups=[{"run": group_name(g), **g["scores"]} for g in summary["groups"]],
            likelihood=likelihood,
            explained=likelihood and likelihood.replace("log_likelihood", "deviance_explained"),
            plus_minus=plus_minus,
            forms={"number": number, "score": score, "percent": percent},
            python_call=python_call(summary),
            command=command(summary),
        )
    )


def page_environment() -> Environment:
    """Make the environment of all templates: text is escaped, a missing name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cellglass.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _missing(number),
        "score": _missing(score),
        "percent": _missing(percent),
        "count": _missing(lambda value: f"{value:,}"),
    }
    return environment


def likelihood_key(summary: dict[str, Any]) -> str | None:
    """Name the log-likelihood that the tables show: of held-out cells where there are any.

    None where no run has it, because the matrix did not hold raw counts.
    """
    of_cells = "_validation" if summary["dataset"]["n_validation"] else ""
    key = f"log_likelihood{of_cells}"
    found = (run["reconstruction"].get(key) for run in summary["runs"])
    return None if all(value is None for value in found) else key


def _missing(form: Any) -> Any:
    return lambda value: "–" if value is None else form(value)


def image_source(drawing: Drawing) -> str:
    """Embed what is smaller: maps are pictures of points, the rest a few lines."""
    kind, data = "png", drawing.png
    if not drawing.name.startswith(("pca_", "tsne_")):
        kind, data = "svg+xml", drawing.svg
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def swatches(legend: Legend) -> dict[str, Any]:
    """Describe a legend: its title, and the name, colour and glyph of every class."""

    def swatch(name: str, style: Style) -> dict[str, str]:
        return {"name": name, "color": style.color, "glyph": GLYPHS[style.marker]}

    return {
        "title": legend.title,
        "classes": [swatch(name, legend.styles[name]) for name in legend.names],
    }


OPTIONS = (
    "seeds", "n_hidden", "n_layers", "max_epochs", "batch_size", "learning_rate", "schedule",
    "patience", "min_delta", "validation_fraction", "dropout_rate", "input_noise",
    "weight_decay", "variational", "kl_warmup_epochs", "free_bits", "n_clusters", "input",
    "random_state",
)  # fmt: skip


def command(summary: dict[str, Any]) -> str | None:
    """Write the command line that repeats a comparison, every setting spelt out.

    None where the data came from no file, or a schedule from Python.
    """
    settings, dataset = summary["settings"], summary["dataset"]
    if settings["schedule"] == "custom":
        return None
    if dataset["command"]:
        return f"{dataset['command']} --random-state {settings['random_state']} -o report/"
    if not dataset["name"]:
        return None
    words = ["cellglass", "compare", *matrix_words(dataset)]
    if dataset["labels_name"]:
        words += ["--labels", dataset["labels_name"]]
    words += ["--n-latent", *map(str, settings["n_latent"]), "--loss", *settings["loss"]]
    return shlex.join([*words, *option_words(settings, OPTIONS), "-o", "report/"])


def matrix_words(dataset: dict[str, Any]) -> list[str]:
    """Write which matrix of which file was read, as words of the command line."""
    words = [dataset["name"]]
    if dataset["layer_name"]:
        words += ["--layer", dataset["layer_name"]]
    return [*words, "--use-raw"] if dataset["use_raw"] else words


def labels_words(dataset: dict[str, Any]) -> list[str]:
    """Write which labels a call from Python takes; none where reading gave them."""
    if dataset["labels_name"] is None:
        return ["    labels=False,"]  # the matrix may come with a column that was not asked for
    return [] if dataset["name"] else [f"    labels={dataset['labels_name']!r},"]


def reading_code(dataset: dict[str, Any]) -> str:
    """Write the same, and the labels, as a call from Python."""
    given = {"labels": dataset.get("labels_name"), "layer": dataset["layer_name"]}
    words = [f"{name}={value!r}" for name, value in given.items() if value]
    if dataset["use_raw"]:
        words.append("use_raw=True")
    return f"adata = cg.read({', '.join([repr(dataset['name']), *words])})"


def option_words(settings: dict[str, Any], options: Sequence[str]) -> list[str]:
    """Write settings as options of the command line, those that are not set left out."""
    words = []
    for option in options:
        value = settings[option]
        if value is not None and value is not False:
            words.append(f"--{option.replace('_', '-')}")
            words += [] if value is True else [str(value)]
    return words


def python_call(summary: dict[str, Any]) -> str | None:
    """Write the same as a call from Python; None where a command made the data."""
    settings, dataset = summary["settings"], summary["dataset"]
    if dataset["command"]:
        return None
    read = [reading_code(dataset)] if dataset["name"] else []
    return "\n".join(
        [
            "import cellglass as cg",
            *read,
            "comparison = cg.compare(",
            "    adata,",
            *labels_words(dataset),
            *(
                f"    {name}={as_code(name, settings[name])},"
                for name in ("n_latent", "loss", *OPTIONS)
                if settings[name] is not None
            ),
            ")",
            'comparison.report("report/")',
        ]
    )


def as_code(name: str, value: Any) -> str:
    """Write a setting as Python."""
    if name == "schedule" and value == "custom":
        return "schedule"  # whoever reads this has that function
    return repr(tuple(value) if isinstance(value, list) else value)
