import subprocess
import sys
from importlib import import_module

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata.io import read_elem
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import cellglass as cg
from cellglass.errors import TrainingInterrupted
from cellglass.fit import fit_model
from cellglass.matrices import Parts
from cellglass.neighbors import nearest_neighbors
from cellglass.partition import leiden
from cellglass.settings import ModelSettings

TINY = {"n_latent": 3, "n_hidden": 8, "max_epochs": 3}


@pytest.fixture(scope="module")
def cells(small):
    """The small data with raw counts in a layer."""
    adata = anndata.AnnData(small.X.copy(), obs=small.obs.copy(), var=small.var.copy())
    adata.layers["counts"] = np.round(np.expm1(adata.X))
    return adata


@pytest.fixture
def adata(cells):
    return cells.copy()


@pytest.fixture(scope="module")
def trained_once(cells):
    return cg.tl.autoencoder(cells, **TINY, reconstruction=True, copy=True)


@pytest.fixture
def trained(trained_once):
    return trained_once.copy()


def same(first, second):
    """Whether two objects hold the same, whatever was done to them in between."""
    for slot in ("obsm", "layers", "uns"):
        assert list(getattr(first, slot)) == list(getattr(second, slot))
    pd.testing.assert_frame_equal(first.obs, second.obs)
    assert_array_equal(first.X, second.X)


