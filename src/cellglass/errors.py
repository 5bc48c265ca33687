"""The exceptions for a user's mistake, for a training that failed, and for a stopped one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellglass.training_progress import Training


class InputError(ValueError):
    """What was given cannot be used: a file, a value in it, or an option.

    The message is one paragraph of prose that names the value, its place, what was
    expected and the remedy. The command line prints it without a traceback and exits
    with code 2; from Python it is a ``ValueError`` like any other.
    """


class MissingGenesError(InputError):
    """Too many of a model's genes are not in the data that it is to be applied to.

    Attributes
    ----------
    missing
        Names of all of them; the message lists the first.
    """

    def __init__(self, message: str, missing: tuple[str, ...]) -> None:
        super().__init__(message)
        self.missing = missing


class TrainingError(RuntimeError):
    """Training could not go on; the message says where it stopped and why.

    Attributes
    ----------
    training
        What stood at the end of the last good epoch, weights included; None if training
        had not begun.
    run
        Name of the training, such as ``mse_10_seed0``; None if that is not known.
    """

    def __init__(
        self, message: str, training: Training | None = None, run: str | None = None
    ) -> None:
        super().__init__(message)
        self.training = training
        self.run = run


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C was pressed, and the epoch was finished first.

    Attributes
    ----------
    training
        What stood at the end of that epoch, weights included.
    checkpoint
        File that the training can be resumed from; None if there is none.
    """

    def __init__(self, message: str, training: Training, checkpoint: Path | None) -> None:
        super().__init__(message)
        self.training = training
        self.checkpoint = checkpoint
