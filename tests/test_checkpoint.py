"""A training that was stopped goes on as if it had not been."""

import json
import os
import signal
import threading
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

from cellglass.batches import on_device
from cellglass.checkpoint import (
    Checkpoint,
    Checkpoints,
    clear_unmarked,
    kept_on_failure,
    make_checkpoints,
)
from cellglass.errors import InputError, TrainingError, TrainingInterrupted
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork
from cellglass.settings import TrainingSettings
from cellglass.tensor_file import unpack
from cellglass.train import train
from cellglass.training_progress import Progress, State

X = np.random.default_rng(0).poisson(1.0, (30, 6)).astype(np.float32)
IDENTITY = {"n_hidden": 5, "loss": "mse", "data": "a checksum"}


class Killed(BaseException):
    """Stands for whatever ends a process at once."""


def fit(path: Path | None = None, every=None, resume=False, identity=IDENTITY, **kwargs):
    callbacks = kwargs.pop("callbacks", ())
    held_out = kwargs.pop("held_out", np.arange(24, 30))
    checkpoint = None
    if path is not None:
        checkpoint = Checkpoint(path, identity, every, resume)
    settings = TrainingSettings(**{"max_epochs": 7, "batch_size": 8, **kwargs})
    network = AutoencoderNetwork(6, 2, n_hidden=5, n_layers=1, key=jax.random.key(1))
    return train(
        network, on_device(X), np.arange(24), held_out, LOSSES["mse"], settings,
        key=jax.random.key(2), callbacks=callbacks, checkpoint=checkpoint,
    )  # fmt: skip


def stop_after(epoch_to_stop, error=Killed):
    def callback(epoch):
        if epoch.epoch == epoch_to_stop:
            raise error

    return callback


def same(one, other):
    return (
        eqx.tree_equal(one.network, other.network)
        and one.history == other.history
        and one.best_epoch == other.best_epoch
    )


@pytest.mark.parametrize("killed_in", range(1, 8))
@pytest.mark.parametrize("every", [1, 3])
def test_a_killed_training_that_is_resumed_ends_the_same_to_the_last_bit(
    tmp_path, every, killed_in
):
    path = tmp_path / "folder" / "run.safetensors"
    with pytest.raises(Killed):
        fit(path, every, callbacks=[stop_after(killed_in)])
    assert path.exists() == (killed_in >= every)
    epochs = []
    resumed = fit(path, every, resume=True, callbacks=[lambda e: epochs.append(e.epoch)])
    kept = 7 if killed_in == 7 else killed_in // every * every  # the last is always written
    assert epochs == list(range(kept + 1, 8))
    assert same(resumed, fit())


@pytest.mark.parametrize("kwargs", [
    {"schedule": "cosine_decay_schedule"},
    {"learning_rate": 0.3, "patience": 2, "max_epochs": 20},
    {"learning_rate": 0.3, "patience": 20, "max_epochs": 8},
    {"validation_fraction": 0.2, "min_delta": 0.01, "patience": 3},
], ids=["schedule", "early stopping", "best weights", "min_delta"])  # fmt: skip
def test_what_an_epoch_depends_on_is_kept(tmp_path, kwargs):
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        fit(path, 1, callbacks=[stop_after(3)], **kwargs)
    assert same(fit(path, 1, resume=True, **kwargs), fit(**kwargs))


@pytest.mark.parametrize("patience", [None, 4])
def test_the_best_weights_before_a_stop_are_those_after_it(tmp_path, patience):
    path, kwargs = tmp_path / "run.safetensors", {"learning_rate": 1.0, "patience": patience}
    straight = fit(**kwargs)
    assert straight.best_epoch is not None and straight.best_epoch < 4
    with pytest.raises(Killed):
        fit(path, 1, callbacks=[stop_after(4)], **kwargs)
    assert same(fit(path, 1, resume=True, **kwargs), straight)


def test_a_progress_goes_through_a_file_whole():
    network = AutoencoderNetwork(6, 2, n_hidden=5, n_layers=1, key=jax.random.key(1))
    other = AutoencoderNetwork(6, 2, n_hidden=5, n_layers=1, key=jax.random.key(2))
    state = State(network, optax.adam(0.1).init(network))
    progress = Progress(state, other, (3.0, 2.0), (4.0, 5.0), stopped=True, seconds=12.5)
    fresh = Progress(State(other, state.optimizer), None)
    restored = fresh.restored(progress.arrays, json.loads(json.dumps(progress.numbers)))
    assert eqx.tree_equal(restored.arrays, progress.arrays)
    assert restored.numbers == progress.numbers


def test_a_finished_training_is_not_trained_again(tmp_path):
    path = tmp_path / "run.safetensors"
    done = fit(path, every=5)  # the last epoch, 7, is written, too
    told = []
    again = fit(path, every=5, resume=True, callbacks=[told.append])
    assert told == [] and same(done, again)
    assert again.seconds == pytest.approx(done.seconds, abs=1)


