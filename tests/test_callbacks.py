"""Callbacks are told every epoch; loggers write what others can read."""

import struct
import sys

import numpy as np
import pytest

from cellglass.callbacks import Epoch, MLflow, TensorBoard
from cellglass.checks import check_callbacks
from cellglass.errors import InputError
from cellglass.fit import fit_model
from cellglass.settings import ModelSettings

X = np.random.default_rng(0).poisson(1.0, (30, 6))
SETTINGS = ModelSettings(n_latent=2, n_hidden=4, max_epochs=3, schedule="linear_schedule")


def epoch(number, **kwargs):
    given = {"loss_train": 1 / number, "loss_validation": 2 / number, **kwargs}
    return Epoch("a_run", number, 3, learning_rate=0.1, seconds=1.0, network=None, **given)


def events(folder):
    """All scalars of TensorBoard's files, read by their format: length, crc, event, crc."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in sorted(folder.glob("*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = Event.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
            at += 12 + length + 4
    return found


def test_tensorboard_files_hold_the_history(tmp_path):
    with TensorBoard(tmp_path) as log:
        history = fit_model(X, SETTINGS, callbacks=[log]).training.history
    found = events(tmp_path / "mse_2_seed0")
    for name, losses in history.items():
        for number, loss in enumerate(losses, start=1):
            assert found[f"loss_{name}", number] == pytest.approx(loss, rel=1e-6)
    assert found["learning_rate", 3] == pytest.approx(1e-3 / 3, rel=1e-5)
    assert len(found) == 9


def test_a_training_without_held_out_cells_logs_no_held_out_loss(tmp_path):
    with TensorBoard(tmp_path) as log:
        log(epoch(1, loss_validation=None))
    assert set(events(tmp_path / "a_run")) == {("loss_train", 1), ("learning_rate", 1)}


@pytest.fixture
def file_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MLflow on its own file store
def test_mlflow_holds_the_history_and_the_end(file_store):
    import mlflow

    with MLflow("cells", tracking_uri=file_store) as log:
        history = fit_model(X, SETTINGS, callbacks=[log]).training.history
    client = mlflow.MlflowClient(tracking_uri=file_store)
    experiment = client.get_experiment_by_name("cells")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mse_2_seed0", "FINISHED")
    assert run.data.params["max_epochs"] == "3"
    for name, losses in history.items():
        logged = client.get_metric_history(run.info.run_id, f"loss_{name}")
        assert [(m.step, m.value) for m in logged] == list(enumerate(losses, start=1))

    with MLflow("cells", tracking_uri=file_store) as log:  # the experiment is there already
        log(epoch(1))
    assert len(client.search_runs([experiment.experiment_id])) == 2


@pytest.mark.parametrize(("make", "extra"), [
    (lambda: TensorBoard("logs"), "tensorboard"),
    (lambda: MLflow("cells"), "mlflow"),
])  # fmt: skip
def test_a_missing_extra_says_how_to_install_it(make, extra, monkeypatch):
    for module in ("tensorboardX", "mlflow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"pip install 'cellglass\[{extra}\]'"):
        make()


def test_one_callback_several_or_none_may_be_given():
    assert check_callbacks(None) == ()
    assert check_callbacks(print) == (print,)
    assert check_callbacks([print, len]) == (print, len)


@pytest.mark.parametrize("bad", ["a word", 3, [print, "a word"]])
def test_what_cannot_be_called_is_refused(bad):
    with pytest.raises(InputError, match="which cannot be called; give a function of one"):
        check_callbacks(bad)


def test_an_error_in_a_callback_is_not_swallowed():
    def broken(epoch):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit_model(X, SETTINGS, callbacks=[broken])


def test_a_disk_that_is_full_is_told_and_does_not_hang(tmp_path, monkeypatch):
    from tensorboardX.record_writer import RecordWriter

    def full(writer, content):
        raise OSError(28, "No space left on device")

    with TensorBoard(tmp_path) as log:
        log(epoch(1))
        monkeypatch.setattr(RecordWriter, "write", full)
        with pytest.raises(OSError, match="No space left"):
            log(epoch(2))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MLflow on its own file store
def test_mlflow_is_told_how_a_training_ended_and_what_it_refuses_is_told(file_store):
    import mlflow

    for error, status in ((KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")):
        with pytest.raises(error), MLflow(status, tracking_uri=file_store) as log:
            log(epoch(1))
            raise error
        client = mlflow.MlflowClient(file_store)
        found = client.get_experiment_by_name(status).experiment_id
        assert [run.info.status for run in client.search_runs([found])] == [status]
    log = MLflow("cells", tracking_uri=file_store)
    log._client.log_metric = None
    with pytest.raises(OSError, match="MLflow could not log an epoch: "):
        log(epoch(1))
