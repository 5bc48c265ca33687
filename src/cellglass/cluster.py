"""From a matrix to clusters of its cells, and how sure each cell's place is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from cellglass.batches import on_device
from cellglass.callbacks import Callback
from cellglass.checkpoint import Checkpoints, kept_on_failure, make_checkpoints
from cellglass.checks import (
    check_callbacks,
    check_choice,
    check_losses,
    check_matrix,
    check_n_latent,
    check_names,
    check_range,
    check_resolution,
)
from cellglass.cluster_space import (
    METHODS,
    Clusters,
    cluster_space,
    consensus_of_spaces,
    neighbors_heard,
)
from cellglass.collapse import warn_of_collapse
from cellglass.consensus import votes_of_pca
from cellglass.encode import encode
from cellglass.evaluate import silhouette_sample
from cellglass.fit import check_losses_suit, dense_if_small, digest, split_cells, train_networks
from cellglass.gene_choice import most_variable_genes
from cellglass.given import as_anndata
from cellglass.idec import GAMMA, Idec, idec
from cellglass.labels import known_classes
from cellglass.losses import LOSSES
from cellglass.markers import find_markers
from cellglass.metrics import AGREEMENT, fraction_zero, silhouettes
from cellglass.pca import fit_pca
from cellglass.preprocess import Preprocessor
from cellglass.project import Maps, project
from cellglass.settings import ModelSettings, TrainingSettings
from cellglass.stages import Epochs, Progress, Stage, silent
from cellglass.training_progress import Training

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

N_LATENT = 20
"""Dimensions of the bottleneck where none are named, and there are cells enough."""
CELLS_A_DIMENSION = 20
"""So many cells there are for a dimension at least, where none are named."""
STEPS = 2000
"""Steps of a training where no number of epochs is named."""


def enough_epochs(n_cells: int, batch_size: int) -> int:
    """Give the epochs in which a network takes 2,000 steps: at least 50, at most 400."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        return 50  # which the settings will refuse
    return min(400, max(50, -(-STEPS // -(-n_cells // batch_size))))


def enough_dimensions(n_cells: int, n_genes: int) -> int:
    """Give the dimensions of a bottleneck: 20, with 20 cells for each, and no more than genes.

    Few cells get 2.
    """
    return min(N_LATENT, n_genes, max(2, n_cells // CELLS_A_DIMENSION))


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """What was asked for; :func:`cluster` says what each word means."""

    method: str = "consensus"
    n_clusters: int | None = None
    n_top_genes: int | None = 2000
    seeds: int = 5
    resolution: float | None = None
    n_neighbors: int = 15
    n_latent: int = 20
    loss: str = "nb"
    gamma: float = GAMMA
    variational: bool = True

    def check_for(self, n_cells: int, n_genes: int) -> None:
        """Refuse a setting that cannot be used on a matrix of this shape."""
        check_choice("method", self.method, METHODS)
        if self.n_clusters is not None:
            check_range("n_clusters", self.n_clusters, low=1, high=n_cells, integer=True)
        if self.n_top_genes is not None:
            check_range("n_top_genes", self.n_top_genes, low=1, integer=True)
            n_genes = min(n_genes, self.n_top_genes)
        check_range("seeds", self.seeds, low=1, integer=True)
        check_resolution(self.resolution, method=self.method, n_clusters=self.n_clusters)
        check_range("n_neighbors", self.n_neighbors, low=1, integer=True)
        check_range("gamma", self.gamma, low=0)
        check_n_latent((self.n_latent,), n_cells, n_genes)
        check_losses([self.loss], LOSSES)
        self.check()

    def of_runs(self) -> list[ModelSettings]:
        """List the trainings: several for a consensus, else one."""
        shared = {f.name: getattr(self, f.name) for f in fields(TrainingSettings)}
        n_runs = self.seeds if self.method == "consensus" else 1
        return [
            ModelSettings(n_latent=self.n_latent, loss=self.loss, seed=seed, **shared)
            for seed in range(n_runs)
        ]


@dataclass(frozen=True, repr=False)
class Clustering:
    """Clusters of cells, and all that is known of them.

    Attributes
    ----------
    settings
        What was asked for.
    preprocessor
        What was made of the input, and why.
    data
        Checksum of the matrix and its genes, :func:`cellglass.fit.digest`.
    source
        Names of the files the data were read from, where known.
    cell_names, gene_names
        Of the matrix's rows and columns.
    fraction_zero
        Share of zero entries.
    genes
        Columns that the networks saw, shape (at most n_top_genes,).
    labels
        Known class of every cell; None without labels. Nothing was fitted or chosen by them.
    found
        The clusters.
    latent_vectors
        One array a network, shape (n_cells, n_latent), float32; after the joint training for
        ``idec``.
    trainings
        One a network.
    joint
        The joint training of network and clusters; None but for ``idec``.
    maps
        Maps of the space of the network that agrees best with the clusters.
    mapped
        Number of that network.
    silhouette
        Mean silhouette of the clusters in that space; None where it is not defined.
    markers
        :func:`cellglass.markers.find_markers`; None where genes have no names.
    """

    settings: Settings
    preprocessor: Preprocessor
    data: str
    source: dict[str, str]
    cell_names: Sequence[str]
    gene_names: Sequence[str]
    fraction_zero: float
    genes: np.ndarray
    labels: pd.Categorical[str] | None
    found: Clusters
    latent_vectors: tuple[np.ndarray, ...]
    trainings: tuple[Training, ...]
    joint: Idec | None
    maps: Maps
    mapped: int
    silhouette: float | None
    markers: pd.DataFrame | None

    def __repr__(self) -> str:
        found = self.found
        return (
            f"Clustering of {len(found.clusters):,} cells: {found.n_clusters} "
            f"cluster{'s' * (found.n_clusters != 1)} by {self.settings.method}, "
            f"{int(found.between.sum()):,} cells between clusters"
        )

    @property
    def clusters(self) -> np.ndarray:
        """Cluster of every cell, from 0, the largest first, shape (n_cells,)."""
        return self.found.clusters

    @property
    def confidence(self) -> np.ndarray:
        """How probable it is that a cell belongs to its cluster, shape (n_cells,)."""
        return self.found.confidence

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the values and of the networks, in sentences."""
        spaces = {f"seed {seed}": Z for seed, Z in enumerate(self.latent_vectors)}
        return (*self.preprocessor.warnings, *warn_of_collapse(spaces, self.settings))

    @property
    def pca_votes(self) -> float | None:
        """How many networks the vote of PCA counted for; None if it has none."""
        return self.found.beside_votes

    @property
    def n_heard(self) -> int | None:
        """How many nearest cells one hears at most; None but for a consensus."""
        if self.settings.method != "consensus":
            return None
        return neighbors_heard(len(self.clusters), self.settings.n_neighbors)

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return self.found.n_clusters

    @property
    def between(self) -> np.ndarray:
        """True for cells whose confidence is below 0.8, shape (n_cells,)."""
        return self.found.between

    def agreement(self) -> dict[str, float]:
        """Agreement with the labels, by score; empty without labels."""
        if self.labels is None:
            return {}
        codes = np.asarray(self.labels.codes)
        return {name: score(codes, self.clusters) for name, score in AGREEMENT.items()}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Everything the report says, as plain data: the content of ``results.json``."""
        from cellglass.report.cluster_summary import summarize_clustering

        return summarize_clustering(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a cell, as in ``clusters.csv``.

        Columns: ``cluster``, ``confidence``, ``second`` (the most probable other cluster,
        empty where there is one cluster) and ``between`` (confidence below 0.8); the index
        holds the names of the cells.
        """
        import pandas as pd

        second = pd.Series(self.found.second, dtype="Int64")
        return pd.DataFrame(
            {
                "cluster": self.clusters,
                "confidence": self.confidence,
                "second": second.where(second >= 0).to_numpy(),
                "between": self.found.between,
            },
            index=pd.Index(self.cell_names, name="cell"),
        )

    def report(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page, the figures and the data.

        ``report.html``, ``results.json``, ``figures/``; ``clusters.csv``, the table of
        :meth:`to_frame`; ``markers.csv``, where genes have names; and ``embedding.h5ad``,
        without the matrix: in ``obs`` the clusters and labels, in ``obsm`` the latent vectors
        of every network (``X_ae_seed0``, …), the map (``X_tsne``) and the probabilities of all
        clusters (``membership``).

        Parameters
        ----------
        folder
            Made by this call.
        overwrite
            Whether an earlier clustering in that folder may be replaced.

        Returns
        -------
        pathlib.Path
            Of the page.

        Raises
        ------
        InputError
            If the folder exists and may not be replaced; nothing is changed then.
        """
        from cellglass.report.cluster_write import write_clustering

        return write_clustering(self, Path(folder), overwrite=overwrite)


def cluster(
    data: AnnData | np.ndarray | sparse.spmatrix,
    method: str = "consensus",
    *,
    n_clusters: int | None = None,
    n_top_genes: int | None = 2000,
    seeds: int = 5,
    resolution: float | None = None,
    n_neighbors: int = 15,
    labels: str | Literal[False] | None = None,
    n_latent: int | None = None,
    loss: str | None = None,
    gamma: float = GAMMA,
    n_hidden: int = 100,
    n_layers: int = 1,
    max_epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    validation_fraction: float = 0.1,
    dropout_rate: float = 0.0,
    input_noise: float = 0.0,
    weight_decay: float = 0.0,
    variational: bool | None = None,
    kl_warmup_epochs: int = 10,
    free_bits: float = 0.25,
    input: str = "auto",  # noqa: A002 - the same word in API, command line and report
    random_state: int = 0,
    schedule: str | Callable[[int], Any] = "constant_schedule",
    patience: int | None = None,
    min_delta: float = 0.0,
    callbacks: Callback | Sequence[Callback] | None = None,
    checkpoints: str | Path | Checkpoints | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Clustering:
    """Find the clusters of cells, and say of every cell how sure its place is.

    The defaults were chosen on real sets by a rule that ``docs/quality.md`` tells, with the
    numbers. No labels are looked at, except to score what was found.

    Parameters
    ----------
    data
        Cells × genes, shape (n_cells, n_genes): raw counts or log-normalised values, as
        AnnData (its ``X``), array or sparse matrix. It is left as it is.
    method
        ``consensus``: what k-means and Gaussian mixtures find in the latent vectors of
        several networks, and in as many principal components as these have dimensions,
        averaged (:func:`cellglass.cluster_space.consensus_of_spaces`). On the latent vectors
        of one network:
        ``leiden`` (Traag et al. 2019), ``kmeans``, ``gaussian_mixture``
        (:func:`cellglass.mixture.gaussian_mixture`), or ``idec``, which trains network and
        clusters together (:func:`cellglass.idec.idec`).
    n_clusters
        How many clusters. Default: as many as lie farthest apart, up to the finest that
        Leiden finds again in subsamples (:func:`cellglass.separation.choose_number`); for
        ``leiden`` the finest (:func:`cellglass.resolution.scan_resolutions`).
    n_top_genes
        Networks see so many genes, those whose log-normalised values vary most. None: all.
    seeds
        Networks for a consensus, which differ in first weights and order of the cells.
    resolution
        Of Leiden, in place of the finest that is stable. Where it is given, other methods
        find as many clusters as Leiden does; ``consensus`` takes none.
    n_neighbors
        Nearest neighbours of every cell in Leiden's graph, and the most that it hears in a
        consensus.
    labels
        Column of ``obs`` with known classes, for scores only. Default: the column ``label``
        if there is one. False: none.
    n_latent
        Dimensions of the bottleneck. Default: 20, but one for every 20 cells at most, and no
        more than the networks see genes.
    loss
        Name of a loss; ``cellglass.losses.LOSSES`` lists them. Default: ``nb`` for raw
        counts and ``mse`` for log-normalised values.
    gamma
        Weight of the clustering loss of ``idec``.
    n_hidden, n_layers, batch_size, learning_rate, validation_fraction
        As in :func:`cellglass.compare`.
    max_epochs
        The most passes over the training cells. Default: as many as make 2,000 steps, but at
        least 50 and at most 400: few cells are soon passed.
    dropout_rate, input_noise, weight_decay
        As in :func:`cellglass.compare`.
    variational
        Whether latent vectors are drawn from a distribution by cell, in training, which keeps
        the latent space from being stretched at will. Default: for losses on raw counts.
    kl_warmup_epochs, free_bits, input
        As in :func:`cellglass.compare`.
    random_state
        Decides everything random: the same value gives the same results on one machine.
    schedule, patience, min_delta, callbacks
        As in :func:`cellglass.compare`.
    checkpoints, checkpoint_every, resume
        As in :func:`cellglass.compare`; what ``idec`` does after the training is not kept.
    progress
        Called as ``progress(stage, done, total)`` on the way.

    Returns
    -------
    Clustering
        ``clusters`` and ``confidence`` of every cell; ``markers`` of every cluster;
        ``report(folder)`` writes all of it out.

    Raises
    ------
    InputError
        If the matrix, the labels or a setting cannot be used.
    TrainingError
        If a loss is no longer finite.

    Examples
    --------
    >>> import cellglass as cg
    >>> adata = cg.simulate(200, 50, 3, random_state=0)
    >>> found = cg.cluster(adata, n_clusters=3, seeds=2, max_epochs=20)
    >>> found.clusters.shape, found.confidence.shape
    ((200,), (200,))
    """
    progress = progress or silent
    called = check_callbacks(callbacks)
    kept = make_checkpoints(checkpoints, checkpoint_every, resume=resume)
    adata = as_anndata(data)
    check_matrix(adata.X, name="the matrix")
    check_names(adata.obs_names, what="the names of cells")
    preprocessor = Preprocessor.fit(adata.X, input=input)
    if loss is None:
        loss = "nb" if preprocessor.input == "counts" else "mse"
    if n_latent is None:
        n_seen = adata.n_vars
        if n_top_genes is not None:
            check_range("n_top_genes", n_top_genes, low=1, integer=True)
            n_seen = min(n_seen, n_top_genes)
        n_latent = enough_dimensions(adata.n_obs, n_seen)
    check_losses([loss], LOSSES)
    if variational is None:
        variational = LOSSES[loss].on_counts
    if max_epochs is None:
        max_epochs = enough_epochs(adata.n_obs, batch_size)
    settings = Settings(
        method=method, n_clusters=n_clusters, n_top_genes=n_top_genes, seeds=seeds,
        resolution=resolution, n_neighbors=n_neighbors, n_latent=n_latent, loss=loss,
        gamma=gamma, n_hidden=n_hidden, n_layers=n_layers, max_epochs=max_epochs,
        batch_size=batch_size, learning_rate=learning_rate, schedule=schedule,
        patience=patience, min_delta=min_delta, validation_fraction=validation_fraction,
        dropout_rate=dropout_rate, input_noise=input_noise, weight_decay=weight_decay,
        variational=variational, kl_warmup_epochs=kl_warmup_epochs, free_bits=free_bits,
        input=input, random_state=random_state,
    )  # fmt: skip
    settings.check_for(*adata.shape)
    check_losses_suit(
        [loss], adata.X, preprocessor, name="the matrix",
        cell_names=list(adata.obs_names), gene_names=list(adata.var_names),
    )  # fmt: skip
    classes, source = known_classes(adata, labels)

    values = preprocessor.transform(adata.X)
    genes = most_variable_genes(values, n_top_genes or adata.n_vars)
    seen = values[:, genes]
    rows = on_device(dense_if_small(seen), preprocessor.size_factors(adata.X))
    is_validation = split_cells(adata.n_obs, validation_fraction, random_state)
    runs = settings.of_runs()
    stage = Stage(progress, "Clusters", 3)
    epochs = Epochs(progress, len(runs), max_epochs)
    data_digest = digest(adata.X, adata.var_names)
    if kept is not None:
        kept.begin({**settings.to_dict(), "data": data_digest})
    trainings: list[Training] = []
    with kept_on_failure(kept):
        for run, training in zip(
            runs,
            train_networks(
                rows, is_validation, runs, data=data_digest, callbacks=(*called, epochs),
                checkpoints=kept,
            ),
            strict=True,
        ):  # fmt: skip
            epochs.finish_run(run.run)
            trainings.append(training)
    spaces = [encode(training.network, rows) for training in trainings]
    joint = None
    how: dict[str, Any] = {"n_clusters": n_clusters, "n_neighbors": n_neighbors}
    if method == "consensus":
        pca = fit_pca(seen, n_latent, random_state=random_state).transform(seen)
        found = consensus_of_spaces(
            spaces, beside=pca, beside_votes=votes_of_pca(adata.n_obs, seeds), **how,
            random_state=random_state,
        )  # fmt: skip
        agree = [AGREEMENT["ari"](found.clusters, own) for own in found.members]
        mapped = int(np.argmax(agree))
    else:
        mapped = 0
        base = "kmeans" if method == "idec" else method
        found = cluster_space(
            spaces[0], base, **how, resolution=resolution, random_state=random_state
        )
        if method == "idec":
            joint = idec(
                trainings[0].network, rows, LOSSES[loss], n_clusters=found.n_clusters,
                gamma=gamma, max_epochs=max_epochs, batch_size=batch_size,
                learning_rate=learning_rate, random_state=random_state,
            )  # fmt: skip
            found = found.moved(joint.clusters, before=spaces[0])
            spaces = [joint.latent_vectors]
    stage.reach(1)
    maps = project(spaces[mapped], random_state=random_state)
    sample = silhouette_sample(adata.n_obs, random_state)
    silhouette = silhouettes(spaces[mapped][sample], [found.clusters[sample]])[0]
    stage.reach(2)
    names = tuple(adata.var_names)
    named = names != tuple(map(str, range(len(names))))
    markers = find_markers(values, found.clusters, names) if named else None
    stage.reach(3)
    return Clustering(
        settings=settings, preprocessor=preprocessor, data=data_digest, source=source,
        cell_names=tuple(adata.obs_names), gene_names=names,
        fraction_zero=fraction_zero(values), genes=genes, labels=classes, found=found,
        latent_vectors=tuple(spaces), trainings=tuple(trainings), joint=joint, maps=maps,
        mapped=mapped, silhouette=silhouette, markers=markers,
    )  # fmt: skip
