import io
from pathlib import Path

import anndata
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy import sparse
from scipy.spatial.distance import pdist

import cellglass as cg
from cellglass.report.colors import class_styles
from conftest import HOSTILE

LABELS = [*HOSTILE, "_hidden", "a long name of a class " * 6, r"\$a\$", "細胞"]
"""Texts that matplotlib reads as mathematics, leaves out of legends or has no glyphs for."""


@pytest.fixture(scope="module")
def cells(small):
    adata = anndata.AnnData(small.X.copy(), obs=small.obs[["label"]].copy())
    cg.tl.autoencoder(adata, 3, n_hidden=8, max_epochs=4)
    rng = np.random.default_rng(0)
    adata.obsm["X_pca"] = rng.normal(size=(60, 5)) * [5, 3, 1, 1, 1]
    adata.obsm["X_flat"] = rng.normal(size=(60, 2))
    adata.obs["hostile $x$"] = np.resize(LABELS, 60)
    adata.obs["number"] = np.append(np.nan, np.arange(59.0))
    adata.obs["gaps"] = np.append([None], np.resize(["a", "b"], 59))
    return adata


@pytest.fixture(autouse=True)
def no_figure_left():
    """Close what a test drew, and see that plots leave the settings alone."""
    plt.get_backend()  # chosen, and noted in the settings, when it is first asked for
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


def with_classes(n_classes):
    """200 cells with so many classes."""
    names = [f"class number {i}" for i in np.resize(np.arange(n_classes), 200)]
    obs = pd.DataFrame({"class": names}, index=[f"cell {i}" for i in range(200)])
    rng = np.random.default_rng(0)
    obsm = {"X_flat": rng.normal(size=(200, 2)), "X_ae": rng.normal(size=(200, 3))}
    return anndata.AnnData(np.zeros((200, 1), np.float32), obs=obs, obsm=obsm)


def n_open():
    return len(plt.get_fignums())


def points_of(panel):
    """All points of a panel, sorted, so that the order in which they were drawn is left out."""
    found = np.concatenate([np.asarray(part.get_offsets()) for part in panel.collections])
    return found[np.lexsort(found.T)]


def texts_of(legend):
    return [text.get_text() for text in legend.get_texts()]


# --- embedding_comparison ----------------------------------------------------------------


