"""The latent size is found where there is one, and not found in noise."""

import json
import re
import signal

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

import cellglass as cg
from cellglass.errors import InputError, TrainingError, TrainingInterrupted
from cellglass.held_out import HiddenEntries, SplitCounts, measure_of
from cellglass.losses import LOSSES
from cellglass.preprocess import Preprocessor
from cellglass.select import Settings, default_sizes, select

FEW = {"n_latent": (1, 2), "n_hidden": 4, "max_epochs": 2, "batch_size": 32, "splits": 2}


def counts(n_cells=40, n_genes=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(1.0, 6.0, (n_cells, n_genes))).astype(np.float32)


def logged(X):
    return Preprocessor("counts").transform(X)


@pytest.fixture(scope="module")
def of_counts():
    return select(counts(), loss=("nb", "mse"), seeds=2, **FEW)


@pytest.fixture(scope="module")
def of_logs():
    return select(logged(counts()), **FEW)


def curve_of(selection, model, measure=None):
    (found,) = (
        c for c in selection.curves if c.model == model and measure in (None, c.measure)
    )
    return found


# --- the rank, and noise -------------------------------------------------------------------


def groups(n_cells, n_genes, n_groups, *, dispersion, depth, seed=0):
    """Counts around one profile a group, in cells of several depths.

    The profiles of k groups span k − 1 dimensions.
    """
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(1.0, 1.0, (n_groups, n_genes)) + 0.05
    profiles /= profiles.sum(axis=1, keepdims=True)
    means = profiles[np.arange(n_cells) % n_groups] * depth * rng.gamma(8, 1 / 8, (n_cells, 1))
    if dispersion:
        means = means * rng.gamma(1 / dispersion, dispersion, means.shape)
    return rng.poisson(means).astype(np.float32)


LINEAR = {
    "n_layers": 0, "max_epochs": 80, "learning_rate": 0.02, "batch_size": 50,
    "schedule": "cosine_decay_schedule",
}  # fmt: skip
"""A linear network has no curved surfaces: it needs as many dimensions as there are."""


@pytest.mark.parametrize(
    ("dispersion", "depth"), [(0.0, 300), (0.5, 1000)], ids=["poisson", "over-dispersed"]
)
def test_in_counts_of_known_rank_the_rank_is_found(dispersion, depth):
    X = groups(400, 40, 4, dispersion=dispersion, depth=depth)
    found = select(X, n_latent=(2, 3, 4), **LINEAR)
    assert found.settings.loss == ("nb",)
    assert found.n_latent == 3
    assert "Use 3 latent dimensions" in found.sentence
    assert curve_of(found, "pca").choice.best == 3


def test_in_log_normalised_values_of_known_rank_the_rank_is_found():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 80)) + rng.normal(size=(600, 80))
    X = (X - X.min()).astype(np.float32)
    found = select(X, n_latent=(2, 3, 4), n_hidden=32, max_epochs=60, learning_rate=0.005)
    assert found.settings.loss == ("gaussian",)
    assert [curve.choice.chosen for curve in found.curves] == [3, 3]


QUICK = {"n_latent": (1, 4), "n_hidden": 32, "max_epochs": 25, "learning_rate": 0.005}


@pytest.mark.parametrize("dispersion", [0.0, 0.5], ids=["poisson", "over-dispersed"])
def test_in_counts_that_are_pure_noise_nothing_is_found_and_it_says_so(dispersion):
    X = groups(300, 40, 1, dispersion=dispersion, depth=400)
    found = select(X, loss=("nb", "mse"), **QUICK)
    assert len(found.curves) == 4
    assert [curve.choice.chosen for curve in found.curves] == [None] * 4
    assert found.n_latent is None
    assert "Nothing but noise was found" in found.sentence


def test_in_log_normalised_values_that_are_pure_noise_nothing_is_found():
    X = np.abs(np.random.default_rng(1).normal(4, 1, (300, 40))).astype(np.float32)
    found = select(X, loss=("gaussian", "mse"), **QUICK)
    assert [curve.choice.chosen for curve in found.curves] == [None] * 3


# --- what is held out stays so ---------------------------------------------------------------


