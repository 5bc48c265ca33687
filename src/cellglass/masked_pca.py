"""PCA of a matrix with held-out entries, by repeated imputation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from cellglass.errors import InputError

MAX_ITERATIONS = 200
TOLERANCE = 3e-4

# New axes are the leading ones of what is left, found by power iterations with some more
# axes than are kept (Halko, Martinsson & Tropp 2011, SIAM Review 53:217).
N_START_ITERATIONS = 4
N_MORE_AXES = 10


def masked_pca(
    values: np.ndarray,
    mask: np.ndarray,
    sizes: Sequence[int],
    rng: np.random.Generator,
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Iterator[tuple[int, np.ndarray]]:
    """Predict held-out entries by PCA of the visible ones, for several sizes.

    For each size k it seeks the gene means and the k axes of least squared error over the
    visible entries: held-out entries are filled with their predictions (at first with
    the mean of the gene), means and axes are fitted to the filled matrix, and so on.
    The error over the visible entries never rises. Each size starts from the one before.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (n_cells, n_genes)
        Log-normalised. What stands in held-out entries has no influence. Never modified.
    mask : numpy.ndarray of bool, shape (n_cells, n_genes)
        True where the entry is held out; every gene needs a visible entry.
    sizes : sequence of int
        Numbers of axes, ascending, each at least 1 and at most min(n_cells, n_genes).
    rng : numpy.random.Generator
        Where the start of the axes comes from.
    tolerance : float, default 3e-4
        The fit ends when the error over the visible entries falls by less than this
        share of itself in an iteration. Sizes beyond what the data hold would go on
        falling slowly, and predict the held-out entries a little worse than they do here.
    max_iterations : int, default 200
        The fit ends after as many iterations in any case.

    Yields
    ------
    (size, prediction) : tuple of int and numpy.ndarray, shape (n_cells, n_genes)
        Predictions of all entries, held out or not, of the type of ``values``.

    Raises
    ------
    InputError
        If the shapes differ, if a gene has no visible entry, or if the sizes are out of
        order or out of bounds.

    Notes
    -----
    An iteration costs three products of n_cells × n_genes × k; memory is about five
    times that of ``values``. Which entries are missing must not depend on their values.

    References
    ----------
    Wold 1978, Technometrics 20:397 (the size that predicts held-out entries). Kiers 1997,
    Psychometrika 62:251 (the error never rises).
    """
    _check(values, mask, sizes)
    n_cells, n_genes = values.shape
    filled = np.where(mask, 0, values)
    mean = filled.sum(axis=0, dtype=np.float64) / (n_cells - mask.sum(axis=0))
    mean = mean.astype(values.dtype)
    filled += mask * mean
    axes = np.empty((n_genes, 0), dtype=values.dtype)  # orthonormal columns
    prediction = np.broadcast_to(mean, values.shape)
    for size in sizes:
        more = _leading_axes(filled - prediction, size - axes.shape[1], rng)
        axes = np.linalg.qr(np.column_stack([axes, more]))[0]
        error = np.inf
        for _ in range(max_iterations):
            mean = filled.mean(axis=0, dtype=np.float64).astype(values.dtype)
            scores = filled @ axes - mean @ axes  # (n_cells, size)
            # The filled matrix is centred only in effect, which saves a copy: the scores
            # have mean 0.
            axes = np.linalg.qr(filled.T @ scores)[0]
            scores = filled @ axes - mean @ axes
            prediction = scores @ axes.T
            prediction += mean
            np.copyto(filled, prediction, where=mask)
            before = error
            # Held-out entries now equal their predictions and add nothing.
            error = float(np.square(filled - prediction).sum(dtype=np.float64))
            if before - error <= tolerance * error:
                break
        yield size, prediction


def _leading_axes(X: np.ndarray, n_axes: int, rng: np.random.Generator) -> np.ndarray:
    """Find about the axes of largest variance around 0, as orthonormal columns."""
    n_genes = X.shape[1]
    n_tried = min(n_axes + N_MORE_AXES, n_genes)
    axes = rng.standard_normal((n_genes, n_tried)).astype(X.dtype)
    for _ in range(N_START_ITERATIONS):
        axes = np.linalg.qr(X.T @ (X @ axes))[0]
    scores = X @ axes
    within = np.linalg.eigh(scores.T @ scores)[1]  # by rising variance
    return axes @ within[:, ::-1][:, :n_axes]


def _check(values: np.ndarray, mask: np.ndarray, sizes: Sequence[int]) -> None:
    """Refuse what cannot be fitted."""
    if values.shape != mask.shape:
        raise InputError(
            f"mask has the shape {mask.shape}, but the matrix {values.shape}: give one entry "
            "for each, as cellglass.splitting.mask_entries does."
        )
    hidden = mask.all(axis=0)
    if hidden.any():
        raise InputError(
            f"All entries of gene {int(hidden.argmax()) + 1:,} are held out, but at least one "
            "must be visible: hold out less, as cellglass.splitting.mask_entries does."
        )
    limit = min(values.shape)
    ascending = all(a < b for a, b in pairwise(sizes))
    if not sizes or not ascending or sizes[0] < 1 or sizes[-1] > limit:
        raise InputError(
            f"sizes is {list(sizes)}, but ascending whole numbers from 1 to {limit}, the "
            "smaller side of the matrix, were expected."
        )
