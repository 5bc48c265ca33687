"""t-SNE by its exact gradient, every pair of cells at every step.

Importing this module takes long: it imports Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

EXAGGERATION = 12.0
FEW = 500
"""So few cells take more and smaller steps, which cost next to nothing there."""
PUSHED_ANEW = 3
"""While P is exaggerated, cells are pulled far more than pushed: the push, which takes most of
the time, is then computed at every third step only. The divergence comes out the same."""
STEPS_AT_A_TIME = 30
"""After so many steps Python may see to an interrupt."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for one thread: the same bits on any number of cores.

    Without a branch for divisions by zero, which would keep loops from being vectorised, and
    with sums in any order. What is compiled is kept beside this file or in the user's cache.
    """
    options: dict[str, Any] = {"fastmath": True, "nogil": True, "error_model": "numpy"}
    compiled: Callable[..., Any]
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # neither can be written to: every process compiles for itself
        compiled = njit(**options)(function)
    return compiled


def descend(P: sparse.csr_matrix, start: np.ndarray) -> np.ndarray:
    """Lay out cells so that KL(P ‖ Q) becomes small, by gradient descent.

    Momentum and gains are those of van der Maaten & Hinton 2008 (the gains of Jacobs 1988),
    but for a final momentum of 0.85 instead of 0.8 where there are more than 500 cells.
    The gradient is not approximated, so it can bear larger steps than a Barnes-Hut tree can:
    with a learning rate of n_cells / 24 while P is exaggerated, and of n_cells / 6 afterwards,
    500 steps come to where 1000 of the usual n_cells / 48 do.

    Parameters
    ----------
    P
        Joint probabilities of pairs of cells, symmetric, shape (n_cells, n_cells).
    start
        First layout, shape (n_cells, 2).

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, 2), float32.

    Notes
    -----
    A step takes time in proportion to n_cells², and memory to n_cells.
    """
    n_cells = len(start)
    upper = sparse.triu(P, 1).tocsr()
    edges = upper.indptr, upper.indices, upper.data.astype(np.float32)
    x, y = np.ascontiguousarray(start.T, np.float32)
    velocity = np.zeros((2, n_cells), np.float32)
    gains = np.ones((2, n_cells), np.float32)
    n_steps, n_exaggerated, momentum = (1000, 250, 0.8) if n_cells <= FEW else (500, 100, 0.85)
    done = 0
    while done < n_steps:
        early = done < n_exaggerated
        n_now = min(STEPS_AT_A_TIME, (n_exaggerated if early else n_steps) - done)
        done += n_now
        _steps(
            *edges, x, y, velocity, gains, n_now, PUSHED_ANEW if early else 1,
            np.float32(EXAGGERATION if early else 1.0),
            np.float32(max(n_cells / (24 if early else 6), 20.0)),
            np.float32(0.5 if early else momentum),
        )  # fmt: skip
    return np.column_stack([x, y])


@_compiled
def _steps(  # type: ignore[no-untyped-def]
    indptr, indices, p, x, y, velocity, gains, n_steps, every, exaggeration, learning_rate,
    momentum,
):  # fmt: skip
    """Take steps; x, y, velocity and gains are changed."""
    pull = np.empty_like(velocity)
    push = np.empty_like(velocity)
    total = 0.0
    for step in range(n_steps):
        if step % every == 0:
            total = _repel(x, y, push[0], push[1])
        _attract(indptr, indices, p, x, y, pull[0], pull[1])
        share = np.float32(1 / total)
        for axis in range(2):
            place = x if axis == 0 else y
            v, gain = velocity[axis], gains[axis]
            for i in range(len(place)):
                slope = np.float32(4) * (exaggeration * pull[axis, i] - share * push[axis, i])
                if slope * v[i] < 0:
                    gain[i] += np.float32(0.2)
                else:
                    gain[i] = max(gain[i] * np.float32(0.8), np.float32(0.01))
                v[i] = momentum * v[i] - learning_rate * gain[i] * slope
                place[i] += v[i]


@_compiled
def _attract(indptr, indices, p, x, y, fx, fy):  # type: ignore[no-untyped-def]
    """Fill in Σ_j p_ij (y_i − y_j) / (1 + d_ij²) for every cell i."""
    fx[:] = 0
    fy[:] = 0
    for i in range(len(x)):
        sx, sy = np.float32(0), np.float32(0)
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            dx, dy = x[i] - x[j], y[i] - y[j]
            weight = p[k] / (np.float32(1) + dx * dx + dy * dy)
            ux, uy = weight * dx, weight * dy
            sx += ux
            sy += uy
            fx[j] -= ux
            fy[j] -= uy
        fx[i] += sx
        fy[i] += sy


@_compiled
def _repel(x, y, fx, fy):  # type: ignore[no-untyped-def]
    """Fill in Σ_j (y_i − y_j) / (1 + d_ij²)² for every cell i; give Σ_ij 1 / (1 + d_ij²)."""
    fx[:] = 0
    fy[:] = 0
    total = 0.0
    for i in range(len(x) - 1):
        near, sx, sy = _repel_from(x[i], y[i], x[i + 1 :], y[i + 1 :], fx[i + 1 :], fy[i + 1 :])
        total += near
        fx[i] += sx
        fy[i] += sy
    return max(2 * total, 1e-30)


@_compiled
def _repel_from(xi, yi, x, y, fx, fy):  # type: ignore[no-untyped-def]
    """Take one cell against others; each pair is looked at once. The loop is vectorised."""
    near = np.float32(0)
    sx, sy = np.float32(0), np.float32(0)
    for j in range(len(x)):
        dx, dy = xi - x[j], yi - y[j]
        q = np.float32(1) / (np.float32(1) + dx * dx + dy * dy)
        near += q
        q *= q
        ux, uy = q * dx, q * dy
        sx += ux
        sy += uy
        fx[j] -= ux
        fy[j] -= uy
    return near, sx, sy