def test_a_training_that_a_callback_ended_stays_ended(tmp_path):
    path = tmp_path / "run.safetensors"
    done = fit(path, every=1, callbacks=[lambda epoch: epoch.epoch == 4])
    assert same(fit(path, every=1, resume=True), done)


def test_without_every_nothing_is_written_unless_training_is_stopped(tmp_path):
    fit(tmp_path / "run.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_same_training_writes_the_same_bytes_but_for_the_time(tmp_path):
    for name in "ab":
        fit(tmp_path / name, every=7)
    a, b = (_without_seconds(tmp_path / name) for name in "ab")
    assert a == b


def _without_seconds(path: Path) -> tuple[dict, list]:
    arrays, content = unpack(
        path.read_bytes(), name="the file", kind="checkpoint", format_version=1
    )
    assert content.pop("seconds") > 0
    return content, [(name, array.tobytes()) for name, array in sorted(arrays.items())]


# --- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(("changed", "said"), [
    ({"n_hidden": 6}, "n_hidden was 5 and is now 6"),
    ({"loss": "nonzero_mse"}, "loss was 'mse' and is now 'nonzero_mse'"),
    ({"data": "another"}, "the data "),
])  # fmt: skip
def test_another_training_is_not_resumed(tmp_path, changed, said):
    path = tmp_path / "run.safetensors"
    fit(path, every=1)
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"run.safetensors belongs to .*{said}.*--overwrite"):
        fit(path, every=1, resume=True, identity=IDENTITY | changed)
    assert path.read_bytes() == before


def test_a_checkpoint_of_other_weights_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    fit(path, every=1, held_out=np.arange(0))  # keeps no best weights beside the last
    with pytest.raises(InputError, match="other versions of Optax or Equinox"):
        fit(path, every=1, resume=True)


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_checkpoint_that_is_cut_short_is_refused(tmp_path, cut):
    path = tmp_path / "run.safetensors"
    fit(path, every=1)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        InputError, match=r"run.safetensors .*(damaged|cut short|empty|is not a .safetensors)"
    ):
        fit(path, every=1, resume=True)


def test_a_model_is_no_checkpoint(tmp_path, small_comparison):
    from cellglass.fit import model_of

    run = small_comparison.runs[0]
    model = model_of(
        run.training, run.settings, small_comparison.preprocessor,
        genes=small_comparison.gene_names, gene_ids=None,
    )  # fmt: skip
    model.save(tmp_path / "run.safetensors")
    with pytest.raises(InputError, match=r"run.safetensors holds a trained model.* checkpoint"):
        fit(tmp_path / "run.safetensors", resume=True)


@pytest.mark.parametrize(("folder", "every", "resume", "said"), [
    ("folder", 0, False, "checkpoint_every is 0, but it must be a whole number of at least 1"),
    ("folder", 1.5, False, "checkpoint_every is 1.5"),
    (None, 3, False, "checkpoint_every=3 was given without a folder"),
    (None, None, True, "resume was given without a folder"),
])  # fmt: skip
def test_a_wrong_word_about_checkpoints_is_refused(folder, every, resume, said):
    with pytest.raises(InputError, match=said):
        make_checkpoints(folder, every, resume=resume)


def test_no_folder_is_no_checkpoints():
    assert make_checkpoints(None, None, resume=False) is None


# --- Ctrl-C --------------------------------------------------------------------------


def press_ctrl_c(in_epoch):
    def callback(epoch):
        if epoch.epoch == in_epoch:
            os.kill(os.getpid(), signal.SIGINT)

    return callback


@pytest.mark.parametrize("epoch", [1, 4, 7])
def test_ctrl_c_finishes_the_epoch_saves_and_goes_on_to_the_same_end(tmp_path, epoch, capfd):
    path = tmp_path / "run.safetensors"
    told = []
    with pytest.raises(TrainingInterrupted, match=rf"after epoch {epoch} of 7.*run.safe") as e:
        fit(path, callbacks=[press_ctrl_c(epoch), lambda epoch: told.append(epoch.epoch)])
    assert told == list(range(1, epoch + 1))
    assert e.value.checkpoint == path and len(e.value.training.loss_train) == epoch
    assert "Ctrl-C again stops at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert same(fit(path, resume=True), fit())


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    told = []
    twice = [press_ctrl_c(2), press_ctrl_c(2), lambda epoch: told.append(epoch.epoch)]
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(tmp_path / "run.safetensors", callbacks=twice)
    assert not isinstance(caught.value, TrainingInterrupted)
    assert told == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_without_a_checkpoint_hands_over_what_was_trained():
    with pytest.raises(TrainingInterrupted) as caught:
        fit(callbacks=[press_ctrl_c(2)])
    assert caught.value.checkpoint is None
    assert eqx.tree_equal(caught.value.training.network, fit(max_epochs=2).network)