def test_two_dimensions_are_drawn_as_they_are(cells):
    (panel,) = cg.pl.embedding_comparison(cells, "X_flat")
    X = cells.obsm["X_flat"]
    assert_allclose(points_of(panel), X[np.lexsort(X.T)])
    assert panel.get_title() == "X_flat"


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_maps_are_fitted_to_each_representation_and_turned_without_changing_distances(
    cells, method
):
    panels = cg.pl.embedding_comparison(cells, method=method, random_state=3)
    alone = cg.pl.embedding_comparison(cells, ["X_ae"], method=method, random_state=3)
    assert [panel.get_title() for panel in panels] == [
        "X_pca (5 dimensions)",
        "X_ae (3 dimensions)",
    ]
    together, single = panels[1].collections[0], alone[0].collections[0]
    assert_allclose(
        pdist(np.asarray(together.get_offsets())), pdist(np.asarray(single.get_offsets())),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_the_same_data_mirrored_give_nearly_the_same_map(cells):
    both = cells.copy()
    both.obsm["X_mirrored"] = -both.obsm["X_pca"]
    for method in ("pca", "tsne"):
        first, second = cg.pl.embedding_comparison(both, ["X_pca", "X_mirrored"], method=method)
        assert_allclose(points_of(first), points_of(second), atol=0.3)  # of some 15


def test_every_class_has_the_colour_of_the_report_in_every_panel(cells):
    styles = class_styles(HOSTILE)
    for panel in cg.pl.embedding_comparison(
        cells, ["X_flat", "X_ae"], color="label", method="pca"
    ):
        drawn = sorted(
            map(tuple, np.concatenate([c.get_facecolor() for c in panel.collections]))
        )
        expected = sorted(to_rgba(styles[name].color, 0.75) for name in cells.obs["label"])
        assert_allclose(drawn, expected)


def test_labels_of_any_text_are_shown_as_they_are(cells, tmp_path):
    panels = cg.pl.embedding_comparison(
        cells, "X_flat", color="hostile $x$", save=tmp_path / "a.png"
    )
    (legend,) = panels[0].figure.legends
    assert sorted(text.replace("\n", " ").strip() for text in texts_of(legend)) == sorted(
        label.strip() for label in LABELS
    )
    assert any("\n" in text for text in texts_of(legend))  # the long one is broken
    assert legend.get_title().get_text() == "hostile $x$"
    assert not any(t.get_parse_math() for t in (*legend.get_texts(), legend.get_title()))


@pytest.mark.parametrize("n_classes", [3, 60, 195])
def test_no_legend_is_cut_off_or_covers_a_map(n_classes):
    panels = cg.pl.embedding_comparison(
        with_classes(n_classes), ["X_flat", "X_ae"], color="class", method="pca"
    )
    figure = panels[0].figure
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == n_classes
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1
    for panel in panels:
        assert box.y1 <= panel.get_tightbbox().y0
        assert panel.get_window_extent().height > 200


def test_cells_without_a_value_are_grey(cells):
    (panel,) = cg.pl.embedding_comparison(cells, "X_flat", color="gaps")
    (legend,) = panel.figure.legends
    assert texts_of(legend) == ["a", "b", "(missing)"]
    drawn = np.concatenate([part.get_facecolor() for part in panel.collections])
    assert (np.abs(drawn - to_rgba("#cccccc", 0.75)).max(axis=1) < 1e-6).sum() == 1

    (panel,) = cg.pl.embedding_comparison(cells, "X_flat", color="number")
    panel.figure.canvas.draw()
    assert np.ma.count_masked(panel.collections[0].get_offsets()) == 0
    drawn = panel.collections[0].get_facecolor()
    assert (np.abs(drawn - to_rgba("#cccccc")).max(axis=1) < 1e-6).sum() == 1


def test_a_gene_is_a_colour_scale_over_its_values(cells):
    gene = cells.var_names[4]
    (panel,) = cg.pl.embedding_comparison(cells, "X_flat", color=gene)
    shown = np.asarray(panel.collections[0].get_array())
    assert_array_equal(np.sort(shown), np.sort(cells.X[:, 4]))
    assert panel.figure.axes[-1].get_ylabel() == gene


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_objects_on_disk_and_views_of_them_are_drawn(cells, tmp_path, kind):
    adata = cells.copy()
    if kind == "csr":
        adata.X = sparse.csr_matrix(adata.X)
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    gene = cells.var_names[4]
    for shown, n in ((backed, 60), (backed[:40], 40)):
        (panel,) = cg.pl.embedding_comparison(shown, "X_flat", color=gene)
        drawn = np.asarray(panel.collections[0].get_array())
        assert_array_equal(np.sort(drawn), np.sort(cells.X[:n, 4]))
        left, _ = cg.pl.reconstruction(shown)
        assert left.patches[0].get_data().values.sum() == (cells.X[:n] == 0).sum()
    backed.file.close()


def test_nothing_is_written_into_the_object(cells):
    before = cells.copy()
    cg.pl.embedding_comparison(cells, color="label")
    cg.pl.loss(cells)
    cg.pl.reconstruction(cells)
    for slot in ("obs", "obsm", "uns", "layers"):
        assert list(getattr(before, slot)) == list(getattr(cells, slot))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_reps": "X_as"}, r"no 'X_as'\. Did you mean 'X_ae'"),
        ({"use_reps": []}, "use_reps is empty"),
        ({"method": "phate"}, "method is 'phate'"),
        ({"color": "labell"}, r"'labell', but neither.*Did you mean 'label'"),
        ({"random_state": -1}, "random_state is -1"),
        ({"save": "a.jpgg"}, r"'\.jpgg'.*Did you mean 'jpg'"),
        ({"save": "a"}, "ends in 'nothing'"),
        ({"save": True}, "save is True, of type bool"),
        ({"color": ["label"]}, r"color is \['label'\], of type list"),
        ({"use_reps": 3}, "no 3. Name one that is there"),
        ({"save": "no/folder/a.png"}, "no folder 'no/folder'"),
        ({"ax": "axes"}, "2 matplotlib Axes are needed"),
    ],
)
def test_a_mistake_is_explained_and_leaves_no_figure(cells, options, message):
    with pytest.raises(cg.InputError, match=message):
        cg.pl.embedding_comparison(cells, **options)
    assert n_open() == 0


def test_a_missing_pca_names_what_makes_it(cells):
    without = cells.copy()
    del without.obsm["X_pca"]
    with pytest.raises(cg.InputError, match=r"no 'X_pca'.*sc.pp.pca\(adata\)"):
        cg.pl.embedding_comparison(without)


