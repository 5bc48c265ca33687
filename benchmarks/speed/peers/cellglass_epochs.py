"""Epochs of cellglass.

python cellglass_epochs.py counts.npy n_epochs loss
"""

from __future__ import annotations

import sys

import numpy as np

import cellglass as cg
from answer import answer, epoch_seconds


def main(matrix: str, n_epochs: str, loss: str) -> None:
    """Train and time."""
    times: list[float] = []

    def clock(epoch: cg.callbacks.Epoch) -> None:
        times.append(epoch.seconds)

    cg.Autoencoder(
        n_latent=10, loss=loss, max_epochs=int(n_epochs), validation_fraction=0.0,
        callbacks=clock,
    ).fit(np.load(matrix))  # fmt: skip
    answer(epoch_seconds(np.diff([0.0, *times]).tolist()), ("cellglass", "jax", "numpy"))


if __name__ == "__main__":
    main(*sys.argv[1:])
