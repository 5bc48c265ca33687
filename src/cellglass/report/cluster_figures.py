"""Figures of a clustering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cellglass.report.colors import class_styles
from cellglass.report.panels import (
    PANEL,
    SERIES,
    STYLE,
    Drawing,
    Legend,
    MapTiles,
    Page,
    as_tsne,
)
from cellglass.resolution import NEARLY, SPARED, STABLE

if TYPE_CHECKING:
    from cellglass.cluster import Clustering
    from cellglass.resolution import Scan
    from cellglass.separation import Separation

UNSURE = "#d55e00"
"""Of cells between clusters."""


def legends_of(clustering: Clustering) -> dict[str, Legend]:
    """Tell how the clusters, and where there are any the labels, are drawn."""
    n_clusters = clustering.found.n_clusters
    width = len(str(n_clusters - 1))
    in_order = class_styles([f"{j:0{width}}" for j in range(n_clusters)])  # as text is sorted
    names = tuple(str(j) for j in range(n_clusters))
    styles = dict(zip(names, in_order.values(), strict=True))
    legends = {"clusters": Legend("cluster", names, styles)}
    if clustering.labels is not None:
        known = tuple(map(str, clustering.labels.categories))
        legends["labels"] = Legend("label", known, class_styles(known))
    return legends


def draw_clustering(clustering: Clustering) -> Iterator[Drawing]:
    """Draw all figures of a clustering."""
    points, found, labels = clustering.maps.tsne, clustering.found, clustering.labels
    where = "t-SNE of the latent vectors" + (
        f" of the network with seed {clustering.mapped}, which agrees best with the clusters"
        if found.members
        else ""
    )
    legends = legends_of(clustering)
    yield _draw_map(
        "tsne_clusters", "Clusters", f"{where}, coloured by cluster.", points,
        clustering.clusters, legends["clusters"],
    )  # fmt: skip
    yield _draw_confidence(points, found.confidence, found.between, where)
    if labels is not None:
        yield _draw_map(
            "tsne_labels", "Labels", f"{where}, coloured by the labels, which nothing was "
            "fitted or chosen by.", points, np.asarray(labels.codes),
            legends["labels"],
        )  # fmt: skip
    if found.scan is not None:
        finest = (
            f"finest that are stable to {NEARLY:.0%} of the most stable and have at most "
            f"{SPARED:.0%} of the cells in clusters that subsamples do not find again"
        )
        given = found.n_clusters_from == "given"
        yield _draw_scan(found.scan, "one that was taken" if given else finest)
    if found.separation is not None and len(found.separation.n_clusters) > 1:
        yield _draw_separation(found.separation)


def _draw_map(
    name: str, title: str, caption: str, points: np.ndarray, codes: np.ndarray, legend: Legend
) -> Drawing:
    tiles = MapTiles(codes, legend)
    return tiles.page(name, title, caption, {name: tiles.tsne("", points)})


def _draw_confidence(
    points: np.ndarray, confidence: np.ndarray, between: np.ndarray, where: str
) -> Drawing:
    with mpl.rc_context(STYLE):
        page = Page(1, "Confidence")
        (axes,) = page.axes
        size = float(np.clip(12_000 / len(points), 2, 36))
        order = np.argsort(-confidence, kind="stable")  # the least sure on top
        rim = np.flatnonzero(between)  # under all points, so that it hides no colour
        axes.scatter(
            points[rim, 0], points[rim, 1], s=2 * size, color=UNSURE, linewidths=0,
            rasterized=True,
        )  # fmt: skip
        shown = axes.scatter(
            points[order, 0], points[order, 1], s=size, c=confidence[order],
            cmap="cividis_r", vmin=0, vmax=1,
            linewidths=0, rasterized=True,
        )  # fmt: skip
        axes.margins(0.04)
        as_tsne(axes)
        place = axes.get_position()  # as large as other maps, to the left to leave room
        axes.set_position((0.4 * place.x0, place.y0, place.width, place.height))
        bar = page.figure.colorbar(shown, cax=axes.inset_axes((1.04, 0, 0.04, 1)))
        bar.set_label("probability of the own cluster")
        return page.finish(
            "tsne_confidence",
            f"{where}, coloured by how probable it is that a cell belongs to its cluster; "
            "cells between clusters are ringed.",
        )


def _draw_scan(scan: Scan, ringed: str) -> Drawing:
    """Draw stability by resolution, with the numbers of clusters."""
    with mpl.rc_context(STYLE):
        page = Page(1, "Stability of Leiden’s clusters", height=PANEL[1])
        (axes,) = page.axes
        axes.semilogx(scan.resolutions, scan.stability, "o-", color=SERIES[0], ms=5)
        if scan.chosen is not None:
            _ring(axes, scan.resolutions[scan.chosen], scan.stability[scan.chosen])
        last = None
        for resolution, stable, n in zip(
            scan.resolutions, scan.stability, scan.n_clusters, strict=True
        ):
            if n != last:
                axes.annotate(
                    str(n), (resolution, stable), xytext=(0, 9), textcoords="offset points",
                    ha="center", fontsize=9, color="#333333",
                )  # fmt: skip
            last = n
        axes.set_ylim(0, 1.1)
        ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
                 if scan.resolutions[0] <= t <= scan.resolutions[-1]]  # fmt: skip
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="resolution", ylabel="adjusted Rand index")
        return page.finish(
            "stability",
            "Agreement of Leiden’s clusters of two subsamples of four fifths of the cells, "
            "over the cells in both, by resolution; the numbers count the clusters without "
            f"subsampling, and the ring marks the {ringed}. Where the highest agreement is "
            f"below {STABLE:g}, no clusters are stable.",
        )


def _draw_separation(separation: Separation) -> Drawing:
    """Draw the silhouette by number of clusters."""
    with mpl.rc_context(STYLE):
        page = Page(1, "How far clusters are apart", height=PANEL[1])
        (axes,) = page.axes
        values = np.array(separation.silhouette, np.float64)  # None becomes a gap
        axes.plot(separation.n_clusters, values, "o-", color=SERIES[0], ms=5)
        chosen = values[separation.n_clusters.index(separation.chosen)]
        _ring(axes, separation.chosen, chosen)
        low, high = min(0.0, np.nanmin(values)), max(0.0, np.nanmax(values))
        axes.set_ylim(low, high + 0.15 * (high - low or 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="clusters", ylabel="silhouette")
        return page.finish(
            "separation",
            "Mean silhouette of the clusters in the latent vectors, over the networks, by "
            "the number of clusters; the ring marks the number that was taken.",
        )


def _ring(axes: Axes, x: float, y: float) -> None:
    axes.plot(x, y, "o", ms=14, mfc="none", mec=SERIES[1], mew=1.5)
