"""Epochs of cellglass.

With a number of networks, they differ in their seeds, pass every epoch together as one
program, and the seconds are each one's share.

    python cellglass_epochs.py counts.npy n_epochs loss [n_networks]
"""

from __future__ import annotations

import sys

import numpy as np

import cellglass as cg
from answer import answer, epoch_seconds
from cellglass.batches import on_device
from cellglass.fit import train_networks
from cellglass.settings import ModelSettings


def main(matrix: str, n_epochs: str, loss: str, n_networks: str = "1") -> None:
    """Train and time."""
    X = np.load(matrix)
    times: dict[str, list[float]] = {}

    def clock(epoch: cg.callbacks.Epoch) -> None:
        times.setdefault(epoch.run, []).append(epoch.seconds)

    settings = {
        "n_latent": 10, "loss": loss, "max_epochs": int(n_epochs), "validation_fraction": 0.0,
    }  # fmt: skip
    if n_networks == "1":
        cg.Autoencoder(**settings, callbacks=clock).fit(X)
    else:
        seeds = [ModelSettings(**settings, seed=seed) for seed in range(int(n_networks))]
        none = np.zeros(len(X), bool)
        list(train_networks(on_device(X), none, seeds, data="", callbacks=[clock],
                         side_by_side=True))  # fmt: skip
    first = next(iter(times.values()))
    answer(epoch_seconds(np.diff([0.0, *first]).tolist()), ("cellglass", "jax", "numpy"))


if __name__ == "__main__":
    main(*sys.argv[1:])
