"""Fails if something has become far slower than it was, by ratios within one process.

Every bound is about twice the ratio that was measured when it was set: noise of a shared
machine passes, a loop that is no longer compiled does not.

    python benchmarks/regression.py
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "speed" / "peers"))

import jax

import cellglass as cg
from cellglass.batches import on_device
from cellglass.encode import encode
from cellglass.pca import fit_pca
from cellglass.tsne import tsne
from lower_bound import products

N_CELLS, N_GENES, ROUNDS = 4000, 1000, 5


def seconds(job: Callable[[], object]) -> float:
    """Time one call."""
    at = time.perf_counter()
    jax.block_until_ready(job())
    return time.perf_counter() - at


def ratio(job: Callable[[], object], other: Callable[[], object]) -> float:
    """Give the median over rounds of how many times as long one takes as another."""
    for either in (job, other):
        either()
    return statistics.median(seconds(job) / seconds(other) for _ in range(ROUNDS))


def epochs_of(X: np.ndarray, loss: str) -> float:
    """Give the median seconds of an epoch, the first left out."""
    told: list[float] = [0.0]

    def clock(epoch: cg.callbacks.Epoch) -> None:
        told.append(epoch.seconds)

    cg.Autoencoder(
        n_latent=10, loss=loss, max_epochs=6, validation_fraction=0.0, callbacks=clock
    ).fit(X)
    return statistics.median(np.diff(told)[1:])


def main() -> int:
    """Measure all, tell all, and say whether all is well."""
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.3, 2, size=(N_CELLS, N_GENES))).astype(np.float32)
    log = np.log1p(counts * 1.5).astype(np.float32)
    product_seconds = statistics.median(
        seconds(products(N_CELLS, N_GENES)) for _ in range(ROUNDS)
    )
    mse = epochs_of(log, "mse")
    model = cg.Autoencoder(n_latent=10, max_epochs=1).fit(log).model_
    rows = on_device(log)
    weights = [rng.random(shape, np.float32) for shape in ((N_GENES, 100), (100, 10))]
    scores = fit_pca(log[:1000], 50, random_state=0).transform(log[:1000]).astype(np.float32)
    found = (
        ("an epoch (mse) / its matrix products", mse / product_seconds, 3.5),
        ("an epoch, nb / mse", epochs_of(counts, "nb") / mse, 6.0),
        ("an epoch, zinb / mse", epochs_of(counts, "zinb") / mse, 9.0),
        (
            "encoding / its matrix products",
            ratio(lambda: encode(model.network, rows), lambda: log @ weights[0] @ weights[1]),
            10.0,
        ),
        (
            "t-SNE of 1000 cells / scikit-learn's",
            ratio(
                lambda: tsne(scores),
                lambda: TSNE(random_state=0).fit_transform(scores),
            ),
            0.6,
        ),
    )
    worst = 0
    for name, value, bound in found:
        slow = value > bound
        worst |= slow
        print(f"{name:42s} {value:6.2f}  at most {bound:g}{'  TOO SLOW' if slow else ''}")
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