def test_what_is_hidden_reaches_neither_networks_nor_pca():
    X = logged(counts())
    one = HiddenEntries(X, 0.1, np.random.default_rng(3))
    mask = one._mask
    assert mask.any(axis=1).all()
    other = HiddenEntries(
        np.where(mask, 7.0, X).astype(np.float32), 0.1, np.random.default_rng(3)
    )
    everything = np.arange(len(X))
    for a, b in zip(one.rows().batch(everything), other.rows().batch(everything), strict=True):
        if a is not None:
            visible = np.ones_like(mask) if a.shape != mask.shape else ~mask
            np.testing.assert_array_equal(np.where(visible, a, 0), np.where(visible, b, 0))
    np.testing.assert_array_equal(
        one.rows().batch(everything).x, other.rows().batch(everything).x
    )
    for (_, a), (_, b) in zip(one.pca((1, 2)), other.pca((1, 2)), strict=True):
        np.testing.assert_array_equal(a, b)
    guess = np.zeros_like(X)
    assert one.error(guess, "squared_error") == pytest.approx(np.square(X[mask]).mean())
    assert other.error(guess, "squared_error") == pytest.approx(49)


def test_networks_and_pca_see_one_half_of_the_counts_and_are_judged_by_the_other():
    X = counts()
    preprocessor = Preprocessor.fit(X)
    held_out = SplitCounts(X, np.zeros(12), preprocessor, np.random.default_rng(0))
    seen = np.asarray(held_out.rows().batch(np.arange(40)).counts)
    assert (seen <= X).all() and 0.4 < seen.sum() / X.sum() < 0.6
    rest = X - seen
    perfect = preprocessor.transform(rest)
    assert held_out.error(perfect, "squared_error") < 0.2 * held_out.error(
        preprocessor.transform(seen), "squared_error"
    )


def test_all_sizes_and_losses_share_the_splits(of_counts):
    for measure in ("poisson_deviance", "squared_error"):
        nulls = [c.null_errors for c in of_counts.curves if c.measure == measure]
        assert len(nulls) == 2
        by_split = [set(null.tolist()) for null in nulls]
        assert by_split[0] == by_split[1] and len(by_split[0]) == 2


def test_every_network_of_a_loss_and_size_starts_from_weights_of_its_own():
    settings = Settings(**FEW, seeds=3)
    seeds = {
        settings.of_run("nb", 2, split, seed).seed for split in range(2) for seed in range(3)
    }
    assert len(seeds) == 6


@pytest.mark.parametrize(("loss", "measure"), [
    ("mse", "squared_error"), ("gaussian", "squared_error"),
    ("poisson", "poisson_deviance"), ("nb", "poisson_deviance"),
    ("nb_gene_cell", "poisson_deviance"), ("zinb", "poisson_deviance"),
])  # fmt: skip
def test_a_loss_is_judged_on_its_own_scale(loss, measure):
    assert measure_of(LOSSES[loss]) == measure


# --- what is handed on -----------------------------------------------------------------------


def test_there_is_an_error_for_every_split_seed_and_size(of_counts):
    assert [(c.model, c.measure) for c in of_counts.curves] == [
        ("nb", "poisson_deviance"), ("mse", "squared_error"),
        ("pca", "poisson_deviance"), ("pca", "squared_error"),
    ]  # fmt: skip
    for curve in of_counts.curves[:2]:
        assert curve.replicates == ((0, 0), (0, 1), (1, 0), (1, 1))
        assert curve.errors.shape == (4, 2) and np.isfinite(curve.errors).all()
        for training in of_counts.trainings:
            if training.loss == curve.model:
                row = curve.replicates.index((training.split, training.seed))
                assert curve.errors[row, FEW["n_latent"].index(training.n_latent)] == (
                    training.error
                )
        assert len(set(curve.errors[:, 0])) == 4
    assert curve_of(of_counts, "pca", "squared_error").replicates == ((0, 0), (1, 0))
    assert len(of_counts.trainings) == 2 * 2 * 2 * 2


def test_seeds_on_one_split_are_one_replicate(of_counts):
    choice = of_counts.curves[0].choice
    means = of_counts.curves[0].errors.reshape(2, 2, 2).mean(axis=1)
    assert choice.n_replicates == 2
    np.testing.assert_allclose(choice.errors, means.mean(axis=0))
    np.testing.assert_allclose(
        choice.standard_errors, means.std(axis=0, ddof=1) / np.sqrt(2), rtol=1e-6
    )


def test_the_same_again_gives_the_same_and_leaves_the_data_alone():
    X = counts()
    before = X.copy()
    a, b = (select(X, **FEW) for _ in range(2))
    np.testing.assert_array_equal(X, before)
    assert _comparable(a.summary) == _comparable(b.summary)
    other = select(X, random_state=1, **FEW)
    assert _comparable(a.summary) != _comparable(other.summary)


def _comparable(summary):
    summary = json.loads(json.dumps(summary))
    for training in summary["trainings"]:
        assert training["seconds"].pop("train") > 0
    return summary


def test_the_form_of_the_matrix_and_the_order_of_sizes_change_nothing():
    expected = _comparable(select(counts(), **FEW).summary)
    for data in (AnnData(sparse.csr_matrix(counts())), counts().astype(np.int64)):
        found = _comparable(select(data, **{**FEW, "n_latent": (2, 1)}).summary)
        assert found["curves"] == expected["curves"]