def test_signals_are_left_alone_in_other_threads_and_under_other_handlers():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit()))
    thread.start()
    thread.join()
    assert same(results[0], fit())

    seen = []
    old = signal.signal(signal.SIGINT, lambda *_: seen.append("mine"))
    try:
        assert same(fit(callbacks=[press_ctrl_c(2)]), fit())
    finally:
        signal.signal(signal.SIGINT, old)
    assert seen == ["mine"]


# --- a failure -----------------------------------------------------------------------


def test_a_training_that_fails_keeps_the_state_before_the_bad_epoch(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingError):
        fit(path, schedule=lambda step: 1e30 if step >= 9 else 1e-3)  # in epoch 4
    assert _without_seconds(path)[0]["loss_train"] == fit().history["train"][:3]


@pytest.mark.parametrize("moment", ["open", "write", "fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_checkpoint_as_it_was(tmp_path, monkeypatch, moment):
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        fit(path, every=1, callbacks=[stop_after(4)])
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    class FullFile:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, content):
            self.file.write(content[: len(content) // 2])
            full()

    usual = Path.open

    def open_full(path, mode="r", **kwargs):
        if "x" not in mode:
            return usual(path, mode, **kwargs)
        return full() if moment == "open" else FullFile(usual(path, mode, **kwargs))

    with monkeypatch.context() as patch:
        if moment in ("open", "write"):
            patch.setattr(Path, "open", open_full)
        elif moment == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(InputError, match=r"run.safetensors .*No space left on device"):
            fit(path, every=1, resume=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    assert same(fit(path, every=1, resume=True), fit())


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"file.run.safetensors could not be written"):
        fit(tmp_path / "file" / "run.safetensors", every=1)


def test_several_trainings_share_a_folder(tmp_path):
    kept = Checkpoints(tmp_path / "checkpoints")
    settings = TrainingSettings(max_epochs=2, batch_size=8)
    network = AutoencoderNetwork(6, 2, n_hidden=5, n_layers=1, key=jax.random.key(1))
    for run in ("a", "b"):
        train(
            network, on_device(X), np.arange(24), np.arange(24, 30), LOSSES["mse"], settings,
            key=jax.random.key(2), checkpoint=kept.of(run, IDENTITY),
        )  # fmt: skip
    assert not kept.folder.exists()
    kept.write()
    names = {p.name for p in kept.folder.iterdir()}
    assert names == {"a.safetensors", "b.safetensors", "unfinished.json"}


def test_only_what_was_written_is_removed(tmp_path):
    folder = tmp_path / "checkpoints"
    kept = Checkpoints(folder, every=1)
    kept.begin({})
    mine = [folder / "epoch1.pt", folder / "a_seed0.last_good.safetensors"]
    for path in [*mine, folder / "a_seed0.safetensors"]:
        path.write_text("something")
    kept.remove()
    assert sorted(folder.iterdir()) == sorted(mine)
    Checkpoints(folder).begin({})  # of other work: the folder is not marked any more
    assert sorted(folder.iterdir()) == sorted(mine)


def test_a_callback_that_fails_loses_no_epoch(tmp_path):
    kept = Checkpoints(tmp_path)
    network = AutoencoderNetwork(6, 2, n_hidden=5, n_layers=1, key=jax.random.key(1))
    with pytest.raises(Killed), kept_on_failure(kept):
        train(
            network, on_device(X), np.arange(24), np.arange(24, 30), LOSSES["mse"],
            TrainingSettings(max_epochs=5, batch_size=8), key=jax.random.key(2),
            checkpoint=kept.of("a_seed0", IDENTITY), callbacks=[stop_after(3)],
        )  # fmt: skip
    assert len(_without_seconds(tmp_path / "a_seed0.safetensors")[0]["loss_train"]) == 3


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    fit(path, every=7)

    def locked(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", locked)
    with pytest.raises(InputError, match=r"run.safetensors cannot be read: Permission denied"):
        fit(path, every=7, resume=True)


@pytest.mark.parametrize("content", ["[]", "{", "null"])
def test_a_mark_that_says_nothing_is_told(tmp_path, content):
    (tmp_path / "unfinished.json").write_text(content)
    with pytest.raises(InputError, match="cannot be read or was changed"):
        Checkpoints(tmp_path, 1, resume=True).begin({"loss": "mse"})


def test_a_folder_in_which_nothing_was_done_before_a_kill_is_cleared_away(tmp_path):
    for name, there, stays in (
        ("empty", (), False),
        ("half", (".unfinished.json.partial",), False),
        ("begun", ("unfinished.json", ".a.partial"), True),
        ("mine", ("holiday.png",), True),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for file in there:
            (folder / file).write_text("")
        clear_unmarked(folder)
        assert folder.exists() == stays
        assert not stays or len(list(folder.iterdir())) == len(there)


def test_another_function_as_the_schedule_is_said_in_words(tmp_path):
    path, words = tmp_path / "run.safetensors", "schedule is another function"
    fit(path, every=7, identity=IDENTITY | {"schedule": "a" * 64})
    with pytest.raises(InputError, match=words):
        fit(path, every=7, resume=True, identity=IDENTITY | {"schedule": "b" * 64})
