"""Figures of a selection: held-out error by latent size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from cellglass.held_out import MEASURES
from cellglass.report.panels import (
    GREY,
    MARKERS,
    PANEL,
    SERIES,
    STYLE,
    Drawing,
    Page,
    log_if_wide,
)
from cellglass.report.select_summary import measures_of, model_name
from cellglass.select import PCA


def figure_name(measure: str) -> str:
    """Name the files of the figure of one measure, without suffix."""
    return f"{measure}_by_latent"


def draw_selection(summary: dict[str, Any]) -> Iterator[Drawing]:
    """Draw the curves of a selection, one figure for every measure."""
    for measure in measures_of(summary):
        yield _draw_measure(summary, measure)


def _draw_measure(summary: dict[str, Any], measure: str) -> Drawing:
    """Draw all curves of one measure: whole, and near the lowest error."""
    styles = zip(itertools.cycle(SERIES), itertools.cycle(MARKERS), strict=False)
    style_of = dict(zip(summary["settings"]["loss"], styles, strict=False))
    curves = [curve for curve in summary["curves"] if curve["measure"] == measure]
    null = curves[0]["choice"]["null_error"]
    title = MEASURES[measure][0].upper() + MEASURES[measure][1:]  # Poisson stays a name
    with mpl.rc_context(STYLE):
        page = Page(2, title, height=PANEL[1] + 0.3, left=1.1)
        whole, near = page.axes
        for i, curve in enumerate(curves):
            color, marker = style_of.get(curve["model"], (GREY, "o"))
            shift = 0.04 * (i - (len(curves) - 1) / 2)  # so that bars stay apart
            for axes in page.axes:
                _plot_curve(axes, curve, color, marker, shift)
        sizes = [str(size) for size in curves[0]["choice"]["sizes"]]
        for axes in page.axes:
            axes.axhline(null, color=GREY, ls=":", lw=1.5, label="no latent dimensions")
            axes.set_xticks(range(len(sizes)), sizes)
            axes.set_xlim(-0.4, len(sizes) - 0.6)
            axes.set(xlabel="latent dimensions", ylabel="held-out error")
        every = [error for curve in curves for error in curve["choice"]["errors"]]
        log_if_wide(whole, [*every, null])
        low, high = _range_near_best(curves)
        near.set_ylim(low, high)
        whole.set_title("all errors")
        near.set_title("near the lowest")
        whole.legend(frameon=False, fontsize=10)
        seeds = summary["settings"]["seeds"]
        return page.finish(
            figure_name(measure),
            f"{title}, over what was held out, by latent size: means "
            f"over {summary['settings']['splits']} splits"
            + (f" with {seeds} seeds each" if seeds > 1 else "")
            + ", and bars of one standard error. The bars hold what all sizes share of a "
            "split, too, which the choice leaves out. A ring marks the size that is chosen.",
        )


def _plot_curve(
    axes: Axes, curve: dict[str, Any], color: str, marker: str, shift: float
) -> None:
    choice = curve["choice"]
    x = np.arange(len(choice["sizes"])) + shift
    line = "--" if curve["model"] == PCA else "-"
    axes.errorbar(
        x, choice["errors"], yerr=choice["standard_errors"], color=color, ls=line, lw=1.5,
        marker=marker, ms=5, capsize=3, label=model_name(curve),
    )  # fmt: skip
    if choice["chosen"] is not None:
        at = choice["sizes"].index(choice["chosen"])
        axes.plot(x[at], choice["errors"][at], "o", ms=14, mfc="none", mec=color, mew=1.5)


def _range_near_best(curves: list[dict[str, Any]]) -> tuple[float, float]:
    """Where curves come close to their lowest errors, with some room around."""
    lowest = [min(curve["choice"]["errors"]) for curve in curves]
    null = curves[0]["choice"]["null_error"]
    bars = max(max(curve["choice"]["standard_errors"]) for curve in curves)
    # A tenth of the way up to the model that knows nothing is near.
    high = max(lowest) + max(0.1 * (null - min(lowest)), 3 * bars, 1e-12)
    low = min(lowest) - max(0.15 * (high - min(lowest)), bars)
    return low, high
