"""Networks trained side by side come out as each would by itself, up to rounding."""

import importlib
import signal
from functools import partial

import jax
import numpy as np
import pytest
from anndata import AnnData

import cellglass as cg
from cellglass.batches import on_device
from cellglass.checkpoint import Checkpoint, Checkpoints
from cellglass.errors import TrainingError, TrainingInterrupted
from cellglass.fit import split_cells, train_networks
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor
from cellglass.settings import ModelSettings, TrainingSettings
from cellglass.train import SideBySide, Start, train, train_in_turn

COUNTS = np.random.default_rng(0).negative_binomial(1, 0.2, (50, 8)).astype(np.float32)
TRAINED, HELD_OUT = np.arange(40), np.arange(40, 50)


def rows():
    preprocessor = Preprocessor("counts")
    return on_device(preprocessor.transform(COUNTS), preprocessor.size_factors(COUNTS))


def start(i, folder=None, *, resume=False, scale=1.0, every=1):
    network = AutoencoderNetwork(8, 2, n_hidden=5, n_layers=1, key=jax.random.key(i))
    network = jax.tree.map(lambda leaf: leaf * scale, network)
    checkpoint = folder and Checkpoint(folder / f"{i}.safetensors", {}, every, resume)
    return Start(network, jax.random.key(100 + i), f"run{i}", checkpoint)


def settings(**kwargs):
    return TrainingSettings(**{"max_epochs": 5, "batch_size": 16, **kwargs})


def together(starts, *, callbacks=(), **kwargs):
    group = SideBySide(
        starts, rows(), TRAINED, HELD_OUT, LOSSES["mse"], settings(**kwargs),
        callbacks=callbacks,
    )  # fmt: skip
    return next(train_in_turn([group]))


def alone(one, *, callbacks=(), **kwargs):
    return train(
        one.network, rows(), TRAINED, HELD_OUT, LOSSES["mse"], settings(**kwargs),
        key=one.key, run=one.run, callbacks=callbacks,
    )  # fmt: skip


def assert_close(found, expected):
    assert found.best_epoch == expected.best_epoch
    for name, losses in expected.history.items():
        np.testing.assert_allclose(found.history[name], losses, rtol=1e-5)
    pairs = zip(jax.tree.leaves(found.network), jax.tree.leaves(expected.network), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kwargs", [
    {"loss": "mse"},
    {"loss": "nb", "dropout_rate": 0.2, "input_noise": 0.1, "weight_decay": 0.1},
    {"loss": "nonzero_mse", "variational": True, "validation_fraction": 0},
], ids=["mse", "nb with noise", "variational without held-out cells"])  # fmt: skip
def test_seeds_come_out_as_one_by_one(kwargs):
    common = {"n_latent": 2, "n_hidden": 5, "max_epochs": 6, "batch_size": 16, **kwargs}
    runs = [ModelSettings(seed=seed, **common) for seed in range(3)]
    is_validation = split_cells(50, runs[0].validation_fraction, 0)
    found, expected = (
        list(train_networks(rows(), is_validation, runs, data="", side_by_side=how))
        for how in (True, False)
    )
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    assert len({training.loss_train for training in found}) == 3


def test_each_stops_when_its_own_patience_is_over():
    kwargs = {"max_epochs": 60, "learning_rate": 0.05, "patience": 2}
    starts = [start(i) for i in range(4)]
    found = together(starts, **kwargs)
    assert len({len(training.loss_train) for training in found}) > 1
    for one, training in zip(starts, found, strict=True):
        assert_close(training, alone(one, **kwargs))


def test_callbacks_hear_of_every_run_and_end_the_one_they_name():
    heard = []

    def callback(epoch):
        heard.append((epoch.epoch, epoch.run))
        return (epoch.run, epoch.epoch) == ("run1", 2)

    found = together([start(0), start(1)], callbacks=[callback], max_epochs=3)
    assert [len(training.loss_train) for training in found] == [3, 2]
    assert heard == [(1, "run0"), (1, "run1"), (2, "run0"), (2, "run1"), (3, "run0")]


def test_their_seconds_add_up_to_the_time_that_passed():
    found = together([start(0), start(1)])
    assert found[0].seconds > 0
    assert found[0].seconds == pytest.approx(found[1].seconds)


