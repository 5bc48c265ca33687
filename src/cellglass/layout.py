"""The descent of t-SNE: cells are pulled to their neighbours and pushed from all others.

Importing this module takes long: it imports Numba.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cellglass.compilation import compiled
from cellglass.grid_repulsion import GridRepulsion

EXAGGERATION = 12.0
FEW = 2000
"""So few cells take more steps, with a push of their own each: both cost little there."""
SOME = 10_000
"""More cells than that take more steps until the layout grows no longer."""
STEPS_AT_A_TIME = 30
"""After so many steps Python may see to an interrupt."""


@dataclass(frozen=True)
class Stage:
    """Steps of one kind.

    Attributes
    ----------
    n_steps
        How many.
    exaggeration
        By which P is multiplied.
    learning_rate
        As a share of the number of cells; it is at least 20.
    momentum
        Share of the last step that is taken again.
    push_every
        After how many steps the push, which takes most of the time, is computed anew.
    """

    n_steps: int
    exaggeration: float
    learning_rate: float
    momentum: float
    push_every: int


def stages(n_cells: int) -> Iterator[Stage]:
    """Plan the descent.

    P's exaggeration does not end at once but fades by the same factor every 10 steps, which
    both lowers the divergence and keeps more neighbours. While P is exaggerated, cells are
    pulled far more than pushed, so the push of an earlier step will do for some steps. The
    learning rate grows as the exaggeration fades (Belkina et al. 2019 tie the two), to eight
    times scikit-learn's at the end: an all but exact gradient can bear larger steps than that
    of a Barnes-Hut tree can. From 2,001 to 10,000 cells there is more momentum at the end,
    which saves steps. Steps three times as large would come to a lower divergence in fewer, but
    keep fewer neighbours, and fling cells about that are neighbours of very many.
    """
    if n_cells <= FEW:
        push_early, last = 1, Stage(500, 1.0, 1 / 6, 0.85, 1)
    elif n_cells <= SOME:
        push_early, last = 5, Stage(300, 1.0, 1 / 6, 0.9, 2)
    else:
        push_early, last = 3, Stage(440, 1.0, 1 / 6, 0.85, 1)
    yield Stage(60, EXAGGERATION, 1 / 48, 0.8, push_early)
    for i in range(30):
        exaggeration = EXAGGERATION ** (1 - i / 30)
        yield Stage(10, exaggeration, min(1 / (4 * exaggeration), 1 / 6), 0.8, push_early)
    yield last


def descend(P: sparse.csr_matrix, start: np.ndarray, *, exact: bool) -> np.ndarray:
    """Lay out cells so that KL(P ‖ Q) becomes small, by gradient descent.

    With momentum and gains (Jacobs 1988) as in van der Maaten & Hinton 2008; see
    :func:`stages`.

    Parameters
    ----------
    P
        Joint probabilities of pairs of cells, symmetric, shape (n_cells, n_cells).
    start
        First layout, shape (n_cells, 2).
    exact
        Whether every pair of cells is looked at; else a grid stands for the pairs.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, 2), float32.

    Notes
    -----
    An exact step takes time in proportion to n_cells², another to the number of pairs in `P`
    and to the area of the layout.
    """
    n_cells = len(start)
    # Unsigned, they cannot count from the end, which would keep the loop from being vectorised.
    indices = P.indices.astype(np.int32, copy=False).view(np.uint32)
    edges = P.indptr, indices, P.data.astype(np.float32, copy=False)
    x, y = np.ascontiguousarray(start.T, np.float32)
    velocity = np.zeros((2, n_cells), np.float32)
    gains = np.ones((2, n_cells), np.float32)
    grid = None if exact else GridRepulsion(n_cells)
    for stage in stages(n_cells):
        how = (
            np.float32(stage.exaggeration),
            np.float32(max(n_cells * stage.learning_rate, 20.0)),
            np.float32(stage.momentum),
        )
        if grid is None:
            for done in range(0, stage.n_steps, STEPS_AT_A_TIME):
                now = min(STEPS_AT_A_TIME, stage.n_steps - done)
                _steps(*edges, x, y, velocity, gains, now, stage.push_every, *how)
            continue
        push = np.empty((2, n_cells), np.float32)
        total = 0.0
        for step in range(stage.n_steps):
            if step % stage.push_every == 0:
                total = grid(x, y, push)
            _step(*edges, x, y, velocity, gains, push, total, *how)
    return np.column_stack([x, y])


@compiled
def _steps(  # type: ignore[no-untyped-def]
    indptr, indices, p, x, y, velocity, gains, n_steps, every, exaggeration, learning_rate,
    momentum,
):  # fmt: skip
    """Take steps with the push of all pairs; x, y, velocity and gains are changed."""
    push = np.empty_like(velocity)
    total = 0.0
    for step in range(n_steps):
        if step % every == 0:
            total = _repel(x, y, push[0], push[1])
        _step(
            indptr, indices, p, x, y, velocity, gains, push, total, exaggeration,
            learning_rate, momentum,
        )  # fmt: skip


@compiled
def _step(  # type: ignore[no-untyped-def]
    indptr, indices, p, x, y, velocity, gains, push, total, exaggeration, learning_rate,
    momentum,
):  # fmt: skip
    """Take a step with a push that is known; x, y, velocity and gains are changed."""
    pull = np.empty_like(velocity)
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


@compiled
def _attract(indptr, indices, p, x, y, fx, fy):  # type: ignore[no-untyped-def]
    """Fill in Σ_j p_ij (y_i − y_j) / (1 + d_ij²) for every cell i."""
    for i in range(len(x)):
        of_i = slice(indptr[i], indptr[i + 1])
        fx[i], fy[i] = _attract_to(x[i], y[i], x, y, indices[of_i], p[of_i])


@compiled
def _attract_to(xi, yi, x, y, neighbors, p):  # type: ignore[no-untyped-def]
    """Take one cell and its neighbours. The loop is vectorised."""
    sx, sy = np.float32(0), np.float32(0)
    for k in range(len(neighbors)):
        j = neighbors[k]
        dx, dy = xi - x[j], yi - y[j]
        weight = p[k] / (np.float32(1) + dx * dx + dy * dy)
        sx += weight * dx
        sy += weight * dy
    return sx, sy


@compiled
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


@compiled
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
