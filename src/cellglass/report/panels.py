"""What figures are made of: panels of one size, maps of cells, legends, finished drawings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cellglass.report.colors import Style
from cellglass.report.tiles import DPI, Tile, png_bytes, put_together, svg_bytes

if TYPE_CHECKING:
    from cellglass.project import Maps

PANEL = 5.0, 4.3  # inches
HEAD = 0.4  # inches above the panels, for the title
LEGEND_ROW = 0.3  # inches
GREY = "#777777"
SERIES = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222", "#8b5a2b",
)  # fmt: skip
"""One colour a loss (the first seven after Okabe & Ito 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One mark a loss; colours and marks together repeat after 56 losses."""

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
    "savefig.bbox": "standard",  # whatever a user's own style says
    "savefig.dpi": "figure",
    "axes.titley": 1.0,  # where it is, without measuring all ticks
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


def as_tsne(axes: Axes) -> None:
    """Dress a panel as a map by t-SNE, in which only distances mean anything."""
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    axes.set_aspect("equal", adjustable="datalim")


class MapTiles:
    """Draws maps of cells and their legend, as parts of pages.

    Parameters
    ----------
    codes
        Class of every cell, integers from 0, shape (n_cells,).
    legend
        Of the classes.
    """

    def __init__(self, codes: np.ndarray, legend: Legend) -> None:
        self._codes, self._legend = codes, legend
        self._legend_tile = cache(self._draw_legend)

    def pca(self, heading: str, maps: Maps) -> Tile:
        """Draw the map by PCA."""
        first, second = (
            f"PC{i} ({100 * share:.1f} % of variance)"
            for i, share in enumerate(maps.pca_variance_ratio, 1)
        )
        return self._panel(
            heading, maps.pca, lambda axes: axes.set(xlabel=first, ylabel=second)
        )

    def tsne(self, heading: str, points: np.ndarray) -> Tile:
        """Draw a map by t-SNE, shape (n_cells, 2)."""
        return self._panel(heading, points, as_tsne)

    def _panel(self, heading: str, points: np.ndarray, dress: Callable[[Axes], object]) -> Tile:
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=PANEL, dpi=DPI, facecolor="white")
            axes = add_panel(figure)
            scatter(axes, points, self._codes, self._legend)
            axes.set_title(heading)
            dress(axes)
            return Tile.of(figure)

    def page(self, name: str, title: str, caption: str, panels: Mapping[str, Tile]) -> Drawing:
        """Put maps side by side, with a title above and the legend below."""
        legend = self._legend_tile(len(panels))
        whole = put_together([[_head(title, len(panels))], list(panels.values()), [legend]])
        return drawing_of(whole, name, caption, list(panels), below=legend.height)

    def _draw_legend(self, n_panels: int) -> Tile:
        names, styles = self._legend.names, self._legend.styles
        width = n_panels * PANEL[0]
        most = int((width - 0.65) / 0.12)  # letters that fit
        shown = [_shortened(name, most) for name in names]
        longest = max(map(len, shown), default=1)
        columns = max(1, int(width / (0.12 * longest + 0.65)))
        n_rows = math.ceil(len(names) / columns) + 1
        handles = [
            Line2D(
                [], [], ls="", marker=styles[name].marker, ms=7, mew=0,
                color=styles[name].color, label=_plain(short),
            )
            for name, short in zip(names, shown, strict=True)
        ]  # fmt: skip
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(width, LEGEND_ROW * n_rows), dpi=DPI, facecolor="white")
            figure.legend(
                handles=handles, loc="upper center", title=_plain(self._legend.title),
                frameon=False, bbox_to_anchor=(0.5, 1.0), ncols=min(columns, len(handles)),
                borderaxespad=0.1,
            )  # fmt: skip
            return Tile.of(figure)


def _head(title: str, n_panels: int) -> Tile:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(n_panels * PANEL[0], HEAD), dpi=DPI, facecolor="white")
        write_title(figure, title, n_panels)
        return Tile.of(figure)


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


def log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """Take a logarithmic axis where a linear one would squeeze most values together."""
    if values and min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())


class Page:
    """A row of panels of equal size, so that each can also be shown alone."""

    def __init__(
        self,
        n_panels: int,
        title: str,
        *,
        height: float = PANEL[1],
        left: float = 1.0,
        bottom: float = 0.7,
    ) -> None:
        size = n_panels * PANEL[0], HEAD + height
        self.figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        write_title(self.figure, title, n_panels)
        self.height = height
        self.axes = [
            add_panel(self.figure, i, height=height, left=left, bottom=bottom)
            for i in range(n_panels)
        ]

    def finish(self, name: str, caption: str) -> Drawing:
        """Keep the figure as PNG and SVG."""
        titles = [axes.get_title() or name for axes in self.axes]
        return drawing_of(Tile.of(self.figure), name, caption, titles)


def write_title(figure: Figure, title: str, n_panels: int) -> None:
    """Write the title of a page at the top of a figure that is as wide as its panels."""
    figure.text(
        0.5, 1 - 0.5 * HEAD / figure.get_figheight(), title, ha="center", va="center",
        fontsize=14 if n_panels > 1 else 10, weight="bold",
    )  # fmt: skip


def add_panel(
    figure: Figure,
    i: int = 0,
    *,
    height: float = PANEL[1],
    left: float = 1.0,
    bottom: float = 0.7,
) -> Axes:
    """Add axes at the bottom of a figure, in the place of the i-th panel of some inches."""
    width, (whole, total) = PANEL[0], figure.get_size_inches()
    return figure.add_axes(
        (
            (i * width + left) / whole,
            bottom / total,
            (width - left - 0.25) / whole,
            (height - 0.3 - bottom) / total,
        )
    )


def drawing_of(
    whole: Tile, name: str, caption: str, panel_titles: Sequence[str], *, below: int = 0
) -> Drawing:
    """Finish a page: a title, a row of panels, and what lies so many pixels high below."""
    width, top = whole.width // len(panel_titles), round(HEAD * DPI)
    return Drawing(
        name=name,
        caption=caption,
        png=png_bytes(whole),
        svg=svg_bytes(whole),
        size=(whole.width, whole.height),
        panels=tuple(
            (i * width, top, width, whole.height - top - below)
            for i in range(len(panel_titles))
        ),
        panel_titles=tuple(panel_titles),
    )


def _shortened(name: str, most: int) -> str:
    """Leave out the middle of a name that has more letters: both ends tell names apart."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"


def _plain(text: str) -> str:
    """Show a user's text as it is: matplotlib reads dollar signs as mathematics."""
    return text.replace("$", r"\$")
