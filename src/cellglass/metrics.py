"""Scores as plain functions: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse


def _adjusted_rand_index(labels: np.ndarray, clusters: np.ndarray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(labels, clusters))


def _normalized_mutual_information(labels: np.ndarray, clusters: np.ndarray) -> float:
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels, clusters))


AGREEMENT: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "ari": _adjusted_rand_index,
    "nmi": _normalized_mutual_information,
}
"""Scores of a clustering against labels, both of shape (n_cells,), by their name in the
results: adjusted Rand index (Hubert & Arabie 1985) and mutual information normalised by
the arithmetic mean of the entropies, as scikit-learn computes them."""


@dataclass(frozen=True)
class SquaredErrors:
    """Squared errors of a reconstruction, summed for every cell.

    Attributes
    ----------
    nonzero, zero
        Σ (y − ŷ)² over the cell's non-zero and over its zero entries, shape (n_cells,).
    n_nonzero
        Number of the cell's non-zero entries, shape (n_cells,).
    n_genes
        Entries of a cell.
    """

    nonzero: np.ndarray
    zero: np.ndarray
    n_nonzero: np.ndarray
    n_genes: int

    def of(self, cells: np.ndarray | slice) -> SquaredErrors:
        """Restrict to some cells."""
        return SquaredErrors(
            self.nonzero[cells], self.zero[cells], self.n_nonzero[cells], self.n_genes
        )

    @property
    def mse_all(self) -> float | None:
        """Mean squared error over all entries; None if there are no cells."""
        return _mean(self.nonzero.sum() + self.zero.sum(), self.nonzero.size * self.n_genes)

    @property
    def mse_nonzero(self) -> float | None:
        """Σ (y − ŷ)²·[y ≠ 0] / Σ [y ≠ 0]; None if every entry is zero."""
        return _mean(self.nonzero.sum(), self.n_nonzero.sum())

    @property
    def mse_zero(self) -> float | None:
        """Σ ŷ²·[y = 0] / Σ [y = 0]; None if no entry is zero."""
        n_zero = self.nonzero.size * self.n_genes - self.n_nonzero.sum()
        return _mean(self.zero.sum(), n_zero)


def _mean(total: float, count: int) -> float | None:
    return float(total / count) if count else None


def squared_errors(
    X: np.ndarray | sparse.csr_matrix, X_hat: np.ndarray, *, chunk: int = 1024
) -> SquaredErrors:
    """Sum the squared errors of a reconstruction by cell, in float64.

    Parameters
    ----------
    X
        Preprocessed values, shape (n_cells, n_genes), dense or CSR.
    X_hat
        Their reconstruction, same shape, dense.
    chunk
        Cells handled at a time; changes memory, not the result.
    """
    n_cells, n_genes = X.shape
    nonzero, zero = np.empty(n_cells), np.empty(n_cells)
    n_nonzero = np.empty(n_cells, np.int64)
    for start in range(0, n_cells, chunk):
        part = slice(start, start + chunk)
        y = X[part] if isinstance(X, np.ndarray) else X[part].toarray()
        expressed = y != 0
        squared = np.square(y.astype(np.float64) - X_hat[part])
        nonzero[part] = np.sum(squared, axis=1, where=expressed)
        zero[part] = np.sum(squared, axis=1, where=~expressed)
        n_nonzero[part] = expressed.sum(axis=1)
    return SquaredErrors(nonzero, zero, n_nonzero, n_genes)


def mean_squared_errors(
    errors: SquaredErrors, is_validation: np.ndarray
) -> dict[str, float | None]:
    """Mean squared errors by entries and by cells, under their names in the results.

    Parameters
    ----------
    errors
        Of all cells.
    is_validation
        True for cells held out of the training, shape (n_cells,).

    Returns
    -------
    dict
        ``mse_all``, ``mse_nonzero`` and ``mse_zero`` over all cells; with ``_train`` over
        the training cells, with ``_validation`` over the held-out ones. None where there is
        no such entry.
    """
    numbers: dict[str, float | None] = {}
    for suffix, part in (
        ("", errors),
        ("_train", errors.of(~is_validation)),
        ("_validation", errors.of(is_validation)),
    ):
        numbers |= {
            f"mse_all{suffix}": part.mse_all,
            f"mse_nonzero{suffix}": part.mse_nonzero,
            f"mse_zero{suffix}": part.mse_zero,
        }
    return numbers


def fraction_zero(X: np.ndarray | sparse.csr_matrix) -> float:
    """Share of zero entries of a matrix (n_cells, n_genes)."""
    nonzero = np.count_nonzero(X) if isinstance(X, np.ndarray) else X.nnz
    return 1 - nonzero / (X.shape[0] * X.shape[1])


def total_variance(X: np.ndarray | sparse.csr_matrix) -> float:
    """Sum of the variances of all genes of a matrix (n_cells, n_genes), in float64."""
    if isinstance(X, np.ndarray):
        return float(X.var(axis=0, dtype=np.float64).sum())
    X = X.astype(np.float64)
    mean = np.asarray(X.mean(axis=0))
    return float((np.asarray(X.multiply(X).mean(axis=0)) - np.square(mean)).sum())


def mean_at_zeros(X: np.ndarray | sparse.csr_matrix, X_hat: np.ndarray) -> float | None:
    """Mean of what is predicted where the original is zero; None if it is nowhere.

    Parameters
    ----------
    X
        Preprocessed values, shape (n_cells, n_genes), dense or CSR without explicit zeros.
    X_hat
        Their reconstruction, same shape, dense.
    """
    if isinstance(X, np.ndarray):
        n_zero = X.size - np.count_nonzero(X)
        total = np.sum(X_hat, where=X == 0, dtype=np.float64)
    else:
        n_zero = X.shape[0] * X.shape[1] - X.nnz
        expressed = X.astype(bool).multiply(X_hat).sum(dtype=np.float64)
        total = X_hat.sum(dtype=np.float64) - expressed
    return float(total / n_zero) if n_zero else None


def silhouettes(
    X: np.ndarray | sparse.csr_matrix,
    partitions: Sequence[np.ndarray],
    *,
    chunk: int = 1024,
) -> list[float | None]:
    """Mean silhouette (Rousseeuw 1987) of several partitions of the same cells.

    Equal to ``sklearn.metrics.silhouette_score`` for each partition, but the distances,
    which take nearly all of the time, are computed once.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions).
    partitions
        Each of shape (n_cells,), integers from 0.
    chunk
        Cells whose distances are held at a time.

    Returns
    -------
    list of float or None
        In [−1, 1]; None where a partition has one part, or every cell its own.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    n_cells = X.shape[0]
    X = X.astype(np.float64)  # what scikit-learn would do in many small blocks
    members = [np.eye(int(p.max()) + 1)[p] for p in partitions]  # (n_cells, n_parts) each
    total = [0.0] * len(partitions)
    for start in range(0, n_cells, chunk):
        cells = np.arange(start, min(start + chunk, n_cells))
        distances = euclidean_distances(X[cells], X)  # (C, n_cells)
        distances[np.arange(len(cells)), cells] = 0
        for i, member in enumerate(members):
            total[i] += _silhouette_sum(distances @ member, member.sum(axis=0), member[cells])
    n_parts = [np.count_nonzero(member.sum(axis=0)) for member in members]
    return [
        t / n_cells if 2 <= k <= n_cells - 1 else None
        for t, k in zip(total, n_parts, strict=True)
    ]


def _silhouette_sum(sums: np.ndarray, sizes: np.ndarray, own: np.ndarray) -> float:
    """Sum of silhouettes from distance sums to parts, part sizes, and own parts."""
    own = own.astype(bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (sums / (sizes - 1))[own]  # a cell is not counted into its own part
        between = np.where(own | (sizes == 0), np.inf, sums / sizes).min(axis=1)
        values = (between - within) / np.maximum(between, within)
    return float(np.nan_to_num(values).sum())  # 0 for the only cell of a part
