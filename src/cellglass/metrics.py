"""Scores as plain functions: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cellglass.matrices import CHUNK, Parts

LOST = 1e-4
"""A squared distance below that share of both squared norms has lost its digits in 32 bits."""


@dataclass(frozen=True)
class Agreement:
    """A score of how well two partitions of the same cells agree.

    Attributes
    ----------
    of_tables
        The score as a function of contingency tables, shape (..., n_labels, n_clusters),
        all of the same number of cells; gives shape (...). Which cell is which does not
        matter to it, so what chance gives can be computed from tables alone.
    """

    of_tables: Callable[[np.ndarray], np.ndarray]

    def __call__(self, labels: np.ndarray, clusters: np.ndarray) -> float:
        """Score clusters against labels, both of shape (n_cells,)."""
        return float(self.of_tables(contingency_table(labels, clusters)))


def contingency_table(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Count the cells of every pair of a label and a cluster.

    Parameters
    ----------
    labels, clusters
        Shape (n_cells,).

    Returns
    -------
    numpy.ndarray
        Shape (n_labels, n_clusters), integers, both in sorted order.
    """
    names, rows = np.unique(labels, return_inverse=True)
    numbers, columns = np.unique(clusters, return_inverse=True)
    shape = len(names), len(numbers)
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def _adjusted_rand_index(tables: np.ndarray) -> np.ndarray:
    """Hubert & Arabie 1985, equation 5."""
    together = _pairs(tables).sum(axis=(-2, -1))
    by_labels = _pairs(tables.sum(axis=-1)).sum(axis=-1)
    by_clusters = _pairs(tables.sum(axis=-2)).sum(axis=-1)
    everything = np.maximum(_pairs(tables.sum(axis=(-2, -1))), 1.0)
    expected = by_labels * by_clusters / everything
    best = (by_labels + by_clusters) / 2
    same = (together == by_labels) & (together == by_clusters)
    return np.where(same, 1.0, (together - expected) / np.where(same, 1.0, best - expected))


def _pairs(counts: np.ndarray) -> np.ndarray:
    """Count the pairs among so many cells."""
    counts = np.asarray(counts, np.float64)
    return counts * (counts - 1) / 2


def _normalized_mutual_information(tables: np.ndarray) -> np.ndarray:
    """Mutual information over the arithmetic mean of the entropies."""
    joint = tables / np.sum(tables, axis=(-2, -1), keepdims=True)
    by_label, by_cluster = joint.sum(axis=-1), joint.sum(axis=-2)
    independent = by_label[..., :, None] * by_cluster[..., None, :]
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    shared = np.maximum((joint * np.log(ratio)).sum(axis=(-2, -1)), 0.0)
    entropy = (_entropy(by_label) + _entropy(by_cluster)) / 2
    return np.where(entropy == 0, 1.0, shared / np.where(entropy == 0, 1.0, entropy))


def _entropy(shares: np.ndarray) -> np.ndarray:
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=-1)


AGREEMENT: dict[str, Agreement] = {
    "ari": Agreement(_adjusted_rand_index),
    "nmi": Agreement(_normalized_mutual_information),
}
"""Scores of a clustering against labels, by their name in the results: adjusted Rand index
(Hubert & Arabie 1985) and mutual information normalised by the arithmetic mean of the
entropies. They equal scikit-learn's."""


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
    X: np.ndarray | sparse.csr_matrix, X_hat: np.ndarray | Parts, *, chunk: int = CHUNK
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


def total_variance(X: np.ndarray | sparse.csr_matrix | Parts) -> float:
    """Sum of the variances of all genes of a matrix (n_cells, n_genes), in float64."""
    if isinstance(X, sparse.csr_matrix):
        return float(gene_variances(X).sum())
    return float(_squares_about_mean(X).sum() / X.shape[0])


def gene_variances(X: np.ndarray | sparse.csr_matrix | Parts) -> np.ndarray:
    """Variance of every gene of a matrix (n_cells, n_genes), in float64, (n_genes,)."""
    if isinstance(X, sparse.csr_matrix):
        X = X.astype(np.float64)
        mean = np.asarray(X.mean(axis=0)).ravel()
        square = np.asarray(X.multiply(X).mean(axis=0)).ravel()
        found: np.ndarray = square - np.square(mean)
        return found
    return _squares_about_mean(X) / X.shape[0]


def _squares_about_mean(X: np.ndarray | Parts) -> np.ndarray:
    """Sum of squared distances from a gene's mean, (n_genes,), a run of cells at a time."""
    n_cells = X.shape[0]
    first = X[:1].astype(np.float64)  # about it, not about 0: nothing cancels
    total, squares = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for start in range(0, n_cells, CHUNK):
        away = X[start : start + CHUNK] - first
        total += away.sum(axis=0)
        squares += np.square(away, out=away).sum(axis=0)
    return np.maximum(squares - np.square(total) / n_cells, 0)


