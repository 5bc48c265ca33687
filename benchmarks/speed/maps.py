"""Holds the maps against scikit-learn's on the same affinities: divergence, neighbours, time.

.venv/bin/python benchmarks/speed/maps.py
"""

from __future__ import annotations

import time

import numpy as np
from run import data, hardware, table
from scipy import sparse
from sklearn.manifold import TSNE

from cellglass.neighbors import find_neighbors, nearest_neighbors, neighbors_preserved
from cellglass.pca import fit_pca
from cellglass.tsne import affinities, n_tsne_neighbors, perplexity_of, tsne


def divergence(P: sparse.csr_matrix, layout: np.ndarray) -> float:
    """KL(P ‖ Q), with Q over all pairs of cells."""
    total = -float(len(layout))
    for start in range(0, len(layout), 1000):
        away = layout[start : start + 1000, None] - layout[None]
        total += float((1 / (1 + np.square(away).sum(axis=2))).sum())
    pairs = P.tocoo()
    away = layout[pairs.row] - layout[pairs.col]
    q = 1 / (1 + np.square(away).sum(axis=1)) / total
    return float((pairs.data * np.log(pairs.data / q)).sum())


def main() -> None:
    """Map two spaces twice each, and print the table."""
    X = np.load(data(5000, 1000) / "log.npy")
    scores = fit_pca(X, 50, random_state=0).transform(X)
    rows = []
    for name, space in (("50 components", scores), ("10 components", scores[:, :10])):
        n_cells = len(space)
        known = find_neighbors(space, n_tsne_neighbors(n_cells))
        P = affinities(known, perplexity_of(n_cells))
        near = nearest_neighbors(space)
        start = (1e-4 * space[:, :2] / space[:, 0].std()).astype(np.float32)
        usual = TSNE(init=start, random_state=0)
        tsne(space[:600])  # compiled before it is timed
        for engine, lay_out in (
            ("cellglass", lambda space=space: tsne(space)),
            ("scikit-learn", lambda space=space, usual=usual: usual.fit_transform(space)),
        ):
            begun = time.perf_counter()
            layout = np.asarray(lay_out(), np.float64)
            seconds = time.perf_counter() - begun
            kept = neighbors_preserved(near, nearest_neighbors(layout))
            rows.append(
                [name, engine, f"{divergence(P, layout):.4f}", f"{kept:.4f}", f"{seconds:.1f}"]
            )
    print(hardware())
    print(table(["5000 × 1000, by", "engine", "KL", "15 neighbours kept", "seconds"], rows))


if __name__ == "__main__":
    main()
