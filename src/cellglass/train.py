"""The training loop: train_step, run_epoch, train."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

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
from cellglass.failures import explain_failure
from cellglass.interrupts import held_back
from cellglass.losses import Loss
from cellglass.network import AutoencoderNetwork, Noise
from cellglass.schedules import learning_rates
from cellglass.settings import TrainingSettings
from cellglass.training_progress import Progress, State, Training

DIVERGED = 100
"""A final loss so many times that of an untrained network is no trained one's."""

LEAST_LOSS = 1e-6
"""Losses below it are taken to be no smaller: rounding may multiply them."""

EPOCHS_AHEAD = 100
"""Learning rates are computed for so many epochs at a time."""

NO_NOISE = Noise()


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
    start = Start(network, key, run, checkpoint)
    return train_side_by_side(
        [start], rows, train_cells, validation_cells, loss, settings, callbacks=callbacks
    )[0]


def train_side_by_side(
    starts: Sequence[Start],
    rows: Rows,
    train_cells: np.ndarray,
    validation_cells: np.ndarray,
    loss: Loss,
    settings: TrainingSettings,
    *,
    callbacks: Sequence[Callback] = (),
) -> list[Training]:
    """Fit networks that differ in nothing but their weights and keys, all in one program.

    Each is trained as :func:`train` would, up to rounding. Parameters and errors are those
    of :func:`train`; a callback that returns True ends the training it was told of.
    """
    cells = jnp.asarray(train_cells), jnp.asarray(validation_cells)
    n_steps = -(-len(train_cells) // settings.batch_size)  # in an epoch
    ahead = range(0)  # epochs whose learning rates are planned
    clock = time.perf_counter()
    under_way = [_UnderWay.begin(start, settings, len(validation_cells)) for start in starts]
    with held_back() as interrupted:
        while active := [one for one in under_way if not one.finished]:
            # They differ only where they are resumed.
            done = min(one.progress.epoch for one in active)
            level = [one for one in active if one.progress.epoch == done]
            if done not in ahead:
                ahead = range(done, min(done + EPOCHS_AHEAD, settings.max_epochs))
                planned = learning_rates(
                    settings.schedule, settings.learning_rate, start=ahead.start * n_steps,
                    stop=ahead.stop * n_steps, n_steps=settings.max_epochs * n_steps,
                ).reshape(len(ahead), n_steps)  # fmt: skip
            rates = planned[done - ahead.start]
            keys = [jax.random.fold_in(one.start.key, done + 1) for one in under_way]
            # Those that wait or have ended go along: another number is another program.
            outcomes = jax.block_until_ready(run_epochs(
                [one.progress.state for one in under_way], rows, *cells, keys, rates,
                settings.kl_weight(done + 1), loss=loss, batch_size=settings.batch_size,
                noise=settings.noise, weight_decay=settings.weight_decay,
                free_bits=settings.free_bits,
            ))  # fmt: skip
            passed, clock = time.perf_counter() - clock, time.perf_counter()
            for one, key, outcome in zip(under_way, keys, outcomes, strict=True):
                if one not in level:
                    continue
                if not bool(outcome.finite):
                    order = jax.random.permutation(key, cells[0])
                    batches, _ = cut_into_batches(order, settings.batch_size)
                    reason = explain_failure(
                        outcome, rows, batches, cells[1], rates, done + 1, loss, settings
                    )
                    raise one.failure(reason)
                one.advance(outcome, float(rates[-1]), passed / len(level), callbacks)
            if interrupted():
                raise _interruption(level)
    for one in under_way:
        untrained = _untrained_loss(one.start.network, rows, cells[0][:1024], loss=loss)
        one.check_converged(float(untrained), loss)
    return [one.progress.training(settings) for one in under_way]


@dataclass
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
    for one in level:
        if one.start.checkpoint is not None:
            one.start.checkpoint.write()
    path = None if first.start.checkpoint is None else first.start.checkpoint.path
    where = "" if path is None else f", and kept in {path if len(level) == 1 else path.parent}"
    epoch, last = first.progress.epoch, first.settings.max_epochs
    return TrainingInterrupted(
        f"Training of {', '.join(one.start.run for one in level)} was stopped after epoch "
        f"{epoch} of {last}{where}.",
        first.progress.training(first.settings), path,
    )  # fmt: skip


class Outcome(NamedTuple):
    """What an epoch gives."""

    state: State
    loss_train: Array
    loss_validation: Array | None  # None without held-out cells
    batch_losses: Array  # (n_batches,)
    first_bad: Array  # first batch whose loss is not finite; n_batches if there is none
    weights_finite: Array
    finite: Array  # whether all losses and weights are


@partial(jax.jit, static_argnames=("loss", "batch_size", "noise", "weight_decay", "free_bits"))
def run_epoch(
    state: State,
    rows: Rows,
    train_cells: Array,  # (n_train,)
    validation_cells: Array,  # (n_validation,)
    key: Array,
    rates: Array,  # (n_batches,) learning rate of every step
    kl_weight: Array | float = 0.0,
    *,
    loss: Loss,
    batch_size: int,
    noise: Noise = NO_NOISE,
    weight_decay: float = 0.0,
    free_bits: float = 0.0,
) -> Outcome:
    """One pass over all training cells as one program; then the held-out loss."""
    order = jax.random.permutation(key, train_cells)
    batches = cut_into_batches(order, batch_size)
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(batches[0])))

    def step(
        carry: State, batch: tuple[Array, Array, Array, Array]
    ) -> tuple[State, tuple[Array, Array]]:
        return train_step(
            carry,
            rows,
            *batch,
            kl_weight,
            loss=loss,
            noise=noise,
            weight_decay=weight_decay,
            free_bits=free_bits,
        )

    def score(carry: None, batch: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        return None, batch_terms(state.network, rows, *batch, loss=loss)

    state, terms = jax.lax.scan(step, state, (*batches, rates, keys))
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


def run_epochs(
    states: Sequence[State],
    rows: Rows,
    train_cells: Array,  # (n_train,)
    validation_cells: Array,  # (n_validation,)
    keys: Sequence[Array],
    rates: np.ndarray,  # (n_batches,) learning rate of every step
    kl_weight: float,
    **choices: Any,
) -> Sequence[Outcome]:
    """:func:`run_epoch` for every state and its key; for several, they are one program."""
    shared = rows, train_cells, validation_cells
    if len(states) == 1:
        return [
            run_epoch(states[0], *shared, keys[0], jnp.asarray(rates), kl_weight, **choices)
        ]
    return _stacked_epochs(tuple(states), *shared, tuple(keys), rates, kl_weight, **choices)


@partial(jax.jit, static_argnames=("loss", "batch_size", "noise", "weight_decay", "free_bits"))
def _stacked_epochs(
    states: tuple[State, ...],
    rows: Rows,
    train_cells: Array,
    validation_cells: Array,
    keys: tuple[Array, ...],
    rates: Array,
    kl_weight: Array,
    **choices: Any,
) -> tuple[Outcome, ...]:
    def one(state: State, key: Array) -> Outcome:
        return run_epoch(
            state, rows, train_cells, validation_cells, key, rates, kl_weight, **choices
        )

    stacked: State = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    outcomes: Outcome = jax.vmap(one)(stacked, jnp.stack(keys))
    return tuple(jax.tree.map(itemgetter(i), outcomes) for i in range(len(states)))


def train_step(
    state: State,
    rows: Rows,
    cells: Array,  # (B,)
    weights: Array,  # (B,) 1 for a cell, 0 for padding
    learning_rate: Array,
    key: Array,
    kl_weight: Array | float,
    *,
    loss: Loss,
    noise: Noise,
    weight_decay: float,
    free_bits: float,
) -> tuple[State, tuple[Array, Array]]:
    """One step of Adam on one batch; also the batch's share of the epoch's loss."""
    batch = rows.batch(cells)

    def objective(network: AutoencoderNetwork) -> tuple[Array, tuple[Array, Array]]:
        if noise == NO_NOISE and network.log_variance is None:
            output, penalty = network(batch.x), jnp.zeros(())
        else:
            output, divergence = network.disturbed(batch.x, noise, key)
            penalty = kl_weight * charged(divergence, weights, free_bits)
        numerator, denominator = weighted(loss.terms(batch, output), weights)
        return ratio(numerator + penalty, denominator), (numerator, denominator)

    gradients, terms = jax.grad(objective, has_aux=True)(state.network)
    updates, optimizer = optax.adam(learning_rate).update(gradients, state.optimizer)
    if weight_decay:
        updates = jax.tree.map(
            lambda update, weight: (
                update - learning_rate * weight_decay * weight if weight.ndim > 1 else update
            ),
            updates, state.network,
        )  # fmt: skip
    return State(optax.apply_updates(state.network, updates), optimizer), terms


def batch_terms(
    network: AutoencoderNetwork, rows: Rows, cells: Array, weights: Array, *, loss: Loss
) -> tuple[Array, Array]:
    """Numerator and denominator of the loss over one batch, two scalars."""
    batch = rows.batch(cells)
    return weighted(loss.terms(batch, network(batch.x)), weights)


def charged(divergence: Array, weights: Array, free_bits: float) -> Array:
    """Sum divergences, shape (B, n_latent), over cells of some weights, shape (B,).

    Of every dimension at least `free_bits` are counted for each cell, in the mean over the
    batch (free bits, Kingma et al. 2016), so that it has no reason to have less.
    """
    of_dimensions = weights @ divergence
    return jnp.maximum(of_dimensions, free_bits * weights.sum()).sum()


def weighted(terms: tuple[Array, Array], weights: Array) -> tuple[Array, Array]:
    """Sum numerators and denominators of cells by their weights, all of shape (B,)."""
    numerator, denominator = terms
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