def test_those_that_stand_at_different_epochs_are_resumed_from_there(tmp_path):
    for i, epochs in enumerate((2, 4)):
        kept = start(i, tmp_path)
        train(
            kept.network, rows(), TRAINED, HELD_OUT, LOSSES["mse"],
            settings(max_epochs=5), key=kept.key, checkpoint=kept.checkpoint,
            callbacks=[lambda epoch, last=epochs: epoch.epoch == last],
        )  # fmt: skip
        undo_stop(kept.checkpoint)
    epochs = []
    found = together(
        [start(i, tmp_path, resume=True) for i in range(2)],
        callbacks=[lambda epoch: epochs.append((epoch.run, epoch.epoch)) and None],
    )
    assert epochs == [("run0", 3), ("run0", 4), ("run0", 5), ("run1", 5)]
    for i in range(2):
        assert_close(found[i], alone(start(i)))


def undo_stop(checkpoint):
    """Make of a training that was ended one that was killed."""
    from dataclasses import replace

    checkpoint.note(replace(checkpoint._latest, stopped=False), finished=True)


def test_one_that_fails_is_named_and_the_others_are_kept(tmp_path):
    broken = start(1, tmp_path, scale=1e30, every=None)
    with pytest.raises(TrainingError) as error:
        together([start(0, tmp_path), broken, start(2, tmp_path)], max_epochs=3)
    assert error.value.run == "run1"
    assert (tmp_path / "0.safetensors").exists()


def test_ctrl_c_keeps_all_of_them_and_names_them(tmp_path):
    def press(epoch):
        if (epoch.run, epoch.epoch) == ("run0", 2):
            signal.raise_signal(signal.SIGINT)

    starts = [start(i, tmp_path, every=None) for i in range(2)]
    with pytest.raises(TrainingInterrupted, match=r"run0, run1 .* epoch 2 of 5, and kept in"):
        together(starts, callbacks=[press])
    resumed = together([start(i, tmp_path, resume=True) for i in range(2)])
    for i in range(2):
        assert_close(resumed[i], alone(start(i)))


def test_a_comparison_is_the_same_but_for_rounding(small, monkeypatch):
    small = AnnData(small.layers["counts"])
    kwargs = {"n_latent": 2, "loss": ("mse", "nb"), "seeds": 2, "max_epochs": 3}
    expected = cg.compare(small, **kwargs)
    compare = importlib.import_module("cellglass.compare")
    monkeypatch.setattr(compare, "train_networks", partial(train_networks, side_by_side=True))
    seen = []
    found = cg.compare(
        small, progress=lambda *done: seen.append(done) if done[0] == "Training" else None,
        **kwargs,
    )  # fmt: skip
    assert [run.name for run in found.runs] == [run.name for run in expected.runs]
    for a, b in zip(found.runs, expected.runs, strict=True):
        assert_close(a.training, b.training)
    done = [n for _, n, _ in seen]
    assert done == sorted(done) and seen[-1] == ("Training", 12, 12)


def test_the_last_good_weights_of_the_run_that_failed_are_saved(small, tmp_path, monkeypatch):
    compare = importlib.import_module("cellglass.compare")
    monkeypatch.setattr(compare, "train_networks", partial(train_networks, side_by_side=True))
    train_module = importlib.import_module("cellglass.train")
    usual = train_module.run_epochs

    def fails(states, *args, **kwargs):
        outcomes = list(usual(states, *args, **kwargs))
        if len(told) > 3:  # in the third epoch
            outcomes[1] = outcomes[1]._replace(finite=np.False_)
        return outcomes

    told = []
    monkeypatch.setattr(train_module, "run_epochs", fails)
    with pytest.raises(TrainingError, match=r"mse_2_seed1\.last_good\.safetensors"):
        cg.compare(
            small, n_latent=2, loss="mse", seeds=3, max_epochs=4,
            checkpoints=Checkpoints(tmp_path), callbacks=[lambda epoch: told.append(epoch.run)],
        )  # fmt: skip
    model = cg.load(tmp_path / "mse_2_seed1.last_good.safetensors")
    assert len(model.history["train"]) == 2
    assert {path.name for path in tmp_path.glob("*seed*")} == {
        *(f"mse_2_seed{i}.safetensors" for i in range(3)), "mse_2_seed1.last_good.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("how", [True, False])
def test_no_settings_are_no_trainings(how):
    is_validation = split_cells(50, 0.1, 0)
    assert list(train_networks(rows(), is_validation, [], data="", side_by_side=how)) == []
