"""Epochs of scVI (scvi-tools) of the same widths and batch size, on the counts.

python scvi_epochs.py counts.npy n_epochs [accelerator]
"""

from __future__ import annotations

import logging
import sys
import time
import warnings

import numpy as np
import scvi
from anndata import AnnData
from lightning.pytorch import Callback
from scipy import sparse

from answer import answer, epoch_seconds


class Clock(Callback):
    """Times every epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        """Start."""
        self.at = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        """Stop."""
        self.times.append(time.perf_counter() - self.at)


def main(matrix: str, n_epochs: str, accelerator: str = "cpu") -> None:
    """Train and time."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    adata = AnnData(sparse.csr_matrix(np.load(matrix)))
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_hidden=100, n_latent=10, n_layers=1)
    clock = Clock()
    model.train(
        max_epochs=int(n_epochs), accelerator=accelerator, train_size=1.0, batch_size=128,
        enable_progress_bar=False, callbacks=[clock], logger=False,
    )  # fmt: skip
    answer(epoch_seconds(clock.times), ("scvi-tools", "torch", "numpy"))


if __name__ == "__main__":
    main(*sys.argv[1:])
