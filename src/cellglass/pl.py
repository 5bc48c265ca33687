"""Plots of what the tools wrote into an AnnData object."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cellglass.checks import check_choice, check_range, suggest
from cellglass.errors import InputError
from cellglass.given import as_tuple
from cellglass.matrices import row_chunks
from cellglass.outputs import as_path, write_whole
from cellglass.report.colors import FIFTEEN, MARKERS, Style, class_styles
from cellglass.report.panels import SERIES, Legend, log_if_wide, scatter
from cellglass.slots import check_anndata, find_representation, read_matrix

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend as DrawnLegend
    from scipy import sparse

    from cellglass.model import Model

METHODS = ("tsne", "pca", "umap")
LEAST_CELLS = {"tsne": 3, "pca": 3, "umap": 5}
PANEL = 4.5, 4.2  # inches
MOST_CLASSES = len(FIFTEEN) * len(MARKERS)
"""As many styles can be told apart."""
MISSING = Style("#cccccc", "o")
N_BINS = 100
LEAST_ENTRIES = 20
"""Of fewer entries no mean is drawn."""


def embedding_comparison(
    adata: AnnData,
    use_reps: str | Sequence[str] = ("X_pca", "X_ae"),
    *,
    color: str | None = None,
    method: str = "tsne",
    random_state: int = 0,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw maps of several representations of the same cells side by side.

    Every map is fitted to its own representation, then turned and mirrored as a whole to
    lie as the first one does, which changes no distance. A representation of two
    dimensions is drawn as it is. Nothing is written into `adata`.

    Parameters
    ----------
    adata
        With the representations in ``obsm``.
    use_reps
        Their names, one or several.
    color
        Column of ``obs``, or name of a gene, whose values in ``adata.X`` are shown. Text,
        categories and booleans get one colour and marker a class, the same in every panel;
        numbers a colour scale. Cells without a value are grey. Default: one colour.
    method
        How more than two dimensions are brought to two: ``tsne`` (of the first 50 principal
        components), ``pca``, or ``umap`` (scanpy's, of 15 nearest neighbours).
    random_state
        Decides everything random in t-SNE and UMAP.
    ax
        Where to draw: one Axes for each representation. The legend then stands to the right
        of the last one, so leave room, as ``layout="constrained"`` does. Default: a new
        figure.
    show
        Whether to call ``plt.show()``. Default: the figure is left to the notebook or the
        script.
    save
        File to write, of any kind that matplotlib can write. A new figure is then closed,
        unless it is shown; its Axes can still be worked with.

    Returns
    -------
    list of matplotlib.axes.Axes
        One for each representation.

    Raises
    ------
    InputError
        If a representation or what to colour by is not there, or the file cannot be written.
    """
    check_anndata(adata)
    check_choice("method", method, METHODS)
    check_range("random_state", random_state, low=0, high=2**32 - 1, integer=True)
    names = list(as_tuple(use_reps))
    if not names:
        raise InputError("use_reps is empty; name at least one entry of adata.obsm.")
    spaces = [find_representation(adata, name) for name in names]
    shade = None if color is None else _values_of(adata, color)
    least = LEAST_CELLS[method]
    if len(adata) < least and any(X.shape[1] != 2 for X in spaces):
        raise InputError(
            f"adata holds {len(adata)} cells, but a map by {method} needs at least {least}."
        )
    with _panels(len(names), ax=ax, show=show, save=save) as axes:
        first: np.ndarray | None = None
        for panel, name, X in zip(axes, names, spaces, strict=True):
            points, labels = _map_of(name, X, method, random_state)
            if first is None:
                first = points
            elif X.shape[1] != 2:
                points = _turned(points, first, mirror_only=method == "pca")
            _draw_points(panel, points, shade)
            n = X.shape[1]
            title = name if n == 2 else f"{name} ({n} dimension{'s' * (n > 1)})"
            panel.set_title(_wrapped(title, 40), parse_math=False)
            panel.set_xlabel(labels[0], parse_math=False)
            panel.set_ylabel(labels[1], parse_math=False)
            if n == 2 or method != "pca":  # the scale means nothing there
                panel.set(xticks=[], yticks=[])
                panel.set_aspect("equal", adjustable="datalim")
        if shade is not None:
            _explain_colors(axes, shade, str(color), own=ax is None)
    return axes


