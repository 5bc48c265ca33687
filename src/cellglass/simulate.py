"""Simulated counts of cells whose groups, means and dropout are known.

The model, a small relative of Splatter's (Zappia, Phipson & Oshlack 2017, Genome
Biology 18:174). For cell i of group g(i) and gene j::

    p_j   = a_j / Σ_k a_k,          log a_j ~ Normal(0, gene_mean_sigma²)
    L_i   = mean_library_size · exp(σ z_i − σ²/2),   z_i ~ Normal(0, 1),
            σ = library_size_sigma, so that E[L_i] = mean_library_size
    μ_ij  = L_i · p_j · 2^(marker_log_fold_change · [gene j marks group g(i)])
    t_ij  ~ Poisson(λ_ij),          λ_ij ~ Gamma(shape 1/φ, scale φ μ_ij),
            φ = dispersion: negative binomial, E[t] = μ, Var[t] = μ + φ μ²
    y_ij  = t_ij · b_ij,            b_ij ~ Bernoulli(1 − dropout_rate)
    x_ij  = log(1 + 10⁴ · y_ij / Σ_k y_ik)

It departs from Splatter in three places, each so that a test can know the answer: gene
means are log-normal, not gamma; a marker's fold change is one number, not a draw; and
dropout hits every count with the same probability, not the more the lower its mean.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellglass.checks import check_range
from cellglass.errors import InputError
from cellglass.memory import check_fits
from cellglass.outputs import exchange, scratch_beside

if TYPE_CHECKING:
    from anndata import AnnData

FILES = ("counts.npy", "labels.txt", "truth.h5ad")
CELL_TOTAL = 1e4

# Of an entry, while it is drawn: float64 means, rates and random numbers, and the counts.
PEAK_BYTES = 64

# 2^20 is a million-fold, and far more than any gene changes; beyond, means overflow.
LARGEST_LOG_FOLD_CHANGE = 20

# Below this the gamma draw differs from its mean by less than a float's last digits.
SMALLEST_DISPERSION = 1e-9


def simulate(
    n_cells: int = 5000,
    n_genes: int = 1000,
    n_groups: int = 3,
    *,
    fraction_marker_genes: float = 0.05,
    marker_log_fold_change: float = 2.0,
    gene_mean_sigma: float = 1.0,
    mean_library_size: float = 1000.0,
    library_size_sigma: float = 0.35,
    dispersion: float = 1.0,
    dropout_rate: float = 0.3,
    group_proportions: Sequence[float] | None = None,
    random_state: int = 0,
) -> "AnnData":
    """Draw a matrix of cells whose groups are known.

    The defaults look like the assignment's data: 5000 × 1000, three groups, about 72 %
    zeros, and groups that k-means on 50 principal components finds clearly but not
    perfectly (adjusted Rand index about .97).

    Parameters
    ----------
    n_cells
        Number of cells, at least 1.
    n_genes
        Number of genes, at least 1.
    n_groups
        Number of groups, at least 1 and at most `n_cells`. With 1 there are no markers
        and so there is nothing to find.
    fraction_marker_genes
        Share of all genes that mark each one group, between 0 and 1; rounded to whole
        genes. No gene marks two groups, so `n_groups` times this must fit into the
        genes. 0 gives groups that differ in name only.
    marker_log_fold_change
        Logarithm to base 2 of a marker's mean in its group over its mean in all others,
        between −20 and 20. The default, 2, is four-fold; 0 gives groups that differ in
        name only.
    gene_mean_sigma
        Standard deviation of the natural logarithm of the genes' means, between 0 and
        10; 0 gives all genes the same mean.
    mean_library_size
        Expected number of counts in a cell, before dropout and before its markers are
        raised; above 0 and at most 1e9.
    library_size_sigma
        Standard deviation of the natural logarithm of the cells' library sizes,
        between 0 and 10; 0 gives all cells the same.
    dispersion
        φ in the variance of a count, μ + φ μ²; between 0, which is Poisson, and 1e6.
    dropout_rate
        Probability with which each count, whatever its size, is set to zero; at least 0
        and below 1.
    group_proportions
        Share of the cells that each group gets, shape (n_groups,), positive and summing
        to 1 (give or take 0.001, and then scaled to do so). Groups get exactly that
        share, rounded to whole cells. None gives equal shares.
    random_state
        Seed, 0 or more. Each step draws from a stream of its own: with one seed, another
        `dropout_rate` leaves the counts before dropout as they were, and another
        `marker_log_fold_change` the genes' means.

    Returns
    -------
    AnnData
        Of shape (n_cells, n_genes), cells in random order:

        - ``X``: log-normalised, float32: every cell scaled to 10,000 counts, then
          log(1 + x). A cell without any count (rare unless `mean_library_size` is small)
          stays zero.
        - ``layers["counts"]``: raw counts after dropout, int32.
        - ``layers["true_counts"]``: raw counts before dropout, int32.
        - ``layers["true_mean"]``: μ, in units of raw counts, float32.
        - ``obs["label"]``: the group, categorical of "0", "1", ….
        - ``obs["library_size"]``: L, in raw counts, float64.
        - ``var["marker_of"]``: the group that the gene marks or "", categorical.
        - ``var["mean"]``: mean_library_size · p, the mean raw count of the gene in an
          average cell of a group that it does not mark, float64.
        - ``uns["simulation"]``: all parameters by name, the group proportions as an
          array that sums to 1.

    Raises
    ------
    InputError
        If an option is outside what is said above, if the markers do not fit, if a group
        would be left without a cell, if a count would not fit into int32, or if all would
        not fit into memory.

    Notes
    -----
    The formulas stand at the top of this file. All is dense: the result takes 16 bytes
    an entry, and drawing it about twice as much again.
    """
    for option, value in (("n_cells", n_cells), ("n_genes", n_genes), ("n_groups", n_groups)):
        check_range(option, value, low=1, integer=True)
    check_range("random_state", random_state, low=0, integer=True)
    check_range("fraction_marker_genes", fraction_marker_genes, low=0, high=1)
    largest = LARGEST_LOG_FOLD_CHANGE
    check_range("marker_log_fold_change", marker_log_fold_change, low=-largest, high=largest)
    check_range("gene_mean_sigma", gene_mean_sigma, low=0, high=10)
    check_range("mean_library_size", mean_library_size, low=0, high=1e9, low_inclusive=False)
    check_range("library_size_sigma", library_size_sigma, low=0, high=10)
    check_range("dispersion", dispersion, low=0, high=1e6)
    check_range("dropout_rate", dropout_rate, low=0, high=1, high_inclusive=False)
    # NumPy's whole numbers would wrap around.
    n_cells, n_genes, n_groups, random_state = map(
        int, (n_cells, n_genes, n_groups, random_state)
    )
    check_fits(
        PEAK_BYTES * n_cells * n_genes,
        name=f"n_cells={n_cells:,} × n_genes={n_genes:,}",
        remedy="Ask for fewer cells or genes, or use a machine with more memory.",
    )
    proportions = _proportions(group_proportions, n_groups, n_cells)
    sizes = _group_sizes(proportions, n_cells)
    n_markers = _markers_a_group(fraction_marker_genes, n_genes, n_groups)

    streams = np.random.default_rng(random_state).spawn(6)
    for_genes, for_markers, for_cells, for_libraries, for_counts, for_dropout = streams

    # The largest exponent is taken off, as a gene's share does not depend on it.
    log_abundance = gene_mean_sigma * for_genes.standard_normal(n_genes)  # (n_genes,)
    abundance = np.exp(log_abundance - log_abundance.max())
    share = abundance / abundance.sum()

    marker_of = np.full(n_genes, -1)  # (n_genes,), -1 where a gene marks no group
    chosen = for_markers.permutation(n_genes)[: n_groups * n_markers]
    marker_of[chosen] = np.repeat(np.arange(n_groups), n_markers)

    group = for_cells.permutation(np.repeat(np.arange(n_groups), sizes))  # (n_cells,)
    deviation = library_size_sigma * for_libraries.standard_normal(n_cells)
    library_size = mean_library_size * np.exp(deviation - library_size_sigma**2 / 2)

    is_marker = marker_of == np.arange(n_groups)[:, None]  # (n_groups, n_genes)
    group_share = share * np.where(is_marker, 2.0**marker_log_fold_change, 1.0)
    mean = library_size[:, None] * group_share[group]  # (n_cells, n_genes)

    true_counts = _negative_binomial(mean, dispersion, for_counts)
    kept = for_dropout.random(mean.shape) >= dropout_rate
    counts = true_counts * kept

    import pandas as pd
    from anndata import AnnData

    names = [str(i) for i in range(n_groups)]
    return AnnData(
        X=_log_normalise(counts),
        obs=pd.DataFrame(
            {
                "label": pd.Categorical.from_codes(group, pd.Index(names)),
                "library_size": library_size,
            },
            index=[f"cell_{i}" for i in range(n_cells)],
        ),
        # Categorical, because anndata would turn a column of text into one when it
        # writes the file: what is read would not be what was written.
        var=pd.DataFrame(
            {
                "marker_of": pd.Categorical.from_codes(marker_of + 1, pd.Index(["", *names])),
                "mean": mean_library_size * share,
            },
            index=[f"gene_{j}" for j in range(n_genes)],
        ),
        layers={
            "counts": counts,
            "true_counts": true_counts,
            "true_mean": mean.astype(np.float32),
        },
        uns={
            "simulation": {
                "n_cells": n_cells,
                "n_genes": n_genes,
                "n_groups": n_groups,
                "fraction_marker_genes": fraction_marker_genes,
                "marker_log_fold_change": marker_log_fold_change,
                "gene_mean_sigma": gene_mean_sigma,
                "mean_library_size": mean_library_size,
                "library_size_sigma": library_size_sigma,
                "dispersion": dispersion,
                "dropout_rate": dropout_rate,
                "group_proportions": proportions,
                "random_state": random_state,
            }
        },
    )


def write_simulation(adata: "AnnData", out: Path, overwrite: bool = False) -> Path:
    """Write simulated cells as the files that the assignment hands out, and the truth.

    ``counts.npy`` holds ``adata.X`` (log-normalised, float32, shape (n_cells, n_genes)),
    ``labels.txt`` holds ``obs["label"]`` (one a line, in the order of the rows) and
    ``truth.h5ad`` all of `adata`. The files are finished in a hidden folder first, so
    that a failure leaves no half-written folder behind.

    Parameters
    ----------
    adata
        What :func:`simulate` returned.
    out
        Folder to write; folders above it are made as needed.
    overwrite
        False (the default) refuses a folder that exists. True replaces these three files
        in it and leaves all others alone.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If `adata` has no ``obs["label"]``, if `out` fails
        :func:`check_simulation_folder`, or if the folder cannot be made there.
    """
    if "label" not in adata.obs:
        raise InputError(
            f"The cells have no column 'label' in obs, only {list(adata.obs)}. "
            "write_simulation writes what simulate returned, with its labels: pass that, "
            "or put a label for each cell into obs['label']."
        )
    out = Path(out)
    check_simulation_folder(out, overwrite=overwrite)
    with scratch_beside(out) as scratch:
        # The temporary folder is private to the user; a folder made in it is not.
        fresh = scratch / "fresh"
        fresh.mkdir()
        np.save(fresh / "counts.npy", np.asarray(adata.X, dtype=np.float32))
        labels = "".join(f"{label}\n" for label in adata.obs["label"])
        (fresh / "labels.txt").write_text(labels, encoding="utf-8", newline="\n")
        adata.write_h5ad(fresh / "truth.h5ad", compression="lzf")
        if out.is_dir():
            exchange(out, fresh, FILES, scratch)
        else:
            fresh.rename(out)
    return out


def check_simulation_folder(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that a simulation may not be written to.

    Rules: it does not exist yet; or it is a folder, `overwrite` is set, and none of the
    names of the files to write belongs to a folder in it.

    Parameters
    ----------
    out
        Folder to write.
    overwrite
        Whether these files may be replaced in a folder that exists.

    Raises
    ------
    InputError
        If a rule is broken; nothing is changed then.
    """
    if out.is_dir():
        if not overwrite:
            raise InputError(
                f"The output folder {out} already exists, and nothing in it was changed. Give "
                "another name, or overwrite=True (--overwrite on the command line) to replace "
                f"{', '.join(FILES)} in it."
            )
        for name in FILES:
            if (out / name).is_dir():
                raise InputError(
                    f"{out / name} is a folder, where a file is to be written. Move it "
                    "away, or choose another folder to write to."
                )
    elif out.exists() or out.is_symlink():
        raise InputError(
            f"{out} is a file (or a link that leads nowhere), where a folder is to be "
            "written. Choose another name, or move it away."
        )


