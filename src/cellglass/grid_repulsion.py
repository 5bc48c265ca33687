"""The push between all pairs of cells by interpolation on a grid, for many cells.

Importing this module takes long: it imports Numba.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft

from cellglass.compilation import compiled

NODES = 3
"""Nodes in an interval of the grid, along either axis: polynomials of the second degree."""
INTERVALS = 50
"""The least intervals along an axis; there are more where one would be wider than `WIDTH`."""
WIDTH = 0.7
"""The widest an interval may be. At 1, which is usual, the divergence is 1 % higher."""
GROWTH = 1.1
"""Grids grow by this factor, so that most steps find the kernels of the last one."""


class GridRepulsion:
    """Gives the push that t-SNE's cells get from all others, in time linear in the cells.

    The cells' weights are spread on a regular grid by Lagrange interpolation, summed over all
    pairs of nodes as a convolution by fast Fourier transforms, and interpolated back at the
    cells (Linderman et al. 2019, FIt-SNE). Other than there, each component of the push has a
    kernel of its own, so that nothing is a small difference of large sums and 32 bits do, and
    grids grow in steps, so that kernels are transformed anew only when the layout has
    outgrown one.
    """

    def __init__(self, n_cells: int) -> None:
        self._n_cells = n_cells
        self._grid = (0, 0.0)  # nodes along an axis, distance of two
        self._kernels: tuple[np.ndarray, ...] = ()

    def __call__(self, x: np.ndarray, y: np.ndarray, push: np.ndarray) -> float:
        """Fill in Σ_j (y_i − y_j) / (1 + d_ij²)² for every cell i.

        Parameters
        ----------
        x, y
            The layout, each of shape (n_cells,), float32.
        push
            Filled in, shape (2, n_cells), float32.

        Returns
        -------
        float
            Σ_ij 1 / (1 + d_ij²) over pairs of different cells.
        """
        left, low = float(x.min()), float(y.min())
        extent = max(float(x.max()) - left, float(y.max()) - low, 1e-6)
        n_nodes, step = self._fit(extent)
        size = fft.next_fast_len(2 * n_nodes, real=True)
        if (n_nodes, step) != self._grid:
            self._kernels = ()  # so that old and new ones are never held at once
            self._kernels = tuple(_kernels(size, step))
            self._grid = n_nodes, step
        weights = np.zeros((size, size), np.float32)
        nodes = _spread(
            x, y, np.float32(left), np.float32(low), np.float32(step), n_nodes // NODES, weights
        )
        spread = fft.rfft2(weights, overwrite_x=True)
        near = np.empty(self._n_cells, np.float32)
        product = np.empty_like(spread)

        def sums(kernel: np.ndarray) -> np.ndarray:
            np.multiply(spread, kernel, out=product)
            return fft.irfft2(product, (size, size), overwrite_x=True)

        even, along_x, along_y = self._kernels
        _gather(*nodes, sums(even), near)
        spread *= np.complex64(1j)  # the transforms of the other two are imaginary
        _gather(*nodes, sums(along_x), push[0])
        _gather(*nodes, sums(along_y), push[1])
        return max(float(near.sum(dtype=np.float64)) - self._n_cells, 1e-30)

    @staticmethod
    def _fit(extent: float) -> tuple[int, float]:
        """Choose the number of nodes along an axis, and their distance."""
        least = INTERVALS * WIDTH
        larger = float(GROWTH ** np.ceil(np.log(extent / least) / np.log(GROWTH)))
        if extent <= least:
            return NODES * INTERVALS, min(larger, 1.0) * WIDTH / NODES
        return NODES * int(np.ceil(INTERVALS * larger)), WIDTH / NODES


def _kernels(size: int, step: float) -> Iterator[np.ndarray]:
    """Transform 1 / (1 + d²) and both components of d / (1 + d²)², at all nodes' distances.

    The first is even, so its transform is real; the others are odd along one axis, so theirs
    are imaginary: of each no more than that part is given, in 32 bits.
    """
    away = np.arange(size)
    away[away > size // 2] -= size
    away = (away * step).astype(np.float32)
    q = np.square(away)[:, None] + np.square(away)
    q += 1
    np.reciprocal(q, out=q)
    yield fft.rfft2(q).real.copy()
    np.square(q, out=q)
    if size % 2 == 0:
        away[size // 2] = 0  # as far on either side; no two nodes are so far apart
    yield fft.rfft2(q * away[:, None]).imag.copy()
    q *= away
    yield fft.rfft2(q, overwrite_x=True).imag.copy()


@compiled
def _spread(x, y, left, low, step, n_intervals, weights):  # type: ignore[no-untyped-def]
    """Add every cell to the nodes of its interval; give these and its shares of them."""
    n_cells = len(x)
    corner = np.empty((n_cells, 2), np.int32)
    shares = np.empty((n_cells, 6), np.float32)
    one, two, half = np.float32(1), np.float32(2), np.float32(0.5)
    for i in range(n_cells):
        for axis in range(2):
            place = (x[i] - left if axis == 0 else y[i] - low) / (3 * step)
            interval = min(int(place), n_intervals - 1)
            t = 3 * (place - np.float32(interval)) - half  # nodes are at 0, 1 and 2
            corner[i, axis] = 3 * interval
            shares[i, 3 * axis] = half * (t - one) * (t - two)
            shares[i, 3 * axis + 1] = t * (two - t)
            shares[i, 3 * axis + 2] = half * t * (t - one)
        for a in range(3):
            for b in range(3):
                weights[corner[i, 0] + a, corner[i, 1] + b] += shares[i, a] * shares[i, 3 + b]
    return corner, shares


@compiled
def _gather(corner, shares, sums, values):  # type: ignore[no-untyped-def]
    """Interpolate at every cell what the nodes of its interval have."""
    for i in range(len(values)):
        value = np.float32(0)
        for a in range(3):
            for b in range(3):
                value += (
                    shares[i, a] * shares[i, 3 + b] * sums[corner[i, 0] + a, corner[i, 1] + b]
                )
        values[i] = value
