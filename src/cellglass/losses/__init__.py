"""The registry of losses: what a network can be trained to make small."""

from __future__ import annotations

from cellglass.losses.base import Loss
from cellglass.losses.squared import MSE, NONZERO_MSE

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (MSE, NONZERO_MSE)}
"""Every loss by its name; a new one is a file in this folder and a word in this row."""

__all__ = ["LOSSES", "Loss"]
