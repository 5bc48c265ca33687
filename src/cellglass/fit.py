"""One matrix and its settings give one trained network or model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from cellglass.batches import DENSE_BUDGET_BYTES, Rows, on_device
from cellglass.callbacks import Callback
from cellglass.checkpoint import LAST_GOOD, Checkpoint, Checkpoints
from cellglass.checks import check_counts, check_matrix, check_names
from cellglass.collapse import warn_of_collapse
from cellglass.encode import encode
from cellglass.errors import InputError, TrainingError
from cellglass.gene_statistics import gene_statistics
from cellglass.genes import repeated
from cellglass.losses import LOSSES
from cellglass.losses.base import start_at_zero
from cellglass.memory import check_fits
from cellglass.model import Model
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor
from cellglass.schedules import learning_rates
from cellglass.settings import ModelSettings
from cellglass.train import SideBySide, Start, train_in_turn
from cellglass.training_progress import Training
from cellglass.workers import n_cores

MOST_AT_ONCE = 8
"""So many networks are trained at once at most: each needs memory of its own."""


@dataclass(frozen=True)
class Fit:
    """A model and the data it was fitted to.

    Attributes
    ----------
    settings
        What was asked for.
    model
        Trained; what is kept.
    training
        How it came about.
    X
        The values as the network saw them (log-normalised), shape (n_cells, n_genes),
        float32, dense or CSR.
    rows
        The same on the device.
    is_validation
        True for cells held out of the training, shape (n_cells,).
    """

    settings: ModelSettings
    model: Model
    training: Training
    X: np.ndarray | sparse.csr_matrix
    rows: Rows
    is_validation: np.ndarray

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each thing about data and network that the user should know of."""
        said = self.model.preprocessor.warnings
        if self.settings.variational:
            Z = encode(self.model.network, self.rows)
            said = (*said, *warn_of_collapse({self.settings.run: Z}, self.settings))
        twice = repeated(self.model.gene_ids or self.model.genes)
        if twice is None:
            return said
        return (
            *said,
            f"Of the genes {twice}: in new cells the model finds such genes only "
            "where all genes have the same names in the same order. Make them unique, with "
            "adata.var_names_make_unique(), and train again to match them by name.",
        )