def assert_same_tree(found, expected):
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for key in expected:
            assert_same_tree(found[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert isinstance(found, np.ndarray)
        assert_array_equal(found, expected)
    else:
        assert found == expected, (found, expected)


def assert_plain(tree):
    """Check that any version of anndata can write it: without None and without tuples."""
    for value in tree.values():
        assert isinstance(value, dict | np.ndarray | str | bool | int | float)
        if isinstance(value, dict):
            assert_plain(value)


# --- autoencoder -------------------------------------------------------------------------


@pytest.mark.as_shipped
def test_the_numbers_are_those_of_compare_to_the_last_bit(adata):
    comparison = cg.compare(adata, n_latent=3, loss="mse", n_hidden=8, max_epochs=3)
    (run,) = comparison.runs
    (said,) = comparison.summary["runs"]

    assert cg.tl.autoencoder(adata, **TINY) is None

    assert adata.obsm["X_ae"].dtype == np.float32
    assert_array_equal(adata.obsm["X_ae"], run.latent_vectors)
    about = adata.uns["ae"]
    assert_array_equal(about["history"]["train"], said["history"]["train"])
    assert_array_equal(about["history"]["validation"], said["history"]["validation"])
    for name, value in about["metrics"].items():
        assert value == said["reconstruction"][name]
    assert len(about["metrics"]) == 9
    clusters = run.latent.clustering
    cg.tl.cluster(adata, "leiden", resolution=1.0)
    cg.tl.cluster(adata, "kmeans", n_clusters=comparison.n_clusters)
    assert_array_equal(adata.obs["ae_leiden"].cat.codes, clusters["leiden"].clusters)
    assert_array_equal(adata.obs["ae_kmeans"].cat.codes, clusters["kmeans"].clusters)


def test_every_setting_reaches_the_training(adata):
    options = {
        "n_latent": 2, "loss": "nonzero_mse", "n_hidden": 5, "n_layers": 2, "max_epochs": 6,
        "batch_size": 7, "learning_rate": 0.02, "schedule": "cosine_decay_schedule",
        "patience": 2, "min_delta": 0.01, "validation_fraction": 0.3, "input": "log",
        "random_state": 5,
    }  # fmt: skip
    expected = fit_model(adata.X, ModelSettings(**options))
    cg.tl.autoencoder(adata, **options)
    assert_array_equal(adata.obsm["X_ae"], expected.model.transform(adata.X))
    params = adata.uns["ae"]["params"]
    assert {name: params[name] for name in options} == options
    assert adata.uns["ae"]["best_epoch"] == expected.training.best_epoch
    squared = np.square(adata.X - expected.model.reconstruct(adata.X))[expected.is_validation]
    found = adata.uns["ae"]["metrics"]["mse_all_validation"]
    assert_allclose(found, squared.mean(), rtol=1e-5)


def test_callbacks_are_called_and_can_end_the_training(adata):
    seen = []
    cg.tl.autoencoder(
        adata, **TINY, callbacks=lambda epoch: seen.append(epoch.epoch) or epoch.epoch == 2
    )
    assert seen == [1, 2]
    assert len(adata.uns["ae"]["history"]["train"]) == 2


def test_the_reconstruction_is_that_of_the_model(trained):
    expected = cg.tl.get_model(trained).reconstruct(trained.X)
    assert_array_equal(trained.layers["ae_reconstruction"], expected)


def test_a_copy_is_changed_and_the_original_is_not(adata):
    untouched = adata.copy()
    changed = cg.tl.autoencoder(adata, **TINY, reconstruction=True, copy=True)
    clustered = cg.tl.cluster(changed, "leiden", copy=True)
    same(adata, untouched)
    assert set(changed.obsm) == {"X_ae"} and "ae_leiden" not in changed.obs
    assert "ae_leiden" in clustered.obs


def test_other_names_leave_the_first_result_alone(trained):
    before = trained.obsm["X_ae"].copy()
    cg.tl.autoencoder(trained, 2, n_hidden=4, max_epochs=1, key_added="X_two")
    assert set(trained.uns) == {"ae", "two"}
    assert trained.obsm["X_two"].shape == (60, 2)
    assert_array_equal(trained.obsm["X_ae"], before)
    assert cg.tl.get_model(trained, "two").n_latent == 2


@pytest.mark.parametrize(
    "options", [{"validation_fraction": 0.0}, {"patience": 2}], ids=["no held-out", "patience"]
)
def test_everything_survives_a_file(adata, tmp_path, options):
    cg.tl.autoencoder(adata, **TINY, **options, layer="counts", reconstruction=True)
    cg.tl.cluster(adata, "leiden")
    cg.tl.denoise(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert_plain(adata.uns)
    assert_same_tree(back.uns["ae"], adata.uns["ae"])
    assert_same_tree(back.uns["ae_leiden"], adata.uns["ae_leiden"])
    assert_array_equal(back.obsm["X_ae"], adata.obsm["X_ae"])
    pd.testing.assert_series_equal(back.obs["ae_leiden"], adata.obs["ae_leiden"])
    assert_array_equal(
        cg.tl.get_model(back).transform(back, layer="counts"), adata.obsm["X_ae"]
    )
    cg.tl.denoise(back, key_added="again")
    assert_array_equal(back.layers["again"], adata.layers["ae_denoised"])
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert read_elem(file["uns/ae/params/layer"]) == "counts"


# --- where the values come from ----------------------------------------------------------


def test_a_layer_is_trained_on_when_it_is_named(adata):
    cg.tl.autoencoder(adata, **TINY, layer="counts")
    expected = fit_model(adata.layers["counts"], ModelSettings(**TINY))
    assert adata.uns["ae"]["preprocessing"]["input"] == "counts"
    assert_array_equal(adata.obsm["X_ae"], expected.model.transform(adata.layers["counts"]))


@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
def test_raw_is_trained_on_with_its_own_genes(adata, kind):
    adata.raw = adata
    few = adata[:, :5].copy()
    if kind != "dense":
        adata.X = sparse.csr_matrix(adata.X).asformat(kind)
        few.raw = adata
    cg.tl.autoencoder(few, **TINY, use_raw=True)
    model = cg.tl.get_model(few)
    assert model.genes == tuple(adata.var_names)
    assert_array_equal(few.obsm["X_ae"], model.transform(adata))


def test_a_reconstruction_of_other_genes_than_the_objects_is_refused(adata):
    adata.raw = adata
    few = adata[:, :5].copy()
    untouched = few.copy()
    with pytest.raises(cg.InputError, match=r"20 genes of adata.raw.*to_adata"):
        cg.tl.autoencoder(few, **TINY, use_raw=True, reconstruction=True)
    same(few, untouched)
    cg.tl.autoencoder(few, **TINY, use_raw=True)
    with pytest.raises(cg.InputError, match=r"20 genes of adata.raw.*to_adata"):
        cg.tl.denoise(few)


@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
def test_an_object_on_disk_is_trained_on(adata, trained, tmp_path, kind):
    if kind != "dense":
        adata.X = sparse.csr_matrix(adata.X).asformat(kind)
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    cg.tl.autoencoder(backed, **TINY, reconstruction=True)
    assert backed.isbacked
    assert_array_equal(backed.obsm["X_ae"], trained.obsm["X_ae"])
    in_memory = cg.tl.cluster(backed, "leiden", copy=True)
    assert not in_memory.isbacked and "ae_leiden" in in_memory.obs
    assert "ae_leiden" not in backed.obs
    backed.file.close()


def test_a_view_of_an_object_on_disk_says_to_read_it(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    view = backed[:40]
    with pytest.raises(cg.InputError, match=r"adata.to_memory\(\)"):
        cg.tl.autoencoder(view, **TINY)
    expected = cg.tl.autoencoder(adata[:40], **TINY, copy=True)
    found = cg.tl.autoencoder(view, **TINY, copy=True)
    assert_array_equal(found.obsm["X_ae"], expected.obsm["X_ae"])
    model = cg.tl.get_model(found)
    smooth = cg.tl.denoise(view, model=model, copy=True)
    cg.tl.denoise(expected)
    assert_array_equal(smooth.layers["ae_denoised"], expected.layers["ae_denoised"])
    backed.file.close()


def test_a_view_becomes_an_object_of_its_own_and_its_parent_stays(adata):
    untouched = adata.copy()
    view = adata[10:50]
    cg.tl.autoencoder(view, **TINY)
    cg.tl.cluster(view, "leiden")
    cg.tl.denoise(view)
    assert not view.is_view and view.obsm["X_ae"].shape == (40, 3)
    same(adata, untouched)


# --- mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((5, 4)), "of type ndarray.*cg.Autoencoder"),
        (sparse.eye(4).tocsr(), "of type csr_matrix.*cg.Autoencoder"),
        (pd.DataFrame(np.ones((5, 4))), "of type DataFrame.*cg.Autoencoder"),
        ("cells.h5ad", r"of type str.*cg.read\('cells.h5ad'\)"),
        (None, "of type NoneType.*AnnData"),
    ],
    ids=["array", "sparse", "frame", "path", "none"],
)
@pytest.mark.parametrize(
    "tool", [cg.tl.autoencoder, cg.tl.cluster, cg.tl.denoise, cg.tl.get_model]
)
def test_something_else_than_anndata_is_refused(tool, given, message):
    with pytest.raises(cg.InputError, match=message):
        tool(given)


def test_nothing_in_the_object_is_refused(adata):
    for empty in (adata[:0], adata[:, :0]):
        with pytest.raises(cg.InputError, match="nothing to work on"):
            cg.tl.autoencoder(empty)


def spoiled(adata):
    adata.X = adata.X - 1


def without_x(adata):
    adata.X = None


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, {"layer": "count"}, r"'count'.*there are: 'counts'\. Did you mean 'counts'"),
        (None, {"use_raw": True}, r"adata.raw is None.*'counts'"),
        (None, {"layer": "counts", "use_raw": True}, "only one matrix"),
        (without_x, {}, r"adata.X is None.*give layer='counts'"),
        (spoiled, {}, r"adata.X contains.*cell 1 \(row 1.*adata.layers\['counts'\] would do"),
        (None, {"n_latent": 0}, "n_latent is 0"),
        (None, {"loss": "mes"}, "loss is 'mes'"),
        (None, {"key_added": ""}, "key_added is ''"),
        (None, {"key_added": "X_"}, "key_added is 'X_'"),
        (None, {"key_added": "a/b"}, "key_added is 'a/b'"),
        (None, {"key_added": 3}, "key_added is 3"),
        (None, {"callbacks": 3}, "callbacks"),
    ],
)
def test_a_mistake_is_explained_and_leaves_the_object_alone(adata, change, options, message):
    if change:
        change(adata)
    untouched = adata.copy()
    with pytest.raises(cg.InputError, match=message):
        cg.tl.autoencoder(adata, **{**TINY, **options})
    same(adata, untouched)