def _proportions(given: Sequence[float] | None, n_groups: int, n_cells: int) -> np.ndarray:
    """Return the groups' shares of the cells, shape (n_groups,), summing to 1."""
    if n_groups > n_cells:
        raise InputError(
            f"n_groups={n_groups} is more than n_cells={n_cells}, and every group needs a "
            "cell at least. Ask for more cells or for fewer groups."
        )
    if given is None:
        return np.full(n_groups, 1 / n_groups)
    remedy = (
        f"Pass n_groups={n_groups} positive numbers that sum to 1, or leave "
        "group_proportions out for groups of equal size."
    )
    try:
        shares = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"group_proportions={given!r} is not a list of numbers. {remedy}"
        ) from error
    if shares.shape != (n_groups,):
        raise InputError(
            f"group_proportions={given!r} has shape {shares.shape}, and one number a "
            f"group, shape ({n_groups},), was expected. {remedy}"
        )
    if not np.all(np.isfinite(shares) & (shares > 0)):
        wrong = int(np.flatnonzero(~(np.isfinite(shares) & (shares > 0)))[0])
        raise InputError(
            f"group_proportions[{wrong}] is {shares[wrong]:g}, and a share above 0 was "
            f"expected for every group. {remedy}"
        )
    # A share typed as 0.3333 is meant as a third.
    if abs(shares.sum() - 1) > 1e-3:
        raise InputError(
            f"group_proportions={given!r} sums to {shares.sum():g}, not to 1. {remedy}"
        )
    return shares / shares.sum()