def fit_model(
    X: np.ndarray | sparse.spmatrix,
    settings: ModelSettings,
    *,
    cells: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    gene_ids: Sequence[str] | None = None,
    name: str = "the matrix",
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Check, preprocess and split a matrix, and train a model on it.

    Parameters
    ----------
    X
        Raw counts or log-normalised values, shape (n_cells, n_genes). Never modified.
    settings
        How to train.
    cells
        Names of the cells, for messages.
    genes
        Names of the genes; default ``"0"``, ``"1"``, ….
    gene_ids
        Ensembl ids of the same genes, where they are known.
    name
        What messages call the matrix.
    callbacks, checkpoints
        As in :func:`cellglass.train.train`.

    Raises
    ------
    InputError
        If the matrix or a setting cannot be used.
    TrainingError
        If a loss or a weight is no longer finite.
    """
    names = None if genes is None else list(genes)
    check_matrix(X, name=name, cell_names=cells, gene_names=names)
    check_names(names or (), what=f"the names of genes in {name}")
    settings.check_for(*X.shape)
    preprocessor = Preprocessor.fit(X, input=settings.input)
    check_losses_suit(
        [settings.loss], X, preprocessor, name=name, cell_names=cells, gene_names=names
    )
    values = dense_if_small(preprocessor.transform(X))
    rows = on_device(values, preprocessor.size_factors(X))
    is_validation = split_cells(
        values.shape[0], settings.validation_fraction, settings.random_state
    )
    if names is None:
        names = [str(i) for i in range(values.shape[1])]

    data = digest(X, names, gene_ids)

    def make(training: Training, run: str) -> Model:
        return model_of(
            training, settings, preprocessor, genes=names, gene_ids=gene_ids, data=data
        )

    if checkpoints is not None:
        checkpoints.begin({**settings.to_dict(), "data": data})
    with last_good_kept(checkpoints, make):
        training = train_network(
            rows, is_validation, settings, data=data, callbacks=callbacks,
            checkpoints=checkpoints,
        )  # fmt: skip
    model = make(training, settings.run)
    return Fit(settings, model, training, values, rows, is_validation)


def train_network(
    rows: Rows,
    is_validation: np.ndarray,
    settings: ModelSettings,
    *,
    data: str,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Train one network on the cells that are not held out; see :func:`train_networks`."""
    return next(
        train_networks(
            rows, is_validation, [settings], data=data, callbacks=callbacks,
            checkpoints=checkpoints,
        )
    )  # fmt: skip


def train_networks(
    rows: Rows,
    is_validation: np.ndarray,
    settings: Sequence[ModelSettings],
    *,
    data: str,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
    side_by_side: bool | None = None,
    at_once: int | None = None,
) -> Iterator[Training]:
    """Train networks on the cells that are not held out.

    Two trainings of the same ``random_state``, seed and latent size start from the same
    weights and pass the cells in the same order, whatever their loss.

    Parameters
    ----------
    rows
        Preprocessed values on the device, shape (n_cells, n_genes).
    is_validation
        True for held-out cells, shape (n_cells,).
    settings
        Of every network.
    data
        What :func:`digest` gives for the data, to tell a checkpoint of them from another.
    callbacks, checkpoints
        As in :func:`fit_model`.
    side_by_side
        Whether networks that follow each other and differ in their seeds alone pass an epoch
        together, as one program. Default: not on a CPU, where a model does so not depend on
        how many others were trained beside it.
    at_once
        How many programs run at once. Default: on a CPU one for every core, up to
        `MOST_AT_ONCE`, since the products of a batch are small for several cores; one on
        other devices.

    Yields
    ------
    Training
        In the order of ``settings``.
    """
    on_cpu = jax.default_backend() == "cpu"
    if side_by_side is None:
        side_by_side = not on_cpu
    if at_once is None:
        at_once = min(n_cores(), MOST_AT_ONCE) if on_cpu else 1
    train_cells, validation_cells = (
        np.flatnonzero(~is_validation),
        np.flatnonzero(is_validation),
    )

    def start(one: ModelSettings) -> Start:
        checkpoint: Checkpoint | None = None
        if checkpoints is not None:
            checkpoint = checkpoints.of(one.run, identity(data, len(train_cells), one))
        network = first_network(rows, train_cells, one)
        return Start(network, keys_of(one)[1], one.run, checkpoint)

    def begun() -> Iterator[SideBySide]:
        alike = groupby(settings, key=lambda one: replace(one, seed=0))
        for group in map(list, (runs for _, runs in alike)):
            for runs in [group] if side_by_side else [[one] for one in group]:
                yield SideBySide(
                    [start(one) for one in runs], rows, train_cells, validation_cells,
                    LOSSES[runs[0].loss], runs[0], callbacks=callbacks,
                )  # fmt: skip

    for trainings in train_in_turn(begun(), at_once=at_once):
        yield from trainings


def first_network(rows: Rows, cells: np.ndarray, settings: ModelSettings) -> AutoencoderNetwork:
    """Make the network that a training starts from.

    Parameters
    ----------
    rows
        Preprocessed values, shape (n_cells, n_genes).
    cells
        Row numbers of the training cells, from which first values are taken where the
        loss asks for any.
    settings
        How it is to be trained.

    Raises
    ------
    InputError
        If it is too large for the memory that is available.
    """
    check_network_fits(rows.shape[1], settings)
    loss = LOSSES[settings.loss]
    network = _draw_network(
        rows.shape[1], settings.n_latent, n_hidden=settings.n_hidden,
        n_layers=settings.n_layers, heads=tuple(loss.heads),
        gene_parameters=tuple(loss.gene_parameters), variational=settings.variational,
        key=keys_of(settings)[0],
    )  # fmt: skip
    if loss.start is start_at_zero:
        return network
    values = loss.start(gene_statistics(rows, cells))
    return network.starting_from({k: jnp.asarray(v, jnp.float32) for k, v in values.items()})


# As one program: drawn array by array, the first weights take seconds to compile.
_draw_network = jax.jit(
    AutoencoderNetwork, static_argnums=(0, 1),
    static_argnames=("n_hidden", "n_layers", "heads", "gene_parameters", "variational"),
)  # fmt: skip


def check_network_fits(n_genes: int, settings: ModelSettings) -> None:
    """Check that a network can be trained in the memory that is available.

    Rule: its weights, in 32 bits, fit four times: themselves, their gradient, and the two
    moments that Adam keeps.

    Raises
    ------
    InputError
        If the rule is broken.
    """
    widths = [n_genes, *[settings.n_hidden] * settings.n_layers, settings.n_latent]
    n_weights = 2 * sum(n_in * n_out for n_in, n_out in pairwise(widths))
    n_weights += len(LOSSES[settings.loss].heads) * widths[-2] * n_genes
    check_fits(
        16 * n_weights, name=f"The network, with {n_weights:,} weights,",
        remedy="Give a smaller n_hidden, or fewer n_layers.",
    )  # fmt: skip


def identity(data: str, n_train: int, settings: ModelSettings) -> dict[str, Any]:
    """All that decides how a training ends, as plain data."""
    said: dict[str, Any] = {**settings.to_dict(), "data": data}
    if callable(settings.schedule):  # known by what it gives
        n_steps = settings.max_epochs * -(-n_train // settings.batch_size)
        rates = learning_rates(settings.schedule, 0.0, start=0, stop=n_steps, n_steps=n_steps)
        said["schedule"] = hashlib.sha256(rates.tobytes()).hexdigest()
    return said


def check_losses_suit(
    losses: Sequence[str],
    X: np.ndarray | sparse.spmatrix,
    preprocessor: Preprocessor,
    *,
    name: str,
    cell_names: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
) -> None:
    """Check that losses on counts get counts.

    Rules: for such a loss the matrix is taken as raw counts, and passes
    :func:`cellglass.checks.check_counts`.

    Parameters
    ----------
    losses
        Names of the losses.
    X
        The matrix as it was given, shape (n_cells, n_genes).
    preprocessor
        Fitted to it.
    name
        What to call the matrix in the message.
    cell_names, gene_names
        Names for the message.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    on_counts = [loss for loss in losses if LOSSES[loss].on_counts]
    if not on_counts:
        return
    others = ", ".join(loss.name for loss in LOSSES.values() if not loss.on_counts)
    remedy = (
        'Give raw counts, which AnnData often keeps in a layer (layer="counts") or in raw '
        f"(use_raw=True), or train with a loss on log-normalised values: {others}."
    )
    check_counts(
        X, name=name, loss=on_counts[0], remedy=remedy, cell_names=cell_names,
        gene_names=gene_names,
    )  # fmt: skip
    if preprocessor.input != "counts":
        raise InputError(
            f"The loss {on_counts[0]} needs raw counts, but {name} is to be taken as "
            'log-normalised (input="log"). Its values are whole numbers: leave input at '
            f'"auto", or say input="counts". {remedy}'
        )


@contextmanager
def last_good_kept(
    checkpoints: Checkpoints | None, make: Callable[[Training, str], Model]
) -> Iterator[None]:
    """Save a model of the last good weights when a training fails.

    Parameters
    ----------
    checkpoints
        Whose folder it goes to; None: the error's ``training`` is all that is kept.
    make
        Makes a model of what a training had come to; it is told the training's name.
    """
    try:
        yield
    except TrainingError as error:
        reached, run = error.training, error.run
        # Weights that no epoch has changed are nobody's loss.
        if checkpoints is None or run is None or reached is None or not reached.loss_train:
            raise
        path = checkpoints.folder / f"{run}{LAST_GOOD}"
        make(reached, run).save(path)
        raise TrainingError(
            f"{error} The last good weights are kept as a model in {path}.", reached, run
        ) from error


def keys_of(settings: ModelSettings) -> tuple[jax.Array, jax.Array]:
    """Keys that the first weights and the order of the cells are drawn with."""
    key = jax.random.fold_in(jax.random.key(settings.random_state), settings.seed)
    weights_key, order_key = jax.random.split(key)
    return weights_key, order_key


def model_of(
    training: Training,
    settings: ModelSettings,
    preprocessor: Preprocessor,
    *,
    genes: Sequence[str],
    gene_ids: Sequence[str] | None,
    data: str | None = None,
) -> Model:
    """Put together what a model is made of.

    `data`, which :func:`digest` gives, is kept among the settings; None where the model
    saw more than one matrix.
    """
    kept: dict[str, Any] = settings.to_dict()
    del kept["loss"], kept["input"]  # the model and its preprocessor say them
    if data is not None:
        kept["data"] = data
    return Model(
        network=training.network,
        loss=settings.loss,
        genes=tuple(map(str, genes)),
        preprocessor=preprocessor,
        settings=kept,
        history=training.history,
        gene_ids=None if gene_ids is None else tuple(gene_ids),
    )


def split_cells(n_cells: int, validation_fraction: float, random_state: int) -> np.ndarray:
    """Draw the cells that are held out of all training.

    Returns
    -------
    numpy.ndarray
        True for held-out cells, shape (n_cells,). The nearest whole number to the
        fraction, but at least one cell unless the fraction is 0, and at most all but two.
    """
    n_validation = round(validation_fraction * n_cells)
    if validation_fraction > 0:
        n_validation = min(max(n_validation, 1), n_cells - 2)
    held_out = np.zeros(n_cells, bool)
    order = np.random.default_rng(random_state).permutation(n_cells)
    held_out[order[:n_validation]] = True
    return held_out


def dense_if_small(X: np.ndarray | sparse.csr_matrix) -> np.ndarray | sparse.csr_matrix:
    """Make a matrix dense, which is faster at every step, if it fits the budget."""
    if isinstance(X, np.ndarray) or X.shape[0] * X.shape[1] * 4 > DENSE_BUDGET_BYTES:
        return X
    return X.toarray()


def digest(X: Any, *names: Sequence[str] | None) -> str:
    """SHA-256 of a matrix as it was given, and of names that belong to it."""
    parts = [X.tocsr().data, X.tocsr().indices, X.tocsr().indptr] if sparse.issparse(X) else [X]
    found = hashlib.sha256(repr((X.shape, str(X.dtype))).encode())
    for part in parts:
        found.update(np.ascontiguousarray(part).data)
    for given in names:
        found.update(json.dumps(None if given is None else list(map(str, given))).encode())
    return found.hexdigest()
