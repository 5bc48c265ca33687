"""The options of the command line and how their values are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cellglass.errors import InputError

if TYPE_CHECKING:
    from cellglass.callbacks import Callback

LISTS = ("--n-latent", "--loss")
"""Options that take one or several values: ``--n-latent 10 50``."""


class ListCommand(TyperCommand):
    """A command some of whose options take several values behind one name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, as the parser underneath wants it."""
        return super().parse_args(ctx, list(repeat_options(args)))


def repeat_options(args: Sequence[str]) -> Iterator[str]:
    """Turn ``--n-latent 10 50`` into ``--n-latent 10 --n-latent 50``.

    A list ends at the next option, and at a word that can be none of its values but a
    matrix: one with a dot or a path separator in it, or with the name of something on disk
    that is no number and no loss.
    """
    option, first = None, False
    for word in args:
        name, equals, _ = word.partition("=")
        if word.startswith("-") and word != "-":
            option, first = (name if name in LISTS else None), not equals
            yield word
        elif option is None or first:
            first = False
            yield word
        elif _is_path(word):
            option = None
            yield word
        else:
            yield from (option, word)


def _is_path(word: str) -> bool:
    if any(mark in word for mark in "./\\"):
        return True
    if word.isdigit() or not Path(word).exists():
        return False
    from cellglass.losses import LOSSES

    return word not in LOSSES


def whole_numbers(option: str, words: Sequence[str]) -> list[int]:
    """Read the values of a list option.

    Raises
    ------
    InputError
        If a word is not a whole number.
    """
    for word in words:
        if not word.lstrip("+-").isdigit():
            values = word.replace(",", " ").split()
            remedy = (
                f"; separate the values by spaces: {option} {' '.join(values)}"
                if len(values) > 1
                else f", such as {option} 10 50"
            )
            raise InputError(f"{option} is {word!r}; expected whole numbers{remedy}.")
    return [int(word) for word in words]


class Input(StrEnum):
    """What the values of a matrix are."""

    auto = "auto"
    counts = "counts"
    log = "log"


MATRIX = (
    "Cells × genes, raw counts or log-normalised: .npy, .npz, .csv, .tsv (also .gz), .h5ad, "
    "10x .h5, or a 10x folder with matrix.mtx."
)
LOSS_NAMES = (
    "mse, nonzero_mse and gaussian on log-normalised values; poisson, nb, nb_gene_cell and "
    "zinb on raw counts"
)
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write; must not exist yet.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier call wrote there.")
]
Layer = Annotated[
    str | None, typer.Option(help="Take this layer of an .h5ad file in place of its X.")
]
UseRaw = Annotated[
    bool,
    typer.Option("--use-raw", help="Take raw of an .h5ad file, with its own genes."),
]
NLatents = Annotated[
    list[str],  # read by whole_numbers, whose message is the better one
    typer.Option(help="Dimensions of the bottleneck, one or several.", metavar="N [N ...]"),
]
NLatent = Annotated[int, typer.Option(help="Dimensions of the bottleneck.")]
LossName = Annotated[str, typer.Option(help=f"What is made small: {LOSS_NAMES}.")]
LossNames = Annotated[
    list[str],
    typer.Option(
        help=f"What is made small, one or several: {LOSS_NAMES}.",
        metavar="LOSS [LOSS ...]",
    ),
]
Seeds = Annotated[int, typer.Option(help="Networks trained for every pair of size and loss.")]
NHidden = Annotated[int, typer.Option(help="Width of hidden layers.")]
NLayers = Annotated[
    int,
    typer.Option(help="Hidden layers on either side of the bottleneck; 0: linear network."),
]
MaxEpochs = Annotated[int, typer.Option(help="Passes over the training cells.")]
BatchSize = Annotated[int, typer.Option(help="The most cells in one step.")]
LearningRate = Annotated[float, typer.Option(help="Adam's step size.")]
ValidationFraction = Annotated[
    float,
    typer.Option(
        help="Share of cells held out of all training; the epoch that is best for them is kept."
    ),
]
DropoutRate = Annotated[
    float, typer.Option(help="Share of hidden values that each cell loses in a step.")
]
InputNoise = Annotated[
    float,
    typer.Option(help="Standard deviation of noise on the log-normalised input, in training."),
]
WeightDecay = Annotated[
    float, typer.Option(help="By what share, over the learning rate, a step shrinks weights.")
]
Variational = Annotated[
    bool,
    typer.Option("--variational", help="Draw latent vectors from a distribution by cell."),
]
KlWarmupEpochs = Annotated[
    int,
    typer.Option(help="Epochs in which the weight of that distribution's divergence grows."),
]
FreeBits = Annotated[
    float,
    typer.Option(
        help="Divergence, in nats, that each latent dimension may have for nothing in the mean."
    ),
]
NClusters = Annotated[
    int | None,
    typer.Option(
        help="Clusters for k-means. Default: the number of classes among the labels; without "
        "labels, what Leiden finds on the PCA.",
        show_default=False,
    ),
]
Schedule = Annotated[
    str,
    typer.Option(
        help="How the learning rate changes, by Optax's name: constant_schedule, "
        "linear_schedule, polynomial_schedule, cosine_decay_schedule, exponential_decay, "
        "linear_onecycle_schedule, cosine_onecycle_schedule, warmup_constant_schedule, "
        "warmup_cosine_decay_schedule or warmup_exponential_decay_schedule."
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        help="Early stopping: end when the held-out loss has not become lower for so many "
        "epochs.",
        show_default=False,
    ),
]
MinDelta = Annotated[
    float, typer.Option(help="By how much that loss must become lower to count.")
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        help="Keep the state of training after so many epochs, for --resume.",
        show_default=False,
        metavar="N",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on from where the same command was stopped, if it was."),
]
TensorBoardFolder = Annotated[
    Path | None,
    typer.Option("--tensorboard", help="Folder for TensorBoard.", show_default=False),
]
MLflowExperiment = Annotated[
    str | None,
    typer.Option("--mlflow", help="Name of an MLflow experiment.", show_default=False),
]
InputKind = Annotated[
    Input,
    typer.Option(
        "--input", help="What the values are; auto: raw counts if all are whole numbers."
    ),
]
RandomState = Annotated[int, typer.Option(help="Decides everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page when it is done.")]


@contextmanager
def loggers(tensorboard: Path | None, mlflow: str | None) -> Iterator[list[Callback]]:
    """Make the loggers that were asked for, and close them at the end."""
    from cellglass.callbacks import MLflow, TensorBoard

    with ExitStack() as opened:
        found: list[Callback] = []
        if tensorboard is not None:
            found.append(opened.enter_context(TensorBoard(tensorboard)))
        if mlflow is not None:
            found.append(opened.enter_context(MLflow(mlflow)))
        yield found