def mean_at_zeros(X: np.ndarray | sparse.csr_matrix, X_hat: np.ndarray | Parts) -> float | None:
    """Mean of what is predicted where the original is zero; None if it is nowhere.

    Parameters
    ----------
    X
        Preprocessed values, shape (n_cells, n_genes), dense or CSR without explicit zeros.
    X_hat
        Their reconstruction, same shape, dense.
    """
    n_zero, total = 0, 0.0
    for start in range(0, X.shape[0], CHUNK):
        part = slice(start, start + CHUNK)
        zero = (X[part] if isinstance(X, np.ndarray) else X[part].toarray()) == 0
        n_zero += int(np.count_nonzero(zero))
        total += float(np.sum(X_hat[part], where=zero, dtype=np.float64))
    return total / n_zero if n_zero else None


def silhouettes(
    X: np.ndarray | sparse.csr_matrix, partitions: Sequence[np.ndarray], *, block: int = 512
) -> list[float | None]:
    """Mean silhouette (Rousseeuw 1987) of several partitions of the same cells.

    Equal to ``sklearn.metrics.silhouette_score`` for each partition, but distances, which
    take nearly all of the time, are computed once for all of them and once for both cells,
    and in 32 bits where so many are enough.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions).
    partitions
        Each of shape (n_cells,), integers from 0.
    block
        Distances of so many cells to so many are held at a time.

    Returns
    -------
    list of float or None
        In [−1, 1]; None where a partition has one part, or every cell its own.
    """
    members = [np.eye(int(p.max()) + 1, dtype=np.float32)[p] for p in partitions]
    found: list[float | None] = []
    for member, sums in zip(members, _distance_sums(X, members, block), strict=True):
        sizes = member.sum(axis=0, dtype=np.float64)
        total = _silhouette_sum(sums, sizes, member)
        defined = 2 <= np.count_nonzero(sizes) <= len(member) - 1
        found.append(total / len(member) if defined else None)
    return found


def _distance_sums(
    X: np.ndarray | sparse.csr_matrix, members: Sequence[np.ndarray], block: int
) -> list[np.ndarray]:
    """Add up every cell's distances to the cells of each part, in units of the largest value.

    Of shape (n_cells, n_parts) for each partition; no other one changes a bit of them.
    """
    if isinstance(X, np.ndarray):
        X = X - X.mean(axis=0, dtype=np.float64)
    else:
        X = X.astype(np.float64)
    X /= max(float(X.max()), -float(X.min())) or 1.0  # in place: it may be large
    short = X.astype(np.float32)
    norms = np.asarray(
        (short.multiply(short) if sparse.issparse(short) else short**2).sum(axis=1)
    )
    norms = norms.reshape(-1)
    sums = [np.zeros(member.shape) for member in members]
    runs = [slice(i, i + block) for i in range(0, X.shape[0], block)]
    for i, rows in enumerate(runs):
        for columns in runs[i:]:
            distances = _distances(X, short, norms, rows, columns)
            for total, member in zip(sums, members, strict=True):
                total[rows] += distances @ member[columns]
                if columns != rows:
                    total[columns] += distances.T @ member[rows]
    return sums


def _distances(
    X: np.ndarray | sparse.csr_matrix,
    short: np.ndarray | sparse.csr_matrix,
    norms: np.ndarray,
    rows: slice,
    columns: slice,
) -> np.ndarray:
    """Distances of some cells to others; in 64 bits where 32 would leave nothing of them."""
    products = short[rows] @ short[columns].T
    squares: np.ndarray = products.toarray() if sparse.issparse(products) else products
    squares *= -2
    both = norms[rows, None] + norms[columns]
    squares += both
    both *= LOST
    lost = squares < both
    if rows == columns:
        np.fill_diagonal(squares, 0)
        np.fill_diagonal(lost, False)
    distances = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
    if lost.any():
        near, far = np.nonzero(lost)
        for start in range(0, len(near), len(lost)):
            a, b = near[start : start + len(lost)], far[start : start + len(lost)]
            away = X[rows.start + a] - X[columns.start + b]
            squared = away.multiply(away) if sparse.issparse(away) else np.square(away)
            distances[a, b] = np.sqrt(np.asarray(squared.sum(axis=1)).reshape(-1))
    return distances


def _silhouette_sum(sums: np.ndarray, sizes: np.ndarray, own: np.ndarray) -> float:
    """Sum of silhouettes from distance sums to parts, part sizes, and own parts."""
    own = own.astype(bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (sums / (sizes - 1))[own]  # a cell is not counted into its own part
        between = np.where(own | (sizes == 0), np.inf, sums / sizes).min(axis=1)
        values = (between - within) / np.maximum(between, within)
    return float(np.nan_to_num(values).sum())  # 0 for the only cell of a part
