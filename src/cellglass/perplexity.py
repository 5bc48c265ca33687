"""How far each cell of a t-SNE looks: weights of its neighbours.

Importing this module takes long: it imports Numba.
"""

from __future__ import annotations

import math

import numpy as np

from cellglass.compilation import compiled

FARTHEST = 20.0
"""|log β| where a search ends, β in units of one over the mean squared distance beyond the
nearest one's."""
MOST_STEPS = 60


def conditional_probabilities(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Weigh the neighbours of every cell (van der Maaten & Hinton 2008, equation 1).

    Parameters
    ----------
    distances
        To the neighbours of some cells, the nearest first, shape (n_cells, n_neighbors ≥ 1);
        finite.
    perplexity
        Exponential of the entropy that the weights of a cell have; where there are no more
        neighbours than that, all weigh the same.

    Returns
    -------
    numpy.ndarray
        Rows of sum 1, float32, of the same shape.
    """
    entropy = math.log(min(perplexity, distances.shape[1]))  # nats
    weights = np.empty(distances.shape, np.float32)
    _fill(np.ascontiguousarray(distances), entropy, weights)
    return weights


@compiled
def _fill(distances, entropy, weights):  # type: ignore[no-untyped-def]
    """Fill in the weights, rows of such an entropy."""
    n_cells, n_neighbors = distances.shape
    squared, weight = np.empty(n_neighbors), np.empty(n_neighbors)
    for i in range(n_cells):
        nearest = np.float64(distances[i, 0])
        mean = 0.0
        for k in range(n_neighbors):
            # Less the nearest one's: as good for the weights, and no exponential is 0.
            far = np.float64(distances[i, k])
            # What differs by rounding alone need not be in order.
            squared[k] = max((far - nearest) * (far + nearest), 0.0)
            mean += squared[k] / n_neighbors
        total = _search(squared, mean if mean > 0 else 1.0, entropy, weight)
        for k in range(n_neighbors):
            weights[i, k] = np.float32(weight[k] / total)


@compiled
def _search(squared, scale, entropy, weight):  # type: ignore[no-untyped-def]
    """Fill in exp(−β (d² − d₁²)) with the β = 1 / 2σ² of that entropy; give the sum.

    By Newton's method on log β, and by halves where that would leave the bracket.
    """
    low, high, log_beta = -FARTHEST, FARTHEST, 0.0  # of β times the scale
    for _ in range(MOST_STEPS):
        beta = math.exp(log_beta) / scale
        total, first, second = 0.0, 0.0, 0.0
        for k in range(len(squared)):
            weight[k] = math.exp(-beta * squared[k])
            total += weight[k]
            first += weight[k] * squared[k]
            second += weight[k] * squared[k] * squared[k]
        mean = first / total
        surplus = math.log(total) + beta * mean - entropy  # entropy beyond what is wanted
        if abs(surplus) < 1e-6:
            break
        if surplus > 0:
            low = log_beta
        else:
            high = log_beta
        slope = beta * beta * (second / total - mean * mean)  # −d entropy / d log β
        newton = log_beta + surplus / max(slope, 1e-12)
        log_beta = newton if low < newton < high else (low + high) / 2
    return total
