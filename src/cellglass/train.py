"""The training loop: train_step, run_epoch, train."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cellglass.batches import Rows
from cellglass.callbacks import Callback, Epoch
from cellglass.checkpoint import Checkpoint
from cellglass.errors import TrainingError, TrainingInterrupted
from cellglass.interrupts import held_back
from cellglass.losses import Loss
from cellglass.network import AutoencoderNetwork
from cellglass.schedules import learning_rates
from cellglass.settings import TrainingSettings

DIVERGED = 100
"""A final loss so many times that of predicting 0 everywhere is no trained network's."""

FLOAT32_MAX = float(np.finfo(np.float32).max)


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
        The network after the epoch of the lowest held-out loss; None unless early stopping
        will restore it.
    loss_train, loss_validation
        Loss of every epoch so far; the second is empty without held-out cells.
    stopped
        Whether a callback has ended the training.
    seconds
        Time taken so far.
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

    def finished(self, settings: TrainingSettings) -> bool:
        """Whether there is nothing left to do."""
        out_of_patience = (
            settings.patience is not None
            and self.epoch - self.best_epoch(settings.min_delta) >= settings.patience
        )
        return self.stopped or self.epoch >= settings.max_epochs or out_of_patience


@dataclass(frozen=True)
class Training:
    """A trained network and how it came about.

    Attributes
    ----------
    network
        The network after the last epoch; with early stopping, after the best one.
    loss_train
        The loss of every epoch over the training cells, as the weights were while each
        batch passed.
    loss_validation
        The loss over the held-out cells at the end of every epoch; empty if there are none.
    best_epoch
        The epoch, from 1, that the network is from, where early stopping chose it.
    seconds
        Wall time, compilation included.
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
    started = time.perf_counter()
    fresh = Progress(
        state=State(network, optax.adam(0.0).init(eqx.filter(network, eqx.is_array))),
        best=None if settings.patience is None else network,
    )
    progress = fresh if checkpoint is None else checkpoint.start(fresh)
    started -= progress.seconds
    cells = jnp.asarray(train_cells), jnp.asarray(validation_cells)
    n_steps = -(-len(train_cells) // settings.batch_size)  # in an epoch
    with held_back() as interrupted:
        while not progress.finished(settings):
            epoch = progress.epoch + 1
            rates = learning_rates(
                settings.schedule, settings.learning_rate, start=progress.epoch * n_steps,
                stop=epoch * n_steps, n_steps=settings.max_epochs * n_steps,
            )  # fmt: skip
            epoch_key = jax.random.fold_in(key, epoch)
            outcome = run_epoch(
                progress.state, rows, *cells, epoch_key, rates, loss=loss,
                batch_size=settings.batch_size,
            )  # fmt: skip
            if not bool(outcome.finite):
                order = jax.random.permutation(epoch_key, cells[0])
                batches, _ = cut_into_batches(order, settings.batch_size)
                reason = explain_failure(
                    outcome, rows, batches, cells[1], rates, epoch, loss, settings
                )
                raise _failure(reason, progress, settings, checkpoint)
            progress = _advance(progress, outcome, settings, time.perf_counter() - started)
            told = Epoch(
                run, epoch, settings.max_epochs, progress.loss_train[-1],
                progress.loss_validation[-1] if len(validation_cells) else None,
                float(rates[-1]), progress.seconds, progress.state.network,
            )  # fmt: skip
            if checkpoint is not None:  # before anybody else may fail
                checkpoint.note(progress, finished=progress.finished(settings))
            answers = [callback(told) for callback in callbacks]
            if any(answer is True for answer in answers):
                progress = replace(progress, stopped=True)
                if checkpoint is not None:
                    checkpoint.note(progress, finished=True)
            if interrupted():
                _interrupt(run, progress, settings, checkpoint)
    if progress.loss_train[-1] > DIVERGED * max(_loss_of_zeros(rows, cells[0], loss), 1e-30):
        raise TrainingError(
            f"Training of {run} has diverged: its {loss.name} loss is "
            f"{progress.loss_train[-1]:.3g}, more than {DIVERGED} times that of predicting 0 "
            f"everywhere. The learning rate was {settings.learning_rate:g}; try "
            f"{settings.learning_rate / 10:g}.",
            _training(progress, settings),
        )
    return _training(progress, settings)


def _loss_of_zeros(rows: Rows, cells: Array, loss: Loss) -> float:
    """Loss of predicting 0 everywhere, over the first of some cells."""
    y = rows.take(cells[:1024])
    return float(ratio(*loss.terms(y, jnp.zeros_like(y))))


def explain_failure(
    outcome: Outcome,
    rows: Rows,
    batches: Array,  # (n_batches, B) the cells as they were cut in that epoch
    validation_cells: Array,  # (n_validation,)
    rates: np.ndarray,  # (n_batches,)
    epoch: int,
    loss: Loss,
    settings: TrainingSettings,
) -> str:
    """Say where a loss or a weight stopped being finite, and the likely cause."""
    n_batches = len(batches)
    batch = min(int(outcome.first_bad), n_batches - 1)
    cells, where = batches[batch], f"batch {batch + 1} of {n_batches}"
    if int(outcome.first_bad) < n_batches:
        what = f"The {loss.name} loss became {float(outcome.batch_losses[batch])}"
    elif not bool(outcome.weights_finite) or outcome.loss_validation is None:
        what = "The weights, or the loss that they give, are no longer finite"
    else:
        what = f"The held-out {loss.name} loss became {float(outcome.loss_validation)}"
        cells, where = validation_cells, f"after batch {n_batches} of {n_batches}"
    largest = max(
        float(jnp.abs(rows.take(part)).max()) for part in jnp.array_split(cells, 8) if len(part)
    )
    # With values so large their squares, added up, do not fit into 32 bits.
    if not largest * math.sqrt(batches.shape[1] * rows.shape[1]) < math.sqrt(FLOAT32_MAX):
        cause = (
            f"the values: the largest among these cells is {largest:.3g}, and squares of "
            "such numbers exceed what 32 bits hold. Give raw counts, or log-normalised "
            "values, which stay below 30"
        )
    else:
        rate = settings.learning_rate
        at = "" if np.ptp(rates) == 0 else f" ({rates[batch]:.3g} at this step)"
        cause = (
            f"too large a learning rate: it was {rate:g}{at}; try {rate / 10:g}. The largest "
            f"value among these cells, {largest:.3g}, is harmless"
        )
    return (
        f"{what} in epoch {epoch} of {settings.max_epochs}, {where}. The likely cause is "
        f"{cause}."
    )


def _failure(
    reason: str,
    progress: Progress,
    settings: TrainingSettings,
    checkpoint: Checkpoint | None,
) -> TrainingError:
    """Keep what stood before the epoch that failed, and make the error."""
    if checkpoint is not None:
        checkpoint.write()
    if progress.epoch:
        reason += f" The weights after epoch {progress.epoch} were the last good ones."
    return TrainingError(reason, _training(progress, settings))


def _advance(
    progress: Progress, outcome: Outcome, settings: TrainingSettings, seconds: float
) -> Progress:
    """Add a good epoch to what stood before."""
    validation = () if outcome.loss_validation is None else (float(outcome.loss_validation),)
    advanced = replace(
        progress,
        state=outcome.state,
        loss_train=(*progress.loss_train, float(outcome.loss_train)),
        loss_validation=(*progress.loss_validation, *validation),
        seconds=seconds,
    )
    if settings.patience is not None and (
        advanced.best_epoch(settings.min_delta) == advanced.epoch
    ):
        advanced = replace(advanced, best=outcome.state.network)
    return advanced


def _interrupt(
    run: str, progress: Progress, settings: TrainingSettings, checkpoint: Checkpoint | None
) -> NoReturn:
    """Stop for Ctrl-C, with everything kept."""
    where = ""
    if checkpoint is not None:
        checkpoint.write()
        where = f", and kept in {checkpoint.path}"
    raise TrainingInterrupted(
        f"Training of {run} was stopped after epoch {progress.epoch} of "
        f"{settings.max_epochs}{where}.",
        _training(progress, settings),
        None if checkpoint is None else checkpoint.path,
    )


def _training(progress: Progress, settings: TrainingSettings) -> Training:
    """Hand over what a training has come to."""
    best = progress.best
    return Training(
        network=progress.state.network if best is None else best,
        loss_train=progress.loss_train,
        loss_validation=progress.loss_validation,
        best_epoch=None if best is None else progress.best_epoch(settings.min_delta),
        seconds=progress.seconds,
    )


class Outcome(NamedTuple):
    """What an epoch gives."""

    state: State
    loss_train: Array
    loss_validation: Array | None  # None without held-out cells
    batch_losses: Array  # (n_batches,)
    first_bad: Array  # first batch whose loss is not finite; n_batches if there is none
    weights_finite: Array
    finite: Array  # whether all losses and weights are


@partial(jax.jit, static_argnames=("loss", "batch_size"))
def run_epoch(
    state: State,
    rows: Rows,
    train_cells: Array,  # (n_train,)
    validation_cells: Array,  # (n_validation,)
    key: Array,
    rates: Array,  # (n_batches,) learning rate of every step
    *,
    loss: Loss,
    batch_size: int,
) -> Outcome:
    """One pass over all training cells as one program; then the held-out loss."""
    order = jax.random.permutation(key, train_cells)
    batches = cut_into_batches(order, batch_size)

    def step(
        carry: State, batch: tuple[Array, Array, Array]
    ) -> tuple[State, tuple[Array, Array]]:
        return train_step(carry, rows, *batch, loss=loss)

    def score(carry: None, batch: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        return None, batch_terms(state.network, rows, *batch, loss=loss)

    state, terms = jax.lax.scan(step, state, (*batches, rates))
    # Without held-out cells the last batch tells whether the final weights still work.
    held_out = validation_cells.shape[0] > 0
    last = batches[0][-1:], batches[1][-1:]
    watched = cut_into_batches(validation_cells, batch_size) if held_out else last
    _, terms_watched = jax.lax.scan(score, None, watched)
    loss_watched = ratio(*terms_watched)

    batch_losses = jax.vmap(ratio)(*terms)
    bad = ~jnp.isfinite(batch_losses)
    leaves = jax.tree.leaves(state.network)
    weights_finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
    return Outcome(
        state=state,
        loss_train=ratio(*terms),
        loss_validation=loss_watched if held_out else None,
        batch_losses=batch_losses,
        first_bad=jnp.where(bad.any(), jnp.argmax(bad), len(bad)),
        weights_finite=weights_finite,
        finite=~bad.any() & jnp.isfinite(loss_watched) & weights_finite,
    )


def train_step(
    state: State,
    rows: Rows,
    cells: Array,  # (B,)
    weights: Array,  # (B,) 1 for a cell, 0 for padding
    learning_rate: Array,
    *,
    loss: Loss,
) -> tuple[State, tuple[Array, Array]]:
    """One step of Adam on one batch; also the batch's share of the epoch's loss."""

    def objective(network: AutoencoderNetwork) -> tuple[Array, tuple[Array, Array]]:
        terms = batch_terms(network, rows, cells, weights, loss=loss)
        return ratio(*terms), terms

    gradients, terms = jax.grad(objective, has_aux=True)(state.network)
    updates, optimizer = optax.adam(learning_rate).update(gradients, state.optimizer)
    return State(optax.apply_updates(state.network, updates), optimizer), terms


def batch_terms(
    network: AutoencoderNetwork, rows: Rows, cells: Array, weights: Array, *, loss: Loss
) -> tuple[Array, Array]:
    """Numerator and denominator of the loss over one batch, two scalars."""
    y = rows.take(cells)  # (B, n_genes)
    numerator, denominator = loss.terms(y, network(y))  # (B,), (B,)
    return (numerator * weights).sum(), (denominator * weights).sum()


def ratio(numerator: Array, denominator: Array) -> Array:
    """Σ numerator / Σ denominator; 0 where there is nothing to divide by."""
    return numerator.sum() / jnp.maximum(denominator.sum(), 1)


def cut_into_batches(cells: Array, batch_size: int) -> tuple[Array, Array]:
    """Cut a list of cells into batches whose sizes differ by one at most.

    Parameters
    ----------
    cells
        Row numbers, shape (n,).
    batch_size
        The most cells in a batch.

    Returns
    -------
    tuple of Array
        Cells and weights, each of shape (n_batches, B) with B ≤ batch_size. Batches
        that are one cell short are filled up with the last cell of the list at weight 0:
        one from outside the list could still reach the loss, since 0 · ∞ is not 0.
    """
    n = cells.shape[0]
    n_batches = -(-n // batch_size)
    width = -(-n // n_batches) if n_batches else 0
    padding = n_batches * width - n
    weights = jnp.pad(jnp.ones(n), (0, padding)).reshape(width, n_batches).T
    filled = jnp.pad(cells, (0, padding), mode="edge") if padding else cells
    return filled.reshape(width, n_batches).T, weights
