"""The scikit-learn face."""

import doctest
import inspect
import pickle
import signal

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import cellglass as cg
import cellglass.estimator as module
from cellglass.callbacks import TensorBoard
from cellglass.errors import InputError, TrainingError, TrainingInterrupted
from cellglass.fit import fit_model
from cellglass.losses import LOSSES
from cellglass.settings import ModelSettings

FEW = {"n_latent": 3, "n_hidden": 8, "max_epochs": 3, "batch_size": 16}


@pytest.fixture(scope="module", name="X")
def counts(small):
    """Raw counts, 60 cells × 20 genes."""
    return np.asarray(small.layers["counts"], np.float32)


@pytest.fixture(scope="module")
def fitted(X):
    return cg.Autoencoder(**FEW).fit(X)


def same(A, B):
    return A.dtype == B.dtype and np.array_equal(A, B)


# The checks have data of 2 to 5 genes, which a bottleneck of 10 would not fit into. They
# compile 80 programs, which takes longer than all else; without optimisation half as long.
@parametrize_with_checks([cg.Autoencoder(n_latent=1, max_epochs=2)])
def test_the_contract_of_scikit_learn_holds(estimator, check):
    check(estimator)


def test_the_examples_in_the_docstring_are_true():
    [test] = doctest.DocTestFinder(recurse=False).find(cg.Autoencoder, "Autoencoder")
    assert len(test.examples) > 5
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_defaults_are_those_of_every_face():
    def defaults(function):
        parameters = inspect.signature(function).parameters
        return {name: p.default for name, p in parameters.items() if p.default is not p.empty}

    own = defaults(cg.Autoencoder)
    settings = defaults(ModelSettings)
    assert own == {**{name: settings[name] for name in own if name in settings},
                   "callbacks": None}  # fmt: skip
    assert set(settings) - set(own) == {"seed"}
    assert own.items() <= defaults(cg.tl.autoencoder).items()


# --- the same numbers by other ways ---------------------------------------------------


def test_the_latent_vectors_are_those_of_fit_model_and_compare(X):
    settings = {**FEW, "random_state": 5}
    runs = cg.compare(X, **settings, loss=tuple(LOSSES)).runs
    assert len(runs) == len(LOSSES)
    for loss, run in zip(LOSSES, runs, strict=True):
        estimator = cg.Autoencoder(**settings, loss=loss).fit(X)
        assert same(estimator.transform(X), run.latent_vectors)
        assert -estimator.score(X) == pytest.approx(run.errors.mse_all, rel=1e-6)
        fit = fit_model(X, ModelSettings(**settings, loss=loss))
        assert same(estimator.transform(X), fit.model.transform(X))
        assert estimator.history_ == fit.training.history


def test_values_that_look_odd_are_told_whichever_way_they_are_trained_on(X):
    scaled = X / X.sum(axis=1, keepdims=True) * 1e4
    for train in (cg.Autoencoder(**FEW).fit, cg.Autoencoder(**FEW).partial_fit):
        with pytest.warns(UserWarning, match="normalised but not log-transformed") as told:
            train(scaled)
        assert told[0].filename == __file__


def test_a_matrix_in_a_file_is_taken_or_said_how_to_read(X, fitted, tmp_path):
    ad.AnnData(X).write_h5ad(tmp_path / "dense.h5ad")
    ad.AnnData(sparse.csr_matrix(X)).write_h5ad(tmp_path / "csr.h5ad")
    dense, csr = (ad.read_h5ad(tmp_path / f"{kind}.h5ad", "r") for kind in ("dense", "csr"))
    assert same(fitted.transform(dense.X), fitted.transform(X))
    for given in (csr, csr.X):
        with pytest.raises(InputError, match=r"adata\.to_memory\(\)\.X"):
            cg.Autoencoder(**FEW).fit(given)
    assert same(fitted.transform(csr.to_memory().X), fitted.transform(X))
    with pytest.raises(InputError, match=r"cg\.read\('counts\.npy'\)"):
        cg.Autoencoder(**FEW).fit("counts.npy")


def test_a_frame_whose_columns_repeat_is_refused(X):
    with pytest.raises(InputError, match="1 name stands more than once, such as 'a' at 1"):
        cg.Autoencoder(**FEW).fit(pd.DataFrame(X[:, :3], columns=["a", "b", "a"]))


def test_fit_transform_is_fit_and_then_transform(X, fitted):
    assert same(cg.Autoencoder(**FEW).fit_transform(X), fitted.transform(X))


