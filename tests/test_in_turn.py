"""Networks that are trained at once come out as each would by itself, to the bit."""

import signal
import time

import jax
import numpy as np
import pytest

from cellglass.batches import on_device
from cellglass.checkpoint import Checkpoint
from cellglass.errors import TrainingError, TrainingInterrupted
from cellglass.fit import split_cells, train_networks
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor
from cellglass.settings import ModelSettings, TrainingSettings
from cellglass.train import SideBySide, Start, train_in_turn

COUNTS = np.random.default_rng(0).negative_binomial(1, 0.2, (50, 8)).astype(np.float32)
TRAINED, HELD_OUT = np.arange(40), np.arange(40, 50)


def rows():
    preprocessor = Preprocessor("counts")
    return on_device(preprocessor.transform(COUNTS), preprocessor.size_factors(COUNTS))


def group(*seeds, folder=None, resume=False, scale=1.0, callbacks=(), **kwargs):
    """Networks that pass every epoch together; mostly one."""

    def start(i):
        network = AutoencoderNetwork(8, 2, n_hidden=5, n_layers=1, key=jax.random.key(i))
        network = jax.tree.map(lambda leaf: leaf * scale, network)
        checkpoint = folder and Checkpoint(folder / f"{i}.safetensors", {}, None, resume)
        return Start(network, jax.random.key(100 + i), f"run{i}", checkpoint)

    settings = TrainingSettings(**{"max_epochs": 4, "batch_size": 16, **kwargs})
    return SideBySide(
        [start(i) for i in seeds], rows(), TRAINED, HELD_OUT, LOSSES["mse"], settings,
        callbacks=callbacks,
    )  # fmt: skip


def assert_same(found, expected):
    assert found.history == expected.history
    assert found.best_epoch == expected.best_epoch
    pairs = zip(jax.tree.leaves(found.network), jax.tree.leaves(expected.network), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("at_once", [2, 3, 9])
def test_all_kinds_come_out_as_one_by_one(at_once):
    shared = {"n_hidden": 5, "batch_size": 16}
    runs = [
        ModelSettings(n_latent=n_latent, loss=loss, max_epochs=epochs, **shared)
        for n_latent, loss, epochs in ((2, "mse", 9), (3, "nb", 2), (2, "nb", 5), (1, "mse", 1))
    ]
    is_validation = split_cells(50, 0.1, 0)
    found, expected = (
        list(train_networks(rows(), is_validation, runs, data="", at_once=n))
        for n in (at_once, 1)
    )
    assert [len(one.loss_train) for one in found] == [9, 2, 5, 1]
    for a, b in zip(found, expected, strict=True):
        assert_same(a, b)


def test_groups_that_are_trained_at_once_may_have_several_networks():
    found = list(train_in_turn([group(0, 1), group(2)], at_once=2))
    expected = [next(train_in_turn([group(*seeds)])) for seeds in ((0, 1), (2,))]
    for a, b in zip(found, expected, strict=True):
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)


def test_no_more_are_begun_than_are_trained_at_once_and_a_free_place_is_taken():
    asked, heard = [], []

    def coming():
        for i, epochs in enumerate((5, 2, 3)):
            asked.append(f"run{i}")
            yield group(i, max_epochs=epochs, callbacks=[hear])

    def hear(epoch):
        heard.append((epoch.run, epoch.epoch, len(asked)))

    list(train_in_turn(coming(), at_once=2))
    assert heard == [
        ("run0", 1, 2), ("run1", 1, 2), ("run0", 2, 2), ("run1", 2, 2), ("run0", 3, 3),
        ("run2", 1, 3), ("run0", 4, 3), ("run2", 2, 3), ("run0", 5, 3), ("run2", 3, 3),
    ]  # fmt: skip


def test_patience_is_each_ones_own():
    kwargs = {"max_epochs": 60, "learning_rate": 0.05, "patience": 2}
    found = list(train_in_turn([group(i, **kwargs) for i in range(4)], at_once=3))
    assert len({len(one.loss_train) for (one,) in found}) > 1
    for i, (one,) in enumerate(found):
        assert_same(one, next(train_in_turn([group(i, **kwargs)]))[0])


def test_every_moment_is_one_trainings_time():
    begun = time.perf_counter()
    found = list(train_in_turn([group(i, max_epochs=30) for i in range(3)], at_once=2))
    passed = time.perf_counter() - begun
    assert 0.5 * passed < sum(one.seconds for (one,) in found) <= passed


def test_ctrl_c_keeps_all_and_they_are_resumed_to_the_same_end(tmp_path):
    def press(epoch):
        if (epoch.run, epoch.epoch) == ("run0", 2):
            signal.raise_signal(signal.SIGINT)

    begun = [group(i, folder=tmp_path, callbacks=[press]) for i in range(2)]
    with pytest.raises(TrainingInterrupted, match=r"run0, run1 .* epoch 2 of 4, and kept in"):
        list(train_in_turn(begun, at_once=2))
    resumed = [group(i, folder=tmp_path, resume=True) for i in range(2)]
    for i, (one,) in enumerate(train_in_turn(resumed, at_once=2)):
        assert_same(one, next(train_in_turn([group(i)]))[0])


def test_what_is_stopped_at_different_epochs_is_told_so():
    def press(epoch):
        if (epoch.run, epoch.epoch) == ("run2", 1):
            signal.raise_signal(signal.SIGINT)

    begun = [group(i, max_epochs=m, callbacks=[press]) for i, m in enumerate((4, 2, 4))]
    expected = "of run0 was stopped after epoch 3 of 4 and of run2 was .* epoch 1 of 4"
    with pytest.raises(TrainingInterrupted, match=expected):
        list(train_in_turn(begun, at_once=2))


def test_the_one_that_fails_is_named_and_nothing_goes_on_behind_it(monkeypatch):
    others, waited, usual = (group(0), group(1, scale=1e30)), [], SideBySide.wait
    monkeypatch.setattr(SideBySide, "wait", lambda one: waited.append(one) or usual(one))
    with pytest.raises(TrainingError) as error:
        list(train_in_turn(others, at_once=2))
    assert error.value.run == "run1"
    assert waited == [*others, *others]  # once to end the first epoch, and once more
    assert all(leaf.is_ready() for leaf in jax.tree.leaves(others[0]._outcomes))


def test_results_come_while_others_are_under_way():
    heard = []
    coming = [group(i, max_epochs=m, callbacks=[heard.append]) for i, m in enumerate((2, 9))]
    trainings = train_in_turn(coming, at_once=2)
    (first,) = next(trainings)
    assert len(first.loss_train) == 2
    assert len(heard) == 4
    trainings.close()
    assert len(heard) == 4  # what was being computed is nobody's
