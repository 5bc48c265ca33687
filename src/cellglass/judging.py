"""Judges what was trained on other threads, while the next network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
from scipy import sparse

from cellglass.batches import Rows
from cellglass.encode import encode, predictions, reconstruction_coordinates
from cellglass.errors import TrainingError
from cellglass.evaluate import (
    Baseline,
    Evaluation,
    Reference,
    Space,
    judge,
    judged_in_full,
)
from cellglass.expectation import CountScale
from cellglass.losses import LOSSES
from cellglass.matrices import Parts, all_finite
from cellglass.metrics import SquaredErrors, mean_at_zeros, squared_errors, total_variance
from cellglass.neighbors import N_NEIGHBORS, nearest_neighbors
from cellglass.partition import leiden
from cellglass.pca import PCA, fit_pca
from cellglass.project import N_COMPONENTS, Maps, map_scores, project
from cellglass.settings import ModelSettings
from cellglass.training_progress import Training
from cellglass.tsne import affinities_of_map, neighbors_of_map


@dataclass(frozen=True)
class Predicted:
    """How well predictions fit, whichever model they are from.

    Attributes
    ----------
    errors, log_likelihoods, mean_at_zeros
        As in :class:`cellglass.evaluate.Evaluation`.
    variance
        Total variance of the predictions.
    """

    errors: SquaredErrors
    log_likelihoods: np.ndarray | None
    variance: float
    mean_at_zeros: float | None


@dataclass(frozen=True)
class Original:
    """What is known of the cells themselves before anything is trained.

    Attributes
    ----------
    pca, scores
        The first principal axes, as many as t-SNE looks at, and the cells along them.
    space
        What they are judged by: all genes, or the scores.
    neighbors
        Nearest neighbours in that space, shape (n_cells, 15).
    n_clusters
        That k-means looks for.
    """

    pca: PCA
    scores: np.ndarray
    space: np.ndarray | sparse.csr_matrix
    neighbors: np.ndarray
    n_clusters: int

    @classmethod
    def of(
        cls, X: np.ndarray | sparse.csr_matrix, *, n_clusters: int | None, random_state: int
    ) -> tuple[Original, sparse.csr_matrix | None]:
        """Look at them; None stands for as many clusters as Leiden finds by the scores.

        Also gives :func:`cellglass.tsne.affinities_of_map` by the scores, None where nobody
        needed their neighbours yet.
        """
        pca = fit_pca(X, N_COMPONENTS, random_state=random_state)
        scores = pca.transform(X)
        in_full = judged_in_full(X.shape)
        if in_full and n_clusters is not None:
            return cls(pca, scores, X, nearest_neighbors(X), n_clusters), None
        near = neighbors_of_map(scores)
        few = near.indices[:, :N_NEIGHBORS].copy()
        if n_clusters is None:
            n_clusters = int(leiden(few, random_state=random_state).max()) + 1
        space, neighbors = (X, nearest_neighbors(X)) if in_full else (scores, few)
        return cls(pca, scores, space, neighbors, n_clusters), affinities_of_map(near)


@dataclass(frozen=True)
class Judging:
    """What everything is judged by, and who does it.

    Attributes
    ----------
    pool
        Threads, :func:`cellglass.workers.workers`.
    X
        Preprocessed values, shape (n_cells, n_genes).
    scale
        Of raw counts; None where the matrix does not hold any.
    random_state
        As in :class:`cellglass.evaluate.Reference`.
    before
        What is known of the cells, and what everything else is judged against. A task waits
        for it, which is no deadlock, since whatever is waited for was begun before.
    affinities
        Of the cells, for the one who maps them, so that nobody else holds so much memory.
    """

    pool: Executor
    X: np.ndarray | sparse.csr_matrix
    scale: CountScale | None
    random_state: int
    before: Future[tuple[Original, Reference]]
    affinities: SimpleQueue[sparse.csr_matrix | None]

    @classmethod
    def begin(
        cls,
        pool: Executor,
        X: np.ndarray | sparse.csr_matrix,
        scale: CountScale | None,
        *,
        labels: np.ndarray | None,
        n_clusters: int | None,
        random_state: int,
    ) -> Judging:
        """Begin by looking at the cells themselves.

        Parameters
        ----------
        pool, X, scale
            See above.
        labels, random_state
            As in :class:`cellglass.evaluate.Reference`.
        n_clusters
            None: as many as Leiden finds by the scores.
        """
        affinities: SimpleQueue[sparse.csr_matrix | None] = SimpleQueue()

        def look() -> tuple[Original, Reference]:
            before, P = Original.of(X, n_clusters=n_clusters, random_state=random_state)
            affinities.put(P)
            reference = Reference(labels, before.n_clusters, before.neighbors, random_state)
            return before, reference

        return cls(pool, X, scale, random_state, pool.submit(look), affinities)

    @property
    def reference(self) -> Reference:
        """Wait for it."""
        return self.before.result()[1]

    def begin_original(self) -> tuple[Future[Maps], Future[Space]]:
        """Begin with the cells themselves, from what is known of them already."""
        return self.pool.submit(self._original_maps), self.pool.submit(self._original_space)

    def begin_pca(self, sizes: Sequence[int], cells: np.ndarray) -> list[Future[Baseline]]:
        """Begin with baselines: axes fitted to chosen cells, (n_cells,), applied to all."""
        fitted = self.pool.submit(self._axes, max(sizes), cells)
        return [self.pool.submit(self._baseline, size, fitted) for size in sizes]

    def begin_run(self, settings: ModelSettings, training: Training, rows: Rows) -> Judged:
        """Begin with a trained network."""
        Z = encode(training.network, rows)
        if not np.isfinite(Z).all():
            raise _not_finite(settings, training)
        loss = LOSSES[settings.loss]
        return Judged(
            settings, training, Z,
            self.pool.submit(self._predicted, predictions(training.network, rows, loss)),
            self.pool.submit(self._latent, Z),
            self.pool.submit(self._reconstruction, settings, training, rows),
        )  # fmt: skip

    def _original_maps(self) -> Maps:
        before, _ = self.before.result()
        return map_scores(before.scores, before.pca, P=self.affinities.get())

    def _original_space(self) -> Space:
        before, reference = self.before.result()
        return judge(before.space, reference, neighbors=before.neighbors)

    def _axes(self, n_components: int, cells: np.ndarray) -> PCA:
        return fit_pca(self.X, n_components, random_state=self.random_state, cells=cells)

    def _predicted(self, X_hat: Parts) -> Predicted:
        return Predicted(
            squared_errors(self.X, X_hat),
            None if self.scale is None else self.scale.log_likelihoods(X_hat),
            total_variance(X_hat),
            mean_at_zeros(self.X, X_hat),
        )

    def _baseline(self, n_components: int, fitted: Future[PCA]) -> Baseline:
        pca = fitted.result().first(n_components)
        scores = pca.transform(self.X)
        X_hat = Parts(self.X.shape, lambda part: pca.inverse_transform(scores[part]))
        return Baseline(
            n_components=n_components,
            scores=scores.astype(np.float32),
            errors=squared_errors(self.X, X_hat),
            log_likelihoods=None if self.scale is None else self.scale.log_likelihoods(X_hat),
            space=judge(scores, self.reference),
        )

    def _latent(self, Z: np.ndarray) -> tuple[Space, Maps]:
        seed = self.random_state
        if Z.shape[1] > N_COMPONENTS:  # t-SNE finds its own
            return judge(Z, self.reference), project(Z, random_state=seed)
        # t-SNE sees all principal components, which keep every distance.
        near = neighbors_of_map(Z)
        space = judge(Z, self.reference, neighbors=near.indices[:, :N_NEIGHBORS])
        P = affinities_of_map(near)
        del near  # t-SNE takes long, and they take much memory
        return space, project(Z, random_state=seed, P=P)

    def _reconstruction(
        self, settings: ModelSettings, training: Training, rows: Rows
    ) -> tuple[Space, Maps]:
        loss = LOSSES[settings.loss]
        coordinates = reconstruction_coordinates(training.network, rows, loss)
        in_full = judged_in_full(coordinates.shape)
        if in_full:
            coordinates = coordinates[:]  # computed once, not in every pass
        if not all_finite(coordinates):
            raise _not_finite(settings, training)
        pca = fit_pca(coordinates, N_COMPONENTS, random_state=self.random_state)
        scores = pca.transform(coordinates)
        if in_full:
            space = judge(coordinates[:], self.reference, find_clusters=False)
            return space, map_scores(scores, pca)
        near = neighbors_of_map(scores)  # both see the same
        space = judge(
            scores, self.reference, neighbors=near.indices[:, :N_NEIGHBORS], find_clusters=False
        )
        P = affinities_of_map(near)
        del near
        return space, map_scores(scores, pca, P=P)


@dataclass(frozen=True)
class Judged:
    """A trained network that is being judged."""

    settings: ModelSettings
    training: Training
    latent_vectors: np.ndarray
    predicted: Future[Predicted]
    latent: Future[tuple[Space, Maps]]
    reconstruction: Future[tuple[Space, Maps]]

    @property
    def done(self) -> bool:
        """Whether it is; raises what made a part of it fail."""
        parts: list[Future[Any]] = [self.predicted, self.latent, self.reconstruction]
        finished = [part for part in parts if part.done()]
        for part in finished:
            part.result()
        return len(finished) == len(parts)

    def result(self, original: Maps, spread: float) -> Evaluation:
        """Wait for all of it.

        Parameters
        ----------
        original
            Maps of the cells themselves, as which the others are turned to lie.
        spread
            Total variance of the cells.

        Raises
        ------
        TrainingError
            If the reconstructions are not finite.
        """
        predicted = self.predicted.result()
        if not np.isfinite(predicted.errors.mse_all or 0.0):
            raise _not_finite(self.settings, self.training)
        latent, latent_maps = self.latent.result()
        reconstruction, reconstruction_maps = self.reconstruction.result()
        return Evaluation(
            settings=self.settings, training=self.training, errors=predicted.errors,
            log_likelihoods=predicted.log_likelihoods, latent_vectors=self.latent_vectors,
            latent=latent, reconstruction=reconstruction,
            latent_maps=latent_maps.aligned_to(original),
            reconstruction_maps=reconstruction_maps.aligned_to(original),
            variance_kept=predicted.variance / spread if spread > 0 else None,
            mean_at_zeros=predicted.mean_at_zeros,
        )  # fmt: skip


def _not_finite(settings: ModelSettings, training: Training) -> TrainingError:
    return TrainingError(
        f"The reconstructions of {settings.run} are no longer finite numbers, although its "
        f"loss is. Try a lower learning rate than {settings.learning_rate:g}.",
        training,
    )
