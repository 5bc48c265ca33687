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
    from cellglass.train import Outcome

FLOAT32_MAX = float(np.finfo(np.float32).max)


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
