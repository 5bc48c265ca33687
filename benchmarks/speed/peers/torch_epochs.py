"""Epochs of a PyTorch loop.

The plain one is that of most notebooks: a ``DataLoader`` over a ``TensorDataset``, and Adam.
The tuned one shuffles row numbers and fuses Adam's steps.

    python torch_epochs.py X.npy n_epochs [plain | tuned] [device]
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from answer import answer, epoch_seconds

BATCH_SIZE = 128


def main(matrix: str, n_epochs: str, kind: str = "plain", device: str = "cpu") -> None:
    """Train and time."""
    tuned = kind == "tuned"
    X = torch.from_numpy(np.load(matrix)).to(device)
    n_genes = X.shape[1]
    model = nn.Sequential(
        nn.Linear(n_genes, 100), nn.ReLU(), nn.Linear(100, 10),
        nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, n_genes),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=tuned or None)
    loss_of = nn.MSELoss()
    loader = DataLoader(TensorDataset(X), batch_size=BATCH_SIZE, shuffle=True)
    times = []
    for _ in range(int(n_epochs)):
        at = time.perf_counter()
        total = torch.zeros((), device=device)
        order = torch.randperm(len(X), device=device).split(BATCH_SIZE)
        for x in (X[cells] for cells in order) if tuned else (one for (one,) in loader):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(x), x)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        float(total)
        times.append(time.perf_counter() - at)
    answer(epoch_seconds(times), ("torch", "numpy"))


if __name__ == "__main__":
    main(*sys.argv[1:])
