"""The training loop, of one network or of several at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cellglass.batches import Rows
from cellglass.callbacks import Callback, Epoch
from cellglass.checkpoint import Checkpoint
from cellglass.epoch_program import Outcome, cut_into_batches, ratio, run_epochs
from cellglass.errors import TrainingError, TrainingInterrupted
from cellglass.failures import explain_failure
from cellglass.interrupts import held_back
from cellglass.losses import Loss
from cellglass.network import AutoencoderNetwork
from cellglass.schedules import learning_rates
from cellglass.settings import TrainingSettings
from cellglass.training_progress import Progress, State, Training

DIVERGED = 100
"""A final loss so many times that of an untrained network is no trained one's."""

LEAST_LOSS = 1e-6
"""Losses below it are taken to be no smaller: rounding may multiply them."""

EPOCHS_AHEAD = 100
"""Learning rates are computed for so many epochs at a time."""


@dataclass(frozen=True)
class Start:
    """Where one training begins.

    Attributes
    ----------
    network, key, run, checkpoint
        As in :func:`train`.
    """

    network: AutoencoderNetwork
    key: Array
    run: str = "training"
    checkpoint: Checkpoint | None = None


def train(
    network: AutoencoderNetwork,
    rows: Rows,
    train_cells: np.ndarray,
    validation_cells: np.ndarray,
    loss: Loss,
    settings: TrainingSettings,
    *,
    key: Array,
    run: str = "training",
    callbacks: Sequence[Callback] = (),
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Fit a network to the training cells with Adam (Kingma & Ba 2015).

    Parameters
    ----------
    network
        The network to start from; it is left as it is.
    rows
        Preprocessed values of all cells, shape (n_cells, n_genes).
    train_cells, validation_cells
        Row numbers of the cells to train on, and of those only watched.
    loss
        What is made small.
    settings
        How. An epoch is cut into batches of equal size (or one cell less), at most
        ``batch_size``, so that no cell is dropped and no batch is much smaller than the
        rest.
    key
        JAX key that the order of the cells is drawn with, anew for every epoch.
    run
        What callbacks are told that this training is called.
    callbacks
        Each is called after every epoch; training ends when one returns True.
    checkpoint
        Where progress is kept, and taken up again. Default: nowhere.

    Raises
    ------
    TrainingError
        When a loss or a weight is no longer finite; what stood before that epoch is in the
        checkpoint and in the error's ``training``. When the final loss is finite but absurd.
    TrainingInterrupted
        When Ctrl-C was pressed, after the epoch is done and the checkpoint is written.
    """
    group = SideBySide(
        [Start(network, key, run, checkpoint)], rows, train_cells, validation_cells, loss,
        settings, callbacks=callbacks,
    )  # fmt: skip
    return next(train_in_turn([group]))[0]


def train_in_turn(
    groups: Iterable[SideBySide], *, at_once: int = 1
) -> Iterator[list[Training]]:
    """Train groups of networks, some of them at once; each comes out as it would by itself.

    Those that are trained at once pass an epoch each at the same time. Nothing else is done
    at the same time: callbacks are called in turn, by the thread that asks for the results.

    Parameters
    ----------
    groups
        Each is asked for when it is about to begin.
    at_once
        How many at once.

    Yields
    ------
    list of Training
        Of one group after the other, in their order. Those that follow are being trained
        meanwhile, up to the end of an epoch.

    Raises
    ------
    TrainingError, TrainingInterrupted
        As :func:`train`.
    """
    coming, begun = iter(groups), deque[SideBySide]()
    try:
        while True:
            clock = time.perf_counter()
            with held_back() as interrupted:
                while True:
                    active = [group for group in begun if not group.finished]
                    for group in islice(coming, at_once - len(active)):
                        begun.append(group)
                        if not group.finished:  # before it was resumed
                            active.append(group)
                            clock = group.begin_epoch(clock)
                    if not begun:
                        return
                    if begun[0].finished:
                        break
                    for group in active:
                        clock = group.end_epoch(clock)
                        if not (group.finished or interrupted()):
                            clock = group.begin_epoch(clock)
                    if interrupted():
                        raise _interruption([one for group in active for one in group.level])
            yield begun.popleft().result()
    finally:
        for group in begun:
            group.wait()


class SideBySide:
    """Networks that differ in nothing but their weights and keys, all in one program.

    Each is trained as :func:`train` would, up to rounding. Parameters and errors are those
    of :func:`train`; a callback that returns True ends the training it was told of.
    An epoch is computed between :meth:`begin_epoch` and :meth:`end_epoch`, while the caller
    is free to do other things.
    """

    def __init__(
        self,
        starts: Sequence[Start],
        rows: Rows,
        train_cells: np.ndarray,
        validation_cells: np.ndarray,
        loss: Loss,
        settings: TrainingSettings,
        *,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self._rows, self._loss, self._settings = rows, loss, settings
        self._cells = jnp.asarray(train_cells), jnp.asarray(validation_cells)
        self._callbacks = callbacks
        self._n_steps = -(-len(train_cells) // settings.batch_size)  # in an epoch
        self._ahead = range(0)  # epochs whose learning rates are planned
        self._planned = np.empty((0, self._n_steps))
        self._members = [
            _UnderWay.begin(start, settings, len(validation_cells)) for start in starts
        ]
        self._seconds = 0.0  # that belong to the epoch that is passed
        self._keys: list[Array] = []
        self._outcomes: Sequence[Outcome] = ()  # of that epoch
        self.level: list[_UnderWay] = []
        """Those of which that epoch, or else the last, is one; they differ where resumed."""

    @property
    def finished(self) -> bool:
        """Whether all trainings are."""
        return all(one.finished for one in self._members)

    def begin_epoch(self, clock: float) -> float:
        """Begin with an epoch; what has passed since a time is its time. Gives the new time."""
        settings, n_steps = self._settings, self._n_steps
        active = [one for one in self._members if not one.finished]
        done = min(one.progress.epoch for one in active)
        self.level = [one for one in active if one.progress.epoch == done]
        if done not in self._ahead:
            ahead = range(done, min(done + EPOCHS_AHEAD, settings.max_epochs))
            self._planned = learning_rates(
                settings.schedule, settings.learning_rate, start=ahead.start * n_steps,
                stop=ahead.stop * n_steps, n_steps=settings.max_epochs * n_steps,
            ).reshape(len(ahead), n_steps)  # fmt: skip
            self._ahead = ahead
        self._keys = [jax.random.fold_in(one.start.key, done + 1) for one in self._members]
        # Those that wait or have ended go along: another number is another program.
        self._outcomes = run_epochs(
            [one.progress.state for one in self._members], self._rows, *self._cells, self._keys,
            self._planned[done - self._ahead.start], settings.kl_weight(done + 1),
            loss=self._loss, batch_size=settings.batch_size, noise=settings.noise,
            weight_decay=settings.weight_decay, free_bits=settings.free_bits,
        )  # fmt: skip
        return self._spend(clock)

    def end_epoch(self, clock: float) -> float:
        """Wait for the epoch, and take it over."""
        outcomes = self.wait()
        clock = self._spend(clock)
        passed, self._seconds, self._outcomes = self._seconds, 0.0, ()
        done = self.level[0].progress.epoch
        rates = self._planned[done - self._ahead.start]
        for one, key, outcome in zip(self._members, self._keys, outcomes, strict=True):
            if one not in self.level:
                continue
            if not bool(outcome.finite):
                order = jax.random.permutation(key, self._cells[0])
                batches, _ = cut_into_batches(order, self._settings.batch_size)
                reason = explain_failure(
                    outcome, self._rows, batches, self._cells[1], rates, done + 1, self._loss,
                    self._settings,
                )  # fmt: skip
                raise one.failure(reason)
            one.advance(outcome, float(rates[-1]), passed / len(self.level), self._callbacks)
        return clock

    def wait(self) -> Sequence[Outcome]:
        """Wait for the epoch that is being computed, if there is one."""
        return jax.block_until_ready(self._outcomes)

    def result(self) -> list[Training]:
        """Hand over what all have come to."""
        for one in self._members:
            untrained = _untrained_loss(
                one.start.network, self._rows, self._cells[0][:1024], loss=self._loss
            )
            one.check_converged(float(untrained), self._loss)
        return [one.progress.training(self._settings) for one in self._members]

    def _spend(self, clock: float) -> float:
        now = time.perf_counter()
        self._seconds += now - clock
        return now


@dataclass(eq=False)
class _UnderWay:
    """One training between its start and its end."""

    start: Start
    settings: TrainingSettings
    progress: Progress

    @classmethod
    def begin(cls, start: Start, settings: TrainingSettings, n_validation: int) -> _UnderWay:
        optimizer = optax.adam(0.0).init(eqx.filter(start.network, eqx.is_array))
        fresh = Progress(
            state=State(start.network, optimizer), best=start.network if n_validation else None
        )
        kept = start.checkpoint
        return cls(start, settings, fresh if kept is None else kept.start(fresh))

    @property
    def finished(self) -> bool:
        return self.progress.finished(self.settings)

    def advance(
        self, outcome: Outcome, rate: float, seconds: float, callbacks: Sequence[Callback]
    ) -> None:
        """Take over a good epoch, keep it, and tell of it."""
        held_out = outcome.loss_validation
        self.progress = self.progress.advanced(
            outcome.state, float(outcome.loss_train),
            None if held_out is None else float(held_out),
            min_delta=self.settings.min_delta, seconds=seconds,
        )  # fmt: skip
        told = Epoch(
            self.start.run, self.progress.epoch, self.settings.max_epochs,
            self.progress.loss_train[-1],
            None if held_out is None else self.progress.loss_validation[-1],
            rate, self.progress.seconds, self.progress.state.network,
        )  # fmt: skip
        kept = self.start.checkpoint
        if kept is not None:  # before anybody else may fail
            kept.note(self.progress, finished=self.finished)
        answers = [callback(told) for callback in callbacks]
        if any(_is_true(answer) for answer in answers):
            self.progress = replace(self.progress, stopped=True)
            if kept is not None:
                kept.note(self.progress, finished=True)

    def failure(self, reason: str) -> TrainingError:
        """Keep what stood before the epoch that failed, and make the error."""
        if self.start.checkpoint is not None:
            self.start.checkpoint.write()
        if self.progress.epoch:
            reason += f" The weights after epoch {self.progress.epoch} were the last good ones."
        return TrainingError(reason, self.progress.training(self.settings), self.start.run)

    def check_converged(self, untrained: float, loss: Loss) -> None:
        """Refuse a finite loss that is absurd beside that of an untrained network."""
        last, rate = self.progress.loss_train[-1], self.settings.learning_rate
        if last > DIVERGED * max(untrained, LEAST_LOSS):
            raise TrainingError(
                f"Training of {self.start.run} has diverged: its {loss.name} loss is "
                f"{last:.3g}, more than {DIVERGED} times that of an untrained network. "
                f"The learning rate was {rate:g}; try {rate / 10:g}.",
                self.progress.training(self.settings), self.start.run,
            )  # fmt: skip


def _is_true(answer: object) -> bool:
    """Whether a callback returned True, Python's own or that of an array library."""
    return answer is True or (getattr(answer, "dtype", None) == np.bool_ and bool(answer))


@partial(jax.jit, static_argnames="loss")
def _untrained_loss(
    network: AutoencoderNetwork, rows: Rows, cells: Array, *, loss: Loss
) -> Array:
    """Size of the loss over some cells, of an output of 0 or as it began.

    The larger of the two: either may happen to be good.
    """
    batch = rows.batch(cells)
    first = network(batch.x)
    zeros = jax.tree.map(jnp.zeros_like, first)
    losses = [jnp.abs(ratio(*loss.terms(batch, output))) for output in (zeros, first)]
    return jnp.maximum(*losses)


def _interruption(level: Sequence[_UnderWay]) -> TrainingInterrupted:
    """Keep everything, and make what is raised for Ctrl-C."""
    first = level[0]
    at: dict[int, list[str]] = {}  # those that stand there
    for one in level:
        if one.start.checkpoint is not None:
            one.start.checkpoint.write()
        at.setdefault(one.progress.epoch, []).append(one.start.run)
    path = None if first.start.checkpoint is None else first.start.checkpoint.path
    where = "" if path is None else f", and kept in {path if len(level) == 1 else path.parent}"
    last = first.settings.max_epochs
    stopped = " and ".join(
        f"of {', '.join(runs)} was stopped after epoch {epoch} of {last}"
        for epoch, runs in at.items()
    )
    return TrainingInterrupted(
        f"Training {stopped}{where}.", first.progress.training(first.settings), path
    )