@pytest.mark.as_shipped
@pytest.mark.parametrize(
    "convert",
    [
        sparse.csr_matrix,
        sparse.csc_array,
        sparse.coo_matrix,
        lambda X: sparse.csr_array(X.astype(np.int16)),
        lambda X: X.astype(np.float64),
        np.asfortranarray,
        lambda X: X.tolist(),
        pd.DataFrame,
        lambda X: pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(X)),
    ],
    ids=["csr", "csc", "coo", "int16", "float64", "fortran", "list", "frame", "sparse-frame"],
)
def test_every_form_of_the_same_matrix_gives_the_same_bits(X, fitted, convert):
    Y = convert(X)
    estimator = cg.Autoencoder(**FEW).fit(Y)
    assert same(estimator.transform(Y), fitted.transform(X))
    assert same(estimator.reconstruct(Y), fitted.reconstruct(X))
    assert estimator.score(Y) == fitted.score(X)
    assert same(estimator.partial_fit(Y).transform(Y), clone_fit(fitted, X).transform(X))


def clone_fit(fitted, X):
    return clone(fitted).fit(X).partial_fit(X)


def test_a_cell_is_encoded_the_same_whatever_stands_around_it(X, fitted):
    Z = fitted.transform(X)
    assert same(np.vstack([fitted.transform(X[i : i + 1]) for i in range(len(X))]), Z)
    order = np.random.default_rng(0).permutation(len(X))
    assert same(fitted.transform(np.vstack([X[order]] * 30))[: len(X)], Z[order])


def test_the_score_is_minus_the_mean_squared_error_by_hand(X, fitted):
    totals = X.sum(axis=1, keepdims=True)
    logs = np.log1p(X / np.where(totals == 0, 1, totals) * 1e4)
    error = np.mean((logs - fitted.reconstruct(X)) ** 2)
    assert fitted.score(X) == pytest.approx(-error, rel=1e-5)


def test_a_linear_autoencoder_scores_no_better_than_pca(X):
    logs = np.log1p(X, dtype=np.float64)
    pca = PCA(2).fit(logs)
    best = -np.mean((logs - pca.inverse_transform(pca.transform(logs))) ** 2)
    linear = cg.Autoencoder(
        n_latent=2, n_layers=0, max_epochs=300, learning_rate=0.05, validation_fraction=0
    ).fit(logs)
    assert 1.05 * best < linear.score(logs) <= best


