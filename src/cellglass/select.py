"""Latent sizes tried on the same splits of the data, and the one that evidence supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellglass.callbacks import Callback
from cellglass.checkpoint import Checkpoints, kept_on_failure, make_checkpoints
from cellglass.checks import (
    check_callbacks,
    check_losses,
    check_matrix,
    check_n_latent,
    check_names,
    check_range,
)
from cellglass.choice import Choice, choose_size
from cellglass.dispersion import MAX_CELLS, fit_dispersion
from cellglass.encode import reconstruct
from cellglass.errors import InputError, TrainingError
from cellglass.fit import check_losses_suit, digest, split_cells, train_networks
from cellglass.given import as_anndata, as_tuple
from cellglass.held_out import HeldOut, HiddenEntries, SplitCounts, measure_of
from cellglass.losses import LOSSES
from cellglass.memory import check_fits
from cellglass.metrics import fraction_zero
from cellglass.preprocess import Preprocessor
from cellglass.read import SOURCE_KEY
from cellglass.settings import ModelSettings, TrainingSettings
from cellglass.stages import Epochs, Progress, Stage, silent

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

SIZES = 2, 5, 10, 20, 50, 100
"""Latent sizes that are tried by default, where the matrix allows them."""

HIDDEN_FRACTION = 0.1
"""Share of the entries of log-normalised values that are hidden in a split."""

PCA = "pca"
"""Name of the model beside the networks."""

# While the dispersion is estimated, of an entry of the cells that are looked at; and while
# predictions are judged, of an entry of the matrix.
DISPERSION_BYTES = 100
SPLIT_BYTES = 48


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """What was asked for; :func:`select` says what each word means."""

    n_latent: tuple[int, ...] = SIZES
    loss: tuple[str, ...] = ("gaussian",)
    splits: int = 3
    seeds: int = 1
    validation_fraction: float = 0.0

    def check_for(self, n_cells: int, n_genes: int) -> None:
        """Refuse a setting that cannot be used on a matrix of this shape."""
        check_n_latent(self.n_latent, n_cells, n_genes)
        check_losses(self.loss, LOSSES)
        for loss in self.loss:
            measure_of(LOSSES[loss])
        check_range("seeds", self.seeds, low=1, integer=True)
        check_range("splits", self.splits, low=1, integer=True)
        if self.splits < 2:
            raise InputError(
                "splits is 1, but how sure a choice is can only be told from 2 splits or more, "
                "however many seeds: give splits=3, for instance."
            )
        self.check()

    def of_run(self, loss: str, n_latent: int, split: int, seed: int) -> ModelSettings:
        """Make the settings of one training; no two of a loss and size start alike."""
        shared = {f.name: getattr(self, f.name) for f in fields(TrainingSettings)}
        return ModelSettings(
            n_latent=n_latent, loss=loss, seed=split * self.seeds + seed, **shared
        )


@dataclass(frozen=True)
class Trained:
    """One training of a selection.

    Attributes
    ----------
    loss, n_latent
        What was trained.
    split, seed
        On which split, and which of the trainings on it; both from 0.
    epochs
        Number of epochs.
    best_epoch
        The epoch that the network is from; None without held-out cells.
    loss_first, loss_last
        Loss over the training cells in the first and the last epoch.
    late_fall
        By how much that loss fell over the last tenth of the epochs, at least one, as a
        share of its fall over all of them. A training at its end has a share near 0.
    error
        The error over what was held out.
    seconds
        Time taken by the training.
    """

    loss: str
    n_latent: int
    split: int
    seed: int
    epochs: int
    best_epoch: int | None
    loss_first: float
    loss_last: float
    late_fall: float
    error: float
    seconds: float


@dataclass(frozen=True)
class Curve:
    """Held-out errors of one model at all sizes.

    Attributes
    ----------
    model
        Name of the loss, or ``pca``.
    measure
        What the errors are, a key of :data:`cellglass.held_out.MEASURES`.
    replicates
        Split and seed of every row of ``errors``; PCA, which no seed changes, has one row
        a split.
    errors
        Shape (n_replicates, n_sizes).
    null_errors
        Of the model without latent dimensions, shape (n_replicates,).
    choice
        What follows from them.
    """

    model: str
    measure: str
    replicates: tuple[tuple[int, int], ...]
    errors: np.ndarray
    null_errors: np.ndarray
    choice: Choice


@dataclass(frozen=True, repr=False)
class Selection:
    """Held-out errors of all sizes, and the size that they support.

    Attributes
    ----------
    settings
        What was asked for; sizes are ascending.
    preprocessor
        What was made of the input, and why.
    data
        Checksum of the matrix and its genes, :func:`cellglass.fit.digest`.
    source
        Names of the files the data were read from, where known.
    n_cells, n_genes, fraction_zero
        Of the matrix.
    dispersion
        φ of every gene, by which counts were split, shape (n_genes,); None where entries
        were hidden.
    curves
        One for every loss, in the order given; then PCA, one for every measure of theirs.
    trainings
        Every network that was trained.
    """

    settings: Settings
    preprocessor: Preprocessor
    data: str
    source: dict[str, str]
    n_cells: int
    n_genes: int
    fraction_zero: float
    dispersion: np.ndarray | None
    curves: tuple[Curve, ...]
    trainings: tuple[Trained, ...]

    def __repr__(self) -> str:
        return f"Selection of the latent size for {self.curves[0].model}: {self.sentence}"

    @property
    def n_latent(self) -> int | None:
        """The size to use with the first loss; None where no size is of any use."""
        return self.curves[0].choice.chosen

    @property
    def sentence(self) -> str:
        """What size to use with the first loss, and how sure that is."""
        return self.curves[0].choice.sentence()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Everything the page says, as plain data: the content of ``results.json``."""
        from cellglass.report.select_summary import summarize_selection

        return summarize_selection(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a replicate, model and size: the numbers of ``errors.csv``."""
        from cellglass.report.select_summary import errors_frame

        return errors_frame(self.summary)

    def report(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page, the figures and the data.

        Parameters
        ----------
        folder
            Made by this call.
        overwrite
            Whether an earlier selection in that folder may be replaced.

        Returns
        -------
        pathlib.Path
            Of the page.

        Raises
        ------
        InputError
            If the folder exists and may not be replaced; nothing is changed then.
        """
        from cellglass.report.select_write import write_selection

        return write_selection(self, Path(folder), overwrite=overwrite)


def select(
    data: AnnData | np.ndarray | sparse.spmatrix,
    *,
    n_latent: int | Sequence[int] | None = None,
    loss: str | Sequence[str] | None = None,
    splits: int = 3,
    seeds: int = 1,
    n_hidden: int = 100,
    n_layers: int = 1,
    max_epochs: int = 50,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    validation_fraction: float = 0.0,
    dropout_rate: float = 0.0,
    input_noise: float = 0.0,
    weight_decay: float = 0.0,
    variational: bool = False,
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
) -> Selection:
    """Choose the size of the latent space by how well each predicts what it has not seen.

    Held-out cells alone cannot choose it: a network that only passes its input on
    reconstructs a new cell, noise included, the better the wider it is. So part of what is
    known of every cell is held out:

    - Of raw counts, half the molecules of every cell, by splitting each count at random
      (:func:`cellglass.splitting.split_counts`), corrected for the over-dispersion of each
      gene (:func:`cellglass.dispersion.fit_dispersion`). Networks are trained on one half
      and judged by the other.
    - Of log-normalised values, a tenth of the entries of every cell. The network sees the
      mean of the gene in their place, and the loss leaves them out.

    A loss on counts is judged by Poisson deviance, any other by squared error on the
    log-normalised values. A model without latent dimensions and PCA stand beside all.

    Parameters
    ----------
    data
        Cells × genes, shape (n_cells, n_genes): raw counts or log-normalised values, as
        AnnData (its ``X``), array or sparse matrix. It is left as it is.
    n_latent
        Dimensions of the bottleneck to try, one or several, in any order. Default: those of
        2, 5, 10, 20, 50 and 100 that are no larger than the number of genes or of cells.
    loss
        Names of losses, one or several; each chooses for itself. Default: ``nb`` for raw
        counts and ``gaussian`` for log-normalised values. Both start from the means of the
        genes, as PCA does, while a network with ``mse`` learns them, and may spend a
        dimension on that. Not ``nonzero_mse``, which leaves its predictions for zeros free.
    splits
        How often the data are divided anew, at least 2. All sizes and losses share them.
    seeds
        Networks trained for every size on every split, which differ in first weights and
        order of the cells.
    n_hidden, n_layers, max_epochs, batch_size, learning_rate
        As in :func:`cellglass.compare`.
    validation_fraction
        Share of cells that are never trained on, in [0, 0.9]. Default 0: nothing is lost,
        as the errors are those of held-out molecules or entries anyway. Early stopping
        needs some; what is held out of them is judged as of all others.
    dropout_rate, input_noise, weight_decay, variational, kl_warmup_epochs, free_bits, input
        As in :func:`cellglass.compare`.
    random_state
        Decides everything random: the same value gives the same results on one machine.
    schedule, patience, min_delta
        As in :func:`cellglass.compare`.
    callbacks
        Called after every epoch of every training with a
        :class:`cellglass.callbacks.Epoch`, as in :func:`cellglass.compare`.
    checkpoints, checkpoint_every, resume
        As in :func:`cellglass.compare`.
    progress
        Called as ``progress(stage, done, total)`` on the way.

    Returns
    -------
    Selection
        ``n_latent`` is the size to use, or None; ``sentence`` says how sure that is;
        ``report(folder)`` writes all of it out.

    Raises
    ------
    InputError
        If the matrix is too small to be split, or it or a setting cannot be used.
    TrainingError
        If a training diverges; the message names its size and replicate.

    Notes
    -----
    n_sizes × n_losses × splits × seeds networks are trained. Everything is dense; the
    dispersion is estimated from at most 5,000 cells.

    References
    ----------
    Wold 1978, Technometrics 20:397 (held-out entries). Batson, Royer & Webber 2019,
    bioRxiv 786269 (molecular cross-validation). Neufeld, Popp, Gao, Battle & Witten 2023,
    arXiv:2307.12985 (over-dispersed counts).
    """
    progress = progress or silent
    called = check_callbacks(callbacks)
    kept = make_checkpoints(checkpoints, checkpoint_every, resume=resume)
    adata = as_anndata(data)
    check_matrix(adata.X, name="the matrix")
    check_names(adata.obs_names, what="the names of cells")
    _check_can_be_split(*adata.shape)
    preprocessor = Preprocessor.fit(adata.X, input=input)
    if loss is None:
        loss = "nb" if preprocessor.input == "counts" else "gaussian"
    sizes = default_sizes(*adata.shape) if n_latent is None else as_tuple(n_latent)
    settings = Settings(
        n_latent=sizes, loss=as_tuple(loss), splits=splits, seeds=seeds, n_hidden=n_hidden,
        n_layers=n_layers, max_epochs=max_epochs, batch_size=batch_size,
        learning_rate=learning_rate, schedule=schedule, patience=patience,
        min_delta=min_delta, validation_fraction=validation_fraction,
        dropout_rate=dropout_rate, input_noise=input_noise, weight_decay=weight_decay,
        variational=variational, kl_warmup_epochs=kl_warmup_epochs, free_bits=free_bits,
        input=input, random_state=random_state,
    )  # fmt: skip
    settings.check_for(*adata.shape)
    settings = replace(settings, n_latent=tuple(sorted(settings.n_latent)))
    check_losses_suit(
        settings.loss, adata.X, preprocessor, name="the matrix",
        cell_names=list(adata.obs_names), gene_names=list(adata.var_names),
    )  # fmt: skip

    stage = Stage(progress, "Splitting", 1 + splits)
    streams = np.random.SeedSequence(random_state).spawn(2)
    divisions = _Divisions(adata.X, preprocessor, np.random.default_rng(streams[0]))
    stage.advance()
    epochs = Epochs(progress, len(sizes) * len(settings.loss) * splits * seeds, max_epochs)
    data_digest = digest(adata.X, adata.var_names)
    measures = list(dict.fromkeys(measure_of(LOSSES[name]) for name in settings.loss))
    trainings: list[Trained] = []
    pca: list[dict[str, list[float]]] = []  # by split and measure: an error for every size
    null: list[dict[str, float]] = []
    if kept is not None:
        kept.begin({**settings.to_dict(), "data": data_digest})
    with kept_on_failure(kept):
        for split in range(splits):
            held_out = divisions.draw()
            null.append({measure: held_out.null_error(measure) for measure in measures})
            pca.append(_pca_errors(held_out, settings.n_latent, measures))
            stage.advance()
            trainings += _train_all(
                held_out, split, settings, data=data_digest, callbacks=called,
                checkpoints=kept, epochs=epochs,
            )  # fmt: skip

    def curve(model: str, measure: str, errors: list[tuple[int, int, list[float]]]) -> Curve:
        rows = np.array([row for _, _, row in errors])
        nulls = np.array([null[split][measure] for split, _, _ in errors])
        # Seeds on one split share its luck: they are one replicate, their mean.
        means = rows.reshape(splits, -1, len(settings.n_latent)).mean(axis=1)
        choice = choose_size(
            settings.n_latent, means, [by[measure] for by in null],
            np.random.default_rng(streams[1]),
        )  # fmt: skip
        replicates = tuple((split, seed) for split, seed, _ in errors)
        return Curve(model, measure, replicates, rows, nulls, choice)

    curves = [
        curve(name, measure_of(LOSSES[name]), _by_replicate(trainings, name))
        for name in settings.loss
    ]
    for measure in measures:
        rows = [(split, 0, errors[measure]) for split, errors in enumerate(pca)]
        curves.append(curve(PCA, measure, rows))
    return Selection(
        settings=settings, preprocessor=preprocessor, data=data_digest,
        source=dict(adata.uns.get(SOURCE_KEY, {})), n_cells=adata.n_obs,
        n_genes=adata.n_vars, fraction_zero=fraction_zero(adata.X),
        dispersion=divisions.dispersion, curves=tuple(curves), trainings=tuple(trainings),
    )  # fmt: skip


def _check_can_be_split(n_cells: int, n_genes: int) -> None:
    """Refuse a matrix from which nothing can be held out.

    Rule: at least 4 cells and 2 genes, which the dispersion and a hidden entry in every
    cell need.
    """
    if n_cells < 4 or n_genes < 2:
        raise InputError(
            f"The matrix, {n_cells:,} cell{'s' * (n_cells != 1)} × {n_genes:,} "
            f"gene{'s' * (n_genes != 1)}, is too small to choose the latent size from: part "
            "of it must be held out, which takes at least 4 cells and 2 genes, and hundreds "
            "of both for a choice worth having. Give more cells or genes."
        )


class _Divisions:
    """Divides one matrix again and again, in the way that suits its values."""

    def __init__(
        self,
        X: np.ndarray | sparse.spmatrix,
        preprocessor: Preprocessor,
        rng: np.random.Generator,
    ) -> None:
        self._preprocessor, self._rng = preprocessor, rng
        n_cells, n_genes = X.shape
        on_counts = preprocessor.input == "counts"
        needed = SPLIT_BYTES * n_cells * n_genes
        if on_counts:
            needed = max(needed, DISPERSION_BYTES * min(n_cells, MAX_CELLS) * n_genes)
        check_fits(
            needed, name=f"Splitting {n_cells:,} cells × {n_genes:,} genes",
            remedy="Give fewer genes, such as the 2,000 that vary most, or fewer cells.",
        )  # fmt: skip
        self.dispersion: np.ndarray | None = None
        if on_counts:
            self._X = X
            self.dispersion = fit_dispersion(X, rng)
        else:
            values = preprocessor.transform(X)
            self._X = values.toarray() if sparse.issparse(values) else values

    def draw(self) -> HeldOut:
        """Divide the matrix anew."""
        if self.dispersion is None:
            return HiddenEntries(self._X, HIDDEN_FRACTION, self._rng)
        return SplitCounts(self._X, self.dispersion, self._preprocessor, self._rng)


def default_sizes(n_cells: int, n_genes: int) -> tuple[int, ...]:
    """Give the sizes that are tried where none are named."""
    return tuple(size for size in SIZES if size <= min(n_cells, n_genes))


def _pca_errors(
    held_out: HeldOut, sizes: Sequence[int], measures: Sequence[str]
) -> dict[str, list[float]]:
    """Judge PCA at all sizes by all measures."""
    errors: dict[str, list[float]] = {measure: [] for measure in measures}
    for _, prediction in held_out.pca(sizes):
        for measure in measures:
            errors[measure].append(held_out.error(prediction, measure))
    return errors


def _train_all(
    held_out: HeldOut,
    split: int,
    settings: Settings,
    *,
    data: str,
    callbacks: Sequence[Callback],
    checkpoints: Checkpoints | None,
    epochs: Epochs,
) -> Iterator[Trained]:
    """Train and judge every loss, size and seed on one split."""
    rows = held_out.rows()
    is_validation = split_cells(
        rows.shape[0], settings.validation_fraction, settings.random_state
    )
    grid = list(product(settings.loss, settings.n_latent, range(settings.seeds)))
    runs = [settings.of_run(loss, size, split, seed) for loss, size, seed in grid]
    where = {
        run.run: f"Latent size {size}, loss {loss}, split {split + 1} of {settings.splits}, "
        f"seed {seed + 1} of {settings.seeds}:"
        for run, (loss, size, seed) in zip(runs, grid, strict=True)
    }
    trainings = train_networks(
        rows, is_validation, runs, data=data, callbacks=(*callbacks, epochs),
        checkpoints=checkpoints,
    )  # fmt: skip
    for run, (loss, size, seed) in zip(runs, grid, strict=True):
        try:
            training = next(trainings)
        except TrainingError as failed:
            said = f"{where[str(failed.run)]} {failed}"
            raise TrainingError(said, failed.training) from failed
        prediction = reconstruct(training.network, rows, LOSSES[loss])
        error = held_out.error(prediction, measure_of(LOSSES[loss]))
        if not np.isfinite(error):
            raise TrainingError(
                f"{where[run.run]} its predictions are no longer finite numbers, although its "
                f"loss is. Try a lower learning rate than {settings.learning_rate:g}.",
                training,
            )
        epochs.finish_run(run.run)
        yield Trained(
            loss=loss, n_latent=size, split=split, seed=seed,
            epochs=len(training.loss_train), best_epoch=training.best_epoch,
            loss_first=training.loss_train[0], loss_last=training.loss_train[-1],
            late_fall=_late_fall(training.loss_train),
            error=error, seconds=training.seconds,
        )  # fmt: skip


def _late_fall(losses: Sequence[float]) -> float:
    """Share of the fall of a loss that belongs to the last tenth of the epochs."""
    fall = losses[0] - losses[-1]
    tenth = max(len(losses) // 10, 1)
    return (losses[-1 - tenth] - losses[-1]) / fall if fall > 0 and len(losses) > 1 else 1.0


def _by_replicate(
    trainings: Sequence[Trained], loss: str
) -> list[tuple[int, int, list[float]]]:
    """Give split, seed and the errors of a loss by rising size, for every replicate."""
    errors: dict[tuple[int, int], list[float]] = {}
    for training in trainings:  # sizes rise within a split
        if training.loss == loss:
            errors.setdefault((training.split, training.seed), []).append(training.error)
    return [(*replicate, row) for replicate, row in errors.items()]