def test_more_classes_than_can_be_told_apart_are_refused():
    with pytest.raises(cg.InputError, match=r"200 different values.*at most 195"):
        cg.pl.embedding_comparison(with_classes(200), "X_flat", color="class")
    assert n_open() == 0


# --- loss --------------------------------------------------------------------------------


def test_both_curves_of_the_loss_are_drawn(cells):
    panel = cg.pl.loss(cells)
    history = cells.uns["ae"]["history"]
    train, validation = panel.lines
    assert_array_equal(train.get_xdata(), [1, 2, 3, 4])
    assert_allclose(train.get_ydata(), history["train"])
    assert_allclose(validation.get_ydata(), history["validation"])
    assert texts_of(panel.get_legend()) == ["training cells", "held-out cells"]
    assert panel.get_ylabel() == "mse loss"

    of_model = cg.pl.loss(cg.tl.get_model(cells))
    assert_allclose(of_model.lines[1].get_ydata(), history["validation"])


def test_without_held_out_cells_there_is_one_curve(cells):
    adata = cg.tl.autoencoder(
        cells, 2, n_hidden=4, max_epochs=1, validation_fraction=0, copy=True
    )
    (line,) = cg.pl.loss(adata).lines
    assert line.get_marker() == "o"  # a line through one point would not be seen


# --- reconstruction ----------------------------------------------------------------------


def test_every_entry_is_counted_once_and_the_means_are_right(cells):
    X, X_hat = cells.X, cg.tl.get_model(cells).reconstruct(cells)
    left, right = cg.pl.reconstruction(cells)
    zero = X == 0
    metrics = cells.uns["ae"]["metrics"]

    (bars,) = left.patches
    assert bars.get_data().values.sum() == zero.sum()
    exact, mean = left.lines
    assert_allclose(mean.get_ydata(), X_hat[zero].mean(dtype=np.float64), rtol=1e-6)
    assert_array_equal(exact.get_ydata(), [0, 0])
    share = f"{100 * zero.mean():.1f}"
    assert (
        left.get_title() == f"zeros ({share} %)\nmean squared error {metrics['mse_zero']:.3g}"
    )

    counts = right.collections[0].get_array().filled(0)
    assert counts.sum() == (~zero).sum()
    assert f"mean squared error {metrics['mse_nonzero']:.3g}" in right.get_title()
    x_edges = right.collections[0].get_coordinates()[0, :, 0]
    _, means = right.lines
    for x, y in zip(*means.get_data(), strict=True):
        i = np.searchsorted(x_edges, x) - 1
        inside = (x_edges[i] <= X) & (x_edges[i + 1] > X) & ~zero
        assert inside.sum() >= 20
        assert_allclose(y, X_hat[inside].mean(dtype=np.float64), rtol=1e-5)
    assert len(means.get_xdata()) > 5
    assert left.get_ylim() == right.get_ylim()


def test_sparse_counts_in_another_order_of_genes_give_the_same_picture(cells):
    adata = anndata.AnnData(cells.X.copy())
    adata.layers["counts"] = sparse.csr_matrix(np.round(np.expm1(adata.X)))
    cg.tl.autoencoder(adata, 2, n_hidden=4, max_epochs=1, layer="counts")
    order = np.random.default_rng(0).permutation(adata.n_vars)
    pictures = []
    for shown in (adata, adata[:, order].copy()):
        panels = cg.pl.reconstruction(shown)
        pictures.append(
            [panels[0].patches[0].get_data().values, panels[1].collections[0].get_array()]
        )
    for first, second in zip(*pictures, strict=True):
        assert_array_equal(first, second)


@pytest.mark.filterwarnings("ignore:Every value of the matrix is 0")
@pytest.mark.parametrize("value", [0.0, 1.5], ids=["zeros only", "no zeros"])
def test_data_of_one_kind_of_entry_can_be_drawn(value, tmp_path):
    adata = anndata.AnnData(np.full((10, 4), value, np.float32))
    adata.X[0] *= 1.5
    cg.tl.autoencoder(adata, 2, n_hidden=3, max_epochs=1)
    left, right = cg.pl.reconstruction(adata, save=tmp_path / "a.png")
    assert (left if value else right).get_title().startswith("no ")
    assert not (right if value else left).get_title().startswith("no ")


# --- what all plots share ----------------------------------------------------------------