def test_decoding_latent_vectors_is_the_reconstruction(X, fitted):
    Z = fitted.transform(X)
    np.testing.assert_allclose(
        fitted.inverse_transform(Z), fitted.reconstruct(X), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(InputError, match="cells × 3"):
        fitted.inverse_transform(Z[:, :2])


def test_a_saved_model_encodes_the_same(X, fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    loaded = cg.load(tmp_path / "model.safetensors")
    assert same(loaded.transform(X), fitted.transform(X))
    assert loaded.history == fitted.history_


# --- names of genes and columns -------------------------------------------------------


def test_columns_of_a_frame_become_the_genes_and_must_come_back_in_order(X, small, fitted):
    frame = pd.DataFrame(X, columns=[f"gène {i}" for i in range(20)], index=small.obs_names)
    estimator = cg.Autoencoder(**FEW).fit(frame)
    assert estimator.model_.genes == tuple(frame.columns)
    assert list(estimator.feature_names_in_) == list(frame.columns)
    assert same(estimator.transform(frame), fitted.transform(X))
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(frame[frame.columns[::-1]])
    assert fitted.model_.genes == tuple(map(str, range(20)))


def test_set_output_gives_a_frame_of_named_columns(X, small, fitted):
    frame = pd.DataFrame(X, columns=[f"g{i}" for i in range(20)], index=small.obs_names)
    Z = cg.Autoencoder(**FEW).set_output(transform="pandas").fit_transform(frame)
    assert list(Z.columns) == ["autoencoder0", "autoencoder1", "autoencoder2"]
    assert list(Z.index) == list(small.obs_names)
    assert list(fitted.get_feature_names_out()) == list(Z.columns)
    assert same(Z.to_numpy(), fitted.transform(X))


# --- inside scikit-learn's tools ------------------------------------------------------


def test_a_grid_over_sizes_and_losses_is_decided_by_the_error_alone(X):
    grid = {"n_latent": [1, 3], "loss": ["mse", "nonzero_mse"]}
    base = cg.Autoencoder(n_layers=0, max_epochs=3, learning_rate=0.01)
    search = GridSearchCV(base, grid, cv=KFold(2)).fit(X)
    expected = []
    for params in search.cv_results_["params"]:
        parts = KFold(2).split(X)
        scores = [clone(base).set_params(**params).fit(X[a]).score(X[b]) for a, b in parts]
        expected.append(np.mean(scores))
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)
    assert search.best_index_ == np.argmax(expected)
    assert same(search.transform(X), clone(search.best_estimator_).fit(X).transform(X))


def test_pipelines_and_cross_validation_take_it(X, fitted):
    steps = make_pipeline(cg.Autoencoder(**FEW), PCA(2)).fit(X)
    by_hand = PCA(2).fit_transform(fitted.transform(X))
    np.testing.assert_allclose(steps.transform(X), by_hand, rtol=1e-4, atol=1e-4)
    assert steps.get_feature_names_out().tolist() == ["pca0", "pca1"]
    assert len(cross_val_score(cg.Autoencoder(**FEW), X, cv=KFold(2))) == 2


def test_a_clone_is_not_fitted_and_trains_to_the_same(X, fitted):
    cloned = clone(fitted)
    assert not hasattr(cloned, "model_")
    assert cloned.get_params() == fitted.get_params()
    assert same(cloned.fit(X).transform(X), fitted.transform(X))


@pytest.mark.parametrize(
    "method", ["transform", "reconstruct", "inverse_transform", "score", "save"]
)
def test_what_needs_a_model_says_that_there_is_none(method, X):
    with pytest.raises(NotFittedError, match="not fitted"):
        getattr(cg.Autoencoder(), method)(X)


# --- randomness -----------------------------------------------------------------------


def test_a_fit_depends_on_random_state_and_on_nothing_else(X, fitted):
    np.random.seed(3)  # noqa: NPY002 - the global state is what must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again = cg.Autoencoder(**FEW, random_state=np.int64(0)).fit(X)
    assert same(again.transform(X), fitted.transform(X))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    other = cg.Autoencoder(**FEW, random_state=1).fit(X)
    assert not np.array_equal(other.transform(X), fitted.transform(X))


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_a_generator_gives_one_number_a_fit(X, make):
    estimator = cg.Autoencoder(**FEW, random_state=make(0))
    first, second = estimator.fit_transform(X), estimator.fit_transform(X)
    assert not np.array_equal(first, second)
    assert same(cg.Autoencoder(**FEW, random_state=make(0)).fit_transform(X), first)


def test_without_a_random_state_the_number_used_can_be_looked_up(X):
    estimator = cg.Autoencoder(**FEW, random_state=None).fit(X)
    used = estimator.model_.settings["random_state"]
    assert used != clone(estimator).fit(X).model_.settings["random_state"]
    again = cg.Autoencoder(**FEW, random_state=used).fit(X)
    assert same(again.transform(X), estimator.transform(X))


# --- portions -------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant_schedule", lambda step: 0.01 / (1 + step)])
def test_passes_over_the_same_cells_are_the_epochs_of_fit(X, schedule):
    whole = {**FEW, "validation_fraction": 0, "schedule": schedule}
    expected = cg.Autoencoder(**whole).fit(X)
    estimator = cg.Autoencoder(**{**FEW, "schedule": schedule})  # nothing is held out
    for _ in range(FEW["max_epochs"]):
        estimator.partial_fit(X)
    assert same(estimator.transform(X), expected.transform(X))
    assert estimator.history_ == expected.history_
    assert estimator.n_epochs_ == 3
    assert estimator.best_epoch_ is None


def test_all_passes_share_the_number_that_the_first_one_drew(X):
    estimator = cg.Autoencoder(**FEW, random_state=None).partial_fit(X).partial_fit(X)
    again = cg.Autoencoder(**FEW, random_state=estimator.model_.settings["random_state"])
    assert same(again.partial_fit(X).partial_fit(X).transform(X), estimator.transform(X))


def test_a_pickled_estimator_goes_on_where_it_was(X):
    estimator = cg.Autoencoder(**FEW).partial_fit(X)
    copied = pickle.loads(pickle.dumps(estimator))  # noqa: S301 - made one line above
    assert same(copied.partial_fit(X).transform(X), estimator.partial_fit(X).transform(X))


def test_portions_of_other_sizes_and_forms_are_learned_from(X):
    estimator = cg.Autoencoder(n_latent=3, n_hidden=8, learning_rate=0.01)
    scores = []
    for _ in range(8):
        for part in (X[:40], sparse.csr_matrix(X[40:])):
            estimator.partial_fit(part)
        scores.append(estimator.score(X))
    assert scores[-1] > scores[0]
    assert len(estimator.history_["train"]) == estimator.n_epochs_ == 16
    assert estimator.model_.settings["max_epochs"] == 16


def test_after_fit_partial_fit_goes_on_from_its_weights(X):
    estimator = cg.Autoencoder(**FEW).fit(X)
    before = estimator.score(X)
    history = estimator.history_
    estimator.set_params(learning_rate=1e-6).partial_fit(X[:3])
    assert estimator.score(X) == pytest.approx(before, rel=1e-3)
    assert estimator.history_["train"][:3] == history["train"]
    assert estimator.history_["validation"] == history["validation"]
    assert estimator.n_epochs_ == 4


def test_fit_forgets_what_partial_fit_learned(X, fitted):
    estimator = cg.Autoencoder(**FEW).partial_fit(X).fit(X)
    assert same(estimator.transform(X), fitted.transform(X))
    further = clone_fit(fitted, X)
    assert same(estimator.partial_fit(X).transform(X), further.transform(X))


@pytest.mark.parametrize(
    ("changed", "value"),
    [("n_latent", 2), ("n_hidden", 9), ("n_layers", 2), ("loss", "nonzero_mse"),
     ("input", "log")],
)  # fmt: skip
def test_partial_fit_refuses_what_cannot_change(X, changed, value):
    estimator = cg.Autoencoder(**FEW).partial_fit(X)
    with pytest.raises(InputError, match=f"^{changed} is now {value!r}, but was"):
        estimator.set_params(**{changed: value}).partial_fit(X)


def test_partial_fit_refuses_what_does_not_fit_the_first_call(X):
    estimator = cg.Autoencoder(**FEW).partial_fit(X)
    Z = estimator.transform(X)
    with pytest.raises(InputError, match=r"trained on raw counts.*whole numbers"):
        estimator.partial_fit(np.log1p(X))
    with pytest.raises(ValueError, match="expecting 20 features"):
        estimator.partial_fit(X[:, 1:])
    with pytest.raises(InputError, match="missing value"):
        estimator.partial_fit(np.where(X > 0, np.nan, X))
    assert same(estimator.transform(X), Z)


def test_partial_fit_refuses_a_schedule_that_needs_an_end(X):
    estimator = cg.Autoencoder(schedule="cosine_decay_schedule")
    with pytest.raises(InputError, match=r"number of steps.*partial_fit"):
        estimator.partial_fit(X)


def test_a_pass_that_fails_leaves_the_model_of_the_one_before(X):
    estimator = cg.Autoencoder(**FEW).partial_fit(X)
    Z = estimator.transform(X)
    with pytest.raises(TrainingError, match=r"epoch 2 of 2.*before this pass"):
        estimator.set_params(schedule=lambda step: 1e30).partial_fit(X)
    assert same(estimator.transform(X), Z)
    assert estimator.n_epochs_ == 1


# --- callbacks, early stopping, interrupts, failures ----------------------------------


def test_callbacks_see_every_epoch_and_can_end_the_training(X):
    seen = []

    def watch(epoch):
        seen.append((epoch.run, epoch.epoch, epoch.loss_train))
        return epoch.epoch == 2

    estimator = cg.Autoencoder(**FEW, callbacks=watch).fit(X)
    losses = estimator.history_["train"]
    assert seen == [("mse_3_seed0", i, loss) for i, loss in enumerate(losses, start=1)]
    assert estimator.n_epochs_ == 2
    estimator.partial_fit(X)
    assert seen[-1] == ("mse_3_seed0", 3, estimator.history_["train"][-1])


def test_a_clone_writes_to_the_same_logger(tmp_path):
    with TensorBoard(tmp_path) as logger:
        assert clone(cg.Autoencoder(callbacks=logger)).callbacks is logger
        assert clone(cg.Autoencoder(callbacks=[logger])).callbacks == [logger]


def test_early_stopping_keeps_the_best_epoch(X):
    settings = {**FEW, "max_epochs": 60, "learning_rate": 0.05}
    estimator = cg.Autoencoder(**settings, patience=2).fit(X)
    validation = estimator.history_["validation"]
    assert estimator.best_epoch_ == 1 + int(np.argmin(validation))
    assert estimator.n_epochs_ == estimator.best_epoch_ + 2 < 60
    until = cg.Autoencoder(**{**settings, "max_epochs": estimator.best_epoch_}).fit(X)
    assert same(until.transform(X), estimator.transform(X))
    assert cg.Autoencoder(**FEW, validation_fraction=0).fit(X).best_epoch_ is None


def test_after_ctrl_c_the_model_of_the_last_epoch_is_kept(X):
    def press(epoch):
        if epoch.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    estimator = cg.Autoencoder(**{**FEW, "max_epochs": 9}, callbacks=press)
    with pytest.raises(TrainingInterrupted, match="after epoch 2"):
        estimator.fit(X)
    expected = cg.Autoencoder(**{**FEW, "max_epochs": 2}).fit(X)
    assert same(estimator.transform(X), expected.transform(X))
    assert estimator.history_ == expected.history_
    assert estimator.model_.genes == expected.model_.genes


def explode_from(step):
    return lambda now: 1e-3 if now < step else 1e30


def test_after_a_failure_the_last_good_model_is_kept(X):
    # 54 training cells are four batches of at most 16: step 4 begins the second epoch
    estimator = cg.Autoencoder(**FEW, schedule=explode_from(4))
    with pytest.raises(TrainingError, match="epoch 2"):
        estimator.fit(pd.DataFrame(X, columns=[f"g{i}" for i in range(20)]))
    expected = cg.Autoencoder(**{**FEW, "max_epochs": 1}).fit(X)
    assert same(estimator.model_.transform(X), expected.transform(X))
    assert estimator.n_epochs_ == 1
    assert estimator.model_.genes[:2] == ("g0", "g1")


def test_without_a_good_epoch_nothing_is_kept_not_even_from_before(X):
    estimator = cg.Autoencoder(**FEW).fit(X)
    with pytest.raises(TrainingError, match="epoch 1"):
        estimator.set_params(schedule=explode_from(0)).fit(X)
    with pytest.raises(NotFittedError):
        estimator.transform(X)


def test_a_refit_that_is_refused_leaves_no_model_of_other_genes(X):
    estimator = cg.Autoencoder(**FEW).fit(X)
    with pytest.raises(InputError, match="missing value"):
        estimator.fit(np.full((5, 7), np.nan))
    with pytest.raises(NotFittedError):
        estimator.transform(X)


# --- mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score"])
def test_anndata_is_refused_with_what_to_do(small, X, method):
    estimator = cg.Autoencoder(**FEW).fit(X)
    with pytest.raises(InputError, match=r"adata\.X.*cg\.tl\.autoencoder\(adata\)"):
        getattr(estimator, method)(small)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_latent": 21}, "n_latent is 21, but the matrix has only 20 genes"),
        ({"loss": "mes"}, "Did you mean 'mse'"),
        ({"n_hidden": 0}, "n_hidden is 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"random_state": "x"}, "random_state is 'x'"),
        ({"random_state": -1}, "random_state is -1"),
        ({"callbacks": 3}, "cannot be called"),
        ({"input": "raw"}, "input is 'raw'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_parameter_is_refused_when_training_begins(X, method, params, message):
    estimator = cg.Autoencoder(**params)
    with pytest.raises(InputError, match=message):
        getattr(estimator, method)(X)


def test_masked_values_are_not_taken_as_valid(X):
    with pytest.raises(InputError, match="masked"):
        cg.Autoencoder(**FEW).fit(np.ma.masked_equal(X, X.max()))


def test_negative_values_are_refused_with_their_place(X):
    Y = X.astype(float)
    Y[4, 7] = -2
    with pytest.raises(InputError, match=r"cell 5 \(row 5\) and gene 8"):
        cg.Autoencoder(**FEW).fit(Y)


def test_the_module_is_only_loaded_when_it_is_used():
    assert cg.Autoencoder is module.Autoencoder
    assert "Autoencoder" in dir(cg)


def test_a_numpy_matrix_is_taken_as_the_array_that_it_is():
    X = np.random.default_rng(0).poisson(1.0, (30, 6)).astype(np.float32)
    few = {"n_latent": 2, "n_hidden": 4, "max_epochs": 2}
    Z = cg.Autoencoder(**few).fit(X).transform(X)
    again = cg.Autoencoder(**few).fit(X.view(np.matrix)).transform(X.view(np.matrix))
    assert type(again) is np.ndarray
    np.testing.assert_array_equal(Z, again)
