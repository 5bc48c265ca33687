"""How a network is trained, as the user says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cellglass.checks import (
    check_early_stopping,
    check_losses,
    check_n_latent,
    check_noise,
    check_range,
    check_schedule,
)
from cellglass.losses import LOSSES
from cellglass.network import Noise
from cellglass.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What all trainings share, with the defaults of every face.

    Attributes
    ----------
    n_hidden, n_layers
        Width and number of hidden layers on either side of the bottleneck; without any
        (``n_layers=0``) the network is linear.
    max_epochs
        The most passes over the training cells.
    batch_size
        The most cells in one step.
    learning_rate
        Of Adam; with a schedule, its highest value.
    schedule
        How the learning rate changes from step to step: a name of
        ``cellglass.schedules.SCHEDULES``, or a function of the step, from 0, that gives
        the learning rate, such as any schedule of Optax.
    patience
        Early stopping: training ends when the loss of the held-out cells has not become
        lower for so many epochs. None: no early stopping.
    min_delta
        By how much that loss must become lower to count.
    validation_fraction
        Share of cells that are never trained on, in [0, 0.9]; at least one cell unless 0.
        The weights that are kept are those of the epoch of their lowest loss, and without
        such cells those of the last epoch.
    dropout_rate
        Share of hidden values that each cell loses in every step of the training, in
        [0, 1).
    input_noise
        Standard deviation of the Gaussian noise that is added to the log-normalised values
        before the encoder sees them, in training only (denoising autoencoder).
    weight_decay
        Share, over the learning rate, by which every step shrinks all weights but not the
        biases (decoupled weight decay, Loshchilov & Hutter 2019).
    variational
        Whether the latent vectors are drawn from a distribution by cell, whose divergence
        from the standard normal one is added to the loss (Kingma & Welling 2014). The loss
        of a cell is then the sum over its entries; squared errors count as they do in a
        Gaussian likelihood of variance 1/2.
    kl_warmup_epochs
        Epochs over which the weight of that divergence grows from 0 to 1 (Bowman et al.
        2016); 0: it is 1 from the beginning. Of no effect unless ``variational``.
    free_bits
        Least divergence that is counted of each latent dimension, as a mean over the cells
        of a batch, in nats: λ of Kingma et al. (2016), "Improved variational inference with
        inverse autoregressive flow". 0: all of it counts. Of no effect unless
        ``variational``.
    input
        What the values are: ``counts``, ``log`` or ``auto``; see
        :meth:`cellglass.preprocess.Preprocessor.fit`.
    random_state
        Decides everything random.
    """

    n_hidden: int = 100
    n_layers: int = 1
    max_epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: str | Callable[[int], Any] = "constant_schedule"
    patience: int | None = None
    min_delta: float = 0.0
    validation_fraction: float = 0.1
    dropout_rate: float = 0.0
    input_noise: float = 0.0
    weight_decay: float = 0.0
    variational: bool = False
    kl_warmup_epochs: int = 10
    free_bits: float = 0.25
    input: str = "auto"
    random_state: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))

    def check(self) -> None:
        """Refuse a setting that no training can use.

        Raises
        ------
        InputError
            If a value is of the wrong kind or out of range, or early stopping is asked
            for without held-out cells.
        """
        for option in ("n_hidden", "max_epochs", "batch_size"):
            check_range(option, getattr(self, option), low=1, integer=True)
        check_range("n_layers", self.n_layers, low=0, integer=True)
        check_range("learning_rate", self.learning_rate, low=0, low_inclusive=False, high=1e38)
        check_schedule(self.schedule, SCHEDULES)
        check_range("validation_fraction", self.validation_fraction, low=0, high=0.9)
        check_range("random_state", self.random_state, low=0, high=2**32 - 1, integer=True)
        check_noise(
            self.dropout_rate, self.input_noise, self.weight_decay, self.variational,
            self.kl_warmup_epochs, self.free_bits,
        )  # fmt: skip
        check_early_stopping(self.patience, self.min_delta, self.validation_fraction)

    @property
    def noise(self) -> Noise:
        """What disturbs the network while it is trained."""
        return Noise(self.dropout_rate, self.input_noise)

    def kl_weight(self, epoch: int) -> float:
        """Weight of the divergence in an epoch, from 1."""
        if not self.variational:
            return 0.0
        return min(1.0, (epoch - 1) / self.kl_warmup_epochs) if self.kl_warmup_epochs else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Hand over all settings as plain values; a schedule of one's own as ``custom``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if callable(values["schedule"]):
            values["schedule"] = "custom"
        return values


@dataclass(frozen=True, kw_only=True)
class ModelSettings(TrainingSettings):
    """What one model is trained with.

    Attributes
    ----------
    n_latent
        Dimensions of the bottleneck.
    loss
        Name of a loss in ``cellglass.losses.LOSSES``.
    seed
        Which of several trainings of one ``random_state`` this is: they share the held-out
        cells, and differ in first weights and order of the cells.
    """

    n_latent: int = 10
    loss: str = "mse"
    seed: int = 0

    @property
    def run(self) -> str:
        """Name of the training: loss, latent size and seed."""
        return f"{self.loss}_{self.n_latent}_seed{self.seed}"

    def check_for(self, n_cells: int, n_genes: int) -> None:
        """Refuse a setting that cannot be used on a matrix of this shape.

        Raises
        ------
        InputError
            As :meth:`check`, or if the bottleneck is wider than the matrix.
        """
        check_n_latent(self.n_latent, n_cells, n_genes)
        check_losses([self.loss], LOSSES)
        self.check()


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers, which JSON does not know, into Python's."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
