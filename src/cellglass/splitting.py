"""Splits a matrix into what a model may see and what it is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_range
from cellglass.checks.matrix import describe_place
from cellglass.errors import InputError
from cellglass.matrices import nonzeros, row_chunks, to_csr

# Up to here a 32-bit and a 64-bit float hold every whole number.
LARGEST_WHOLE_FLOAT32 = 2.0**24
LARGEST_WHOLE_FLOAT64 = np.float64(2**53)


def split_counts(
    X: Any,
    rng: np.random.Generator,
    *,
    train_fraction: float = 0.5,
    dispersion: Any = None,
) -> tuple[Any, Any]:
    """Split every count at random into two that are independent of each other.

    A count X of mean μ is divided into X_train + X_test = X, with

    - X_train ~ Binomial(X, ε) for a gene of dispersion 0. If X is Poisson, the parts are
      independent and Poisson, of means εμ and (1 − ε)μ.
    - X_train ~ BetaBinomial(X, ε/φ, (1 − ε)/φ) for a gene of dispersion φ > 0. If X is
      negative binomial, Var[X] = μ + φμ², the parts are independent and negative
      binomial, of means εμ and (1 − ε)μ and dispersions φ/ε and φ/(1 − ε).

    With a φ that is too small the parts depend on each other positively, and a model
    that repeats the noise of the one looks good on the other; with a φ that is too large
    they depend negatively.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Raw counts. Never modified.
    rng : numpy.random.Generator
        Where randomness comes from. Dense and sparse twins draw the same numbers.
    train_fraction : float, default 0.5
        ε, the expected share of the counts in the first part; above 0 and below 1.
    dispersion : array_like, shape (n_genes,), or float, optional
        φ of every gene, at least 0, or one for all. Default: 0 for all.

    Returns
    -------
    train, test : array or scipy.sparse.csr_matrix, shape (n_cells, n_genes)
        Raw counts that add up to ``X`` exactly. Dense for a dense matrix, CSR (sorted
        indices, no stored zeros) for a sparse one. Of the type of number of ``X``, but
        float64 where a float of fewer bits or a boolean could not hold every part.

    Raises
    ------
    InputError
        If a value of ``X`` is no whole number of at least 0, or so large that 64-bit
        floats are no longer exact (9.0e15), or if an option is outside what is said above.

    Notes
    -----
    Only non-zero entries are drawn: time and temporary memory go with their number.

    Why the second rule holds: a negative binomial count is a Poisson count whose rate is
    drawn from a gamma distribution of shape 1/φ. That rate is the sum of two independent
    gamma rates of shapes ε/φ and (1 − ε)/φ, whose Poisson counts are the two parts. Given
    the rates, the first part is binomial of the sum; the first rate's share of the sum is
    Beta(ε/φ, (1 − ε)/φ), and independent of the sum.

    For any distribution of the counts, negative binomial or not, the covariance of the
    two parts is ε(1 − ε) (E[X(X − 1)] / (1 + φ) − μ²): it vanishes where
    E[X(X − 1)] = (1 + φ) μ², which is how
    :func:`cellglass.dispersion.estimate_dispersion` finds φ.

    References
    ----------
    Batson, Royer & Webber 2019, "Molecular cross-validation for single-cell RNA-seq",
    bioRxiv 786269 (binomial). Neufeld, Popp, Gao, Battle & Witten 2023, "Negative binomial
    count splitting for single-cell RNA sequencing data", arXiv:2307.12985.
    """
    check_range(
        "train_fraction",
        train_fraction,
        low=0,
        high=1,
        low_inclusive=False,
        high_inclusive=False,
    )
    n_genes = X.shape[1]
    phi = _check_dispersion(dispersion, n_genes)
    is_sparse = sparse.issparse(X)
    X = to_csr(X) if is_sparse else np.asarray(X)
    rows, columns, values = nonzeros(X)
    _check_counts(rows, columns, values)
    counts = values.astype(np.int64)
    train = _thin(counts, phi[columns], float(train_fraction), rng)
    dtype = _type_of_parts(values)
    parts = []
    for part in (train, counts - train):
        if is_sparse:
            some = part > 0
            indptr = np.concatenate(
                [[0], np.cumsum(np.bincount(rows[some], minlength=X.shape[0]))]
            )
            content = (part[some].astype(dtype), columns[some], indptr)
            parts.append(sparse.csr_matrix(content, shape=X.shape))
        else:
            dense = np.zeros(X.shape, dtype=dtype)
            dense[rows, columns] = part
            parts.append(dense)
    return parts[0], parts[1]


def _check_dispersion(dispersion: Any, n_genes: int) -> np.ndarray:
    """Bring φ to one float for every gene, or say which of them is wrong."""
    phi = np.asarray(0.0 if dispersion is None else dispersion, dtype=np.float64)
    if phi.ndim > 1 or (phi.ndim == 1 and len(phi) != n_genes):
        raise InputError(
            f"dispersion has the shape {phi.shape}, but one value for each of the "
            f"{n_genes:,} genes (columns), or a single one for all, was expected."
        )
    phi = np.broadcast_to(phi, (n_genes,))
    wrong = ~(np.isfinite(phi) & (phi >= 0))
    if wrong.any():
        gene = int(wrong.argmax())
        raise InputError(
            f"dispersion is {phi[gene]:g} for gene {gene + 1:,}, but it must be a number of at "
            "least 0: it is the φ in the variance of a count, μ + φμ²."
        )
    return phi


def _check_counts(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
    """Refuse values that are no counts, or that are too large to be split exactly."""
    # Written so that NaN is among the wrong ones.
    fine = (values >= 0) & (values <= LARGEST_WHOLE_FLOAT64)
    if values.dtype.kind == "f":
        fine &= values == np.floor(values)
    if fine.all():
        return
    at = int((~fine).argmax())
    place = describe_place(int(rows[at]), int(columns[at]))
    raise InputError(
        f"The value {values[at]:.6g} at {place} cannot be split: only raw counts can, whole "
        f"numbers from 0 to {LARGEST_WHOLE_FLOAT64:.1e}. Give raw counts; of a "
        "log-normalised matrix, hold out entries instead."
    )


def _type_of_parts(values: np.ndarray) -> np.dtype:
    """Find the type of number that holds every part of these counts exactly."""
    if values.dtype.kind in "iu":
        return values.dtype
    largest = float(values.max(initial=0))
    if values.dtype == np.float32 and largest <= LARGEST_WHOLE_FLOAT32:
        return values.dtype
    return np.dtype(np.float64)


def _thin(
    counts: np.ndarray, phi: np.ndarray, train_fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw the first part of every count, (n_counts,), given the φ of its gene."""
    share = np.full(len(counts), train_fraction)
    # Below this the beta distribution is narrower than a float's last digits.
    overdispersed = phi > 1e-12
    concentration = 1 / phi[overdispersed]
    share[overdispersed] = rng.beta(
        train_fraction * concentration, (1 - train_fraction) * concentration
    )
    return rng.binomial(counts, share)


