"""2-D maps of a space: PCA and t-SNE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cellglass.pca import PCA, fit_pca
from cellglass.tsne import tsne

N_COMPONENTS = 50
"""Principal components that t-SNE looks at."""


@dataclass(frozen=True)
class Maps:
    """Two pictures of one space.

    Attributes
    ----------
    pca
        Scores along the first two principal axes, shape (n_cells, 2), in units of the
        space. The second column is zero where the space has one dimension.
    pca_variance_ratio
        Share of the space's variance along either axis, shape (2,).
    tsne
        Shape (n_cells, 2).
    """

    pca: np.ndarray
    pca_variance_ratio: np.ndarray
    tsne: np.ndarray

    def aligned_to(self, other: Maps) -> Maps:
        """Turn both maps to lie as another's do, without changing any distance.

        PCA axes keep their order and at most change their sign; the t-SNE map is rotated
        and mirrored as a whole (orthogonal Procrustes).
        """
        from scipy.linalg import orthogonal_procrustes

        signs = np.where((self.pca * other.pca).sum(axis=0) < 0, -1.0, 1.0)
        rotation, _ = orthogonal_procrustes(self.tsne, other.tsne)
        return Maps(self.pca * signs, self.pca_variance_ratio, self.tsne @ rotation)


def project(
    X: np.ndarray | sparse.csr_matrix,
    *,
    random_state: int,
    pca: PCA | None = None,
    P: sparse.csr_matrix | None = None,
) -> Maps:
    """Map a space, every time with a PCA and a t-SNE of its own.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions). t-SNE sees its first 50
        principal components, or all where there are fewer.
    random_state
        Seed of the PCA.
    pca
        The first 50 principal axes of the space, where they are known.
    P
        Joint probabilities of neighbouring cells, :func:`cellglass.tsne.affinities_of_map`, by
        what t-SNE sees, where they are known.
    """
    if pca is None:
        pca = fit_pca(X, N_COMPONENTS, random_state=random_state)
    return map_scores(pca.transform(X), pca, P=P)


def map_scores(scores: np.ndarray, pca: PCA, *, P: sparse.csr_matrix | None = None) -> Maps:
    """Map a space of which the scores along its principal axes are known.

    Parameters
    ----------
    scores
        Shape (n_cells, n_components).
    pca, P
        As in :func:`project`.
    """
    if scores.shape[1] == 1:
        scores = np.pad(scores, ((0, 0), (0, 1)))
    return Maps(
        pca=scores[:, :2],
        pca_variance_ratio=np.resize(np.append(pca.variance_ratio, 0.0), 2),
        tsne=tsne(scores, P=P),
    )
