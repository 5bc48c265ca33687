"""The training loop: train_step, run_epoch, train."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cellglass.batches import Rows
from cellglass.errors import TrainingError
from cellglass.losses import Loss
from cellglass.network import AutoencoderNetwork


class State(NamedTuple):
    """What an epoch changes."""

    network: AutoencoderNetwork
    optimizer: optax.OptState


@dataclass(frozen=True)
class Training:
    """A trained network and how it came about.

    Attributes
    ----------
    network
        The network after the last epoch.
    loss_train
        The loss of every epoch over the training cells, as the weights were while each
        batch passed; length ``max_epochs``.
    loss_validation
        The loss over the held-out cells at the end of every epoch; empty if there are none.
    seconds
        Wall time, compilation included.
    """

    network: AutoencoderNetwork
    loss_train: tuple[float, ...]
    loss_validation: tuple[float, ...]
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
    *,
    max_epochs: int,
    batch_size: int,
    learning_rate: float,
    key: Array,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
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
    max_epochs
        Number of passes over the training cells.
    batch_size
        The most cells in one step. The epoch is cut into batches of equal size (or one
        cell less), so that no cell is dropped and no batch is much smaller than the rest.
    learning_rate
        Adam's step size.
    key
        JAX key that the order of the cells is drawn with, anew for every epoch.
    on_epoch
        Called after every epoch with its number, from 1, and its training loss.

    Raises
    ------
    TrainingError
        When the loss is no longer finite.
    """
    started = time.perf_counter()
    state = State(network, optax.adam(learning_rate).init(eqx.filter(network, eqx.is_array)))
    cells = jnp.asarray(train_cells), jnp.asarray(validation_cells)
    losses_train, losses_validation = [], []
    for epoch in range(1, max_epochs + 1):
        state, loss_train, loss_validation = run_epoch(
            state, rows, *cells, jax.random.fold_in(key, epoch), learning_rate,
            loss=loss, batch_size=batch_size,
        )  # fmt: skip
        losses_train.append(float(loss_train))
        losses_validation.append(float(loss_validation))
        check_finite(f"{loss.name} loss", losses_train[-1], epoch, max_epochs, learning_rate)
        on_epoch(epoch, losses_train[-1])
    return Training(
        network=state.network,
        loss_train=tuple(losses_train),
        loss_validation=tuple(losses_validation) if len(validation_cells) else (),
        seconds=time.perf_counter() - started,
    )


def check_finite(
    what: str, value: float, epoch: int, max_epochs: int, learning_rate: float
) -> None:
    """Stop a training whose numbers have run away.

    Raises
    ------
    TrainingError
        If the value is infinite or NaN.
    """
    if not math.isfinite(value):
        raise TrainingError(
            f"The {what} became {value} in epoch {epoch} of {max_epochs}. The usual cause "
            f"is too large a learning rate: it was {learning_rate:g}; try "
            f"{learning_rate / 10:g}."
        )


@partial(jax.jit, static_argnames=("loss", "batch_size"))
def run_epoch(
    state: State,
    rows: Rows,
    train_cells: Array,  # (n_train,)
    validation_cells: Array,  # (n_validation,)
    key: Array,
    learning_rate: float,
    *,
    loss: Loss,
    batch_size: int,
) -> tuple[State, Array, Array]:
    """One pass over all training cells as one program; then the held-out loss."""
    order = jax.random.permutation(key, train_cells)

    def step(carry: State, batch: tuple[Array, Array]) -> tuple[State, tuple[Array, Array]]:
        return train_step(carry, rows, *batch, learning_rate, loss=loss)

    def score(carry: None, batch: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        return None, batch_terms(state.network, rows, *batch, loss=loss)

    state, terms = jax.lax.scan(step, state, cut_into_batches(order, batch_size))
    _, terms_validation = jax.lax.scan(
        score, None, cut_into_batches(validation_cells, batch_size)
    )
    return state, ratio(*terms), ratio(*terms_validation)


def train_step(
    state: State,
    rows: Rows,
    cells: Array,  # (B,)
    weights: Array,  # (B,) 1 for a cell, 0 for padding
    learning_rate: float,
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
