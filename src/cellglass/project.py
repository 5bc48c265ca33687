"""2-D maps of a space: PCA and t-SNE."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse

from cellglass.pca import fit_pca

N_COMPONENTS = 50
"""Principal components that t-SNE looks at."""
PERPLEXITY = 30.0
SMALL = 500
"""Up to this many cells scikit-learn's own t-SNE is used: it reaches a lower
Kullback-Leibler divergence there, and both are quick."""


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


def project(X: np.ndarray | sparse.csr_matrix, *, random_state: int) -> Maps:
    """Map a space, every time with a PCA and a t-SNE of its own.

    Parameters
    ----------
    X
        Cells in any space, shape (n_cells, n_dimensions). t-SNE sees its first 50
        principal components, or all where there are fewer.
    random_state
        Seed of t-SNE.
    """
    pca = fit_pca(X, N_COMPONENTS, random_state=random_state)
    scores = pca.transform(X)
    if scores.shape[1] == 1:
        scores = np.pad(scores, ((0, 0), (0, 1)))
    return Maps(
        pca=scores[:, :2],
        pca_variance_ratio=np.resize(np.append(pca.variance_ratio, 0.0), 2),
        tsne=tsne(scores, random_state=random_state),
    )


def tsne(scores: np.ndarray, *, random_state: int) -> np.ndarray:
    """Barnes-Hut t-SNE (van der Maaten 2014) from a start by PCA (Kobak & Berens 2019).

    Parameters
    ----------
    scores
        Principal components of the cells, shape (n_cells, n_components ≥ 2).
    random_state
        Seed.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, 2), centred.
    """
    from threadpoolctl import threadpool_limits

    n_cells = len(scores)
    if np.ptp(scores, axis=0).max() == 0:
        return np.zeros((n_cells, 2))  # all cells are alike: there is nothing to lay out
    engine, _ = tsne_engine(n_cells)
    model = engine(
        perplexity=min(PERPLEXITY, (n_cells - 1) / 3),
        angle=0.3,
        init=1e-4 * scores[:, :2] / scores[:, 0].std(),
        random_state=random_state,
    )
    # On few cells threads wait for each other longer than they work: on busy cores, 500
    # cells took ten times as long with two threads as with one.
    with threadpool_limits(1 if n_cells <= SMALL else None):
        layout = np.asarray(model.fit_transform(scores), np.float64)
    return layout - layout.mean(axis=0)


def tsne_engine(n_cells: int) -> tuple[type, str]:
    """Choose the implementation of t-SNE, and give its name for the report.

    scikit-learn-intelex exists for x86-64 alone; there it is several times faster at
    nearly the same Kullback-Leibler divergence. Elsewhere it is scikit-learn's.
    """
    if n_cells > SMALL and _has_intelex():
        from sklearnex.manifold import TSNE

        return TSNE, "scikit-learn-intelex"
    from sklearn.manifold import TSNE

    return TSNE, "scikit-learn"


@cache
def _has_intelex() -> bool:
    from importlib.util import find_spec

    return find_spec("sklearnex") is not None