def _group_sizes(proportions: np.ndarray, n_cells: int) -> np.ndarray:
    """Round shares to whole cells that sum to `n_cells`, by largest remainder."""
    exact = proportions * n_cells
    sizes = np.floor(exact).astype(int)
    # Stable, so that equal remainders favour the earlier group on every machine.
    by_remainder = np.argsort(sizes - exact, kind="stable")
    sizes[by_remainder[: n_cells - sizes.sum()]] += 1
    if sizes.min() < 1:
        empty = int(sizes.argmin())
        raise InputError(
            f"group_proportions[{empty}] is {proportions[empty]:g}, which of "
            f"n_cells={n_cells} leaves group {empty} without a cell. Raise that share, or "
            f"ask for {math.ceil(1 / proportions[empty])} cells or more."
        )
    return sizes


def _markers_a_group(fraction: float, n_genes: int, n_groups: int) -> int:
    """Return how many genes mark each group, or say why they do not fit."""
    # What marks the only group there is tells no cells apart.
    if n_groups == 1 or fraction == 0:
        return 0
    n_markers = round(fraction * n_genes)
    if n_markers == 0:
        raise InputError(
            f"fraction_marker_genes={fraction:g} of n_genes={n_genes} is less than one "
            "marker gene for each group. Raise it to "
            f"{1 / n_genes:.2g} or more, ask for more genes, or pass 0 for groups that "
            "differ in name only."
        )
    if n_markers * n_groups > n_genes:
        raise InputError(
            f"fraction_marker_genes={fraction:g} asks for {n_markers} marker genes for "
            f"each of {n_groups} groups, {n_markers * n_groups} in all, and there are not "
            f"enough genes (n_genes={n_genes}), as no gene marks two groups. Lower it to "
            f"{n_genes // n_groups / n_genes:g}, or ask for fewer groups."
        )
    return n_markers


