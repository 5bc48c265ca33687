"""Marker genes of clusters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import pandas as pd

N_MARKERS = 25
"""Genes that are listed for every cluster."""


def find_markers(
    X: np.ndarray | sparse.csr_matrix,
    clusters: np.ndarray,
    gene_names: Sequence[str],
    *,
    n_genes: int = N_MARKERS,
) -> pd.DataFrame:
    """Find the genes that are higher in a cluster than in all other cells.

    By scanpy's ``rank_genes_groups`` with Wilcoxon's rank-sum test. The same cells made the
    clusters, so p-values are far too small to be taken as probabilities; they rank genes.

    Parameters
    ----------
    X
        Log-normalised values (natural logarithm), shape (n_cells, n_genes).
    clusters
        Shape (n_cells,), integers from 0.
    gene_names
        Of the columns.
    n_genes
        The most genes of a cluster. There are fewer where fewer rank higher in it than
        elsewhere.

    Returns
    -------
    pandas.DataFrame
        One row a cluster and gene, the best first, with the columns ``cluster``, ``gene``,
        ``score`` (z-score of the rank sum), ``log2_fold_change`` and ``fraction_in`` and
        ``fraction_out``, the shares of the cluster's and of all other cells in which the gene
        is not zero. Empty where there is one cluster. A cluster of one cell has no rows.
    """
    import pandas as pd
    from anndata import AnnData

    columns = ["cluster", "gene", "score", "log2_fold_change", "fraction_in", "fraction_out"]
    sizes = np.bincount(clusters)
    ranked = [str(j) for j in np.flatnonzero((sizes > 1) & (sizes < len(clusters)))]
    if not ranked:
        return pd.DataFrame(columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, on how scanpy fills its tables
        import scanpy as sc

        adata = AnnData(X, obs=pd.DataFrame(index=[str(i) for i in range(len(clusters))]))
        adata.obs["cluster"] = pd.Categorical(clusters.astype(str))
        sc.tl.rank_genes_groups(
            adata, "cluster", groups=ranked, method="wilcoxon", use_raw=False,
            n_genes=min(n_genes, X.shape[1]),
        )  # fmt: skip
    found = adata.uns["rank_genes_groups"]
    there = _fractions(X, clusters)  # (n_clusters, n_genes)
    rows = []
    for name in ranked:
        j = int(name)
        outside = (there * sizes[:, None]).sum(axis=0) - there[j] * sizes[j]
        for gene, score, fold in zip(
            found["names"][name], found["scores"][name], found["logfoldchanges"][name],
            strict=True,
        ):  # fmt: skip
            if score <= 0:  # the others rank lower in the cluster than elsewhere
                break
            i = int(gene)
            rows.append(
                [j, gene_names[i], float(score), float(fold), float(there[j, i]),
                 float(outside[i] / (len(clusters) - sizes[j]))]
            )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _fractions(X: np.ndarray | sparse.csr_matrix, clusters: np.ndarray) -> np.ndarray:
    """Share of each cluster's cells in which a gene is not zero, (n_clusters, n_genes)."""
    own = sparse.csr_matrix((np.ones(len(clusters)), (clusters, np.arange(len(clusters)))))
    found = own @ (X != 0)
    numbers = found.toarray() if sparse.issparse(found) else np.asarray(found)
    shares: np.ndarray = numbers / np.maximum(np.bincount(clusters), 1)[:, None]
    return shares