def loss(
    adata_or_model: AnnData | Model,
    key: str = "ae",
    *,
    ax: Axes | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> Axes:
    """Draw the loss of the training cells and of the held-out cells by epoch.

    The first is the mean over an epoch, while the weights still change; the second is taken
    at its end. A held-out loss that rises while the other falls tells of overfitting.

    Parameters
    ----------
    adata_or_model
        An object that :func:`cellglass.tl.autoencoder` was called on, or a model.
    key
        Where the model is in ``uns``.
    ax, show, save
        As in :func:`embedding_comparison`.

    Returns
    -------
    matplotlib.axes.Axes
        With one line for each curve.

    Raises
    ------
    InputError
        If there is no model, or the file cannot be written.
    """
    model = _model_of(adata_or_model, key)
    curves = {
        "training cells": model.history["train"],
        "held-out cells": model.history["validation"],
    }
    with _panels(1, ax=ax, show=show, save=save, size=(5.5, 4)) as (panel,):
        for (label, curve), color, line in zip(
            curves.items(), SERIES, ("-", "--"), strict=False
        ):
            if curve:
                epochs = np.arange(1, len(curve) + 1)
                style = line if len(curve) > 1 else "o"
                panel.plot(epochs, curve, style, color=color, label=label)
        log_if_wide(panel, [value for curve in curves.values() for value in curve])
        panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        panel.set(xlabel="epoch", ylabel=f"{model.loss} loss")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    return panel


def reconstruction(
    adata: AnnData,
    key: str = "ae",
    *,
    model: Model | str | Path | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    ax: Sequence[Axes] | None = None,
    show: bool = False,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw the reconstruction of every entry against the original, zeros by themselves.

    Left: what is predicted where the original is zero, as a histogram. Right: the non-zero
    entries, as a histogram in two dimensions; on the dashed line a prediction is exact, and
    below it too low. Means are marked, on the right for every value of the original that
    enough entries have. All is on the log-normalised scale, and both panels have the same
    vertical axis.

    Parameters
    ----------
    adata
        Cells × genes, of the kind the model was trained on (raw counts or log-normalised
        values).
    key, model, layer, use_raw
        Which model, and which matrix, as in :func:`cellglass.tl.denoise`.
    ax
        Where to draw: two Axes. Default: a new figure.
    show, save
        As in :func:`embedding_comparison`.

    Returns
    -------
    list of matplotlib.axes.Axes
        Zeros, non-zero entries.

    Raises
    ------
    InputError
        If there is no model, the matrix does not suit it, or the file cannot be written.
    """
    from cellglass.kept_models import model_and_matrix

    check_anndata(adata)
    applied, layer, use_raw = model_and_matrix(adata, model, key, layer, use_raw)
    X_hat = applied.reconstruct(adata, layer=layer, use_raw=use_raw)
    match = applied.match(adata, use_raw=use_raw)
    X = match.take(read_matrix(adata, layer=layer, use_raw=use_raw).X)
    entries = _Entries(applied.preprocessor.transform(X), X_hat, match.columns >= 0)
    with _panels(2, ax=ax, show=show, save=save, size=(8, 4.6), width_ratios=(1, 2.4)) as axes:
        left, right = axes
        entries.draw_zeros(left)
        entries.draw_nonzeros(right)
        for panel in axes:
            panel.set_ylim(*entries.y_edges[[0, -1]])
            panel.spines[["top", "right"]].set_visible(False)
        left.set_ylabel("reconstruction (log-normalised)")
    return axes


def _model_of(given: AnnData | Model, key: str) -> Model:
    """Take a model as it is, or out of the object it was trained on."""
    from cellglass.kept_models import get_model
    from cellglass.model import Model

    if isinstance(given, Model):
        return given
    if isinstance(given, str | Path) and Path(given).suffix == ".safetensors":
        raise InputError(
            f"{str(given)!r} is the path of a model. Load it first: cg.load({str(given)!r})."
        )
    if isinstance(getattr(given, "model_", None), Model):
        raise InputError(
            f"An estimator was given ({type(given).__name__}), but AnnData or a model is "
            "needed: its own is in model_."
        )
    return get_model(given, key)


# --- maps ----------------------------------------------------------------------------


def _map_of(
    name: str, X: np.ndarray, method: str, random_state: int
) -> tuple[np.ndarray, tuple[str, str]]:
    """Bring a representation to two dimensions, centred, and name them."""
    from cellglass.pca import fit_pca
    from cellglass.project import N_COMPONENTS
    from cellglass.tsne import tsne

    if X.shape[1] == 2:
        return np.asarray(X, np.float64), (f"{name} 1", f"{name} 2")
    if method == "umap":
        return _umap(X, random_state), ("UMAP 1", "UMAP 2")
    pca = fit_pca(X, N_COMPONENTS, random_state=random_state)
    scores = pca.transform(X)
    shares = np.append(pca.variance_ratio, 0.0)
    if scores.shape[1] == 1:
        scores = np.pad(scores, ((0, 0), (0, 1)))
    if method == "tsne":
        return tsne(scores), ("t-SNE 1", "t-SNE 2")
    first, second = (f"PC{i + 1} ({100 * shares[i]:.1f} % of variance)" for i in range(2))
    return scores[:, :2], (first, second)


def _umap(X: np.ndarray, random_state: int) -> np.ndarray:
    import scanpy as sc
    from anndata import AnnData

    cells = AnnData(obsm={"X": X.astype(np.float32)})
    n_neighbors = min(15, len(X) - 1)
    sc.pp.neighbors(cells, n_neighbors, use_rep="X", random_state=random_state)
    sc.tl.umap(cells, random_state=random_state)
    return np.asarray(cells.obsm["X_umap"], np.float64)


def _turned(points: np.ndarray, first: np.ndarray, *, mirror_only: bool) -> np.ndarray:
    """Turn a map as a whole to lie as another does; of a PCA only mirror the axes."""
    from scipy.linalg import orthogonal_procrustes

    points, first = points - points.mean(axis=0), first - first.mean(axis=0)
    if mirror_only:
        return points * np.where((points * first).sum(axis=0) < 0, -1.0, 1.0)
    rotation, _ = orthogonal_procrustes(points, first)
    return points @ rotation


# --- colours -------------------------------------------------------------------------


def _values_of(adata: AnnData, color: str) -> pd.Series:
    """Find what to colour by: a column of ``obs``, or a gene."""
    import pandas as pd

    if not isinstance(color, str):
        raise InputError(
            f"color is {color!r}, of type {type(color).__name__}, but the name of one column "
            "of obs or of one gene is needed. For several, call this once for each."
        )
    if color in adata.obs:
        return adata.obs[color]
    columns = np.flatnonzero(adata.var_names == color)
    if len(columns) == 1 and adata.X is not None:
        # anndata refuses a view of a view of what is on the disk.
        whole = adata.to_memory() if adata.isbacked and adata.is_view else adata
        values = whole[:, columns].to_memory().X
        dense = np.asarray(values if isinstance(values, np.ndarray) else values.todense())
        return pd.Series(dense.ravel(), index=adata.obs_names)
    if len(columns) > 1:
        raise InputError(
            f"color is {color!r}, the name of {len(columns)} genes, and which of them is meant "
            "is not clear. Make the names unique with adata.var_names_make_unique()."
        )
    there = list(map(str, adata.obs.columns))
    close = suggest(color, there) or suggest(color, adata.var_names)
    raise InputError(
        f"color is {color!r}, but neither a column of obs has that name nor a gene in "
        f"adata.X.{close} The columns are: {', '.join(map(repr, there)) or 'none'}."
    )


def _is_number(values: pd.Series) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(values) and not is_bool_dtype(values)


def _classes(values: pd.Series) -> tuple[np.ndarray, Legend]:
    """Give every class of a column a number from 0, and a style."""
    import pandas as pd

    found = pd.Categorical(values).remove_unused_categories()
    names = [str(name) for name in found.categories]
    if len(names) > MOST_CLASSES:
        raise InputError(
            f"{values.name!r} has {len(names):,} different values, such as {names[0]!r} and "
            f"{names[-1]!r}, but at most {MOST_CLASSES} can be told apart. Give a column of "
            "classes of several cells each, or one of numbers."
        )
    styles = class_styles(names)
    codes = np.asarray(found.codes)
    if (codes < 0).any():
        codes = np.where(codes < 0, len(names), codes)
        names.append("(missing)")
        styles = {**styles, "(missing)": MISSING}
    return codes, Legend(str(values.name), tuple(names), styles)


def _draw_points(panel: Axes, points: np.ndarray, shade: pd.Series | None) -> None:
    if shade is None:
        everyone = Legend("", ("cells",), {"cells": Style(SERIES[0], "o")})
        scatter(panel, points, np.zeros(len(points), int), everyone)
    elif not _is_number(shade):
        scatter(panel, points, *_classes(shade))
    else:
        values = shade.to_numpy(np.float64, na_value=np.nan)
        order = np.argsort(np.where(np.isfinite(values), values, -np.inf), kind="stable")
        size = float(np.clip(12_000 / len(points), 2, 36))
        colors = mpl.colormaps["viridis"].with_extremes(bad=MISSING.color)
        panel.scatter(
            points[order, 0], points[order, 1], s=size, linewidths=0, cmap=colors,
            c=np.where(np.isfinite(values), values, np.nan)[order],
            plotnonfinite=True, rasterized=True,
        )  # fmt: skip
    panel.margins(0.04)
    panel.spines[["top", "right"]].set_visible(False)


def _explain_colors(axes: Sequence[Axes], shade: pd.Series, title: str, *, own: bool) -> None:
    """Add a legend, or a scale where the colours are numbers."""
    figure = _figure_of(axes[0])
    if _is_number(shade):
        bar = figure.colorbar(axes[-1].collections[0], ax=list(axes) if own else axes[-1])
        bar.set_label(_wrapped(title, 40), parse_math=False)
        return
    _, legend = _classes(shade)
    if not own:
        _legend(axes[-1], legend, title, loc="center left", bbox_to_anchor=(1.02, 0.5))
        return
    # As many columns as fit side by side, and a figure that grows by what the legend takes.
    one, _ = _inches_of_legend(figure, legend, title, 1)
    most = max(1, int(figure.get_figwidth() / (one + 0.3)))
    n_columns = math.ceil(len(legend.names) / math.ceil(len(legend.names) / most))
    width, height = _inches_of_legend(figure, legend, title, n_columns)
    figure.set_size_inches(
        max(figure.get_figwidth(), width + 0.2), figure.get_figheight() + height + 0.1
    )
    _legend(figure, legend, title, loc="outside lower center", ncols=n_columns)


def _inches_of_legend(
    figure: Figure, legend: Legend, title: str, n_columns: int
) -> tuple[float, float]:
    """Measure how wide and how high a legend would be."""
    drawn = _legend(figure, legend, title, loc="center", ncols=n_columns)
    with _quiet():
        box = drawn.get_window_extent()
    drawn.remove()
    return box.width / figure.dpi, box.height / figure.dpi


def _legend(place: Axes | Figure, legend: Legend, title: str, **options: Any) -> DrawnLegend:
    handles = [
        Line2D([], [], ls="", marker=style.marker, color=style.color, ms=7, mew=0)
        for style in (legend.styles[name] for name in legend.names)
    ]
    # Names are set afterwards: matplotlib leaves out those that begin with an underscore.
    drawn = place.legend(handles, ["-"] * len(handles), title="-", frameon=False, **options)
    for text, name in zip(
        (*drawn.get_texts(), drawn.get_title()), (*legend.names, title), strict=True
    ):
        text.set_parse_math(False)
        text.set_text(_wrapped(name, 60))
    return drawn


def _wrapped(text: str, width: int) -> str:
    """Break a long name into lines."""
    return textwrap.fill(text, width) if len(text) > width else text


# --- reconstruction ------------------------------------------------------------------


class _Entries:
    """Histograms of what is predicted, over zeros and over non-zero entries."""

    def __init__(
        self, X: np.ndarray | sparse.csr_matrix, X_hat: np.ndarray, genes: np.ndarray
    ) -> None:
        top = float(X.max()) or 1.0
        low, high = float(X_hat[:, genes].min()), float(X_hat[:, genes].max())
        self.x_edges = np.linspace(0, top, N_BINS + 1)
        self.y_edges = np.linspace(min(low, 0), max(high, top), N_BINS + 1)
        self.zeros = np.zeros(N_BINS)
        self.nonzeros = np.zeros((N_BINS, N_BINS))
        self._sums = np.zeros(N_BINS)  # of predictions, by value of the original
        self._zero_sum = self._zero_squares = self._nonzero_squares = 0.0
        for start, stop in row_chunks(X_hat):
            x = X[start:stop]
            x = (x if isinstance(x, np.ndarray) else x.toarray())[:, genes]
            self._count(x, X_hat[start:stop, genes].astype(np.float64))

    def _count(self, x: np.ndarray, y: np.ndarray) -> None:
        at_zero = y[x == 0]
        self.zeros += np.histogram(at_zero, self.y_edges)[0]
        self._zero_sum += at_zero.sum()
        self._zero_squares += np.square(at_zero).sum()
        expressed = x != 0
        x, y = x[expressed], y[expressed]
        edges = (self.x_edges, self.y_edges)
        self.nonzeros += np.histogram2d(x, y, bins=edges)[0]
        self._sums += np.histogram(x, self.x_edges, weights=y)[0]
        self._nonzero_squares += np.square(x - y).sum()

    def draw_zeros(self, panel: Axes) -> None:
        """Draw a histogram that lies on its side, so that both panels share an axis."""
        n = self.zeros.sum()
        panel.set(title=self._title("zeros", n, self._zero_squares), xlabel="entries")
        if not n:
            return
        panel.stairs(
            self.zeros, self.y_edges, orientation="horizontal", fill=True, color=SERIES[0]
        )
        panel.set_xscale("log")
        panel.set_xlim(left=0.7)
        mean = self._zero_sum / n
        panel.axhline(0, color="black", ls="--", lw=1)
        panel.axhline(mean, color=SERIES[1], lw=2, label=f"mean {mean:.2f}")
        panel.legend(frameon=False, loc="upper right")

    def draw_nonzeros(self, panel: Axes) -> None:
        """Draw original against prediction."""
        n = self.nonzeros.sum()
        panel.set(
            title=self._title("non-zero entries", n, self._nonzero_squares),
            xlabel="original (log-normalised)",
        )
        if not n:
            return
        image = panel.pcolormesh(
            self.x_edges, self.y_edges, np.ma.masked_equal(self.nonzeros.T, 0),
            norm=mpl.colors.LogNorm(1, max(2, self.nonzeros.max())), rasterized=True,
        )  # fmt: skip
        _figure_of(panel).colorbar(image, ax=panel, label="entries")
        top = self.x_edges[-1]
        panel.plot([0, top], [0, top], color="black", ls="--", lw=1, label="exact")
        counts = self.nonzeros.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._sums / counts
        centres = (self.x_edges[1:] + self.x_edges[:-1]) / 2
        enough = counts >= LEAST_ENTRIES
        panel.plot(centres[enough], means[enough], color=SERIES[1], lw=2, label="mean")
        panel.legend(frameon=False, loc="upper left")

    def _title(self, what: str, n: float, squares: float) -> str:
        total = self.zeros.sum() + self.nonzeros.sum()
        if not n:
            return f"no {what}"
        return f"{what} ({100 * n / total:.1f} %)\nmean squared error {squares / n:.3g}"


# --- figures -------------------------------------------------------------------------


@contextmanager
def _panels(
    n: int,
    *,
    ax: Axes | Sequence[Axes] | None,
    show: bool,
    save: str | Path | None,
    size: tuple[float, float] | None = None,
    width_ratios: Sequence[float] | None = None,
) -> Iterator[list[Axes]]:
    """Give Axes to draw into, and save and show what was drawn; on failure leave no figure."""
    if ax is None:
        figure = plt.figure(figsize=size or (n * PANEL[0], PANEL[1]), layout="constrained")
        axes = list(figure.subplots(1, n, width_ratios=width_ratios, squeeze=False)[0])
    else:
        axes = _given_axes(ax, n)
        figure = _figure_of(axes[0])
    try:
        path = None if save is None else _check_path(save, figure)
        yield axes
        if path is not None:
            _save(figure, path)
    except BaseException:
        if ax is None:
            plt.close(figure)
        raise
    if show:
        plt.show()
    elif ax is None and path is not None:
        plt.close(figure)


def _figure_of(panel: Axes) -> Figure:
    figure = panel.get_figure(root=True)
    if figure is None:
        raise InputError("ax was removed from its figure. Give Axes that are in one.")
    return figure


def _given_axes(ax: Axes | Sequence[Axes], n: int) -> list[Axes]:
    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != n or not all(isinstance(panel, Axes) for panel in axes):
        raise InputError(
            f"ax holds {len(axes)} object{'s' * (len(axes) != 1)}, but {n} matplotlib Axes "
            f"{'are' if n > 1 else 'is'} needed, one a panel. Make them with "
            f"plt.subplots(1, {n})."
        )
    if len({id(_figure_of(panel)) for panel in axes}) > 1:
        raise InputError(
            f"The {n} Axes in ax are in different figures, but what is drawn is one figure, to "
            f"show or to save. Make them with plt.subplots(1, {n})."
        )
    return axes


def _check_path(save: str | Path, figure: Figure) -> Path:
    path = as_path(save, "save")
    known = sorted(figure.canvas.get_supported_filetypes())
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in known:
        raise InputError(
            f"save is {str(save)!r}, whose name ends in {path.suffix or 'nothing'!r}, but a "
            f"figure is written as one of {', '.join(known)}.{suggest(suffix, known)}"
        )
    if not path.parent.is_dir():
        raise InputError(
            f"save is {str(save)!r}, but there is no folder {str(path.parent)!r}. Make it "
            "first, or name one that is there."
        )
    return path


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    kind = path.suffix.lower().removeprefix(".")
    with _quiet():
        figure.savefig(content, format=kind, bbox_inches="tight")
    write_whole(path, content.getvalue())


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of characters that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield
