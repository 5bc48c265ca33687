"""From a matrix to clusters and a page, from Python and from the command line."""

import json
from dataclasses import replace
from functools import partial

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

import cellglass as cg
from cellglass import kept_models
from cellglass.cli import app
from cellglass.cluster import METHODS, enough_epochs
from cellglass.cluster_space import consensus_of_spaces
from cellglass.confidence import membership
from cellglass.errors import InputError
from cellglass.report.cluster_figures import legends_of
from cellglass.report.cluster_page import command as summary_command
from cellglass.report.cluster_page import python_call
from cellglass.report.cluster_summary import _how_many
from cellglass.report.render import python_call as comparison_call

TINY = {"n_latent": 4, "n_hidden": 16, "max_epochs": 80, "learning_rate": 1e-2, "seeds": 2}


@pytest.mark.parametrize("method", METHODS)
def test_clear_groups_are_found_with_their_markers(counts, method):
    found = cg.cluster(counts, method, n_clusters=3, **TINY)
    assert found.agreement()["ari"] > 0.95
    assert found.confidence.mean() > 0.9
    assert len(found.trainings) == (2 if method == "consensus" else 1)
    truth = counts.obs["label"].str[-1].astype(int)
    for j in range(3):
        group = truth[found.clusters == j].mode()[0]
        best = found.markers.loc[found.markers["cluster"] == j, "gene"].iloc[:10]
        assert set(best) <= {f"gene{i}" for i in range(15 * group, 15 * (group + 1))}


def test_no_more_dimensions_are_taken_than_genes_are_seen(counts):
    found = cg.cluster(counts, "kmeans", n_clusters=3, n_top_genes=4, max_epochs=1)
    assert found.settings.n_latent == 4
    assert found.latent_vectors[0].shape == (150, 4)


def test_cells_that_are_backed_by_a_file_are_clustered_as_in_memory(counts, tmp_path):
    counts.write_h5ad(tmp_path / "dense.h5ad")
    sparse_cells = counts.copy()
    sparse_cells.X = sparse.csr_matrix(counts.X)
    sparse_cells.write_h5ad(tmp_path / "sparse.h5ad")
    expected = cg.cluster(counts, "kmeans", n_clusters=3, **TINY)
    for name in ("dense", "sparse"):
        backed = anndata.read_h5ad(tmp_path / f"{name}.h5ad", backed="r")
        found = cg.cluster(backed, "kmeans", n_clusters=3, **TINY)
        np.testing.assert_array_equal(found.clusters, expected.clusters)
        backed.file.close()


