"""Goes on training a network on cells that come portion by portion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cellglass.batches import Rows
from cellglass.callbacks import Callback, Epoch
from cellglass.epoch_program import cut_into_batches, run_epoch
from cellglass.errors import TrainingError
from cellglass.failures import explain_failure
from cellglass.fit import first_network, keys_of
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork
from cellglass.schedules import learning_rates
from cellglass.settings import ModelSettings
from cellglass.training_progress import State


@dataclass(frozen=True)
class Ongoing:
    """A training that has no planned end.

    Attributes
    ----------
    state
        Weights and the state of Adam after the last pass.
    epoch
        Number of passes so far, those of an earlier training of these weights included.
    step
        Number of steps so far, from which a schedule goes on.
    seconds
        Time that the passes took, compilation included.
    """

    state: State
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def begin(cls, rows: Rows, settings: ModelSettings) -> Ongoing:
        """Draw the first weights, those that a training of these settings starts from."""
        return cls.resume(first_network(rows, np.arange(rows.shape[0]), settings), 0)

    @classmethod
    def resume(cls, network: AutoencoderNetwork, epoch: int) -> Ongoing:
        """Start from weights that were trained for some epochs; Adam and steps start anew."""
        optimizer = optax.adam(0.0).init(eqx.filter(network, eqx.is_array))
        return cls(State(network, optimizer), epoch)


def train_pass(
    ongoing: Ongoing,
    rows: Rows,
    settings: ModelSettings,
    *,
    callbacks: Sequence[Callback] = (),
) -> tuple[Ongoing, float]:
    """Pass over some cells once, in a random order, all of them trained on.

    Called again and again with the same cells, it does what
    :func:`cellglass.train.train` does without held-out cells, to the last bit.

    Parameters
    ----------
    ongoing
        What stands so far.
    rows
        Preprocessed values of the cells, shape (n_cells, n_genes).
    settings
        How to train; what is said there about epochs and held-out cells is not used.
    callbacks
        Each is called once, after the pass; what it returns is ignored.

    Returns
    -------
    ongoing : Ongoing
        What stands now.
    loss : float
        Over these cells, as the weights were while each batch passed.

    Raises
    ------
    TrainingError
        When a loss or a weight is no longer finite.
    """
    started = time.perf_counter()
    loss, size = LOSSES[settings.loss], settings.batch_size
    epoch = ongoing.epoch + 1
    settings = replace(settings, max_epochs=epoch)  # as far as anybody knows
    n_steps = -(-rows.shape[0] // size)
    rates = learning_rates(
        settings.schedule, settings.learning_rate, start=ongoing.step,
        stop=ongoing.step + n_steps, n_steps=ongoing.step + n_steps,
    )  # fmt: skip
    cells = jnp.arange(rows.shape[0])
    key = jax.random.fold_in(keys_of(settings)[1], epoch)
    outcome = run_epoch(
        ongoing.state, rows, cells, cells[:0], key, rates, settings.kl_weight(epoch),
        loss=loss, batch_size=size, noise=settings.noise, weight_decay=settings.weight_decay,
        free_bits=settings.free_bits,
    )  # fmt: skip
    if not bool(outcome.finite):
        batches, _ = cut_into_batches(jax.random.permutation(key, cells), size)
        reason = explain_failure(
            outcome, rows, batches, cells[:0], rates, epoch, loss, settings
        )
        raise TrainingError(f"{reason} The weights are those from before this pass.")
    seconds = ongoing.seconds + time.perf_counter() - started
    reached = Ongoing(outcome.state, epoch, ongoing.step + n_steps, seconds)
    told = Epoch(
        run=settings.run, epoch=epoch, max_epochs=epoch,
        loss_train=float(outcome.loss_train), loss_validation=None,
        learning_rate=float(rates[-1]), seconds=seconds, network=outcome.state.network,
    )  # fmt: skip
    for callback in callbacks:
        callback(told)
    return reached, told.loss_train
