"""One t-SNE: its divergence, the neighbours that it keeps, its seconds.

Cellglass and scikit-learn see the same principal components, and are judged by the same
affinities: all pairs of cells count.

    python maps.py log.npy cellglass|scikit-learn n_components
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.manifold import TSNE

from answer import answer
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


def lay_out(engine: str, scores: np.ndarray) -> np.ndarray:
    """Map cells, from the same start."""
    if engine == "cellglass":
        return tsne(scores)
    start = (1e-4 * scores[:, :2] / scores[:, 0].std()).astype(np.float32)
    found: np.ndarray = TSNE(init=start, random_state=0).fit_transform(scores)
    return found.astype(np.float64)


def main(matrix: str, engine: str, n_components: str) -> None:
    """Map and judge."""
    X = np.load(matrix)
    scores = fit_pca(X, int(n_components), random_state=0).transform(X)
    lay_out(engine, scores[:2500])  # compiled and imported before it is timed
    at = time.perf_counter()
    layout = lay_out(engine, scores)
    seconds = time.perf_counter() - at
    n_cells = len(scores)
    known = find_neighbors(scores, n_tsne_neighbors(n_cells))
    near = nearest_neighbors(scores)
    judged: dict[str, Any] = {
        "divergence": divergence(affinities(known, perplexity_of(n_cells)), layout),
        "kept": neighbors_preserved(near, nearest_neighbors(layout)),
    }
    answer({"map": seconds}, ("scikit-learn",), **judged)


if __name__ == "__main__":
    main(*sys.argv[1:])
