"""How far a training has come, and what it comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import optax

from cellglass.network import AutoencoderNetwork
from cellglass.settings import TrainingSettings


class State(NamedTuple):
    """What an epoch changes."""

    network: AutoencoderNetwork
    optimizer: optax.OptState


@dataclass(frozen=True)
class Progress:
    """How far a training has come: with this and the data it goes on to the same end.

    Attributes
    ----------
    state
        After the last epoch.
    best
        The network after the epoch of the lowest held-out loss; None without held-out cells.
    loss_train, loss_validation
        Loss of every epoch so far; the second is empty without held-out cells. Neither
        holds the divergence of a variational network.
    stopped
        Whether a callback has ended the training.
    seconds
        Wall time so far, compilation and callbacks included; of trainings that run side by
        side, each has an equal share.
    """

    state: State
    best: AutoencoderNetwork | None
    loss_train: tuple[float, ...] = ()
    loss_validation: tuple[float, ...] = ()
    stopped: bool = False
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return len(self.loss_train)

    @property
    def arrays(self) -> tuple[State, AutoencoderNetwork | None]:
        """All that is not plain numbers."""
        return self.state, self.best

    @property
    def numbers(self) -> dict[str, Any]:
        """All that is not arrays, as plain data."""
        return {
            "loss_train": list(self.loss_train),
            "loss_validation": list(self.loss_validation),
            "stopped": self.stopped,
            "seconds": self.seconds,
        }

    def restored(
        self, arrays: tuple[State, AutoencoderNetwork | None], numbers: dict[str, Any]
    ) -> Progress:
        """Undo :attr:`arrays` and :attr:`numbers`."""
        return Progress(
            *arrays,
            loss_train=tuple(numbers["loss_train"]),
            loss_validation=tuple(numbers["loss_validation"]),
            stopped=numbers["stopped"],
            seconds=numbers["seconds"],
        )

    def best_epoch(self, min_delta: float) -> int:
        """Epoch, from 1, whose held-out loss was the last to be lower than all before."""
        best, lowest = 0, math.inf
        for epoch, loss in enumerate(self.loss_validation, start=1):
            if loss < lowest - min_delta:
                best, lowest = epoch, loss
        return best

    def advanced(
        self,
        state: State,
        loss_train: float,
        loss_validation: float | None,
        *,
        min_delta: float,
        seconds: float,
    ) -> Progress:
        """Add a good epoch, which took some seconds, to what stood before."""
        validation = () if loss_validation is None else (loss_validation,)
        advanced = replace(
            self,
            state=state,
            loss_train=(*self.loss_train, loss_train),
            loss_validation=(*self.loss_validation, *validation),
            seconds=self.seconds + seconds,
        )
        if validation and advanced.best_epoch(min_delta) == advanced.epoch:
            advanced = replace(advanced, best=state.network)
        return advanced

    def finished(self, settings: TrainingSettings) -> bool:
        """Whether there is nothing left to do."""
        out_of_patience = (
            settings.patience is not None
            and self.epoch - self.best_epoch(settings.min_delta) >= settings.patience
        )
        return self.stopped or self.epoch >= settings.max_epochs or out_of_patience

    def training(self, settings: TrainingSettings) -> Training:
        """Hand over what has been reached."""
        return Training(
            network=self.state.network if self.best is None else self.best,
            loss_train=self.loss_train,
            loss_validation=self.loss_validation,
            best_epoch=None if self.best is None else self.best_epoch(settings.min_delta),
            seconds=self.seconds,
        )


@dataclass(frozen=True)
class Training:
    """A trained network and how it came about.

    Attributes
    ----------
    network
        The network after the epoch of the lowest held-out loss, :attr:`best_epoch`; without
        held-out cells, after the last one. A network that has begun to learn its training
        cells by heart is so not what is handed on.
    loss_train
        The loss of every epoch over the training cells, as the weights were while each
        batch passed.
    loss_validation
        The loss over the held-out cells at the end of every epoch; empty if there are none.
    best_epoch
        The epoch, from 1, that the network is from; None without held-out cells.
    seconds
        Wall time, as in :class:`Progress`.
    """

    network: AutoencoderNetwork
    loss_train: tuple[float, ...]
    loss_validation: tuple[float, ...]
    best_epoch: int | None
    seconds: float

    @property
    def history(self) -> dict[str, list[float]]:
        """Both losses by epoch as plain data, ``train`` and ``validation``."""
        return {"train": list(self.loss_train), "validation": list(self.loss_validation)}
