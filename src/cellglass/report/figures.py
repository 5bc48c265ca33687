"""Figures of a comparison, each drawn once and kept as PNG and SVG."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from cellglass.report.colors import Style, class_styles
from cellglass.report.summarize import agreement_scores, figure_names

if TYPE_CHECKING:
    from cellglass.compare import Comparison
    from cellglass.evaluate import Evaluation

DPI = 130
PANEL = 5.0, 4.3  # inches
HEAD = 0.4  # inches above the panels, for the title
LEGEND_ROW = 0.3  # inches
GREY = "#777777"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""One colour a loss (Okabe & Ito 2008)."""

PCA_CAPTION = (
    "Every map is a PCA of its own, fitted on the matrix named above it; none is reused for "
    "another. Axes were mirrored where needed to point the way the original's do; the scales "
    "are each map's own."
)
TSNE_CAPTION = (
    "Every map is a t-SNE of its own, fitted on the first 50 principal components (all, where "
    "there are fewer) of the matrix named above it, then turned as a whole to lie as "
    "the original's does. Distances between far groups mean little in any t-SNE."
)

STYLE: Any = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "svg.hashsalt": "cellglass",  # element ids of an SVG, otherwise random
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes
    ----------
    name
        Of its files, without suffix.
    caption
        What is seen, and what every map was fitted on.
    png, svg
        The two files.
    size
        Width and height of the PNG in pixels.
    panels
        Left, top, width and height of every panel in the PNG, title and legend left out.
    panel_titles
        What every panel shows, for readers who cannot see it.
    """

    name: str
    caption: str
    png: bytes
    svg: bytes
    size: tuple[int, int]
    panels: tuple[tuple[int, int, int, int], ...]
    panel_titles: tuple[str, ...]


@dataclass(frozen=True)
class Legend:
    """Classes and how they are drawn.

    Attributes
    ----------
    title
        What the classes are.
    names
        In the order of their codes.
    styles
        By name.
    """

    title: str
    names: tuple[str, ...]
    styles: dict[str, Style]


def draw(comparison: Comparison, progress: Callable[[], None]) -> Iterator[Drawing]:
    """Draw all figures of a comparison.

    Parameters
    ----------
    comparison
        All runs and baselines.
    progress
        Called after every figure.
    """
    for run in comparison.runs:
        codes, legend = classes_of(comparison, run)
        for drawing in _draw_run(comparison, run, codes, legend):
            yield drawing
            progress()
    for overview in (_draw_errors, _draw_clustering):
        yield overview(comparison.summary)
        progress()


def n_drawings(comparison: Comparison) -> int:
    """Count the figures that :func:`draw` makes."""
    return len(figure_names([run.name for run in comparison.runs]))


def classes_of(comparison: Comparison, run: Evaluation) -> tuple[np.ndarray, Legend]:
    """Colour cells by their labels; without labels, by the run's k-means clusters.

    Returns
    -------
    tuple
        Class of every cell, integers from 0, shape (n_cells,); and the legend.
    """
    if comparison.labels is not None:
        names = tuple(map(str, comparison.labels.categories))
        return np.asarray(comparison.labels.codes), Legend("label", names, class_styles(names))
    clusters = run.latent.clustering["kmeans"].clusters
    width = len(str(clusters.max()))
    names = tuple(f"{i:0{width}}" for i in range(int(clusters.max()) + 1))
    title = f"k-means cluster of the latent vectors of {run.name}"
    return clusters, Legend(title, names, class_styles(names))


def _draw_run(
    comparison: Comparison, run: Evaluation, codes: np.ndarray, legend: Legend
) -> Iterator[Drawing]:
    original = comparison.original_maps
    loss, n_latent, seed = run.settings.loss, run.settings.n_latent, run.settings.seed
    what = f"{loss}, {n_latent} latent dimension{'s' if n_latent > 1 else ''}, seed {seed}"
    for space, maps, noun in (
        ("reconstruction", run.reconstruction_maps, "Reconstruction"),
        ("latent", run.latent_maps, "Latent vectors"),
    ):
        yield _draw_maps(
            f"pca_{space}_{run.name}",
            f"PCA · original and {noun.lower()} · {what}",
            PCA_CAPTION,
            [
                ("Original", original.pca, _pca_labels(original.pca_variance_ratio)),
                (noun, maps.pca, _pca_labels(maps.pca_variance_ratio)),
            ],
            codes,
            legend,
        )
        yield _draw_maps(
            f"tsne_{space}_{run.name}",
            f"t-SNE · original and {noun.lower()} · {what}",
            TSNE_CAPTION,
            [
                ("Original", original.tsne, ("t-SNE 1", "t-SNE 2")),
                (noun, maps.tsne, ("t-SNE 1", "t-SNE 2")),
            ],
            codes,
            legend,
        )
    yield _draw_loss(run, what)


def _pca_labels(shares: np.ndarray) -> tuple[str, str]:
    first, second = (
        f"PC{i} ({100 * share:.1f} % of variance)" for i, share in enumerate(shares, 1)
    )
    return first, second


def _draw_maps(
    name: str,
    title: str,
    caption: str,
    maps: Sequence[tuple[str, np.ndarray, tuple[str, str]]],
    codes: np.ndarray,
    legend: Legend,
) -> Drawing:
    with mpl.rc_context(STYLE):
        page = _Page(len(maps), title, legend)
        for axes, (heading, points, labels) in zip(page.axes, maps, strict=True):
            scatter(axes, points, codes, legend)
            axes.set(title=heading, xlabel=labels[0], ylabel=labels[1])
            if labels[0].startswith("t-SNE"):  # only distances mean anything there
                axes.set(xticks=[], yticks=[])
                axes.set_aspect("equal", adjustable="datalim")
        return page.finish(name, caption)


def scatter(axes: Axes, points: np.ndarray, codes: np.ndarray, legend: Legend) -> None:
    """Draw cells in a mixed order, so that no class lies on top of all others."""
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(12_000 / len(points), 2, 36))
    markers = {style.marker for style in legend.styles.values()}
    colors = np.array([mpl.colors.to_rgba(legend.styles[n].color) for n in legend.names])
    marker_of = np.array([legend.styles[n].marker for n in legend.names])
    for marker in sorted(markers):
        chosen = order[marker_of[codes[order]] == marker]
        axes.scatter(
            points[chosen, 0], points[chosen, 1], s=size, c=colors[codes[chosen]],
            marker=marker, linewidths=0, alpha=0.75, rasterized=True,
        )  # fmt: skip
    axes.margins(0.04)


def _draw_loss(run: Evaluation, what: str) -> Drawing:
    with mpl.rc_context(STYLE):
        page = _Page(1, f"Loss · {what}", None)
        (axes,) = page.axes
        curves = {"training cells": run.training.loss_train}
        if run.training.loss_validation:
            curves["held-out cells"] = run.training.loss_validation
        epochs = np.arange(1, len(run.training.loss_train) + 1)
        few = len(epochs) == 1
        for (label, curve), color in zip(curves.items(), SERIES, strict=False):
            style = "o" if few else "-" if label == "training cells" else "--"
            axes.plot(epochs, curve, style, color=color, label=label)
        log_if_wide(axes, [value for curve in curves.values() for value in curve])
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel=f"{run.settings.loss} loss")
        axes.legend(frameon=False)
        return page.finish(
            f"loss_{run.name}",
            f"{run.settings.loss} loss by epoch. Training: mean over the epoch's batches, "
            "while the weights still change; held-out: at the epoch's end.",
        )


def log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """Take a logarithmic axis where a linear one would squeeze most values together."""
    if values and min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def _draw_errors(summary: dict[str, Any]) -> Drawing:
    """Draw MSE by latent size, one panel for each set of entries."""
    panels = {
        "mse_all": "all entries",
        "mse_nonzero": "non-zero entries",
        "mse_zero": "zeros",
    }
    sizes = sorted(summary["settings"]["n_latent"])
    position = {size: i for i, size in enumerate(sizes)}
    with mpl.rc_context(STYLE):
        page = _Page(len(panels), "Reconstruction error by latent size", None)
        for axes, (kind, entries) in zip(page.axes, panels.items(), strict=True):
            rows = [("PCA", GREY, b["n_components"], b) for b in summary["baselines"]] + [
                (loss, color, run["n_latent"], run)
                for loss, color in zip(summary["settings"]["loss"], SERIES, strict=False)
                for run in summary["runs"]
                if run["loss"] == loss
            ]
            shown = [_plot_error(axes, rows, kind + s, position) for s in ("", "_validation")]
            found = [y for ys in shown for y in ys]
            log_if_wide(axes, found)
            axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
            axes.set_xlim(-0.4, len(sizes) - 0.6)
            axes.set(title=f"over {entries}", xlabel="latent dimensions", ylabel="MSE")
            names = dict.fromkeys((name, color) for name, color, _, _ in rows)
            handles = [Line2D([], [], color=c, marker="o", label=n) for n, c in names]
            handles.append(Line2D([], [], color="#333333", label="all cells"))
            handles.append(Line2D([], [], color="#333333", ls=":", label="held-out cells"))
            axes.legend(handles=handles, frameon=False, fontsize=10, loc="best")
        return page.finish(
            "mse_by_latent",
            "Mean squared error between reconstruction and original, by latent size: on all "
            "cells (full lines) and on cells held out of training (dotted). Every dot is a "
            "run; lines join the means over seeds.",
        )


def _plot_error(
    axes: Axes,
    rows: Sequence[tuple[str, str, int, dict[str, Any]]],
    kind: str,
    position: dict[int, int],
) -> list[float]:
    held_out = kind.endswith("_validation")
    found = []
    for name, color in dict.fromkeys((name, color) for name, color, _, _ in rows):
        by_size: dict[int, list[float]] = {}
        for row_name, _, size, row in rows:
            value = row["reconstruction"][kind]
            if row_name == name and value is not None:
                by_size.setdefault(position[size], []).append(value)
        if not by_size:
            continue
        x = sorted(by_size)
        axes.plot(
            x,
            [np.mean(by_size[i]) for i in x],
            color=color,
            ls=":" if held_out else "-",
            lw=1.5,
        )
        for i in x:
            face = "white" if held_out else color
            axes.plot([i] * len(by_size[i]), by_size[i], "o", color=color, mfc=face, ms=5)
            found += by_size[i]
    return found


def _draw_clustering(summary: dict[str, Any]) -> Drawing:
    """Draw clustering scores by space, one panel a score."""
    spaces = {"original": [summary["original"]]}
    for baseline in summary["baselines"]:
        spaces[f"pca {baseline['n_components']}"] = [baseline]
    for run in summary["runs"]:
        spaces.setdefault(f"{run['loss']} {run['n_latent']}", []).append(run)
    labelled = summary["dataset"]["n_labels"] is not None
    scores = {name: f"{name.upper()} with the labels" for name in agreement_scores(summary)}
    scores["silhouette"] = "silhouette"
    methods = {"kmeans": ("k-means", "o", SERIES[0]), "leiden": ("Leiden", "s", SERIES[1])}
    rows = list(spaces)[::-1]
    with mpl.rc_context(STYLE):
        page = _Page(
            len(scores), "Clusters by space", None,
            height=max(PANEL[1], 1.2 + 0.4 * len(rows)), left=0.35 + 0.1 * max(map(len, rows)),
        )  # fmt: skip
        for axes, (key, heading) in zip(page.axes, scores.items(), strict=True):
            for shift, (method, (name, marker, color)) in zip(
                (0.13, -0.13), methods.items(), strict=True
            ):
                points = [
                    (value, y + shift)
                    for y, space in enumerate(rows)
                    for item in spaces[space]
                    if (value := item["clustering"][method][key]) is not None
                ]
                if points:
                    axes.plot(
                        *zip(*points, strict=True), marker, color=color, ms=6, ls="", label=name
                    )
            if key == "silhouette" and labelled:
                points = [
                    (item["label_silhouette"], y)
                    for y, space in enumerate(rows)
                    for item in spaces[space]
                    if item["label_silhouette"] is not None
                ]
                if points:
                    axes.plot(
                        *zip(*points, strict=True),
                        "D",
                        color=SERIES[2],
                        ms=6,
                        ls="",
                        label="labels",
                    )
            axes.set_yticks(range(len(rows)), rows)
            axes.set_ylim(-0.6, len(rows) - 0.4)
            low = -0.05 if key != "silhouette" else None
            axes.set_xlim(left=low, right=1.05 if key != "silhouette" else None)
            axes.grid(axis="both", color="#eeeeee")
            axes.set_axisbelow(True)
            axes.set(title=heading)
            if axes.get_legend_handles_labels()[0]:  # a score may be defined nowhere
                axes.legend(
                    frameon=False, fontsize=10, loc="upper center", ncols=3,
                    bbox_to_anchor=(0.5, -0.3 / (page.height - 1.0)), columnspacing=1,
                )  # fmt: skip
        return page.finish(
            "clustering_by_run",
            "Scores of k-means and Leiden in every space, one mark a run. "
            + (
                "Agreement with the labels is 1 at best and about 0 by chance. "
                if labelled
                else ""
            )
            + "The silhouette says how far apart groups lie in the space itself, and can be "
            "compared between spaces only with care.",
        )


class _Page:
    """A row of panels of equal size, so that each can also be shown alone."""

    def __init__(
        self,
        n_panels: int,
        title: str,
        legend: Legend | None,
        *,
        height: float = PANEL[1],
        left: float = 1.0,
    ) -> None:
        width = PANEL[0]
        self._legend_height = 0.0
        columns = 1
        if legend is not None:
            longest = max(map(len, legend.names), default=1)
            columns = max(1, int(n_panels * width / (0.12 * longest + 0.65)))
            n_rows = math.ceil(len(legend.names) / columns) + 1
            self._legend_height = LEGEND_ROW * n_rows
        total = HEAD + height + self._legend_height
        self.figure = Figure(figsize=(n_panels * width, total), dpi=DPI, facecolor="white")
        self.figure.text(
            0.5,
            1 - 0.5 * HEAD / total,
            title,
            ha="center",
            va="center",
            fontsize=14 if n_panels > 1 else 10,
            weight="bold",
        )
        self.height, self._n_panels, self._total = height, n_panels, total
        self.axes = [
            self.figure.add_axes(
                (
                    (i * width + left) / (n_panels * width),
                    (self._legend_height + 0.7) / total,
                    (width - left - 0.25) / (n_panels * width),
                    (height - 1.0) / total,
                )
            )
            for i in range(n_panels)
        ]
        if legend is not None:
            self._draw_legend(legend, columns)

    def _draw_legend(self, legend: Legend, columns: int) -> None:
        handles = [
            Line2D(
                [], [], ls="", marker=legend.styles[name].marker, ms=7, mew=0,
                color=legend.styles[name].color, label=_plain(name),
            )
            for name in legend.names
        ]  # fmt: skip
        self.figure.legend(
            handles=handles, loc="upper center", title=_plain(legend.title), frameon=False,
            bbox_to_anchor=(0.5, self._legend_height / self._total),
            ncols=min(columns, len(handles)), borderaxespad=0.1,
        )  # fmt: skip

    def finish(self, name: str, caption: str) -> Drawing:
        png, svg = io.BytesIO(), io.BytesIO()
        with warnings.catch_warnings():
            # The font may lack a character of a label; the page's own legend shows it.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            self.figure.savefig(png, format="png")
        # A palette of 256 colours is enough for points and text, at a third of the size.
        image = Image.open(png).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
        small = io.BytesIO()
        image.save(small, format="png", optimize=True)
        width, height = image.size
        panel = width // self._n_panels
        top, bottom = round(HEAD * DPI), height - round(self._legend_height * DPI)
        return Drawing(
            name=name,
            caption=caption,
            png=small.getvalue(),
            svg=svg.getvalue(),
            size=(width, height),
            panels=tuple((i * panel, top, panel, bottom - top) for i in range(self._n_panels)),
            panel_titles=tuple(axes.get_title() or name for axes in self.axes),
        )


def _plain(text: str) -> str:
    """Show a user's text as it is: matplotlib reads dollar signs as mathematics."""
    return text.replace("$", r"\$")
