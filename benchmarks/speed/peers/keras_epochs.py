"""Epochs of ``model.fit``: Keras on TensorFlow.

python keras_epochs.py X.npy n_epochs
"""

from __future__ import annotations

import sys
import time

import keras
import numpy as np

from answer import answer, epoch_seconds
from keras_notebook import BATCH_SIZE, autoencoder


class Clock(keras.callbacks.Callback):
    """Times every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Start."""
        self.at = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Stop."""
        self.times.append(time.perf_counter() - self.at)


def main(matrix: str, n_epochs: str) -> None:
    """Train and time."""
    X = np.load(matrix)
    model, _ = autoencoder(X.shape[1], 10)
    model.compile(optimizer="adam", loss="mse")
    clock = Clock()
    model.fit(X, X, batch_size=BATCH_SIZE, epochs=int(n_epochs), verbose=0, callbacks=[clock])
    answer(epoch_seconds(clock.times), ("keras", "tensorflow-cpu", "numpy"))


if __name__ == "__main__":
    main(*sys.argv[1:])
