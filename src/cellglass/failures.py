"""Why an epoch failed, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import Array

from cellglass.batches import Rows
from cellglass.losses import Loss
from cellglass.settings import TrainingSettings

if TYPE_CHECKING:
    from cellglass.epoch_program import Outcome

FLOAT32_MAX = float(np.finfo(np.float32).max)


def _cause_in_settings(settings: TrainingSettings, rate: float, largest: float) -> str:
    """Name the setting that is most likely too large, and what to try instead."""
    if settings.input_noise > 10 * max(largest, 1.0):
        return (
            f"too much input_noise: it was {settings.input_noise:g}, far above the values that "
            f"it is added to; try {max(largest, 1.0) / 10:.1g}"
        )
    share = settings.weight_decay * rate
    if share > 0.1:
        return (
            f"too much weight_decay: it was {settings.weight_decay:g}, so that a step took "
            f"{100 * share:.3g} % of every weight; try {0.001 / rate:.1g}"
        )
    if callable(settings.schedule):
        return (
            f"too large a learning rate: the schedule gave {rate:.3g} at this step; let it "
            f"give {rate / 10:.3g} or less"
        )
    given = settings.learning_rate
    at = "" if math.isclose(rate, given, rel_tol=1e-5) else f" ({rate:.3g} at this step)"
    return f"too large a learning rate: it was {given:g}{at}; try {given / 10:g}"


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
        cause = (
            f"{_cause_in_settings(settings, float(rates[batch]), largest)}. The largest value "
            f"among these cells, {largest:.3g}, is harmless"
        )
    return (
        f"{what} in epoch {epoch} of {settings.max_epochs}, {where}. The likely cause is "
        f"{cause}."
    )
