"""What is called after every epoch: the record it gets, and two loggers.

A callback is any function of one :class:`Epoch`. Training ends when it returns True;
whatever else it returns is ignored.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cellglass.errors import InputError
from cellglass.files import first_line
from cellglass.outputs import check_writable

if TYPE_CHECKING:
    from cellglass.network import AutoencoderNetwork


@dataclass(frozen=True)
class Epoch:
    """What is known at the end of an epoch.

    Attributes
    ----------
    run
        Name of the training, such as ``mse_10_seed0``.
    epoch, max_epochs
        Number of the epoch, from 1, and of the last one planned.
    loss_train
        Loss over the training cells, as the weights were while each batch passed.
    loss_validation
        Loss over the held-out cells at the end of the epoch; None without any.
    learning_rate
        Of the epoch's last step.
    seconds
        Time since the training began, those before a stop included.
    network
        The network with its weights at the end of the epoch.
    """

    run: str
    epoch: int
    max_epochs: int
    loss_train: float
    loss_validation: float | None
    learning_rate: float
    seconds: float
    network: AutoencoderNetwork = field(repr=False)

    @property
    def numbers(self) -> dict[str, float]:
        """What a logger draws against the epoch, by name."""
        numbers = {"loss_train": self.loss_train, "learning_rate": self.learning_rate}
        if self.loss_validation is not None:
            numbers["loss_validation"] = self.loss_validation
        return numbers


Callback = Callable[[Epoch], object]


class TensorBoard:
    """Writes losses and learning rate where TensorBoard finds them.

    Needs ``pip install cellglass[tensorboard]``. Every training gets a folder of its own,
    and one that is resumed goes on in it. Close it, or use it in a ``with`` statement.

    Parameters
    ----------
    folder
        What ``tensorboard --logdir`` is pointed to.

    Raises
    ------
    InputError
        If the extra is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        _import_extra("tensorboardX", "tensorboard")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {folder} for TensorBoard cannot be made: {error.strerror}. Give "
                "the name of a folder where you may write."
            ) from error
        check_writable(self.folder)
        self._writers: dict[str, Any] = {}

    def __call__(self, epoch: Epoch) -> None:
        """Add one point to every curve.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        # Not through SummaryWriter: its thread dies of a full disk, and who waits for it does
        # so for ever.
        if epoch.run not in self._writers:
            folder = self.folder / epoch.run
            folder.mkdir(exist_ok=True)
            self._writers[epoch.run] = EventsWriter(str(folder / "events"))
        writer = self._writers[epoch.run]
        for name, value in epoch.numbers.items():
            writer.write_event(
                Event(summary=scalar(name, value), step=epoch.epoch, wall_time=time.time())
            )
        writer.flush()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # scikit-learn copies an estimator with its callbacks; one writes

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            with suppress(OSError):  # of what could not be written, who wrote it was told
                writer.close()
        self._writers.clear()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class MLflow:
    """Logs losses and learning rate as metrics of MLflow, one MLflow run a training.

    Needs ``pip install cellglass[mlflow]``. Close it, which marks the runs as finished, or
    use it in a ``with`` statement.

    Parameters
    ----------
    experiment
        Name of the experiment; made if it does not exist.
    tracking_uri
        Where the experiments are kept; default: what MLflow is set to.

    Raises
    ------
    InputError
        If the extra is not installed.
    """

    def __init__(
        self, experiment: str = "cellglass", *, tracking_uri: str | None = None
    ) -> None:
        library = _import_extra("mlflow", "mlflow")
        self.experiment = experiment
        try:
            self._client = library.MlflowClient(tracking_uri=tracking_uri)
            self._client.get_experiment_by_name(experiment)
        except Exception as error:  # each store fails in its own way
            uri = tracking_uri or library.get_tracking_uri()
            raise InputError(
                f"MLflow cannot be used with {uri}: {first_line(error)} Set "
                "MLFLOW_TRACKING_URI to where your experiments are kept."
            ) from error
        self._runs: dict[str, str] = {}

    def __call__(self, epoch: Epoch) -> None:
        """Log the numbers of one epoch.

        Raises
        ------
        OSError
            If MLflow does not take them.
        """
        try:
            if epoch.run not in self._runs:
                self._runs[epoch.run] = self._start(epoch)
            for name, value in epoch.numbers.items():
                self._client.log_metric(self._runs[epoch.run], name, value, step=epoch.epoch)
        except Exception as error:  # each store fails in its own way
            raise OSError(f"MLflow could not log an epoch: {first_line(error)}") from error

    def _start(self, epoch: Epoch) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        experiment_id = (
            found.experiment_id if found else self._client.create_experiment(self.experiment)
        )
        started = self._client.create_run(experiment_id, run_name=epoch.run)
        self._client.log_param(started.info.run_id, "max_epochs", epoch.max_epochs)
        return started.info.run_id

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # scikit-learn copies an estimator with its callbacks; one writes

    def close(self, status: str = "FINISHED") -> None:
        """Mark the runs as finished, or with another of MLflow's words as failed or killed."""
        for run_id in self._runs.values():
            with suppress(Exception):  # what became of the training is told elsewhere
                self._client.set_terminated(run_id, status)
        self._runs.clear()

    def __enter__(self) -> MLflow:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self.close("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")


def _import_extra(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module} is not installed, and this logger needs it: pip "
            f"install 'cellglass[{extra}]'."
        ) from error
