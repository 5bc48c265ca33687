"""An autoencoder with the interface of scikit-learn's transformers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from cellglass.batches import Rows, on_device
from cellglass.checks import (
    check_array,
    check_callbacks,
    check_endless_schedule,
    check_matrix,
)
from cellglass.errors import InputError, TrainingError, TrainingInterrupted
from cellglass.fit import check_losses_suit, dense_if_small, fit_model, model_of
from cellglass.genes import repeated
from cellglass.incremental import Ongoing, train_pass
from cellglass.metrics import squared_errors
from cellglass.new_cells import cells_of_matrix
from cellglass.preprocess import Preprocessor
from cellglass.settings import ModelSettings
from cellglass.training_progress import Training

if TYPE_CHECKING:
    from cellglass.callbacks import Callback
    from cellglass.model import Model

LEAST_CELLS = 3
"""Fewest cells to start from, as :func:`cellglass.checks.check_matrix` has it."""

FIXED = ("n_latent", "n_hidden", "n_layers", "loss", "variational", "input")
"""Parameters that cannot change from one call of ``partial_fit`` to the next."""


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Autoencoder of single cells, as a scikit-learn transformer.

    A network n_genes → n_hidden → n_latent → n_hidden → n_genes learns to give every cell
    back; the narrow layer in its middle is the cell's latent vector. The numbers are those
    of :func:`cellglass.compare` and :func:`cellglass.tl.autoencoder` with the same
    settings, to the last bit.

    The matrices that methods take, ``X``, have shape (n_cells, n_genes) and hold raw counts
    or log-normalised values, the same kind in all calls: NumPy arrays, SciPy sparse
    matrices or arrays, or pandas data frames, whose columns become the names of the genes.
    Dense and sparse ones give the same results, to the last bit.

    Parameters
    ----------
    n_latent : int, default 10
        Dimensions of the bottleneck; no more than there are genes or cells.
    loss : str, default "mse"
        What is made small: the name of a loss in ``cellglass.losses.LOSSES``.
    n_hidden : int, default 100
        Width of every hidden layer.
    n_layers : int, default 1
        Number of hidden layers on either side of the bottleneck. With 0 the network is
        linear.
    max_epochs : int, default 50
        The most passes over the training cells.
    batch_size : int, default 128
        The most cells in one step.
    learning_rate : float, default 1e-3
        Of Adam; with a schedule, its highest value.
    schedule : str or callable, default "constant_schedule"
        How the learning rate changes from step to step: a name in
        ``cellglass.schedules.SCHEDULES``, or a function of the step, from 0, that gives
        the learning rate, such as any schedule of Optax.
    patience : int or None, default None
        Early stopping: training ends when the loss of the held-out cells has not become
        lower for so many epochs. None: no early stopping.
    min_delta : float, default 0.0
        By how much that loss must become lower to count.
    validation_fraction : float, default 0.1
        Share of the cells that ``fit`` holds out of all training, in [0, 0.9]; at least
        one cell unless 0. Their loss is ``history_["validation"]``, and the weights that
        are kept are those of the epoch where it is lowest; without such cells those of the
        last epoch.
    dropout_rate : float, default 0.0
        Share of hidden values that each cell loses in every step of the training, in
        [0, 1).
    input_noise : float, default 0.0
        Standard deviation of the Gaussian noise that is added to the log-normalised values
        before the encoder sees them, in training only (denoising autoencoder).
    weight_decay : float, default 0.0
        Share, over the learning rate, by which every step shrinks all weights but not the
        biases (decoupled weight decay).
    variational : bool, default False
        Whether latent vectors are drawn from a Gaussian distribution by cell, whose
        divergence from the standard normal one is added to the loss of the cell. What
        ``transform`` gives for a cell is then the distribution's mean.
    kl_warmup_epochs : int, default 10
        Epochs over which the weight of that divergence grows from 0 to 1.
    free_bits : float, default 0.25
        Divergence, in nats, that each latent dimension may have for nothing: what counts is
        its mean over the cells of a batch, but never less than this. So faint groups are not
        given up before they are learned. 0: all of it counts.
    input : {"auto", "counts", "log"}, default "auto"
        What the values are: raw counts, which are scaled to 10,000 a cell before
        log(1 + x) is taken; or log-normalised values, used as they are. ``"auto"`` takes
        them as counts where every value is a whole number.
    random_state : int, RandomState, Generator or None, default 0
        Decides everything random: first weights, held-out cells, order of the cells. From
        a generator a number is drawn when training begins, and None draws it from the
        operating system; ``model_.settings["random_state"]`` is the number that was used.
    callbacks : callable, sequence of callable or None, default None
        Each is called after every epoch with a :class:`cellglass.callbacks.Epoch`;
        training ends when one returns True.

    Attributes
    ----------
    model_ : Model
        The trained model, which also takes AnnData and finds its genes by name.
    history_ : dict of list of float
        Loss by epoch: ``"train"`` over the training cells, as the weights were while each
        batch passed; ``"validation"`` over the held-out cells at the end of the epoch,
        empty without any.
    n_epochs_ : int
        Number of epochs that were trained, or of calls of ``partial_fit``.
    best_epoch_ : int or None
        The epoch, from 1, that the weights are from; None without held-out cells, when they
        are from the last.
    n_features_in_ : int
        Number of genes.
    feature_names_in_ : ndarray of str, shape (n_genes,)
        Names of the genes; only where ``X`` was a data frame whose column names are all
        strings. Elsewhere the model names its genes ``"0"``, ``"1"``, ….

    See Also
    --------
    cellglass.tl.autoencoder : The same for AnnData.
    cellglass.compare : Several models beside PCA, with a report.

    Notes
    -----
    ``fit`` that is stopped by Ctrl-C finishes its epoch, keeps the model of that epoch in
    ``model_``, and raises. So it does with the model of the last good epoch when a loss or
    a weight is no longer finite. If no epoch was finished, the estimator is not fitted.

    Examples
    --------
    >>> import cellglass as cg
    >>> X = cg.simulate(200, 50, 3, random_state=0).X
    >>> estimator = cg.Autoencoder(n_latent=2, max_epochs=5).fit(X)
    >>> Z = estimator.transform(X)
    >>> Z.shape
    (200, 2)
    >>> estimator.inverse_transform(Z).shape
    (200, 50)
    >>> estimator.n_epochs_, len(estimator.history_["validation"])
    (5, 5)

    In a pipeline, with clusters found in the latent space:

    >>> from sklearn.cluster import KMeans
    >>> from sklearn.pipeline import make_pipeline
    >>> steps = make_pipeline(cg.Autoencoder(n_latent=2, max_epochs=5), KMeans(3, n_init=1))
    >>> steps.fit_predict(X).shape
    (200,)
    """

    model_: Model
    history_: dict[str, list[float]]
    n_epochs_: int
    best_epoch_: int | None

    def __init__(
        self,
        n_latent: int = 10,
        *,
        loss: str = "mse",
        n_hidden: int = 100,
        n_layers: int = 1,
        max_epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        schedule: str | Callable[[int], Any] = "constant_schedule",
        patience: int | None = None,
        min_delta: float = 0.0,
        validation_fraction: float = 0.1,
        dropout_rate: float = 0.0,
        input_noise: float = 0.0,
        weight_decay: float = 0.0,
        variational: bool = False,
        kl_warmup_epochs: int = 10,
        free_bits: float = 0.25,
        input: str = "auto",  # noqa: A002 - the same word in API, command line and report
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> None:
        self.n_latent = n_latent
        self.loss = loss
        self.n_hidden = n_hidden
        self.n_layers = n_layers
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.patience = patience
        self.min_delta = min_delta
        self.validation_fraction = validation_fraction
        self.dropout_rate = dropout_rate
        self.input_noise = input_noise
        self.weight_decay = weight_decay
        self.variational = variational
        self.kl_warmup_epochs = kl_warmup_epochs
        self.free_bits = free_bits
        self.input = input
        self.random_state = random_state
        self.callbacks = callbacks

    def fit(self, X: Any, y: object = None) -> Self:
        """Train a model, forgetting any earlier one.

        Parameters
        ----------
        X : array, sparse matrix or data frame, shape (n_cells, n_genes)
            Raw counts or log-normalised values, at least 3 cells. Never modified.
        y : None
            Ignored; there so that pipelines can pass it.

        Returns
        -------
        Autoencoder
            The estimator itself.

        Raises
        ------
        InputError
            If the matrix or a parameter cannot be used.
        TrainingError
            If a loss or a weight is no longer finite.
        TrainingInterrupted
            On Ctrl-C, after the epoch is done.
        """
        self._forget()
        X = self._validate(X, reset=True, least_cells=LEAST_CELLS)
        settings = self._settings(_draw_seed(self.random_state))
        genes = self._gene_names()
        try:
            fitted = fit_model(
                X, settings, genes=genes, name="X", callbacks=check_callbacks(self.callbacks)
            )
        except (TrainingError, TrainingInterrupted) as stopped:
            training = stopped.training
            if training is not None and training.loss_train:
                preprocessor = Preprocessor.fit(X, input=settings.input)
                model = model_of(
                    training, settings, preprocessor, gene_ids=None,
                    genes=_numbers(X.shape[1]) if genes is None else genes,
                )  # fmt: skip
                self._learn(model, training.best_epoch)
            raise
        for sentence in fitted.warnings:
            warnings.warn(sentence, stacklevel=2)
        self._learn(fitted.model, fitted.training.best_epoch)
        return self

    def partial_fit(self, X: Any, y: object = None) -> Self:
        """Train on some cells for one pass; call again with these or other cells.

        The first call fixes the genes, what the values are (raw counts or log-normalised)
        and ``random_state``; after ``fit``, that was done there, and its weights are
        trained on. The state of Adam and the steps of a schedule go on from call to call,
        and start anew after ``fit``. All cells are trained on: nothing is held out, and
        ``max_epochs``, ``patience``, ``min_delta`` and ``validation_fraction`` play no
        part. With the same cells in every call, without held-out cells, ``n`` calls give
        what ``fit`` gives in ``n`` epochs, to the last bit.

        Parameters
        ----------
        X : array, sparse matrix or data frame, shape (n_cells, n_genes)
            Raw counts or log-normalised values, at least 3 cells in the first call. Never
            modified.
        y : None
            Ignored.

        Returns
        -------
        Autoencoder
            The estimator itself.

        Raises
        ------
        InputError
            If the matrix or a parameter cannot be used, if a parameter is another than
            before that cannot change (``n_latent``, ``n_hidden``, ``n_layers``, ``loss``,
            ``variational``, ``input``), or if the schedule needs to know the number of steps
            in advance.
        TrainingError
            If a loss or a weight is no longer finite; the model stays as it was before.
        """
        first = not hasattr(self, "model_")
        X = self._validate(X, reset=first, least_cells=LEAST_CELLS if first else 1)
        callbacks = check_callbacks(self.callbacks)
        seed = _draw_seed(self.random_state) if first else self.model_.settings["random_state"]
        settings = replace(self._settings(seed), validation_fraction=0.0, patience=None)
        check_endless_schedule(settings.schedule)
        if first:
            genes = self._gene_names()
            check_matrix(X, name="X", gene_names=genes, least_cells=LEAST_CELLS)
            settings.check_for(*X.shape)
            preprocessor = Preprocessor.fit(X, input=settings.input)
            check_losses_suit([settings.loss], X, preprocessor, name="X", gene_names=genes)
            for sentence in preprocessor.warnings:
                warnings.warn(sentence, stacklevel=2)
            rows = _on_device(X, preprocessor.transform(X), preprocessor)
            ongoing = Ongoing.begin(rows, settings)
            names: Sequence[str] = _numbers(X.shape[1]) if genes is None else genes
            losses: list[float] = []
            validation: list[float] = []
        else:
            settings.check()
            self._check_unchanged(settings)
            preprocessor, names = self.model_.preprocessor, self.model_.genes
            rows = _on_device(X, _preprocessed(X, self.model_), preprocessor)
            check_losses_suit([settings.loss], X, preprocessor, name="X", gene_names=names)
            ongoing = self._ongoing or Ongoing.resume(self.model_.network, self.n_epochs_)
            losses, validation = self.history_["train"], self.history_["validation"]
        ongoing, loss = train_pass(ongoing, rows, settings, callbacks=callbacks)
        training = Training(
            ongoing.state.network, (*losses, loss), tuple(validation), None, ongoing.seconds
        )
        settings = replace(settings, max_epochs=ongoing.epoch)
        model = model_of(training, settings, preprocessor, genes=names, gene_ids=None)
        self._learn(model, None, ongoing)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encode cells.

        A cell's latent vector depends on that cell alone: on a CPU it is the same to the
        last bit whatever cells stand around it.

        Parameters
        ----------
        X : array, sparse matrix or data frame, shape (n_cells, n_genes)
            New cells of the kind the model was trained on, with its genes in its order.

        Returns
        -------
        numpy.ndarray
            Latent vectors, shape (n_cells, n_latent), float32; a data frame where
            ``set_output`` asked for one.

        Raises
        ------
        InputError
            If the values cannot be used, or are of the other kind.
        """
        check_is_fitted(self)
        return self.model_.transform(self._validate(X))

    def reconstruct(self, X: Any) -> np.ndarray:
        """Encode cells and decode them again.

        Parameters
        ----------
        X : array, sparse matrix or data frame, shape (n_cells, n_genes)
            As in :meth:`transform`.

        Returns
        -------
        numpy.ndarray
            Shape (n_cells, n_genes), float32, on the log-normalised scale, whether the
            model was trained on raw counts or not.
        """
        check_is_fitted(self)
        return self.model_.reconstruct(self._validate(X))

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Decode latent vectors.

        Parameters
        ----------
        Z : array or data frame, shape (n_cells, n_latent)
            Latent vectors.

        Returns
        -------
        numpy.ndarray
            Shape (n_cells, n_genes), float32, on the log-normalised scale.

        Raises
        ------
        InputError
            If the shape is another, or a value is missing or infinite.
        """
        check_is_fitted(self)
        return self.model_.inverse_transform(Z)

    def score(self, X: Any, y: object = None) -> float:
        """Say how well cells are given back: minus the mean squared error.

        It is the same for every loss, so that models of several losses can be compared.
        One that leaves zeros out, such as ``nonzero_mse``, is scored on them all the same.

        Parameters
        ----------
        X : array, sparse matrix or data frame, shape (n_cells, n_genes)
            As in :meth:`transform`.
        y : None
            Ignored.

        Returns
        -------
        float
            −Σ (x − x̂)² / (n_cells · n_genes) on the log-normalised scale, at most 0;
            higher is better.
        """
        check_is_fitted(self)
        X = self._validate(X)
        mse = squared_errors(_preprocessed(X, self.model_), self.model_.reconstruct(X)).mse_all
        return -float(mse or 0.0)

    def save(self, path: str | Path) -> None:
        """Write the model to a file that :func:`cellglass.load` reads.

        Parameters
        ----------
        path : str or Path
            Must end in ``.safetensors``.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        check_is_fitted(self)
        self.model_.save(path)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        """Number of columns that ``transform`` gives; scikit-learn names them by it."""
        return self.model_.n_latent

    def _settings(self, seed: Any) -> ModelSettings:
        names = {field.name for field in fields(ModelSettings)} & set(self.get_params())
        values = {name: getattr(self, name) for name in names}
        return ModelSettings(**{**values, "random_state": seed})

    def _validate(self, X: Any, *, reset: bool = False, least_cells: int = 1) -> Any:
        """Hold a matrix against scikit-learn's rules; what its values are comes later."""
        anndata = sys.modules.get("anndata")  # without it nobody has such an object
        if anndata is not None and isinstance(X, anndata.AnnData):
            raise InputError(
                "X is an AnnData object, but an Autoencoder takes a matrix, as all estimators "
                "of scikit-learn do. Give adata.X (adata.to_memory().X if it lies in a file), "
                "or train with cg.tl.autoencoder(adata), which writes the latent vectors into "
                "the object. A trained one has "
                "model_.transform(adata), which finds the genes by name."
            )
        if type(X).__module__.startswith("anndata."):  # sparse, and in a file
            raise InputError(
                f"X is a {type(X).__name__}, a matrix that lies in a file. Read it into "
                "memory: adata.to_memory().X."
            )
        if isinstance(X, str | PathLike):
            raise InputError(
                f"X is {X!r}, a path, but a matrix is needed. Read the file first: "
                f"X = cg.read({str(X)!r}).X."
            )
        columns = getattr(X, "columns", None)
        twice = repeated(columns) if columns is not None and not callable(columns) else None
        if twice is not None:
            raise InputError(
                f"Of the columns of X {twice}, but each column of a data frame must have a "
                "name of its own. Rename or remove them, or give X.to_numpy()."
            )
        if np.ma.is_masked(X):
            check_array(X, name="X")  # scikit-learn would take what is masked as valid
        if isinstance(X, np.matrix):  # which scikit-learn refuses, and all else here takes
            X = np.asarray(X)
        return validate_data(
            self, X, reset=reset, accept_sparse=True, ensure_all_finite=False,
            ensure_min_samples=least_cells,
        )  # fmt: skip

    def _gene_names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]

    def _check_unchanged(self, settings: ModelSettings) -> None:
        """Refuse parameters that do not fit the model that is trained further."""
        model = self.model_
        then = {**model.settings, "loss": model.loss, "input": self._input}
        for name in FIXED:
            now = getattr(settings, name)
            if now != then[name]:
                raise InputError(
                    f"{name} is now {now!r}, but was {then[name]!r} when this model began, and "
                    "partial_fit cannot change it. Set it back with "
                    f"set_params({name}={then[name]!r}), or train a new model with fit."
                )

    def _forget(self) -> None:
        for name in ("model_", "history_", "n_epochs_", "best_epoch_", "_ongoing", "_input"):
            self.__dict__.pop(name, None)

    def _learn(
        self, model: Model, best_epoch: int | None, ongoing: Ongoing | None = None
    ) -> None:
        """Keep what training has come to; `ongoing` is what ``partial_fit`` goes on from."""
        self.model_ = model
        self.history_ = {name: list(curve) for name, curve in model.history.items()}
        self.n_epochs_ = len(self.history_["train"])
        self.best_epoch_ = best_epoch
        self._ongoing = ongoing
        self._input = self.input


def _preprocessed(X: Any, model: Model) -> Any:
    """Check new cells as the model does, and give what its network sees."""
    runs = (values for _, values in cells_of_matrix(X, model.genes).runs(model.preprocessor))
    if sparse.issparse(X):
        return sparse.vstack([sparse.csr_matrix(values) for values in runs], format="csr")
    return np.concatenate(list(runs))


def _on_device(X: Any, values: Any, preprocessor: Preprocessor) -> Rows:
    """Put a matrix on the device, given as it came and as it was preprocessed."""
    return on_device(dense_if_small(values), preprocessor.size_factors(X))


def _draw_seed(random_state: Any) -> Any:
    """Give the number that decides everything random; what is no generator stays."""
    if random_state is None:
        random_state = np.random.default_rng()
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    return random_state


def _numbers(n_genes: int) -> list[str]:
    return [str(i) for i in range(n_genes)]