PLOTS = {
    "embedding_comparison": lambda adata, **options: cg.pl.embedding_comparison(
        adata, color="label", method="pca", **options
    ),
    "loss": cg.pl.loss,
    "reconstruction": cg.pl.reconstruction,
}


@pytest.fixture(params=PLOTS)
def plot(request):
    return PLOTS[request.param]


def n_panels(plot):
    return 1 if plot is cg.pl.loss else 2


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_file_that_is_named_is_written_and_no_figure_stays(plot, cells, tmp_path, suffix):
    panels = plot(cells, save=tmp_path / f"a.b.{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"a.b.{suffix}"]
    content = (tmp_path / f"a.b.{suffix}").read_bytes()
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert content.startswith(start)
    assert n_open() == 0
    np.ravel(panels)[0].figure.savefig(io.BytesIO())  # its Axes can still be worked with


def test_a_figure_stays_open_for_who_asked_for_none_to_be_saved(plot, cells):
    plot(cells)
    assert n_open() == 1


def test_nothing_is_shown_unless_asked_for(plot, cells, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(n_open()))
    plot(cells)
    assert shown == []
    plt.close("all")
    plot(cells, show=True, save=tmp_path / "a.png")
    assert shown == [1]


def test_plots_are_drawn_into_given_axes(plot, cells, tmp_path):
    n = n_panels(plot)
    _, axes = plt.subplots(1, n, layout="constrained")
    drawn = plot(cells, ax=axes, save=tmp_path / "a.png")
    assert list(np.ravel(drawn)) == list(np.ravel(axes))
    assert n_open() == 1  # the caller's own stays
    assert Path(tmp_path / "a.png").stat().st_size > 1000


def test_a_legend_beside_given_axes_is_seen(cells):
    def ink(color):
        figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
        cg.pl.embedding_comparison(cells, color=color, method="pca", ax=axes)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        right = axes[1].get_window_extent().x1
        pixels = np.asarray(Image.open(picture).convert("L"))[:, int(right) + 20 :]
        return (pixels < 128).sum()

    assert ink("label") > 50 > ink(None)


def test_one_axes_too_few_is_refused(cells):
    _, ax = plt.subplots()
    with pytest.raises(cg.InputError, match=r"1 object, but 2 matplotlib Axes are needed"):
        cg.pl.reconstruction(cells, ax=ax)


def test_a_missing_model_is_explained(cells):
    for plot in (cg.pl.loss, cg.pl.reconstruction):
        with pytest.raises(cg.InputError, match=r"uns\['other'\] holds no model.*key='ae'"):
            plot(cells, "other")
        with pytest.raises(cg.InputError, match="of type ndarray"):
            plot(cells.X)
    with pytest.raises(cg.InputError, match=r"cg\.load\('m\.safetensors'\)"):
        cg.pl.loss("m.safetensors")
    with pytest.raises(cg.InputError, match="its own is in model_"):
        cg.pl.loss(cg.Autoencoder(2, max_epochs=1).fit(cells.X))


def test_axes_without_a_figure_are_refused(cells):
    ax = plt.figure().subplots()
    ax.remove()
    with pytest.raises(cg.InputError, match="ax was removed from its figure"):
        cg.pl.loss(cells, ax=ax)


def test_a_gene_whose_name_repeats_is_refused_as_a_colour(cells):
    twice = anndata.AnnData(cells.X, obsm={"X_flat": cells.obsm["X_flat"]})
    twice.var_names = ["g", "g", *cells.var_names[2:]]
    with pytest.raises(cg.InputError, match="the name of 2 genes"):
        cg.pl.embedding_comparison(twice, "X_flat", color="g")


def test_axes_of_two_figures_are_refused(cells):
    axes = [plt.figure().subplots() for _ in range(2)]
    with pytest.raises(cg.InputError, match="in different figures"):
        cg.pl.embedding_comparison(cells, ax=axes)


@pytest.mark.parametrize("method", ["tsne", "pca", "umap"])
def test_the_fewest_cells_of_a_map_are_enough_and_one_less_is_refused(cells, method):
    least = {"tsne": 3, "pca": 3, "umap": 5}[method]
    (panel,) = cg.pl.embedding_comparison(cells[:least].copy(), "X_ae", method=method)
    assert len(panel.collections[0].get_offsets()) == least
    with pytest.raises(cg.InputError, match=f"map by {method} needs at least {least}"):
        cg.pl.embedding_comparison(cells[: least - 1].copy(), "X_ae", method=method)