def test_values_of_another_kind_than_was_said_are_warned_of(adata):
    with pytest.warns(UserWarning, match='input="counts" was given'):
        cg.tl.autoencoder(adata, **TINY, input="counts")


def test_a_failed_or_stopped_training_leaves_the_object_alone(adata):
    untouched = adata.copy()
    with pytest.raises(cg.TrainingError):
        cg.tl.autoencoder(adata, **TINY, learning_rate=1e30)

    def stop(epoch):
        raise TrainingInterrupted("stopped", training="what stood", checkpoint=None)

    with pytest.raises(TrainingInterrupted) as stopped:
        cg.tl.autoencoder(adata, **TINY, callbacks=stop)
    assert stopped.value.training == "what stood"
    same(adata, untouched)


# --- get_model ---------------------------------------------------------------------------


def test_a_missing_model_is_explained(adata, trained):
    with pytest.raises(cg.InputError, match=r"uns\['ae'\] holds no model.*cg.tl.autoencoder"):
        cg.tl.get_model(adata)
    with pytest.raises(cg.InputError, match=r"uns\['X_ae'\] holds no model.*key='ae'"):
        cg.tl.get_model(trained, "X_ae")
    adata.uns["ae"] = {"model": "m.safetensors"}
    with pytest.raises(cg.InputError, match="holds no model"):
        cg.tl.denoise(adata)