def test_progress_comes_to_its_end_and_callbacks_hear_every_epoch():
    told, epochs = [], []
    select(
        counts(), seeds=2, callbacks=epochs.append, progress=lambda *p: told.append(p), **FEW
    )
    for stage, total in (("Splitting", 3), ("Training", 16)):
        done = [d for name, d, t in told if name == stage]
        assert done == sorted(done) and done[-1] == total
    assert len(epochs) == 16


def test_progress_comes_to_its_end_where_trainings_stop_early():
    told = []
    select(counts(), callbacks=lambda epoch: True, progress=lambda *p: told.append(p), **FEW)
    assert told[-1] == ("Training", 8, 8)


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "said"), [
    ((3, 12), "3 cells × 12 genes, is too small.*at least 4 cells and 2 genes"),
    ((40, 1), "40 cells × 1 gene, is too small"),
])  # fmt: skip
def test_data_too_small_to_split_are_refused(shape, said):
    with pytest.raises(InputError, match=said):
        select(counts(*shape), **{**FEW, "n_latent": 1})


@pytest.mark.parametrize(("changed", "said"), [
    ({"seeds": 0}, "seeds is 0.*1"),
    ({"splits": 1}, "splits is 1.*2 splits or more"),
    ({"splits": 0}, "splits is 0"),
    ({"n_latent": 13}, "n_latent is 13.*12"),
    ({"loss": "nonzero_mse"}, "nonzero_mse cannot choose the latent size.*mse"),
    ({"loss": "nbb"}, "nbb"),
    ({"max_epochs": 0}, "max_epochs"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(changed, said):
    with pytest.raises(InputError, match=said):
        select(counts(), **{**FEW, **changed})


def test_sizes_that_nobody_named_are_no_larger_than_the_matrix():
    assert default_sizes(5000, 1000) == (2, 5, 10, 20, 50, 100)
    X = np.random.default_rng(0).poisson(2, size=(40, 12))
    assert cg.select(X, splits=2, max_epochs=1).settings.n_latent == (2, 5, 10)


def test_a_loss_on_counts_refuses_log_normalised_values():
    with pytest.raises(InputError, match=r"nb needs raw counts.*not whole numbers"):
        select(logged(counts()), loss="nb", **FEW)


@pytest.mark.parametrize("X", [
    np.zeros((8, 3), np.float32),
    np.eye(8, 3, dtype=np.float32),
    np.ones((8, 3), np.float32),
    np.tile(np.float32([0.5, 0.25, 1.5]), (8, 1)),
], ids=["zeros", "eye", "ones", "constant logs"])  # fmt: skip
def test_a_matrix_without_information_has_nothing_to_choose_or_is_refused(X):
    try:
        found = select(X, **{**FEW, "n_latent": 1})
    except InputError as error:
        assert len(str(error)) > 40
    else:
        assert found.n_latent is None
        json.dumps(found.summary, allow_nan=False)


def test_a_training_that_diverges_is_named():
    with pytest.raises(
        TrainingError, match=r"Latent size 1, loss mse, split 1 of 2, seed 1 of 1"
    ):
        select(counts(), loss="mse", **{**FEW, "learning_rate": 1e30})


def test_ctrl_c_stops_it():
    pressed = []

    def press(epoch):
        if not pressed:  # others that are trained at once end their epoch, too
            pressed.append(epoch)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        select(counts(), callbacks=press, **FEW)
    assert pressed


# --- the output ------------------------------------------------------------------------------


def test_the_table_holds_the_errors_of_the_summary(of_counts):
    frame = of_counts.to_frame()
    assert len(frame) == 2 * 2 * 4 + 2 * 2 * 2
    for curve in of_counts.curves:
        rows = frame[(frame["model"] == curve.model) & (frame["measure"] == curve.measure)]
        np.testing.assert_array_equal(
            rows["error"].to_numpy().reshape(-1, 2), curve.errors, strict=False
        )


def test_the_summary_is_plain_and_its_sentences_are_its_numbers(of_counts, of_logs):
    for selection, what in ((of_counts, "molecules"), (of_logs, "entries")):
        summary = json.loads(json.dumps(selection.summary, allow_nan=False))
        assert summary["held_out"]["what"] == what
        assert summary["n_latent"] == selection.n_latent
        first = summary["conclusions"][0]
        assert (
            first["answer"] == selection.sentence == summary["curves"][0]["choice"]["sentence"]
        )
        for item in summary["conclusions"]:
            assert item["answer"].startswith(item["short"])


def test_a_network_beside_pca_is_judged_split_by_split():
    from cellglass.report.select_summary import _beside_pca

    def curve(model, by_split, chosen):
        replicates = [
            {"split": i, "seed": 0, "errors": errors} for i, errors in enumerate(by_split)
        ]
        means = np.mean(by_split, axis=0)
        choice = {"sizes": [1, 2], "best": 1 + int(np.argmin(means)), "chosen": chosen}
        return {"model": model, "choice": choice, "replicates": replicates}

    pca = curve("pca", [[4.0, 2.0], [5.0, 4.0], [9.0, 6.0]], 2)
    ahead = _beside_pca(curve("nb", [[1.0, 3.0], [3.0, 4.0], [5.0, 9.0]], 1), pca, 1)
    assert "bends" in ahead["answer"]
    assert ahead["short"] == "Yes, nb does."
    assert "25 % lower" in ahead["answer"] and "(standard error 0 %)" in ahead["answer"]
    behind = _beside_pca(curve("nb", [[3.0, 9.0], [5.0, 9.0], [7.0, 9.0]], 1), pca, 0)
    assert behind["short"] == "No, PCA does."
    assert "bends" not in behind["answer"]
    unclear = _beside_pca(curve("nb", [[1.0, 9.0], [5.0, 9.0], [6.0, 9.0]], 1), pca, 1)
    assert unclear["short"].startswith("No difference")


@pytest.mark.parametrize(("errors", "chosen", "said"), [
    ([4.0, 2.0, 2.4], 2, None),
    ([4.0, 2.0, 3.5], 2, "75 % worse than with 2"),
    ([4.0, 2.0, 3.5], None, None),
], ids=["level", "rising", "nothing found"])  # fmt: skip
def test_larger_networks_that_learnt_noise_are_told_of_with_a_remedy(errors, chosen, said):
    from cellglass.report.select_summary import _about_noise

    choice = {
        "sizes": [1, 2, 4], "errors": errors, "best": 2, "chosen": chosen, "null_error": 8.0
    }  # fmt: skip
    settings = {"n_latent": [1, 2, 4], "dropout_rate": 0.0, "validation_fraction": 0.1}
    curves = [{"model": model, "choice": choice} for model in ("nb", "pca")]
    found = list(_about_noise({"settings": settings, "curves": curves}))
    assert len(found) == (said is not None)
    for item in found:
        assert said in item["answer"] and "dropout_rate" in item["answer"]
        assert "validation_fraction" not in item["answer"] and "(pca)" not in item["answer"]


def test_the_folder_holds_page_numbers_and_figures(of_counts, tmp_path):
    page = of_counts.report(tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    assert {p.relative_to(tmp_path / "out").as_posix() for p in page.parent.rglob("*")} == {
        "report.html", "results.json", "errors.csv", "figures",
        *(f"figures/{measure}_by_latent.{kind}" for kind in ("png", "svg")
          for measure in ("poisson_deviance", "squared_error")),
    }  # fmt: skip
    results = json.loads((page.parent / "results.json").read_text(encoding="utf-8"))
    assert results == json.loads(json.dumps(of_counts.summary))
    text = page.read_text(encoding="utf-8")
    for item in results["conclusions"]:
        assert item["question"] in text
    assert not re.search(r"(src|href)=\"(?!#|data:)", text)
    assert "Content-Security-Policy" in text
    assert "Mean Poisson deviance" in text


def test_an_earlier_selection_is_replaced_only_when_asked_and_nothing_else_ever(
    of_counts, of_logs, small_comparison, tmp_path
):
    out = tmp_path / "out"
    of_counts.report(out)
    (out / "figures" / "mine.png").write_text("mine")
    with pytest.raises(
        InputError, match=r"already exists.*overwrite=True to replace the selection"
    ):
        of_logs.report(out)
    of_logs.report(out, overwrite=True)
    assert {path.name for path in (out / "figures").iterdir()} == {
        "mine.png", "squared_error_by_latent.png", "squared_error_by_latent.svg",
    }  # fmt: skip
    small_comparison.report(tmp_path / "report")
    with pytest.raises(InputError, match=r"no results\.json of a selection"):
        of_logs.report(tmp_path / "report", overwrite=True)
    with pytest.raises(InputError, match=r"no results\.json of a report"):
        small_comparison.report(out, overwrite=True)


def test_names_of_files_are_escaped_on_the_page(tmp_path):
    adata = AnnData(counts())
    adata.uns["cellglass_source"] = {"matrix": "<script>alert(1)</script>.npy"}
    text = select(adata, **FEW).report(tmp_path / "out").read_text(encoding="utf-8")
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_the_public_name_is_the_function():
    assert cg.select is select
