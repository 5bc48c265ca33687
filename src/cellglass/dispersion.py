"""Estimates how much more counts of a gene vary than Poisson counts of their means would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_range
from cellglass.errors import InputError
from cellglass.matrices import to_csr

RANKS = (0, 2, 5, 10, 20, 40)
"""Numbers of principal components that means are predicted from, until they get worse."""

MAX_CELLS = 5000
"""More cells than these say hardly more about φ: a share of them is drawn."""

N_GENE_FOLDS = 3
N_CELL_FOLDS = 2

# Of a gene's average rate: a smaller prediction would make one count weigh without limit.
SMALLEST_RATE = 0.01

N_GENE_GROUPS = 11
"""The φ of all genes is the median over so many groups of them,"""
GENES_A_GROUP = 20
"""or fewer, for groups are this large at least: the median of few counts is too small."""

N_NEWTON_STEPS = 8
N_REWEIGHTINGS = 20


def fit_dispersion(
    X: Any,
    rng: np.random.Generator,
    *,
    ranks: Sequence[int] = RANKS,
    max_cells: int = MAX_CELLS,
) -> np.ndarray:
    """Estimate φ in Var[X] = μ + φμ² for every gene, from counts whose means are unknown.

    Means are predicted by :func:`predict_means`, with the number of components that
    predicts unseen counts best; what varies beyond them is φ, by
    :func:`estimate_dispersion`. Structure that the components miss counts as φ, so that
    φ is rather too large than too small: counts split with it
    (:func:`cellglass.splitting.split_counts`) favour fewer latent dimensions, not more.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_cells, n_genes)
        Raw counts. Never modified.
    rng : numpy.random.Generator
        Where randomness comes from: which cells are used, and how they are divided.
    ranks : sequence of int, default (0, 2, 5, 10, 20, 40)
        Numbers of components to try, ascending; the search ends with the first that
        predicts worse than the one before.
    max_cells : int, default 5000
        At most that many cells, drawn at random, are used; at least 4.

    Returns
    -------
    numpy.ndarray of float64, shape (n_genes,)
        φ; 0 where the counts vary no more than Poisson counts.

    Raises
    ------
    InputError
        If there are fewer than 4 cells or 2 genes, or an option is out of bounds.

    Notes
    -----
    All is dense: about 100 bytes for each of ``max_cells`` × n_genes entries.
    """
    from threadpoolctl import threadpool_limits

    check_range("max_cells", max_cells, low=4, integer=True)
    if not ranks:
        raise InputError("ranks is empty, but at least one number of components is needed.")
    n_cells, n_genes = X.shape
    if n_cells < 4 or n_genes < 2:
        raise InputError(
            f"The dispersion cannot be estimated from {n_cells:,} cells × {n_genes:,} genes: "
            "at least 4 cells and 2 genes are needed, as counts are predicted from other "
            "cells and other genes. Give more, or pass the dispersion if it is known."
        )
    if n_cells > max_cells:
        cells = np.sort(rng.choice(n_cells, max_cells, replace=False))
        X = to_csr(X)[cells] if sparse.issparse(X) else X[cells]
    counts = (X.toarray() if sparse.issparse(X) else np.asarray(X)).astype(np.float64)
    seed = int(rng.integers(2**32))
    best, best_deviance = np.empty(0), np.inf
    # Most of it is many small systems of equations, which more threads only slow down;
    # and one thread gives the same φ, and so the same split, on every number of cores.
    with threadpool_limits(1):
        for rank in ranks:
            # One seed, so that all ranks are compared on the same folds.
            means = predict_means(counts, rank, np.random.default_rng(seed))
            deviance = float((means - counts * np.log(means)).mean())
            if deviance >= best_deviance:
                break
            best, best_deviance = means, deviance
    return estimate_dispersion(counts, best)


def estimate_dispersion(counts: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Estimate φ in Var[X] = μ + φμ² for every gene, given the means.

    Solves Σ w ((x − μ)² − x − φμ²) = 0 for every gene, a sum over cells with the weights
    w = 1 / (1 + φμ)², which are about inverse to the variance of a term (quasi-likelihood
    of the second moment). It asks for that moment alone, not for a negative binomial
    distribution, because it is the moment on which the independence of split counts
    rests (see :func:`cellglass.splitting.split_counts`); the likelihood of a negative
    binomial would be misled by zeros that have another cause.

    Genes of few counts borrow from the others: φ of a gene is the mean of its own estimate
    and that of all genes, φ₀, each weighted by its precision. The genes are taken to be
    spread around φ₀ with a standard deviation of φ₀, or of the gene's φ where that is
    larger: about what a normal distribution of log φ with a standard deviation of 1 says.

    φ₀ solves the same equation, summed over genes, in each of 11 groups that take every
    eleventh gene (fewer below 220 genes), and is the median of what these find.
    One count far above its mean (hundreds, where .01 was expected) can draw the sum over all
    genes to itself, whatever its weight; of the groups it reaches only its own ("median of
    means", Nemirovsky & Yudin 1983, Problem Complexity and Method Efficiency in
    Optimization).

    Parameters
    ----------
    counts : numpy.ndarray, shape (n_cells, n_genes)
        Raw counts.
    mean : numpy.ndarray, shape (n_cells, n_genes)
        The mean of every count, in raw counts, above 0; where it is a prediction, by
        something that had not seen the count, or φ would be too small.

    Returns
    -------
    numpy.ndarray of float64, shape (n_genes,)
        φ; 0 where the counts vary no more than Poisson counts.
    """
    n_genes = counts.shape[1]
    excess = np.square(counts - mean) - counts  # (n_cells, n_genes), of mean φμ²
    squared = np.square(mean)

    n_groups = min(N_GENE_GROUPS, max(1, n_genes // GENES_A_GROUP))
    groups = [slice(first, None, n_groups) for first in range(n_groups)]
    overall = float(np.median([_shared(excess[:, own], mean[:, own]) for own in groups]))
    if overall == 0:
        return np.zeros(n_genes)

    phi = np.full(n_genes, overall)
    for _ in range(N_REWEIGHTINGS):
        weight = 1 / np.square(1 + phi * mean)
        information = (weight * squared).sum(axis=0)  # (n_genes,)
        own = (weight * excess).sum(axis=0) / information
        # The variance of a term over μ²(1 + φμ)² is 2 + 2φ for means near 0 and 2 + 6φ
        # for large ones.
        precision = information / (2 + 6 * phi)
        prior_precision = 1 / np.square(np.maximum(phi, overall))
        before_all = phi
        phi = (precision * own + prior_precision * overall) / (precision + prior_precision)
        phi = np.maximum(phi, 0)
        if np.abs(phi - before_all).max() <= 1e-3 * overall:
            break
    return phi


def _shared(excess: np.ndarray, mean: np.ndarray) -> float:
    """Solve for one φ of all genes: an average of them, weighted by what each tells."""
    squared = np.square(mean)
    phi = 0.0
    for _ in range(N_REWEIGHTINGS):
        weight = 1 / np.square(1 + phi * mean)
        before = phi
        phi = max(0.0, float((weight * excess).sum() / (weight * squared).sum()))
        if abs(phi - before) <= 1e-4 * before:
            break
    return phi


def predict_means(counts: np.ndarray, rank: int, rng: np.random.Generator) -> np.ndarray:
    """Predict the mean of every count without having seen it.

    Cells and genes are divided into folds (bi-cross-validation: Owen & Perry 2009, Annals
    of Applied Statistics 3:564). To predict a fold of genes in a fold of cells, every
    cell's total and principal components are computed from its other genes, log-normalised;
    each gene's counts are regressed on these over the other cells (Poisson, log link, the
    total as exposure and once more as a covariate, a slight ridge penalty); and the
    regression is applied to the cells of the fold.

    Parameters
    ----------
    counts : numpy.ndarray, shape (n_cells, n_genes)
        Raw counts, of at least 4 cells and 2 genes.
    rank : int
        Number of principal components; 0 leaves only the total. No more are used than
        half the cells of a fold, or the genes, allow.
    rng : numpy.random.Generator
        Where randomness comes from: how cells and genes are divided.

    Returns
    -------
    numpy.ndarray of float64, shape (n_cells, n_genes)
        Means in raw counts, at least 1 % of what the gene's share of all counts gives.
    """
    from cellglass.pca import fit_pca

    n_cells, n_genes = counts.shape
    n_gene_folds = min(N_GENE_FOLDS, n_genes)
    gene_fold = rng.permutation(np.arange(n_genes) % n_gene_folds)
    cell_fold = rng.permutation(np.arange(n_cells) % N_CELL_FOLDS)
    seed = int(rng.integers(2**32))
    means = np.empty(counts.shape)
    for fold in range(n_gene_folds):
        target = gene_fold == fold
        others = counts[:, ~target]
        total = others.sum(axis=1)  # (n_cells,)
        exposure = np.log(np.maximum(total, 0.5))
        spread = exposure.std()
        covariates = [np.ones(n_cells)]
        if spread > 0:
            covariates.append((exposure - exposure.mean()) / spread)
        k = min(rank, others.shape[1], n_cells // (2 * N_CELL_FOLDS))
        if k > 0:
            values = np.log1p(others * (1e4 / np.maximum(total, 1))[:, None])
            scores = fit_pca(values, k, random_state=seed).transform(values)
            deviation = scores.std(axis=0)
            covariates.extend((scores / np.where(deviation > 0, deviation, 1)).T)
        design = np.column_stack(covariates)  # (n_cells, n_covariates)
        for part in range(N_CELL_FOLDS):
            held_out, seen = cell_fold == part, cell_fold != part
            y = counts[np.ix_(seen, target)]
            coefficients = _poisson_regression(design[seen], y, exposure[seen])
            predictor = design[held_out] @ coefficients + exposure[held_out, None]
            rate = (y.sum(axis=0) + 0.5) / np.exp(exposure[seen]).sum()
            floor = SMALLEST_RATE * np.exp(exposure[held_out])[:, None] * rate
            # No count is predicted to be larger than any that was seen, or than 1.
            ceiling = np.maximum(counts[seen].max(), 1.0)
            predicted = np.exp(np.minimum(predictor, np.log(ceiling)))
            means[np.ix_(held_out, target)] = np.maximum(predicted, floor)
    return means


def _poisson_regression(
    design: np.ndarray, counts: np.ndarray, exposure: np.ndarray, ridge: float = 1.0
) -> np.ndarray:
    """Fit log μ = design · β + exposure for all genes at once, by Newton's method.

    Parameters
    ----------
    design
        Shape (n_cells, n_covariates); the first is 1, all others have a variance near 1.
    counts
        Raw counts, shape (n_cells, n_genes).
    exposure
        Natural logarithm of the cells' totals, shape (n_cells,).
    ridge
        Penalty ridge/2 · β² on every coefficient but the first.

    Returns
    -------
    ndarray of float64, shape (n_covariates, n_genes)
    """
    n_covariates, n_genes = design.shape[1], counts.shape[1]
    upper = np.triu_indices(n_covariates)
    # The products of every two covariates: one multiplication then gives all Hessians.
    products = (design[:, upper[0]] * design[:, upper[1]]).astype(np.float32)
    penalty = np.full(n_covariates, ridge)
    penalty[0] = 0
    coefficients = np.zeros((n_covariates, n_genes))
    coefficients[0] = np.log((counts.sum(axis=0) + 0.5) / np.exp(exposure).sum())
    hessian = np.empty((n_genes, n_covariates, n_covariates))
    for _ in range(N_NEWTON_STEPS):
        means = np.exp(np.clip(design @ coefficients + exposure[:, None], -30, 30))
        gradient = design.T @ (counts - means) - penalty[:, None] * coefficients
        sums = means.astype(np.float32).T @ products  # (n_genes, n_pairs)
        hessian[:, upper[0], upper[1]] = sums
        hessian[:, upper[1], upper[0]] = sums
        # A gene without counts would have nothing to divide by.
        hessian += np.diag(penalty + 1e-3)
        step = np.linalg.solve(hessian, gradient.T[:, :, None])[:, :, 0].T
        # No coefficient moves by more than 1 at once, so that no mean explodes.
        largest = np.abs(step).max(axis=0)
        step /= np.maximum(largest, 1)
        coefficients += step
        if largest.max() < 1e-3:
            break
    return coefficients