def test_an_altered_model_is_noticed(trained):
    trained.uns["ae"]["model"][-1] ^= 1
    with pytest.raises(cg.InputError, match=r"The model in adata.uns\['ae'\] was altered"):
        cg.tl.get_model(trained)


# --- denoise -----------------------------------------------------------------------------


def test_denoised_is_the_reconstruction_without_negative_values(trained):
    expected = np.maximum(trained.layers["ae_reconstruction"], 0)
    assert (trained.layers["ae_reconstruction"] < 0).any()
    cg.tl.denoise(trained)
    assert_array_equal(trained.layers["ae_denoised"], expected)


@pytest.mark.parametrize("how", ["model", "path", "str"])
def test_a_model_of_ones_own_denoises_cells_in_any_order_of_genes(trained, how, tmp_path):
    model = cg.tl.get_model(trained)
    model.save(tmp_path / "m.safetensors")
    given = {"model": model, "path": tmp_path / "m.safetensors"}
    given["str"] = str(given["path"])
    expected = np.maximum(trained.layers["ae_reconstruction"], 0)
    order = np.random.default_rng(0).permutation(trained.n_vars)
    new = anndata.AnnData(trained.X[:, order], var=trained.var.iloc[order])
    cg.tl.denoise(new, model=given[how], key_added="smooth")
    assert_array_equal(new.layers["smooth"], expected[:, order])


def test_a_share_of_the_genes_suffices_where_the_caller_says_so(trained):
    few = trained[:, :10].copy()
    with pytest.raises(cg.InputError, match="min_coverage"):
        cg.tl.denoise(few)
    with pytest.warns(UserWarning, match="10 of the model's 20 genes are missing"):
        cg.tl.denoise(few, min_coverage=0.1)
    assert few.layers["ae_denoised"].shape == few.shape


def test_the_layer_of_the_training_is_denoised_by_default(adata):
    cg.tl.autoencoder(adata, **TINY, layer="counts", reconstruction=True)
    cg.tl.denoise(adata)
    expected = np.maximum(adata.layers["ae_reconstruction"], 0)
    assert_array_equal(adata.layers["ae_denoised"], expected)
    del adata.layers["counts"]
    with pytest.raises(cg.InputError, match=r"trained on adata\.layers.*not there now"):
        cg.tl.denoise(adata)


def test_genes_that_the_model_does_not_know_are_refused(trained):
    few = cg.tl.autoencoder(trained[:, 2:], **TINY, copy=True)
    model = cg.tl.get_model(few)
    with pytest.raises(cg.InputError, match=r"does not know 2 of the 20 genes.*isin"):
        cg.tl.denoise(trained, model=model)
    with pytest.raises(cg.InputError, match="model is a int"):
        cg.tl.denoise(trained, model=3)


