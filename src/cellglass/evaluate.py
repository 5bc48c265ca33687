"""How good a space is: its clusters, its neighbourhoods and its maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cellglass.matrices import sample_rows
from cellglass.metrics import AGREEMENT, SquaredErrors, silhouettes
from cellglass.neighbors import nearest_neighbors, neighbors_preserved
from cellglass.partition import kmeans, leiden
from cellglass.pca import fit_pca
from cellglass.project import N_COMPONENTS, Maps
from cellglass.settings import ModelSettings
from cellglass.training_progress import Training
from cellglass.uncertainty import N_PERMUTATIONS, Chance, permutation_baseline

SILHOUETTE_CELLS = 10_000
"""Silhouettes need all distances; beyond this many cells a random sample stands for all."""


JUDGED_IN_FULL = 20_000
"""A space of more cells than that is judged by its first 50 principal components."""


@dataclass(frozen=True)
class Reference:
    """What every space is judged against; the same for all of them.

    Attributes
    ----------
    labels
        Known class of every cell, integers from 0, shape (n_cells,); None without labels.
    n_clusters
        Number of clusters that k-means looks for.
    neighbors
        Nearest neighbours in the original space, shape (n_cells, n_neighbors).
    random_state
        Seed of everything random in the judging.
    """

    labels: np.ndarray | None
    n_clusters: int
    neighbors: np.ndarray
    random_state: int


@dataclass(frozen=True)
class Clustering:
    """One partition of the cells and its scores.

    Attributes
    ----------
    clusters
        Cluster of every cell, from 0, the largest first, shape (n_cells,).
    agreement
        Agreement with the labels by every score of ``metrics.AGREEMENT``, by its name; None
        without labels.
    silhouette
        Mean silhouette of the clusters in the space they were found in; None where it is
        not defined.
    chance
        What each score of agreement is worth beside shuffled labels; None without labels.
    """

    clusters: np.ndarray
    agreement: dict[str, float | None]
    silhouette: float | None
    chance: dict[str, Chance | None]

    @property
    def n_clusters(self) -> int:
        """Number of clusters found."""
        return int(self.clusters.max()) + 1


@dataclass(frozen=True)
class Space:
    """One space of all cells, judged.

    Attributes
    ----------
    clustering
        By method: ``kmeans``, ``leiden``. Empty for reconstructions, which are only looked
        at, not clustered.
    label_silhouette
        Mean silhouette of the labels themselves; None without labels.
    neighbors_preserved
        Mean share of a cell's nearest neighbours in the original that are among its nearest
        here; 1 for the original itself.
    """

    clustering: dict[str, Clustering]
    label_silhouette: float | None
    neighbors_preserved: float


def judge(
    X: np.ndarray | sparse.csr_matrix,
    reference: Reference,
    *,
    neighbors: np.ndarray | None = None,
    find_clusters: bool = True,
) -> Space:
    """Cluster a space and score it.

    Labels enter the scores only, after everything else is done.

    Parameters
    ----------
    X
        Cells in the space, shape (n_cells, n_dimensions); :func:`judged_space` says how many
        of the dimensions count.
    reference
        What to judge against.
    neighbors
        Nearest neighbours in the space, shape (n_cells, n_neighbors), if they are known.
    find_clusters
        Whether clusters are looked for.
    """
    seed = reference.random_state
    X = judged_space(X, random_state=seed)
    if neighbors is None:
        neighbors = nearest_neighbors(X)
    partitions: dict[str, np.ndarray] = {}
    if find_clusters:
        partitions["kmeans"] = kmeans(X, reference.n_clusters, random_state=seed)
        partitions["leiden"] = leiden(neighbors, random_state=seed)
    scored = [
        *partitions.values(),
        *([] if reference.labels is None else [reference.labels]),
    ]
    sample = silhouette_sample(X.shape[0], seed)
    values = silhouettes(X[sample], [p[sample] for p in scored])
    return Space(
        clustering={
            method: _score(clusters, reference, silhouette)
            for (method, clusters), silhouette in zip(partitions.items(), values, strict=False)
        },
        label_silhouette=None if reference.labels is None else values[-1],
        neighbors_preserved=neighbors_preserved(reference.neighbors, neighbors),
    )


def _score(clusters: np.ndarray, reference: Reference, silhouette: float | None) -> Clustering:
    labels = reference.labels
    rng = np.random.default_rng(reference.random_state)
    return Clustering(
        clusters,
        agreement={
            name: None if labels is None else score(labels, clusters)
            for name, score in AGREEMENT.items()
        },
        silhouette=silhouette,
        chance={
            name: None
            if labels is None
            else permutation_baseline(labels, clusters, score, N_PERMUTATIONS, rng)
            for name, score in AGREEMENT.items()
        },
    )


def judged_in_full(shape: tuple[int, int]) -> bool:
    """Tell whether all dimensions count in a space of so many cells and dimensions."""
    return shape[0] <= JUDGED_IN_FULL or shape[1] <= N_COMPONENTS


def judged_space(
    X: np.ndarray | sparse.csr_matrix, *, random_state: int = 0
) -> np.ndarray | sparse.csr_matrix:
    """Give what a space is judged by: itself, or of many cells its first 50 principal axes.

    Neighbours, clusters and silhouettes in all genes of many cells would take most of the
    time of a comparison, and a second copy of the matrix.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions).
    random_state
        Seed, where the axes are found by iteration.
    """
    if judged_in_full(X.shape):
        return X
    return fit_pca(X, N_COMPONENTS, random_state=random_state).transform(X)


def silhouette_sample(n_cells: int, random_state: int) -> np.ndarray:
    """Rows that silhouettes are computed from, sorted: all, or a random sample of them."""
    return sample_rows(n_cells, SILHOUETTE_CELLS, random_state)


@dataclass(frozen=True)
class Evaluation:
    """One trained autoencoder, judged.

    Attributes
    ----------
    settings
        Which run of the grid it is, and how it was trained.
    training
        The trained network, its losses by epoch, its time.
    errors
        Squared errors of the reconstruction, by cell.
    log_likelihoods
        Of the counts of every cell, :meth:`cellglass.expectation.CountScale.log_likelihoods`;
        None where the matrix does not hold raw counts.
    latent_vectors
        Shape (n_cells, n_latent), float32.
    latent, reconstruction
        The two spaces.
    latent_maps, reconstruction_maps
        Their maps, turned to lie as those of the original.
    variance_kept
        Total variance of the reconstruction over that of the original.
    mean_at_zeros
        Mean of what is predicted where the original is zero, in units of the preprocessed
        values; None if no entry is zero.
    """

    settings: ModelSettings
    training: Training
    errors: SquaredErrors
    log_likelihoods: np.ndarray | None
    latent_vectors: np.ndarray
    latent: Space
    reconstruction: Space
    latent_maps: Maps
    reconstruction_maps: Maps
    variance_kept: float | None
    mean_at_zeros: float | None

    @property
    def name(self) -> str:
        """Name of the run in every output file."""
        return self.settings.run


@dataclass(frozen=True)
class Baseline:
    """PCA with as many components as a latent space has dimensions, judged likewise.

    Attributes
    ----------
    n_components
        Rank, as the latent size it stands beside.
    scores
        Shape (n_cells, n_components), float32; fewer columns where the training cells are
        too few to span that many.
    errors
        Squared errors of its reconstruction, by cell.
    log_likelihoods
        As in :class:`Evaluation`.
    space
        The space of the scores.
    """

    n_components: int
    scores: np.ndarray
    errors: SquaredErrors
    log_likelihoods: np.ndarray | None
    space: Space

    @property
    def name(self) -> str:
        """Name of the baseline in every output file."""
        return f"pca_{self.n_components}"
