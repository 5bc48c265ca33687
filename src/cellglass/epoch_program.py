"""One epoch as one compiled program: shuffled, in batches, and the held-out loss at its end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cellglass.batches import Rows
from cellglass.losses import Loss
from cellglass.network import AutoencoderNetwork, Noise
from cellglass.training_progress import State

NO_NOISE = Noise()


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