# --- cluster -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"), [("leiden", {"resolution": 0.1}), ("kmeans", {"n_clusters": 3})]
)
def test_clear_groups_are_found_and_the_largest_is_called_0(method, options):
    truth = ["2"] * 20 + ["0"] * 40 + ["1"] * 30
    noise = np.random.default_rng(0).normal(size=(90, 3))
    Z = 20 * np.eye(3)[np.array(truth, int)] + noise
    cells = anndata.AnnData(np.zeros((90, 1), np.float32), obsm={"X_ae": Z})
    cg.tl.cluster(cells, method, **options)
    found = cells.obs[f"ae_{method}"]
    assert list(found.cat.categories) == ["0", "1", "2"]
    assert list(found) == truth
    assert cells.uns[f"ae_{method}"]["params"]["n_clusters"] == 3


def test_kmeans_takes_the_number_of_clusters_from_leiden(trained):
    cg.tl.cluster(trained, "leiden", n_neighbors=5, resolution=2.0)
    cg.tl.cluster(trained, "kmeans", n_neighbors=5, resolution=2.0)
    n_leiden = len(trained.obs["ae_leiden"].cat.categories)
    assert n_leiden > 2
    params = trained.uns["ae_kmeans"]["params"]
    assert (params["n_clusters"], params["n_clusters_from"]) == (n_leiden, "leiden")
    cg.tl.cluster(trained, "kmeans", n_clusters=2, key_added="two")
    assert trained.uns["two"]["params"]["n_clusters_from"] == "given"
    assert set(trained.obs["two"]) == {"0", "1"}


def test_leiden_gets_the_neighbours_and_the_resolution_that_were_asked_for(trained):
    neighbors = nearest_neighbors(trained.obsm["X_ae"], 4)
    expected = leiden(neighbors, resolution=3.0, random_state=2)
    assert expected.max() > leiden(neighbors, random_state=2).max()
    cg.tl.cluster(trained, "leiden", n_neighbors=4, resolution=3.0, random_state=2)
    assert_array_equal(trained.obs["ae_leiden"].cat.codes, expected)


def test_categories_are_in_the_order_of_their_numbers(trained):
    cg.tl.cluster(trained, "kmeans", n_clusters=12)
    assert list(trained.obs["ae_kmeans"].cat.categories) == [str(i) for i in range(12)]


def test_one_cell_has_no_clusters(trained):
    with pytest.raises(cg.InputError, match="1 cell, but clusters need at least 2"):
        cg.tl.cluster(trained[:1].copy())


