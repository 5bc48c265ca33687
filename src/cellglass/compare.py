"""A grid of runs beside PCA on the same cells: the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from cellglass.batches import on_device
from cellglass.callbacks import Callback
from cellglass.checkpoint import Checkpoints, kept_on_failure, make_checkpoints
from cellglass.checks import (
    ConstantGenes,
    check_callbacks,
    check_losses,
    check_matrix,
    check_n_latent,
    check_names,
    check_range,
    find_constant_genes,
)
from cellglass.collapse import warn_of_collapse
from cellglass.evaluate import Baseline, Evaluation, Space
from cellglass.expectation import CountScale
from cellglass.fit import (
    check_losses_suit,
    dense_if_small,
    digest,
    last_good_kept,
    model_of,
    split_cells,
    train_networks,
)
from cellglass.genes import collect_gene_ids
from cellglass.given import as_anndata, as_tuple
from cellglass.judging import Judged, Judging
from cellglass.labels import known_classes
from cellglass.losses import LOSSES
from cellglass.metrics import fraction_zero, total_variance
from cellglass.model import Model
from cellglass.preprocess import Preprocessor, holds_whole_numbers
from cellglass.project import Maps
from cellglass.settings import ModelSettings, TrainingSettings
from cellglass.stages import Epochs, Progress, Stage, silent
from cellglass.training_progress import Training
from cellglass.workers import workers

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """What was asked for; :func:`compare` says what each word means."""

    n_latent: tuple[int, ...] = (10, 50)
    loss: tuple[str, ...] = ("mse", "nonzero_mse")
    seeds: int = 1
    n_clusters: int | None = None

    def check_for(self, n_cells: int, n_genes: int) -> None:
        """Refuse a setting that cannot be used on a matrix of this shape."""
        check_n_latent(self.n_latent, n_cells, n_genes)
        check_losses(self.loss, LOSSES)
        check_range("seeds", self.seeds, low=1, integer=True)
        if self.n_clusters is not None:
            check_range("n_clusters", self.n_clusters, low=1, high=n_cells, integer=True)
        self.check()

    def of_runs(self) -> list[ModelSettings]:
        """List the trainings: each loss with each latent size and seed."""
        shared = {f.name: getattr(self, f.name) for f in fields(TrainingSettings)}
        return [
            ModelSettings(n_latent=n_latent, loss=loss, seed=seed, **shared)
            for loss, n_latent, seed in product(self.loss, self.n_latent, range(self.seeds))
        ]


@dataclass(frozen=True, repr=False)
class Comparison:
    """All runs of a grid, the baselines, and what they share.

    Attributes
    ----------
    settings
        What was asked for.
    preprocessor
        What was made of the input, and why.
    data
        Checksum of the matrix and its genes, :func:`cellglass.fit.digest`.
    source
        Names of the files the data were read from, ``matrix`` and ``labels``, where known.
    cell_names, gene_names
        Of the matrix's rows and columns.
    gene_ids
        Ensembl ids of the genes; None where they are not known.
    fraction_zero
        Share of zero entries.
    total_variance
        Sum of the variances of all genes, after preprocessing.
    constant
        Genes and cells without information.
    labels
        Known class of every cell as a categorical of length n_cells; None without labels.
    is_validation
        True for cells held out of all training, shape (n_cells,).
    n_clusters, n_clusters_from
        Number of clusters k-means looks for, and where it comes from: ``given``,
        ``labels`` (their number of classes) or ``leiden`` (what that found on the PCA).
    original, original_maps
        The space of the preprocessed values, judged, and its maps.
    likelihood_limits
        Log-likelihoods of all cells, by the means of the genes and by the counts themselves:
        :meth:`cellglass.expectation.CountScale.limits`; None where there are no counts.
    baselines
        PCA, one for every latent size.
    runs
        One for every loss, latent size and seed.
    """

    settings: Settings
    preprocessor: Preprocessor
    data: str
    source: dict[str, str]
    cell_names: Sequence[str]
    gene_names: Sequence[str]
    gene_ids: Sequence[str] | None
    fraction_zero: float
    total_variance: float
    constant: ConstantGenes
    labels: pd.Categorical[str] | None
    is_validation: np.ndarray
    n_clusters: int
    n_clusters_from: str
    original: Space
    original_maps: Maps
    likelihood_limits: tuple[np.ndarray, np.ndarray] | None
    baselines: tuple[Baseline, ...]
    runs: tuple[Evaluation, ...]

    def __repr__(self) -> str:
        return (
            f"Comparison of {len(self.runs)} autoencoders on {len(self.cell_names):,} cells × "
            f"{len(self.gene_names):,} genes: {', '.join(run.name for run in self.runs)}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the values and of the networks, in sentences."""
        spaces = {run.name: run.latent_vectors for run in self.runs}
        return (*self.preprocessor.warnings, *warn_of_collapse(spaces, self.settings))

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Everything the report says, as plain data: the content of ``results.json``."""
        from cellglass.report.summarize import summarize

        return summarize(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a run, the numbers of ``metrics.csv``."""
        from cellglass.report.summarize import metrics_frame

        return metrics_frame(self.summary)

    def report(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page, the figures, the data and the models.

        Parameters
        ----------
        folder
            Made by this call.
        overwrite
            Whether an earlier report in that folder may be replaced.

        Returns
        -------
        pathlib.Path
            Of the page.

        Raises
        ------
        InputError
            If the folder exists and may not be replaced; nothing is changed then.
        """
        from cellglass.report.write import write_report

        return write_report(self, Path(folder), overwrite=overwrite)


def compare(
    data: AnnData | np.ndarray | sparse.spmatrix,
    *,
    n_latent: int | Sequence[int] = (10, 50),
    loss: str | Sequence[str] = ("mse", "nonzero_mse"),
    seeds: int = 1,
    labels: str | Literal[False] | None = None,
    n_hidden: int = 100,
    n_layers: int = 1,
    max_epochs: int = 50,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    validation_fraction: float = 0.1,
    dropout_rate: float = 0.0,
    input_noise: float = 0.0,
    weight_decay: float = 0.0,
    variational: bool = False,
    kl_warmup_epochs: int = 10,
    free_bits: float = 0.25,
    n_clusters: int | None = None,
    input: str = "auto",  # noqa: A002 - the same word in API, command line and report
    random_state: int = 0,
    schedule: str | Callable[[int], Any] = "constant_schedule",
    patience: int | None = None,
    min_delta: float = 0.0,
    callbacks: Callback | Sequence[Callback] | None = None,
    checkpoints: str | Path | Checkpoints | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    on_run: Callable[[Evaluation, Maps, pd.Categorical[str] | None], None] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Train an autoencoder for every pair of latent size and loss, and judge them all.

    All runs see the same cells: one random split, drawn from ``random_state``, decides
    which are held out. Two runs of the same seed and latent size start from the same
    weights and pass the cells in the same order, whatever their loss.

    With ``checkpoints``, a comparison that is stopped, by Ctrl-C, a failure or a kill, goes
    on later with ``resume=True`` and the same arguments, to the same numbers.

    Parameters
    ----------
    data
        Cells × genes, shape (n_cells, n_genes): raw counts or log-normalised values, as
        AnnData (its ``X``), array or sparse matrix. It is left as it is.
    n_latent
        Dimensions of the bottleneck, one or several.
    loss
        Names of losses, one or several; ``cellglass.losses.LOSSES`` lists them.
    seeds
        Runs for every pair, which differ in first weights and order of the cells.
    labels
        Column of ``obs`` with known classes, for maps and scores only: nothing is fitted
        or chosen by them, except that k-means is told their number. Default: the column
        ``label`` if there is one. False: none.
    n_hidden, n_layers
        Width and number of hidden layers on either side of the bottleneck. Without any
        (``n_layers=0``) the network is linear.
    max_epochs
        Passes over the training cells.
    batch_size
        The most cells in one step.
    learning_rate
        Of Adam.
    validation_fraction
        Share of cells that are never trained on, in [0, 0.9]; at least one cell unless 0.
        The weights that are kept are those of the epoch of their lowest loss, and without
        such cells those of the last epoch.
    dropout_rate
        Share of hidden values that each cell loses in every step of the training, in
        [0, 1).
    input_noise
        Standard deviation of the Gaussian noise that is added to the log-normalised values
        before the encoder sees them, in training only (denoising autoencoder).
    weight_decay
        Share, over the learning rate, by which every step shrinks all weights but not the
        biases (decoupled weight decay).
    variational
        Whether latent vectors are drawn from a Gaussian distribution by cell, whose
        divergence from the standard normal one is added to the loss of the cell. What a
        trained model gives for a cell is then the distribution's mean.
    kl_warmup_epochs
        Epochs over which the weight of that divergence grows from 0 to 1.
    free_bits
        Divergence, in nats, that each latent dimension may have for nothing: what counts is
        its mean over the cells of a batch, but never less than this. So faint groups are not
        given up before they are learned. 0: all of it counts.
    n_clusters
        Number of clusters for k-means. Default: the number of classes among the labels,
        and without labels the number of clusters Leiden finds on the PCA of the original.
    input
        ``counts`` (raw counts: scaled to 10,000 a cell, then log1p), ``log`` (used as it
        is), or ``auto``: counts if every value is a whole number.
    random_state
        Decides everything random: the same value gives the same results on one machine.
    schedule
        How the learning rate changes: a name of ``cellglass.schedules.SCHEDULES``, which
        are Optax's, or a function of the step, from 0, that gives the learning rate.
    patience, min_delta
        Early stopping: a training ends when the loss of its held-out cells has not become
        lower by more than ``min_delta`` for ``patience`` epochs. None: no early stopping.
    callbacks
        Called after every epoch of every run with a :class:`cellglass.callbacks.Epoch`, whose
        ``run`` tells which: on a CPU several are trained at once, and their epochs alternate.
        A run ends when one returns True.
    checkpoints
        Folder for the state of the trainings; default: none is kept. It is written when
        the comparison is stopped, and with ``checkpoint_every`` on the way, too. It stays.
    checkpoint_every
        Write the state of a training after so many epochs.
    resume
        Go on from what is in ``checkpoints``, if there is anything.
    on_run
        Called with every run as soon as it is judged, in their order: the
        :class:`cellglass.evaluate.Evaluation`, the maps of the cells themselves, and the
        known classes. Trainings go on when it returns, while other runs are judged.
    progress
        Called as ``progress(stage, done, total)`` on the way.

    Returns
    -------
    Comparison
        All results; ``report(folder)`` writes them out.

    Raises
    ------
    InputError
        If the matrix, the labels or a setting cannot be used.
    TrainingError
        If a loss is no longer finite.
    """
    progress = progress or silent
    settings = Settings(
        n_latent=as_tuple(n_latent), loss=as_tuple(loss), seeds=seeds, n_hidden=n_hidden,
        n_layers=n_layers, max_epochs=max_epochs, batch_size=batch_size,
        learning_rate=learning_rate, schedule=schedule, patience=patience,
        min_delta=min_delta, validation_fraction=validation_fraction,
        dropout_rate=dropout_rate, input_noise=input_noise,
        weight_decay=weight_decay, variational=variational,
        kl_warmup_epochs=kl_warmup_epochs, free_bits=free_bits,
        n_clusters=n_clusters, input=input, random_state=random_state,
    )  # fmt: skip
    called = check_callbacks(callbacks)
    kept = make_checkpoints(checkpoints, checkpoint_every, resume=resume)
    adata = as_anndata(data)
    check_matrix(adata.X, name="the matrix")
    check_names(adata.obs_names, what="the names of cells")
    settings.check_for(*adata.shape)
    classes, source = known_classes(adata, labels)
    preprocessor = Preprocessor.fit(adata.X, input=input)
    check_losses_suit(
        settings.loss, adata.X, preprocessor, name="the matrix",
        cell_names=list(adata.obs_names), gene_names=list(adata.var_names),
    )  # fmt: skip
    X = dense_if_small(preprocessor.transform(adata.X))
    is_validation = split_cells(len(adata), validation_fraction, random_state)

    n_runs = len(settings.of_runs())
    stage = Stage(progress, "Maps and clusters", 1 + len(settings.n_latent) + n_runs)
    told, k_from = _n_clusters_told(settings, classes)
    size_factors = preprocessor.size_factors(adata.X)
    rows = on_device(X, size_factors, may_share=True)  # nobody writes to X
    epochs = Epochs(progress, n_runs, max_epochs)
    genes, gene_ids = tuple(adata.var_names), collect_gene_ids(adata)
    data_digest = digest(adata.X, genes, gene_ids)
    if kept is not None:
        kept.begin({**settings.to_dict(), "data": data_digest})
    settings_of = {run.run: run for run in settings.of_runs()}

    def make(training: Training, run: str) -> Model:
        return model_of(
            training, settings_of[run], preprocessor, genes=genes, gene_ids=gene_ids,
            data=data_digest,
        )  # fmt: skip

    with (
        workers() as pool,
        kept_on_failure(kept),
        last_good_kept(kept, make),
    ):
        scale = None
        if size_factors is not None and holds_whole_numbers(adata.X):
            scale = CountScale(X, size_factors, ~is_validation)
        judging = Judging.begin(
            pool, X, scale, labels=None if classes is None else np.asarray(classes.codes),
            n_clusters=told, random_state=random_state,
        )  # fmt: skip
        maps_begun, original_begun = judging.begin_original()
        baselines_begun = judging.begin_pca(settings.n_latent, ~is_validation)
        spread = total_variance(X)
        judged: list[Judged] = []
        runs: list[Evaluation] = []

        def take_over() -> None:
            """Wait for the next run, in their order, and hand it out."""
            original_maps = maps_begun.result()
            runs.append(judged[len(runs)].result(original_maps, spread))
            if on_run is not None:
                on_run(runs[-1], original_maps, classes)

        trainings = train_networks(
            rows, is_validation, settings.of_runs(), data=data_digest,
            callbacks=(*called, epochs), checkpoints=kept,
        )  # fmt: skip
        for run, training in zip(settings.of_runs(), trainings, strict=True):
            epochs.finish_run(run.run)
            judged.append(judging.begin_run(run, training, rows))
            stage.reach(sum(one.done for one in judged))
            while maps_begun.done() and len(runs) < len(judged) and judged[len(runs)].done:
                take_over()
        original_maps, original = maps_begun.result(), original_begun.result()
        baselines = [baseline.result() for baseline in baselines_begun]
        stage.reach(1 + len(baselines) + len(runs))
        while len(runs) < n_runs:
            take_over()
            stage.reach(1 + len(baselines) + len(runs))
    return Comparison(
        settings=settings, preprocessor=preprocessor,
        data=data_digest, source=source, cell_names=tuple(adata.obs_names),
        gene_names=genes, gene_ids=gene_ids,
        fraction_zero=fraction_zero(X), total_variance=spread,
        constant=find_constant_genes(X), labels=classes, is_validation=is_validation,
        n_clusters=judging.reference.n_clusters, n_clusters_from=k_from, original=original,
        original_maps=original_maps,
        likelihood_limits=None if scale is None else scale.limits(),
        baselines=tuple(baselines), runs=tuple(runs),
    )  # fmt: skip


def _n_clusters_told(
    settings: Settings, classes: pd.Categorical[str] | None
) -> tuple[int | None, str]:
    if settings.n_clusters is not None:
        return settings.n_clusters, "given"
    if classes is not None:
        return len(classes.categories), "labels"
    return None, "leiden"
