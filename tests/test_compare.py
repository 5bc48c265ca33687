"""A comparison is fair, repeatable, and the same however the cells are handed over."""

import dataclasses
import importlib
import subprocess
import sys
from concurrent.futures import Executor, Future

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn import decomposition
from sklearn.neighbors import NearestNeighbors

import cellglass as cg
import cellglass.compare  # so that it is in sys.modules; the name stays the function's
from cellglass.batches import SparseRows, on_device
from cellglass.compare import Comparison, compare, split_cells
from cellglass.errors import InputError, TrainingError
from cellglass.matrices import Parts
from cellglass.tsne import affinities_of_map, neighbors_of_map

module = sys.modules["cellglass.compare"]
FEW = {"n_latent": 2, "loss": "nonzero_mse", "max_epochs": 2, "n_hidden": 8}


@pytest.fixture(scope="module", autouse=True)
def no_tsne():
    """Leave out t-SNE, which has its own tests and takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        project = sys.modules["cellglass.project"]
        patch.setattr(project, "tsne", lambda scores, **_: scores[:, :2])
        yield


def simulated() -> anndata.AnnData:
    return cg.simulate(60, 20, 3, random_state=1)


def run(data, **kwargs) -> Comparison:
    return compare(data, **(FEW | kwargs))


def contents(value, path="") -> dict[str, object]:
    """All numbers, arrays and words inside, by where they stand; no times."""
    if dataclasses.is_dataclass(value):
        fields = [f.name for f in dataclasses.fields(value) if f.name != "seconds"]
        value = {name: getattr(value, name) for name in fields}
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        inside = (contents(v, f"{path}.{k}") for k, v in value.items())
        return {k: v for part in inside for k, v in part.items()}
    return {path: value}


def arrays(comparison: Comparison) -> dict[str, np.ndarray]:
    found = {}
    for name, value in contents(comparison).items():
        if isinstance(value, pd.Categorical):
            value = value.codes
        if isinstance(value, np.ndarray | jax.Array | float | int):
            found[name] = np.asarray(value)
    return found


def assert_equal(one: Comparison, other: Comparison) -> None:
    a, b = arrays(one), arrays(other)
    assert a.keys() == b.keys() and len(a) > 30
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope="module")
def labelled() -> anndata.AnnData:
    return simulated()


@pytest.fixture(scope="module")
def comparison(labelled) -> Comparison:
    return run(labelled)


# --- known answers -------------------------------------------------------------------


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "csr"])
def test_every_log_likelihood_is_that_of_scipy_around_the_mean_that_was_predicted(as_sparse):
    counts = simulated().layers["counts"].astype(float)
    counts[7] = 0
    losses = ("mse", "nb", "zinb")
    found = run(sparse.csr_matrix(counts) if as_sparse else counts, loss=losses, max_epochs=5)
    size_factors = counts.sum(axis=1, keepdims=True) / 1e4
    X = np.log1p(counts / np.where(size_factors > 0, size_factors, 1))
    held_out = found.is_validation
    rates = counts[~held_out].sum(axis=0) / size_factors[~held_out].sum()
    pca = decomposition.PCA(2).fit(X[~held_out])
    predicted = {"pca": np.expm1(pca.inverse_transform(pca.transform(X)))}  # no one is above 0
    for one in found.runs:
        output = one.training.network(X.astype(np.float32))
        eta = np.asarray(output.eta, float)
        predicted[one.name] = np.expm1(eta) if one.settings.loss == "mse" else np.exp(eta)
        if one.settings.loss == "zinb":
            kept = 1 / (1 + np.exp(np.asarray(output.heads["dropout_logit"], float)))
            predicted[one.name] *= kept
    rows = found.summary["runs"] + found.summary["baselines"]
    assert len(rows) == len(predicted) == 4
    for row in rows:
        means = size_factors * np.maximum(predicted[row.get("run", "pca")], 0)
        totals, of_means = counts[~held_out].sum(axis=0), means[~held_out].sum(axis=0)
        factors = np.divide(totals, of_means, out=np.zeros(20), where=of_means > 0)
        means = np.maximum(means * factors, 0.01 * rates * size_factors)
        expected = stats.poisson.logpmf(counts, means)
        null = stats.poisson.logpmf(counts, rates * size_factors)
        best = stats.poisson.logpmf(counts, counts)
        for name, cells in (("train", ~held_out), ("validation", held_out)):
            share = (expected - null)[cells].sum() / (best - null)[cells].sum()
            for kind, value in (
                ("log_likelihood", expected[cells].mean()), ("deviance_explained", share),
            ):  # fmt: skip
                np.testing.assert_allclose(
                    row["reconstruction"][f"{kind}_{name}"], value, rtol=2e-3, atol=1e-4,
                    err_msg=f"{kind} of {row.get('run')}",
                )  # fmt: skip


def test_values_that_are_only_said_to_be_counts_have_no_likelihood():
    X = simulated().layers["counts"] / 2
    found = run(X, input="counts").summary
    assert found["dataset"]["input"] == "counts"
    assert found["runs"][0]["reconstruction"]["log_likelihood_validation"] is None


# --- the same result -----------------------------------------------------------------


def test_the_same_seed_gives_the_same_comparison_and_leaves_the_cells_alone(labelled):
    before = labelled.copy()
    one = run(labelled, seeds=2)
    assert_equal(one, run(labelled, seeds=2))
    np.testing.assert_array_equal(labelled.X, before.X)
    pd.testing.assert_frame_equal(labelled.obs, before.obs)
    assert [r.name for r in one.runs] == ["nonzero_mse_2_seed0", "nonzero_mse_2_seed1"]
    assert not np.array_equal(one.runs[0].latent_vectors, one.runs[1].latent_vectors)


def test_another_random_state_holds_out_other_cells_and_starts_from_other_weights(labelled):
    one, other = run(labelled), run(labelled, random_state=2**32 - 1)
    assert (one.is_validation != other.is_validation).any()
    assert not np.array_equal(one.runs[0].latent_vectors, other.runs[0].latent_vectors)


@pytest.mark.parametrize(
    "make",
    [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, np.float64],
    ids=["csr", "csr-array", "csc", "float64"],
)
def test_the_form_of_the_matrix_changes_nothing(make, labelled, comparison):
    assert_equal(comparison, run(anndata.AnnData(make(labelled.X), obs=labelled.obs)))


def test_a_matrix_too_large_to_be_dense_gives_the_same(labelled, comparison, monkeypatch):
    monkeypatch.setattr(importlib.import_module("cellglass.fit"), "DENSE_BUDGET_BYTES", 0)
    seen = []

    def sparsely(X, size_factors, **_):
        seen.append(on_device(X, size_factors, dense_budget_bytes=0))
        return seen[-1]

    monkeypatch.setattr(module, "on_device", sparsely)
    csr = run(anndata.AnnData(sparse.csr_matrix(labelled.X), obs=labelled.obs))
    assert [type(rows) for rows in seen] == [SparseRows]
    a, b = arrays(comparison), arrays(csr)
    assert a.keys() == b.keys()
    for name in a:
        # PCA adds up in another order; the networks see the same to the last bit.
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(comparison.runs[0].latent_vectors, csr.runs[0].latent_vectors)


def test_reconstructions_of_many_cells_are_never_held_gene_by_gene(labelled, monkeypatch):
    monkeypatch.setattr("cellglass.evaluate.JUDGED_IN_FULL", 30)
    monkeypatch.setattr("cellglass.evaluate.N_COMPONENTS", 5)
    for name in ("encode", "metrics", "pca", "matrices"):
        monkeypatch.setattr(f"cellglass.{name}.CHUNK", 16)
    judging = sys.modules["cellglass.judging"]
    make, taken = judging.reconstruction_coordinates, []

    def watched(network, rows, loss) -> Parts:
        parts = make(network, rows, loss)

        def compute(part: slice) -> np.ndarray:
            taken.append(len(range(*part.indices(len(parts)))))
            return parts[part]

        return Parts(parts.shape, compute)

    counts = labelled.copy()
    counts.X = counts.layers["counts"]
    in_parts, whole = [], []
    for instead, found in (
        (watched, in_parts),
        (lambda *given: make(*given)[:], whole),
    ):
        monkeypatch.setattr(judging, "reconstruction_coordinates", instead)
        (one,) = run(counts, loss="nb").runs
        found += [one.reconstruction.neighbors_preserved, one.reconstruction.label_silhouette]
        found.append(np.abs(one.reconstruction_maps.pca).sum())
    assert taken and max(taken) <= 16
    np.testing.assert_allclose(in_parts, whole, rtol=1e-3)


def test_of_many_cells_neighbours_are_looked_for_once_in_each_space(labelled, monkeypatch):
    monkeypatch.setattr("cellglass.evaluate.JUDGED_IN_FULL", 30)
    monkeypatch.setattr("cellglass.evaluate.N_COMPONENTS", 5)
    fit, searched, mapped = NearestNeighbors.fit, [], []

    def watched(finder, X) -> NearestNeighbors:
        searched.append(X.shape)
        return fit(finder, X)

    def seen(scores, *, P=None) -> np.ndarray:
        mapped.append((scores, P))
        return scores[:, :2]

    monkeypatch.setattr(NearestNeighbors, "fit", watched)
    monkeypatch.setattr("cellglass.project.tsne", seen)
    run(labelled)
    assert len(searched) == 4  # the original, PCA, the latent vectors and the reconstruction
    assert len(mapped) == 3
    for scores, P in mapped:
        expected = affinities_of_map(neighbors_of_map(scores))
        np.testing.assert_allclose(P.toarray(), expected.toarray(), rtol=1e-4)


def test_counts_and_their_logarithms_give_the_same(labelled, comparison):
    counts = run(anndata.AnnData(labelled.layers["counts"], obs=labelled.obs))
    assert (counts.preprocessor.input, comparison.preprocessor.input) == ("counts", "log")
    a, b = arrays(counts), arrays(comparison)
    of_counts = {name for name in a if "likelihood" in name}
    assert len(of_counts) == 4 and a.keys() - b.keys() == of_counts
    for name in b:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_plain_array_is_taken_and_gets_numbers_for_names(labelled):
    found = run(labelled.X)
    assert found.labels is None and found.cell_names[:2] == ("0", "1")


@pytest.mark.parametrize(
    "given",
    [
        {"n_latent": np.array([2]), "random_state": np.int64(0), "seeds": np.int64(1)},
        {"max_epochs": np.int32(2), "learning_rate": np.float64(1e-3)},
    ],
    ids=["whole", "mixed"],
)
def test_numpys_numbers_are_settings_like_pythons(given, labelled, comparison):
    found = run(labelled, **given)
    assert_equal(found, comparison)
    assert all(
        type(value) in (int, float, str, bool, tuple, type(None))
        for value in vars(found.settings).values()
    )
    assert {type(size) for size in found.settings.n_latent} == {int}


# --- fair ----------------------------------------------------------------------------


def test_runs_that_differ_in_their_loss_alone_start_alike_and_see_the_same(labelled):
    a, b = run(labelled, loss=("mse", "nonzero_mse"), learning_rate=1e-12).runs
    assert (a.settings.loss, b.settings.loss) == ("mse", "nonzero_mse")
    np.testing.assert_allclose(a.latent_vectors, b.latent_vectors, atol=1e-6)


def test_held_out_cells_change_no_weight_and_no_axis_of_pca(labelled, comparison):
    held_out = np.flatnonzero(comparison.is_validation)
    assert len(held_out) == 6
    X = np.array(labelled.X)
    X[held_out] *= 3
    other = run(anndata.AnnData(X, obs=labelled.obs))
    np.testing.assert_array_equal(other.is_validation, comparison.is_validation)
    for a, b in zip(
        jax.tree.leaves(comparison.runs[0].training.network),
        jax.tree.leaves(other.runs[0].training.network),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    kept = ~comparison.is_validation
    a, b = comparison.baselines[0], other.baselines[0]
    np.testing.assert_allclose(a.scores[kept], b.scores[kept], atol=1e-5)
    assert not np.allclose(a.scores[~kept], b.scores[~kept])


def test_the_pca_beside_it_is_fitted_to_the_training_cells_alone(labelled, comparison):
    X, kept = labelled.X.astype(np.float64), ~comparison.is_validation
    pca = decomposition.PCA(2, svd_solver="full").fit(X[kept])
    back = pca.inverse_transform(pca.transform(X))
    expected = np.square(X - back)
    errors = comparison.baselines[0].errors
    assert errors.mse_all == pytest.approx(expected.mean(), rel=1e-6)
    assert errors.of(~kept).mse_all == pytest.approx(expected[~kept].mean(), rel=1e-6)
    whole = decomposition.PCA(2, svd_solver="full").fit(X)
    unfair = np.square(X - whole.inverse_transform(whole.transform(X)))[~kept].mean()
    assert errors.of(~kept).mse_all > unfair


def test_labels_are_for_scores_alone(labelled, comparison):
    mixed = labelled.copy()
    mixed.obs["label"] = np.random.default_rng(0).permutation(mixed.obs["label"])
    a, b = arrays(comparison), arrays(run(mixed))
    changed = {name for name in a if not np.array_equal(a[name], b[name])}
    words = {"ari", "nmi", "label_silhouette", "labels"}
    assert changed and all(words & set(name.split(".")) for name in changed)


def test_without_labels_leiden_finds_the_number_of_clusters(labelled, comparison):
    bare = labelled.copy()
    del bare.obs["label"]
    found = run(bare)
    assert found.n_clusters_from == "leiden" and found.n_clusters >= 2
    assert comparison.n_clusters_from == "labels" and comparison.n_clusters == 3
    judged = found.runs[0].latent
    assert judged.label_silhouette is None
    assert all(
        c.agreement["ari"] is None and c.agreement["nmi"] is None
        for c in judged.clustering.values()
    )
    assert run(bare, n_clusters=4).n_clusters_from == "given"
    np.testing.assert_array_equal(
        found.runs[0].latent_vectors, comparison.runs[0].latent_vectors
    )


def test_any_column_of_obs_may_hold_the_labels_and_unused_classes_do_not_count(labelled):
    other = labelled.copy()
    other.obs["kind"] = other.obs["label"].cat.add_categories(["never seen"])
    assert run(other, labels="kind").n_clusters == 3
    other.obs["number"] = np.arange(60) % 4
    assert run(other, labels="number").n_clusters == 4


def test_progress_ends_where_all_runs_were_judged_before_the_last_training_ended(
    labelled, monkeypatch
):
    class AtOnce(Executor):
        def submit(self, task, /, *args, **kwargs):
            done = Future()
            done.set_result(task(*args, **kwargs))
            return done

    monkeypatch.setattr(module, "workers", AtOnce)
    told = []
    run(labelled, n_latent=(2, 3), progress=lambda *what: told.append(what))
    assert [what for what in told if what[0] == "Maps and clusters"][-1][1:] == (5, 5)


def test_every_size_and_seed_is_run_and_progress_counts_them(labelled):
    told = []
    found = run(
        labelled, n_latent=(2, 3), seeds=2,
        progress=lambda *what: told.append(what),
    )  # fmt: skip
    assert len({r.name for r in found.runs}) == len(found.runs) == 4
    assert [b.name for b in found.baselines] == ["pca_2", "pca_3"]
    for stage, total in (("Training", 8), ("Maps and clusters", 7)):
        done = [(d, t) for s, d, t in told if s == stage]
        assert done == [(i, total) for i in range(total + 1)]


@pytest.mark.parametrize(
    ("n", "fraction", "expected"),
    [(10, 0, 0), (10, 0.1, 1), (10, 0.01, 1), (100, 0.25, 25), (3, 0.1, 1), (3, 0.9, 1)],
)
def test_the_split_holds_out_the_share_but_leaves_two_cells_to_train_on(n, fraction, expected):
    held_out = split_cells(n, fraction, 0)
    assert held_out.shape == (n,) and held_out.sum() == expected
    np.testing.assert_array_equal(held_out, split_cells(n, fraction, 0))


# --- mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"loss": "nonzero_mes"}, ["'nonzero_mes'", "Did you mean 'nonzero_mse'?"]),
        ({"loss": ()}, ["loss is empty", "mse"]),
        ({"loss": ("mse", "mse")}, ["one loss twice"]),
        ({"loss": None}, ["None", "'mse'"]),
        ({"n_latent": 21}, ["21", "only 20 genes"]),
        ({"n_latent": ()}, ["n_latent is empty"]),
        ({"n_latent": (2, 2)}, ["2 twice"]),
        ({"n_latent": 0}, ["n_latent is 0", "at least 1"]),
        ({"n_latent": 2.0}, ["2.0", "whole number"]),
        ({"seeds": 0}, ["seeds is 0", "at least 1"]),
        ({"n_hidden": 0}, ["n_hidden is 0"]),
        ({"n_layers": -1}, ["n_layers is -1", "at least 0"]),
        ({"max_epochs": 0}, ["max_epochs is 0"]),
        ({"batch_size": 0}, ["batch_size is 0"]),
        ({"batch_size": 1.5}, ["batch_size is 1.5", "whole number"]),
        ({"learning_rate": 0}, ["learning_rate is 0", "greater than 0"]),
        ({"learning_rate": float("nan")}, ["learning_rate is nan"]),
        ({"validation_fraction": 1}, ["validation_fraction is 1", "at most 0.9"]),
        ({"validation_fraction": -0.1}, ["validation_fraction is -0.1"]),
        ({"n_clusters": 61}, ["n_clusters is 61", "at most 60"]),
        ({"n_clusters": 0}, ["n_clusters is 0"]),
        ({"random_state": -1}, ["random_state is -1"]),
        ({"random_state": 2**32}, ["random_state is 4294967296"]),
        ({"random_state": None}, ["random_state is None"]),
        ({"input": "raw"}, ["input is 'raw'", "'counts'"]),
        ({"labels": "lable"}, ["'lable'", "'label'"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be_used_is_named_with_what_was_expected(given, words, labelled):
    with pytest.raises(InputError) as error:
        run(labelled, **given)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda X: X[:2], ["2 cells", "at least 3"], id="two-cells"),
        pytest.param(lambda X: X[0], ["two"], id="1-d"),
        pytest.param(lambda X: X - 1, ["negative"], id="negative"),
        pytest.param(lambda X: np.where(X > 0, np.nan, X), ["NaN"], id="nan"),
        pytest.param(lambda X: X.astype(str), ["no plain numbers"], id="text"),
        pytest.param(lambda X: X[:, :0], ["0 genes"], id="no-genes"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_refused(make, words, labelled):
    with pytest.raises(InputError) as error:
        run(make(labelled.X))
    for word in words:
        assert word in str(error.value)


def test_a_missing_label_is_placed(labelled):
    other = labelled.copy()
    other.obs.loc["cell_4", "label"] = None
    with pytest.raises(InputError, match=r"no label for 1 of 60 cells.*'cell_4'"):
        run(other)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("fraction", [0, 0.1])
def test_a_training_that_runs_away_is_said_to_even_in_its_last_step(epochs, fraction, labelled):
    with pytest.raises(TrainingError, match=f"of {epochs}.*too large a learning rate"):
        run(labelled, learning_rate=1e30, max_epochs=epochs, validation_fraction=fraction)


# --- names ---------------------------------------------------------------------------


def test_compare_stays_the_function_when_its_module_is_imported():
    assert cg.compare is compare is module.compare
    assert callable(cellglass.compare)
    assert cg.simulate is sys.modules["cellglass.simulate"].simulate


def test_importing_the_package_is_quick():
    heavy = "{'jax', 'sklearn', 'scanpy', 'anndata', 'pandas', 'matplotlib', 'equinox'}"
    code = f"import sys, cellglass; print({heavy} & set(sys.modules)); cellglass.InputError"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_every_public_name_is_there_and_an_unknown_one_is_not():
    assert all(getattr(cg, name) is not None for name in cg.__all__)
    assert set(cg.__all__) <= set(dir(cg))
    with pytest.raises(AttributeError, match="no attribute 'comparison'"):
        _ = cg.comparison