def test_reconstructions_that_are_no_numbers_are_no_result(adata, monkeypatch):
    def ruined(network, rows, loss):
        return np.full(adata.shape, np.nan, np.float32)

    def ruined_in_parts(network, rows, loss):
        return Parts(rows.shape, lambda part: ruined(network, rows, loss)[part])

    judging, select = (import_module(f"cellglass.{name}") for name in ("judging", "select"))
    monkeypatch.setattr("cellglass.encode.reconstruct", ruined)
    with pytest.raises(
        cg.TrainingError, match="no longer finite numbers, although the loss is"
    ):
        cg.tl.autoencoder(adata, **TINY)
    assert "ae" not in adata.uns
    for name, instead in (
        ("predictions", ruined_in_parts),
        ("reconstruction_coordinates", ruined),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(judging, name, instead)
            with pytest.raises(cg.TrainingError, match="The reconstructions of mse_3_seed0"):
                cg.compare(adata, n_latent=3, n_hidden=8, max_epochs=1, loss="mse")
    monkeypatch.setattr(select, "reconstruct", ruined)
    with pytest.raises(cg.TrainingError, match="its predictions are no longer finite"):
        cg.select(adata, n_latent=3, n_hidden=8, max_epochs=1, splits=2)


def test_clusters_never_take_the_place_of_a_model(trained):
    with pytest.raises(
        cg.InputError, match=r"adata\.uns\['ae'\] that cg.tl.cluster did not make"
    ):
        cg.tl.cluster(trained, "kmeans", n_clusters=2, key_added="ae")
    assert cg.tl.get_model(trained).n_latent == 3


def test_what_others_wrote_is_never_replaced(trained):
    trained.uns["pca"] = {"params": {}}
    before = trained.copy()
    for call, words in (
        (
            lambda: cg.tl.autoencoder(trained, key_added="X_pca"),
            r"adata.uns\['pca'\], which holds",
        ),
        (
            lambda: cg.tl.autoencoder(trained, key_added="ae"),
            "differ only in 'X_'. Give 'X_ae'",
        ),
        (
            lambda: cg.tl.cluster(trained, "leiden", key_added="label"),
            r"adata.obs\['label'\] that cg.tl.cl",
        ),
        (
            lambda: cg.tl.cluster(trained, "leiden", key_added="pca"),
            r"adata.uns\['pca'\] that cg.tl.cluster",
        ),
        (lambda: cg.tl.denoise(trained, key_added="counts"), r"adata.layers\['counts'\] that"),
        (
            lambda: cg.tl.denoise(trained, key_added="pca"),
            r"adata.uns\['pca'\] that cg.tl.denoise",
        ),
    ):
        with pytest.raises(cg.InputError, match=words):
            call()
    assert list(trained.uns) == list(before.uns)
    np.testing.assert_array_equal(trained.layers["counts"], before.layers["counts"])


def test_what_the_same_tool_wrote_is_replaced(trained):
    cg.tl.cluster(trained, "leiden", resolution=5.0)
    many = trained.obs["ae_leiden"].nunique()
    cg.tl.cluster(trained, "leiden", resolution=0.01)
    assert trained.obs["ae_leiden"].nunique() < many
    cg.tl.denoise(trained)
    first = trained.layers["ae_denoised"].copy()
    assert trained.uns["ae_denoised"]["params"]["key"] == "ae"
    cg.tl.autoencoder(trained, n_latent=2, n_hidden=4, max_epochs=1, layer="counts")
    cg.tl.denoise(trained)
    assert (trained.layers["ae_denoised"] != first).any()


def test_the_reconstruction_by_an_earlier_model_does_not_stay_beside_a_new_one(trained):
    few = {"n_latent": 2, "n_hidden": 4, "max_epochs": 1, "layer": "counts"}
    cg.tl.autoencoder(trained, **few, reconstruction=True)
    cg.tl.autoencoder(trained, **few, key_added="X_other")
    assert "ae_reconstruction" in trained.layers
    cg.tl.autoencoder(trained, **few)
    assert "ae_reconstruction" not in trained.layers


def test_names_of_genes_that_repeat_are_told(small):
    twice = small.copy()
    twice.var_names = ["g", "g", *small.var_names[2:]]
    with pytest.warns(UserWarning, match="1 name stands more than once, such as 'g' at 1"):
        cg.tl.autoencoder(twice, n_latent=2, n_hidden=4, max_epochs=1, layer="counts")


def test_the_ids_of_genes_are_kept_with_the_model_and_find_them(small):
    ids = [f"ENSG{i:011d}" for i in range(small.n_vars)]
    named = small.copy()
    named.var["gene_ids"] = [f"{name}.1" for name in ids]
    cg.tl.autoencoder(named, n_latent=2, n_hidden=4, max_epochs=1, layer="counts")
    model = cg.tl.get_model(named)
    other = anndata.AnnData(named.layers["counts"][:, ::-1], var=pd.DataFrame(index=ids[::-1]))
    np.testing.assert_array_equal(model.transform(other), named.obsm["X_ae"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "louvain"}, "method is 'louvain'"),
        ({"use_rep": "X_as"}, r"no 'X_as'\. Did you mean 'X_ae'"),
        ({"use_rep": "X_pca"}, r"sc.pp.pca\(adata\), or name one"),
        (
            {"method": "leiden", "n_clusters": 3, "resolution": 1.0},
            "either decides alone how many",
        ),
        (
            {"method": "leiden", "use_rep": ["X_ae", "X_ae"]},
            "names 2 representations, but leiden takes one",
        ),
        ({"method": "consensus", "use_rep": []}, "names 0 representations"),
        ({"method": "consensus", "seeds": 0}, "seeds is 0"),
        ({"resolution": 1.0}, "does not use it"),
        ({"use_rep": "X_other"}, r"a model in adata\.uns\['other'\].*method='leiden'"),
        ({"method": "idec", "use_rep": "X_other"}, "uns\\['other'\\] holds no model.*use_rep="),
        ({"gamma": -1}, "gamma is -1"),
        ({"method": "kmeans", "n_clusters": 61}, "n_clusters is 61"),
        ({"method": "leiden", "resolution": 0}, "resolution is 0"),
        ({"n_neighbors": 0}, "n_neighbors is 0"),
        ({"random_state": -1}, "random_state is -1"),
        ({"key_added": "a/b"}, "a/b"),
    ],
)
def test_a_mistake_in_clustering_is_explained(trained, options, message):
    trained.obsm["X_other"] = trained.obsm["X_ae"].copy()
    untouched = trained.copy()
    with pytest.raises(cg.InputError, match=message):
        cg.tl.cluster(trained, **options)
    same(trained, untouched)


