"""The matrix products of an epoch alone, by numpy's BLAS, into memory that is there.

Nothing else of a training is done: no gathering of rows, activation, loss or optimizer.

    python lower_bound.py n_cells n_genes n_epochs
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from answer import answer, epoch_seconds

BATCH_SIZE = 128


def products(n_cells: int, n_genes: int) -> Callable[[], None]:
    """Make a function that does the products of one epoch."""
    rng = np.random.default_rng(0)
    n_batches = -(-n_cells // BATCH_SIZE)
    batch = -(-n_cells // n_batches)
    widths = [n_genes, 100, 10, 100, n_genes]
    values = [rng.random((batch, width), np.float32) for width in widths]
    gradients = [np.empty_like(value) for value in values]
    weights = [rng.random(shape, np.float32) for shape in pairwise(widths)]
    weight_gradients = [np.empty_like(weight) for weight in weights]

    def epoch() -> None:
        for _ in range(n_batches):
            for i, weight in enumerate(weights):
                np.matmul(values[i], weight, out=gradients[i + 1])
            for i, weight in reversed(list(enumerate(weights))):
                np.matmul(values[i].T, values[i + 1], out=weight_gradients[i])
                if i:  # nobody needs the gradient of the input
                    np.matmul(values[i + 1], weight.T, out=gradients[i])

    return epoch


def main(n_cells: str, n_genes: str, n_epochs: str) -> None:
    """Multiply and time."""
    epoch = products(int(n_cells), int(n_genes))
    times = []
    for _ in range(int(n_epochs)):
        at = time.perf_counter()
        epoch()
        times.append(time.perf_counter() - at)
    answer(epoch_seconds(times), ("numpy",))


if __name__ == "__main__":
    main(*sys.argv[1:])