def mask_entries(
    shape: tuple[int, int], rng: np.random.Generator, fraction: float = 0.1
) -> np.ndarray:
    """Choose entries to hold out, so that every cell and every gene keeps some.

    Every cell gives the same number of entries; the genes give about the same share.

    Parameters
    ----------
    shape : (n_cells, n_genes)
        Shape of the matrix.
    rng : numpy.random.Generator
        Where randomness comes from.
    fraction : float, default 0.1
        Share of a cell's entries to hold out, rounded to whole entries and at least one;
        above 0 and below 1.

    Returns
    -------
    numpy.ndarray of bool, shape (n_cells, n_genes)
        True where the entry is held out. At least one entry is visible in every row and
        in every column.

    Raises
    ------
    InputError
        If ``fraction`` is out of bounds, or the matrix is too small to hold out that much
        and leave every cell and every gene an entry.
    """
    check_range("fraction", fraction, low=0, high=1, low_inclusive=False, high_inclusive=False)
    n_cells, n_genes = shape
    n_held_out = max(1, round(fraction * n_genes))  # of each cell
    n_visible = n_genes - n_held_out
    if n_visible < 1 or n_cells * n_visible < n_genes:
        raise InputError(
            f"{n_cells:,} cells × {n_genes:,} genes are too few to hold out {fraction:g} of "
            f"the entries: {max(n_visible, 0)} of every cell would stay visible, and every "
            "cell and every gene must keep at least one. Hold out less, or give at least "
            f"{_fewest_genes(fraction):,} genes and {_fewest_cells(n_genes, fraction):,} cells."
        )
    mask = np.zeros(shape, dtype=bool)
    for start, stop in row_chunks(mask):
        order = rng.random((stop - start, n_genes), dtype=np.float32)
        chosen = np.argpartition(order, n_held_out - 1, axis=1)[:, :n_held_out]
        np.put_along_axis(mask[start:stop], chosen, True, axis=1)
    _uncover_genes(mask, rng)
    return mask


def _fewest_genes(fraction: float) -> int:
    """Smallest number of genes of which a cell keeps one."""
    n_genes = 2
    while max(1, round(fraction * n_genes)) >= n_genes:
        n_genes += 1
    return n_genes


def _fewest_cells(n_genes: int, fraction: float) -> int:
    """Smallest number of cells that leave each of these genes, or as many as needed, one."""
    n_genes = max(n_genes, _fewest_genes(fraction))
    n_visible = n_genes - max(1, round(fraction * n_genes))
    return -(-n_genes // n_visible)


def _uncover_genes(mask: np.ndarray, rng: np.random.Generator) -> None:
    """Give every gene a visible entry, by exchanges within cells; changes `mask`."""
    visible = (~mask).sum(axis=0)
    for gene in np.flatnonzero(visible == 0):
        # As there are at least as many visible entries as genes, some gene has two.
        donors = visible > 1
        cells = np.flatnonzero((~mask[:, donors]).any(axis=1))
        cell = rng.choice(cells)
        donor = rng.choice(np.flatnonzero(donors & ~mask[cell]))
        mask[cell, gene], mask[cell, donor] = False, True
        visible[gene], visible[donor] = 1, visible[donor] - 1