def test_joint_latent_vectors_replace_nothing_but_their_own_and_go_with_their_clusters(trained):
    mine = np.ones((trained.n_obs, 2))
    trained.obsm["X_k"] = mine.copy()
    how = {"n_clusters": 3, "key_added": "k"}
    with pytest.raises(cg.InputError, match=r"obsm\['X_k'\].*did not make.*another name"):
        cg.tl.cluster(trained, "idec", **how)
    cg.tl.cluster(trained, "kmeans", **how)
    with pytest.raises(cg.InputError, match=r"obsm\['X_k'\].*did not make.*another name"):
        cg.tl.cluster(trained, "idec", **how)  # also where the clusters are its own
    np.testing.assert_array_equal(trained.obsm["X_k"], mine)
    del trained.obsm["X_k"]
    cg.tl.cluster(trained, "idec", max_epochs=1, **how)
    cg.tl.cluster(trained, "idec", max_epochs=1, **how)
    assert "X_k" in trained.obsm
    cg.tl.cluster(trained, "kmeans", **how)
    assert "X_k" not in trained.obsm


def test_fewer_clusters_than_were_asked_for_are_told_of(trained):
    trained.obsm["X_alike"] = np.repeat(np.eye(2), trained.n_obs // 2, axis=0)
    with pytest.warns(UserWarning, match="3 clusters were asked for, .* kmeans finds 2"):
        cg.tl.cluster(trained, "kmeans", use_rep="X_alike", n_clusters=3)
    assert trained.uns["alike_kmeans"]["params"]["n_clusters"] == 2


@pytest.mark.parametrize("method", ["consensus", "idec"])
def test_a_representation_that_is_not_the_models_is_refused_where_the_model_is_used(
    trained, method
):
    trained.obsm["X_ae"] = trained.obsm["X_ae"][::-1].copy()
    untouched = trained.copy()
    with pytest.raises(cg.InputError, match=r"obsm\['X_ae'\] is not what the model.*leiden"):
        cg.tl.cluster(trained, method, n_clusters=3)
    same(trained, untouched)
    cg.tl.cluster(trained, "kmeans", n_clusters=3)  # which takes whatever there is


def test_missing_values_in_a_representation_are_refused(trained):
    trained.obsm["X_ae"][4, 1] = np.nan
    with pytest.raises(cg.InputError, match=r"1 value that is .*cell 5 .*dimension 2"):
        cg.tl.cluster(trained)


# --- beside scanpy -----------------------------------------------------------------------


def test_scanpy_goes_on_from_the_latent_vectors(trained):
    sc.pp.neighbors(trained, use_rep="X_ae")
    sc.tl.leiden(trained, flavor="igraph", n_iterations=2)
    sc.tl.umap(trained)
    assert trained.obsm["X_umap"].shape == (60, 2)
    assert trained.uns["neighbors"]["params"]["use_rep"] == "X_ae"


def test_importing_the_package_and_its_tools_loads_nothing_heavy():
    program = (
        "import sys, cellglass, cellglass.tl; cellglass.tl.autoencoder; "
        "print(*({'jax', 'matplotlib', 'anndata', 'scanpy', 'pandas'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "" and not run.stderr
    assert {"tl", "pl"} <= set(dir(cg)) & set(cg.__all__)


def test_examples_in_the_docstrings_run():
    import doctest

    failed, tried = doctest.testmod(cg.tl)
    assert failed == 0 and tried > 10