def test_labels_decide_nothing_and_the_same_seed_finds_the_same(counts):
    found = cg.cluster(counts, n_clusters=3, **TINY)
    unlabelled = counts.copy()
    del unlabelled.obs["label"]
    again = cg.cluster(unlabelled, n_clusters=3, **TINY)
    np.testing.assert_array_equal(found.found.membership, again.found.membership)
    assert again.agreement() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "louvain"}, "method is 'louvain'"),
        ({"n_clusters": 0}, "n_clusters is 0"),
        ({"n_top_genes": 0}, "n_top_genes is 0"),
        ({"seeds": 0}, "seeds is 0"),
        ({"gamma": -1}, "gamma is -1"),
        ({"resolution": 0, "method": "kmeans"}, "resolution is 0"),
        ({"resolution": 1.0}, "a consensus is not made by Leiden"),
        ({"method": "leiden", "n_clusters": 3, "resolution": 1.0}, "Leave one of them out"),
        ({"loss": "nope"}, "nope"),
        ({"labels": "nope"}, "nope"),
        ({"labels": ["a", "b"]}, "labels is a list, but the name"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_a_mistake_is_explained(counts, options, message):
    with pytest.raises(cg.InputError, match=message):
        cg.cluster(counts, **options)


SCAN = {
    "resolutions": [0.1, 0.5, 1.0], "stability": [0.99, 0.98, 0.5], "n_clusters": [2, 4, 9],
    "chosen": 1, "resolution": 0.5,
}  # fmt: skip
NO_SCAN = {**SCAN, "stability": [0.4, 0.35, 0.3], "chosen": None, "resolution": None}
APART = {
    "n_clusters": [2, 3, 4, 5], "silhouette": [0.191, None, 0.2, 0.1], "chosen": 4,
    "finest": 5, "n_cells": 90,
}  # fmt: skip
TWO = {**APART, "n_clusters": [2], "silhouette": [0.2], "chosen": 2, "finest": 2}
NONE_APART = {**APART, "n_clusters": [], "silhouette": [], "chosen": 1, "finest": 1}
LEFT_OUT = "again when a fifth of the cells is left out"
SAMPLE = " A random 90 of the cells decided that."


@pytest.mark.parametrize(
    ("origin", "method", "scan", "apart", "n_cells", "sentence"),
    [
        ("given", "kmeans", None, None, 90, " Their number was given, not found."),
        ("leiden", "leiden", SCAN, None, 90, "changes them little (adjusted Rand index 0.980). "
         "Coarser ones are as stable: 2."),
        ("leiden", "leiden", None, None, 90, " Leiden finds them at resolution 0.7."),
        ("leiden", "kmeans", None, None, 90, " Leiden finds as many at resolution 0.7."),
        (
            "silhouette", "consensus", SCAN, APART, 90,
            f" Leiden finds no more than 5 {LEFT_OUT} (median of the networks); of 2 to 5 "
            "clusters, 4 lie farthest apart (silhouette 0.200 in the latent vectors, mean of "
            "the networks). Nearly as far: 2. The data do not decide between them.",
        ),
        ("silhouette", "kmeans", SCAN, TWO, 90, f" Leiden finds no more than 2 {LEFT_OUT}."),
        ("silhouette", "kmeans", SCAN, TWO, 91, f"{LEFT_OUT}.{SAMPLE}"),
        ("leiden", "kmeans", NO_SCAN, NONE_APART, 90, "0.400 at most): what structure there"),
        ("leiden", "kmeans", NO_SCAN, NONE_APART, 91, f"there is has no borders.{SAMPLE}"),
        ("leiden", "kmeans", NO_SCAN, NONE_APART, 74, "no borders. Or it does not show: of 74 "
         "cells, 15 neighbours may be more than a group has."),
    ],
)  # fmt: skip
def test_a_sentence_says_why_there_are_so_many(origin, method, scan, apart, n_cells, sentence):
    k = 1 if apart is NONE_APART else 4
    said = _how_many(
        {
            "n_clusters": k, "n_clusters_from": origin, "scan": scan, "separation": apart,
            "clusters": [{"share": 0.4, "n_cells": 36}, {"share": 0.2, "n_cells": 18}],
            "settings": {
                "method": method, "resolution": 0.7, "n_clusters": 4, "n_neighbors": 15
            },
            "trainings": [{}] * (5 if method == "consensus" else 1),
            "dataset": {"n_cells": n_cells},
        }
    )  # fmt: skip
    assert sentence in said["answer"]
    assert (SAMPLE in said["answer"]) == (n_cells == 91)


def test_a_path_is_no_matrix():
    with pytest.raises(cg.InputError, match=r"'cells.h5ad', a path.*cellglass.read"):
        cg.cluster("cells.h5ad")


def test_fewer_clusters_than_asked_for_are_told():
    same = np.tile(np.arange(30, dtype=np.float32), (40, 1))
    same[:, 0] = np.repeat([0, 40], 20)
    found = cg.cluster(same, "kmeans", n_clusters=5, **TINY)
    answer = found.summary["conclusions"][0]["answer"]
    assert found.found.n_clusters == 2 and found.found.n_clusters_from == "given"
    assert "5 were asked for, but in these data the method finds 2." in answer


def test_few_cells_are_passed_more_often():
    assert enough_epochs(200, 128) == 400
    assert enough_epochs(5000, 128) == 50
    assert enough_epochs(1280, 128) == 200


def test_the_command_writes_what_the_call_finds(counts, tmp_path):
    path = tmp_path / "cells.h5ad"
    counts.write_h5ad(path)
    words = ["cluster", str(path), "--labels", "label", "--n-latent", "4", "--n-hidden", "16"]
    words += [
        "--max-epochs",
        "80",
        "--learning-rate",
        "0.01",
        "--seeds",
        "2",
        "-o",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    found = cg.cluster(counts, **TINY)
    table = pd.read_csv(out / "clusters.csv", index_col="cell")
    np.testing.assert_array_equal(table["cluster"], found.clusters)
    np.testing.assert_allclose(table["confidence"], found.confidence)
    assert results["n_clusters"] == found.found.n_clusters == 3
    by_number = results["separation"]
    assert by_number["chosen"] == 3 and by_number["n_cells"] == 150
    drawn = len(by_number["n_clusters"]) > 1
    assert (out / "figures" / "separation.svg").exists() == drawn
    assert results["n_between"] == int(found.found.between.sum())
    assert results["agreement"] == found.agreement()
    kept = anndata.read_h5ad(out / "embedding.h5ad")
    assert kept.obsm["X_ae_seed1"].shape == (150, 4)
    assert list(kept.obs["cluster"].cat.codes) == list(found.clusters)
    page = (out / "report.html").read_text()
    for conclusion in results["conclusions"]:
        assert conclusion["short"] in page
    assert CliRunner().invoke(app, words).exit_code == 2  # it is there already
    assert CliRunner().invoke(app, [*words, "--resume"]).exit_code == 0


@pytest.mark.parametrize(
    ("method", "told", "spared"),
    [
        ("consensus", "seeds", "gamma"),
        ("idec", "gamma", "seeds"),
        ("kmeans", "variational", "seeds"),
    ],
)
def test_a_repetition_names_what_the_method_uses(counts, method, told, spared):
    given = {**TINY, "seeds": 2 if method == "consensus" else 5}
    summary = cg.cluster(counts, method, n_clusters=3, **given).summary
    summary["dataset"]["name"] = "cells.h5ad"
    words = (summary_command(summary) or "").replace("-", "_").split()
    call = python_call(summary)
    assert f"__{told}" in words and f"{told}=" in call
    assert f"__{spared}" not in words and f"{spared}=" not in call
    summary["settings"][spared] += 1  # given, though the method does not use it
    assert f"{spared}={summary['settings'][spared]}" in python_call(summary)


@pytest.mark.parametrize("labels", [[], ["--labels", "label"], ["--labels", "kind"]])
@pytest.mark.parametrize("job", ["cluster", "compare"])
def test_the_call_on_the_page_repeats_what_the_command_did(counts, tmp_path, job, labels):
    """Also where the file has a column of labels that nobody asked for."""
    cells = counts.copy()
    cells.obs["kind"] = cells.obs["label"]
    if "label" not in labels:
        cells.obs.loc[cells.obs_names[:3], "label"] = None
    path, out, again = tmp_path / "cells.h5ad", tmp_path / "out", tmp_path / "again"
    cells.write_h5ad(path)
    words = [job, str(path), *labels, "--n-latent", "3", "--n-hidden", "8", "--max-epochs", "1"]
    words += ["--method", "kmeans", "--n-clusters", "3"] if job == "cluster" else []
    done = CliRunner().invoke(app, [*words, "-o", str(out)])
    assert done.exit_code == 0, done.output
    results = json.loads((out / "results.json").read_text())
    code = (python_call if job == "cluster" else comparison_call)(results)
    code = code.replace("'cells.h5ad'", repr(str(path)))
    exec(code.replace(f"{'clusters' if job == 'cluster' else 'report'}/", str(again)), {})  # noqa: S102
    repeated = json.loads((again / "results.json").read_text())
    assert without_seconds(repeated) == without_seconds(results)


def without_seconds(results):
    """Leave out what differs between two calls that do the same."""
    if isinstance(results, dict):
        return {k: without_seconds(v) for k, v in results.items() if k != "seconds"}
    if isinstance(results, list):
        return [without_seconds(v) for v in results]
    return results


def test_one_label_for_all_cells_is_said_to_tell_nothing(counts):
    cells = counts.copy()
    cells.obs["label"] = "the same"
    said = cg.cluster(cells, "kmeans", n_clusters=3, **TINY).summary["conclusions"][-1]
    assert said["answer"] == "All cells have the same label, which tells nothing of clusters."


def test_labels_can_be_done_without(counts):
    cells = counts.copy()
    cells.obs.loc[cells.obs_names[4], "label"] = None
    few = {"n_latent": 2, "n_hidden": 4, "max_epochs": 1}
    for make in (partial(cg.cluster, method="kmeans", n_clusters=3), cg.compare):
        with pytest.raises(InputError, match="Or do without labels: labels=False"):
            make(cells, **few)
        with pytest.raises(InputError, match=r"'unknown'\.$"):
            make(cells, labels="label", **few)
        assert make(cells, labels=False, **few).labels is None


def test_confidence_of_idec_is_told_before_it_draws_cells_to_centres(counts):
    plain, joint = (
        cg.cluster(counts, method, n_clusters=6, **TINY) for method in ("kmeans", "idec")
    )
    (before,), (after,) = plain.latent_vectors, joint.latent_vectors
    expected = membership(before, joint.clusters)
    np.testing.assert_allclose(joint.found.membership, expected, atol=1e-6)
    assert np.abs(membership(after, joint.clusters) - expected).max() > 0.01

    cells = counts.copy()
    cg.tl.autoencoder(cells, n_latent=4, n_hidden=16, max_epochs=80, learning_rate=1e-2)
    cg.tl.cluster(cells, method="idec", n_clusters=6)
    own = cells.obs["ae_idec"].cat.codes.to_numpy().astype(int)
    expected = membership(cells.obsm["X_ae"], own)[np.arange(len(own)), own]
    np.testing.assert_allclose(cells.obs["ae_idec_confidence"], expected, atol=1e-6)


def test_clusters_are_called_the_same_in_legends_and_tables(counts):
    found = cg.cluster(counts, "kmeans", n_clusters=12, **TINY)
    legend = legends_of(found)["clusters"]
    assert list(legend.names) == [str(j) for j in range(12)] == list(legend.styles)
    assert len({(style.color, style.marker) for style in legend.styles.values()}) == 12


def test_counts_without_structure_are_one_cluster_and_an_old_folder_is_replaced(tmp_path):
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, size=60)
    path = tmp_path / "noise.npy"
    np.save(path, rng.poisson(rates, size=(200, 60)).astype(np.float32))
    named = anndata.AnnData(np.load(path))
    named.var_names = [f"gene{i}" for i in range(60)]
    out = tmp_path / "out"
    cg.cluster(named, n_clusters=2, **TINY).report(out)
    assert (out / "markers.csv").is_file()
    words = ["cluster", str(path), "--overwrite", "-o", str(out), "--seeds", "2"]
    words += ["--max-epochs", "100"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    results = json.loads((out / "results.json").read_text())
    assert results["n_clusters"] == 1 and results["n_between"] == 0
    assert len(results["conclusions"]) == 1
    assert not (out / "markers.csv").exists()  # genes have no names here


def test_tools_for_anndata_agree_on_several_networks(counts):
    adata = counts.copy()
    cg.tl.autoencoder(
        adata, n_latent=4, n_hidden=16, loss="nb", max_epochs=80, learning_rate=1e-2
    )
    cg.tl.cluster(adata, n_clusters=3, seeds=3)
    assert adata.uns["ae_consensus"]["params"]["seeds"] == 3
    assert {"ae_consensus_confidence", "ae_consensus_between"} <= set(adata.obs)
    table = pd.crosstab(adata.obs["label"], adata.obs["ae_consensus"])
    assert table.max(axis=1).sum() > 140
    cg.tl.cluster(adata, "idec", n_clusters=3, max_epochs=5)
    assert adata.obsm["X_ae_idec"].shape == (150, 4)
    assert len(adata.uns["ae_idec"]["history"]["changed"]) <= 5
    adata.X = adata.X + 1
    with pytest.raises(cg.InputError, match="trained on other values"):
        cg.tl.cluster(adata, "idec", n_clusters=3)


@pytest.mark.parametrize("n_cells", [150, 600])  # without and with neighbours that are heard
def test_the_tool_for_anndata_finds_what_the_one_call_finds(n_cells):
    cells = anndata.AnnData(cg.simulate(n_cells, 40, 3, random_state=0).layers["counts"])
    settings = {"n_latent": 4, "n_hidden": 16, "loss": "nb", "max_epochs": 3, "random_state": 3}
    adata = cells.copy()
    cg.tl.autoencoder(adata, variational=True, **settings)
    cg.tl.cluster(adata, n_clusters=3, seeds=2, random_state=3)
    found = cg.cluster(cells, n_clusters=3, seeds=2, n_top_genes=None, **settings)
    np.testing.assert_array_equal(adata.obs["ae_consensus"].cat.codes, found.clusters)
    np.testing.assert_allclose(
        adata.obs["ae_consensus_confidence"], found.confidence, rtol=1e-9
    )


def test_networks_beside_a_model_from_before_there_were_free_bits_have_none(
    counts, monkeypatch
):
    adata = counts.copy()
    settings = {"n_latent": 4, "loss": "nb", "max_epochs": 30, "kl_warmup_epochs": 0}
    cg.tl.autoencoder(adata, variational=True, free_bits=0, **settings)
    take = kept_models.trained_on

    def beside(**changed) -> np.ndarray:
        def trained_on(adata, key, Z):
            on = take(adata, key, Z)
            settings = {**on.model.settings, **changed}
            settings = {name: value for name, value in settings.items() if value != "none"}
            return replace(on, model=replace(on.model, settings=settings))

        monkeypatch.setattr(kept_models, "trained_on", trained_on)
        found, _ = kept_models.fellow_spaces(adata, "ae", adata.obsm["X_ae"], 2, random_state=0)
        return found[0]

    np.testing.assert_array_equal(beside(free_bits="none"), beside())
    assert (beside(free_bits=0.25) != beside()).any()


def test_representations_that_are_named_vote_alone(counts):
    adata = counts.copy()
    rng = np.random.default_rng(0)
    adata.obsm["X_a"], adata.obsm["X_b"] = rng.normal(size=(2, 150, 3))
    cg.tl.cluster(adata, use_rep=["X_a", "X_b"], n_clusters=3)
    alone = consensus_of_spaces([adata.obsm["X_a"], adata.obsm["X_b"]], n_clusters=3)
    np.testing.assert_array_equal(adata.obs["a_consensus_confidence"], alone.confidence)


def test_one_network_and_principal_components_are_a_consensus_too(counts):
    """Nothing is trained, so a schedule that was not kept does not matter."""
    adata = counts.copy()
    adata.layers["counts"], adata.X = adata.X, np.log1p(adata.X)
    settings = {"n_latent": 4, "n_hidden": 16, "max_epochs": 3, "layer": "counts"}
    cg.tl.autoencoder(adata, loss="nb", schedule=lambda step: 1e-2, **settings)
    before = adata.uns["ae"]["model"].copy()
    cg.tl.cluster(adata, n_clusters=3, seeds=1)
    assert adata.uns["ae_consensus"]["params"]["seeds"] == 1
    np.testing.assert_array_equal(adata.uns["ae"]["model"], before)
    with pytest.raises(cg.InputError, match=r"schedule of your own.*method='leiden'"):
        cg.tl.cluster(adata, n_clusters=3, seeds=2)
    adata.layers["counts"][0, 0] += 1
    with pytest.raises(cg.InputError, match="a method that needs no network"):
        cg.tl.cluster(adata, n_clusters=3, seeds=1)


def test_the_page_says_how_many_neighbours_are_heard(tmp_path):
    cells = cg.simulate(600, 40, 3, random_state=0)
    found = cg.cluster(cells, n_clusters=3, **{**TINY, "max_epochs": 3})
    assert found.summary["n_heard"] == 3
    page = found.report(tmp_path / "out").read_text()
    assert "its nearest cells (at most 3) are highest together" in page