def _negative_binomial(
    mean: np.ndarray, dispersion: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw counts with the given means and variance mean + dispersion · mean².

    Parameters
    ----------
    mean
        Shape (n_cells, n_genes), in raw counts.
    dispersion
        φ; 0 draws from the Poisson distribution.
    rng
        Where randomness comes from.

    Returns
    -------
    ndarray of int32, shape (n_cells, n_genes)

    Raises
    ------
    InputError
        If a count would not fit into int32.
    """
    rate = mean
    if dispersion >= SMALLEST_DISPERSION:
        rate = rng.standard_gamma(1 / dispersion, size=mean.shape)
        rate *= dispersion
        rate *= mean
    # Half of what int32 holds: a Poisson draw never comes to twice so large a rate.
    limit = np.iinfo(np.int32).max / 2
    if not rate.max() <= limit:
        raise InputError(
            f"With these options a count of about {rate.max():.3g} would be drawn, and "
            f"{limit:.3g} is the most that is allowed. Lower mean_library_size, "
            "marker_log_fold_change, library_size_sigma or dispersion."
        )
    return rng.poisson(rate).astype(np.int32)


def _log_normalise(counts: np.ndarray) -> np.ndarray:
    """Scale every cell to 10,000 counts, then take log(1 + x).

    Raw counts in, log-normalised float32 out, both of shape (n_cells, n_genes). Cells
    without a count stay zero, as in scanpy's ``normalize_total``.
    """
    total = counts.sum(axis=1, keepdims=True, dtype=np.int64)  # (n_cells, 1)
    factor = (CELL_TOTAL / np.maximum(total, 1)).astype(np.float32)
    # An int32 times a float32 would be a float64 for numpy.
    scaled = counts.astype(np.float32)
    scaled *= factor
    return np.log1p(scaled, out=scaled)
