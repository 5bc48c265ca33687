"""Figures of a comparison, each drawn once and kept as PNG and SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cellglass.report.colors import class_styles
from cellglass.report.panels import (
    GREY,
    LEGEND_ROW,
    MARKERS,
    PANEL,
    SERIES,
    STYLE,
    Drawing,
    Legend,
    MapTiles,
    Page,
    log_if_wide,
)
from cellglass.report.summarize import agreement_scores, figure_names
from cellglass.report.tiles import Tile
from cellglass.uncertainty import mean_and_interval

if TYPE_CHECKING:
    import pandas as pd

    from cellglass.compare import Comparison
    from cellglass.evaluate import Evaluation
    from cellglass.project import Maps

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


def draw(
    comparison: Comparison,
    progress: Callable[[], None],
    drawn: Mapping[str, Sequence[Drawing]] = MappingProxyType({}),
) -> Iterator[Drawing]:
    """Draw all figures of a comparison.

    Parameters
    ----------
    comparison
        All runs and baselines.
    progress
        Called after every figure.
    drawn
        Of runs, by name, whose figures :class:`RunFigures` has drawn already.
    """
    figures = RunFigures(comparison.original_maps, comparison.labels)
    for run in comparison.runs:
        for drawing in drawn.get(run.name) or figures.of(run):
            yield drawing
            progress()
    for overview in (_draw_errors, _draw_clustering):
        yield overview(comparison.summary)
        progress()


def n_drawings(comparison: Comparison) -> int:
    """Count the figures that :func:`draw` makes."""
    return len(figure_names([run.name for run in comparison.runs]))


def classes_of(
    run: Evaluation, labels: pd.Categorical[str] | None
) -> tuple[np.ndarray, Legend]:
    """Colour cells by their labels; without labels, by the run's k-means clusters.

    Returns
    -------
    tuple
        Class of every cell, integers from 0, shape (n_cells,); and the legend.
    """
    if labels is not None:
        names = tuple(map(str, labels.categories))
        return np.asarray(labels.codes), Legend("label", names, class_styles(names))
    clusters = run.latent.clustering["kmeans"].clusters
    width = len(str(clusters.max()))
    names = tuple(f"{i:0{width}}" for i in range(int(clusters.max()) + 1))
    title = f"k-means cluster of the latent vectors of {run.name}"
    return clusters, Legend(title, names, class_styles(names))


class RunFigures:
    """Draws the figures of runs, and what they share once.

    Parameters
    ----------
    original
        Maps of the cells themselves.
    labels
        Known class of every cell; None without labels.
    """

    def __init__(self, original: Maps, labels: pd.Categorical[str] | None) -> None:
        self._original, self._labels = original, labels
        self._shared: _Originals | None = None

    def of(self, run: Evaluation) -> Iterator[Drawing]:
        """Draw the figures of one run."""
        originals = self._shared
        if originals is None:
            originals = _Originals(self._original, MapTiles(*classes_of(run, self._labels)))
        if self._labels is not None:  # otherwise every run has colours of its own
            self._shared = originals
        tiles = originals.tiles
        loss, n_latent, seed = run.settings.loss, run.settings.n_latent, run.settings.seed
        what = f"{loss}, {n_latent} latent dimension{'s' if n_latent > 1 else ''}, seed {seed}"
        for space, maps, noun in (
            ("reconstruction", run.reconstruction_maps, "Reconstruction"),
            ("latent", run.latent_maps, "Latent vectors"),
        ):
            yield tiles.page(
                f"pca_{space}_{run.name}",
                f"PCA · original and {noun.lower()} · {what}",
                PCA_CAPTION,
                {"Original": originals.pca, noun: tiles.pca(noun, maps)},
            )
            yield tiles.page(
                f"tsne_{space}_{run.name}",
                f"t-SNE · original and {noun.lower()} · {what}",
                TSNE_CAPTION,
                {"Original": originals.tsne, noun: tiles.tsne(noun, maps.tsne)},
            )
        yield _draw_loss(run, what)


class _Originals:
    """Panels of the cells themselves, as the figures of one run or of all show them."""

    def __init__(self, maps: Maps, tiles: MapTiles) -> None:
        self._maps, self.tiles = maps, tiles

    @cached_property
    def pca(self) -> Tile:
        return self.tiles.pca("Original", self._maps)

    @cached_property
    def tsne(self) -> Tile:
        return self.tiles.tsne("Original", self._maps.tsne)


def _draw_loss(run: Evaluation, what: str) -> Drawing:
    with mpl.rc_context(STYLE):
        page = Page(1, f"Loss · {what}")
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


def _draw_errors(summary: dict[str, Any]) -> Drawing:
    """Draw MSE by latent size, one panel for each set of entries."""
    panels = {
        "mse_all": "all entries",
        "mse_nonzero": "non-zero entries",
        "mse_zero": "zeros",
    }
    sizes = sorted(summary["settings"]["n_latent"])
    position = {size: i for i, size in enumerate(sizes)}
    curves = _error_curves(summary)
    with mpl.rc_context(STYLE):
        legend = LEGEND_ROW * math.ceil((len(curves) + 2) / 3)
        page = Page(
            len(panels), "Reconstruction error by latent size",
            height=PANEL[1] - 0.3 + legend, bottom=0.7 + legend,
        )  # fmt: skip
        for axes, (kind, entries) in zip(page.axes, panels.items(), strict=True):
            found = []
            for i, curve in enumerate(curves):
                for suffix, aside in (("", -0.01), ("_validation", 0.01)):
                    shift = 0.05 * (i - (len(curves) - 1) / 2) + aside  # so bars stay apart
                    found += _plot_error(axes, curve, kind + suffix, position, shift)
            log_if_wide(axes, found)
            axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
            axes.set_xlim(-0.4, len(sizes) - 0.6)
            axes.set(title=f"over {entries}", xlabel="latent dimensions", ylabel="MSE")
            handles = [
                Line2D([], [], color=c.color, marker=c.marker, label=c.name) for c in curves
            ]
            handles.append(Line2D([], [], color="#333333", label="all cells"))
            handles.append(Line2D([], [], color="#333333", ls=":", label="held-out cells"))
            axes.legend(
                handles=handles, frameon=False, fontsize=10, loc="upper center", ncols=3,
                bbox_to_anchor=(0.45, -0.6 / (PANEL[1] - 1.3)), columnspacing=1,
            )  # fmt: skip
        return page.finish(
            "mse_by_latent",
            "Mean squared error between reconstruction and original, by latent size: on all "
            "cells (full lines) and on cells held out of training (dotted). Every mark is a "
            "run; lines join the means over seeds"
            + (
                ", and bars are the 95\u00a0% intervals of those means."
                if summary["settings"]["seeds"] > 1
                else "."
            ),
        )


@dataclass(frozen=True)
class _Curve:
    """Rows of one loss, or of PCA, at all latent sizes."""

    name: str
    color: str
    marker: str
    rows: Sequence[tuple[int, dict[str, Any]]]


def _error_curves(summary: dict[str, Any]) -> list[_Curve]:
    pca = [(baseline["n_components"], baseline) for baseline in summary["baselines"]]
    styles = zip(itertools.cycle(SERIES), itertools.cycle(MARKERS), strict=False)
    return [
        _Curve("PCA", GREY, "o", pca),
        *(
            _Curve(
                loss,
                color,
                marker,
                [(run["n_latent"], run) for run in summary["runs"] if run["loss"] == loss],
            )
            for loss, (color, marker) in zip(summary["settings"]["loss"], styles, strict=False)
        ),
    ]


def _plot_error(
    axes: Axes, curve: _Curve, kind: str, position: dict[int, int], shift: float
) -> list[float]:
    """Plot one curve, its runs and its intervals; tell the values."""
    held_out = kind.endswith("_validation")
    by_size: dict[int, list[float]] = {}
    for size, row in curve.rows:
        value = row["reconstruction"][kind]
        if value is not None:
            by_size.setdefault(position[size], []).append(value)
    if not by_size:
        return []
    x = np.array(sorted(by_size))
    line = ":" if held_out else "-"
    axes.plot(x + shift, [np.mean(by_size[i]) for i in x], color=curve.color, ls=line, lw=1.5)
    face = "white" if held_out else curve.color
    for i in x:
        axes.plot(
            [i + shift] * len(by_size[i]), by_size[i], curve.marker, color=curve.color,
            mfc=face, ms=5, alpha=1 if len(by_size[i]) == 1 else 0.5, mew=1,
        )  # fmt: skip
        interval = mean_and_interval(by_size[i])
        if interval.low is not None and interval.high is not None:
            low = max(interval.low, 0.0)  # no squared error is below
            axes.plot([i + shift] * 2, [low, interval.high], color=curve.color, ls=line, lw=2)
    return [value for found in by_size.values() for value in found]


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
        page = Page(
            len(scores), "Clusters by space",
            height=max(PANEL[1], 1.2 + 0.4 * len(rows)), left=0.35 + 0.1 * max(map(len, rows)),
        )  # fmt: skip
        for axes, (key, heading) in zip(page.axes, scores.items(), strict=True):
            for shift, (method, (name, marker, color)) in zip(
                (0.13, -0.13), methods.items(), strict=True
            ):
                found = [
                    [item["clustering"][method][key] for item in spaces[space]]
                    for space in rows
                ]
                _plot_scores(axes, found, shift, marker, color, name)
            if key == "silhouette" and labelled:
                found = [[item["label_silhouette"] for item in spaces[space]] for space in rows]
                _plot_scores(axes, found, 0.0, "D", SERIES[2], "labels")
            elif key != "silhouette":
                by_chance = summary["chance"]["clustering"]
                highest = max(by_chance[method][key]["q95"] for method in methods)
                axes.axvline(highest, color=GREY, ls=":", lw=1.5, label="chance")
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
            "Scores of k-means and Leiden in every space, one mark a run"
            + (
                ", with the means over seeds and their 95\u00a0% intervals as lines. "
                if summary["settings"]["seeds"] > 1
                else ". "
            )
            + (
                "Agreement with the labels is 1 at best; left of the dotted line are 95\u00a0% "
                "of the scores of shuffled labels. "
                if labelled
                else ""
            )
            + "The silhouette says how far apart groups lie in the space itself, and can be "
            "compared between spaces only with care.",
        )


def _plot_scores(
    axes: Axes,
    found: Sequence[Sequence[float | None]],
    shift: float,
    marker: str,
    color: str,
    label: str,
) -> None:
    """Plot one score of every row's runs, and the intervals of their means."""
    for y, numbers in enumerate(found):
        defined = [value for value in numbers if value is not None]
        height = y + shift
        alpha = 1 if len(defined) == 1 else 0.5
        if defined:
            axes.plot(
                defined, [height] * len(defined), marker, color=color, ms=6, alpha=alpha, mew=0
            )
            interval = mean_and_interval(defined)
            if interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [height] * 2, color=color, lw=1.5)
                axes.plot([interval.mean], [height], "|", color=color, ms=11, mew=2)
    if any(value is not None for numbers in found for value in numbers):
        axes.plot([], [], marker, color=color, ms=6, label=label)
