"""A summary and its figures as one self-contained page."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from typing import Any

from cellglass.report.colors import Style
from cellglass.report.contrast import number, percent, score
from cellglass.report.figures import Drawing, Legend
from cellglass.report.summarize import agreement_scores

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
    by_name = {drawing.name: drawing for drawing in drawings}
    return environment.get_template("report.html").render(
        summary=summary,
        figures=by_name,
        images=[(drawing, _image(drawing)) for drawing in drawings],
        legends={run: _swatches(legend) for run, legend in legends.items()},
        agreement=agreement_scores(summary),
        python_call=python_call(summary),
        command=command(summary),
    )


def _missing(form: Any) -> Any:
    return lambda value: "–" if value is None else form(value)


def _image(drawing: Drawing) -> str:
    """Embed what is smaller: maps are pictures of points, the rest a few lines."""
    kind, data = "png", drawing.png
    if not drawing.name.startswith(("pca_", "tsne_")):
        kind, data = "svg+xml", drawing.svg
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _swatches(legend: Legend) -> dict[str, Any]:
    def swatch(name: str, style: Style) -> dict[str, str]:
        return {"name": name, "color": style.color, "glyph": GLYPHS[style.marker]}

    return {
        "title": legend.title,
        "classes": [swatch(name, legend.styles[name]) for name in legend.names],
    }


OPTIONS = (
    "seeds", "n_hidden", "n_layers", "max_epochs", "batch_size", "learning_rate", "schedule",
    "patience", "min_delta", "validation_fraction", "n_clusters", "input", "random_state",
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
    words = ["cellglass", "compare", dataset["name"]]
    if dataset["labels_name"]:
        words += ["--labels", dataset["labels_name"]]
    if dataset["layer_name"]:
        words += ["--layer", dataset["layer_name"]]
    words += ["--n-latent", *map(str, settings["n_latent"]), "--loss", *settings["loss"]]
    for option in OPTIONS:
        if settings[option] is not None:
            words += [f"--{option.replace('_', '-')}", str(settings[option])]
    return shlex.join([*words, "-o", "report/"])


def python_call(summary: dict[str, Any]) -> str | None:
    """Write the same as a call from Python; None where a command made the data."""
    settings, dataset = summary["settings"], summary["dataset"]
    if dataset["command"]:
        return None
    labels = f", labels={dataset['labels_name']!r}" if dataset["labels_name"] else ""
    layer = f", layer={dataset['layer_name']!r}" if dataset["layer_name"] else ""
    read = [f"adata = cg.read({dataset['name']!r}{labels}{layer})"] if dataset["name"] else []
    given = labels.removeprefix(", ") if not dataset["name"] else ""
    return "\n".join(
        [
            "import cellglass as cg",
            *read,
            "comparison = cg.compare(",
            "    adata,",
            *([f"    {given},"] if given else []),
            *(
                f"    {name}={_as_code(name, settings[name])},"
                for name in ("n_latent", "loss", *OPTIONS)
                if settings[name] is not None
            ),
            ")",
            'comparison.report("report/")',
        ]
    )


def _as_code(name: str, value: Any) -> str:
    if name == "schedule" and value == "custom":
        return "schedule"  # whoever reads this has that function
    return repr(tuple(value) if isinstance(value, list) else value)
