"""The command line, in the words of the Python interface."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cellglass import __version__
from cellglass.errors import InputError, TrainingError

if TYPE_CHECKING:
    from anndata import AnnData

    from cellglass.compare import Comparison, Progress

app = typer.Typer(
    name="cellglass",
    help="Autoencoder embeddings of single cells: train, compare and judge them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)

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


def _positive(text: str) -> Any:
    return typer.Option(help=text, min=1)


Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write; must not exist yet.")
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace an earlier report in the output folder."),
]
NLatent = Annotated[
    list[str],  # read by whole_numbers, whose message is the better one
    typer.Option(help="Dimensions of the bottleneck, one or several.", metavar="N [N ...]"),
]
LossNames = Annotated[
    list[str],
    typer.Option(
        help="What is made small, one or several: mse, nonzero_mse.",
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
    float, typer.Option(help="Share of cells held out of all training.")
]
NClusters = Annotated[
    int | None,
    typer.Option(
        help="Clusters for k-means. Default: the number of classes among the labels; without "
        "labels, what Leiden finds on the PCA.",
        show_default=False,
    ),
]
RandomState = Annotated[int, typer.Option(help="Decides everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page when it is done.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cellglass {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Autoencoder embeddings of single cells: train, compare and judge them."""


@app.command(cls=ListCommand)
def compare(
    matrix: Annotated[
        Path,
        typer.Argument(
            help="Cells × genes, raw counts or log-normalised: .npy, .npz, .csv, .tsv (also "
            ".gz), .h5ad, 10x .h5, or a 10x folder with matrix.mtx."
        ),
    ],
    output: Output,
    labels: Annotated[
        str | None,
        typer.Option(help="Known classes: a text file, one a line, or a column of obs."),
    ] = None,
    n_latent: NLatent = ["10", "50"],  # noqa: B006
    loss: LossNames = ["mse", "nonzero_mse"],  # noqa: B006
    seeds: Seeds = 1,
    n_hidden: NHidden = 100,
    n_layers: NLayers = 1,
    max_epochs: MaxEpochs = 50,
    batch_size: BatchSize = 128,
    learning_rate: LearningRate = 1e-3,
    validation_fraction: ValidationFraction = 0.1,
    n_clusters: NClusters = None,
    input: Annotated[  # noqa: A002
        Input,
        typer.Option(help="What the values are; auto: raw counts if all are whole numbers."),
    ] = Input.auto,
    random_state: RandomState = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    open_page: Open = False,
) -> None:
    """Compare latent sizes and losses beside PCA, on one page.

    Trains an autoencoder for every pair of --n-latent and --loss and writes report.html,
    results.json, metrics.csv, figures/, embedding.h5ad and models/ to the output folder.
    """
    with _exits():
        sizes = whole_numbers("--n-latent", n_latent)
    options = {
        "n_latent": sizes, "loss": loss, "seeds": seeds, "n_hidden": n_hidden,
        "n_layers": n_layers, "max_epochs": max_epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "validation_fraction": validation_fraction,
        "n_clusters": n_clusters, "input": input.value, "random_state": random_state,
    }  # fmt: skip

    def read_matrix() -> AnnData:
        from cellglass.read import read

        adata = read(matrix, labels=labels)
        if labels is None and "label" in adata.obs:
            del adata.obs["label"]  # no labels were asked for
        return adata

    _compare(
        read_matrix, output, options, overwrite=overwrite, quiet=quiet, open_page=open_page
    )


@app.command()
def simulate(
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    n_cells: Annotated[int, typer.Option(help="Number of cells.")] = 5000,
    n_genes: Annotated[int, typer.Option(help="Number of genes.")] = 1000,
    n_groups: Annotated[int, typer.Option(help="Number of groups of cells.")] = 3,
    dropout_rate: Annotated[
        float, typer.Option(help="Chance of every count to be lost, whatever its size.")
    ] = 0.3,
    dispersion: Annotated[
        float, typer.Option(help="Of the counts: variance = mean + dispersion · mean².")
    ] = 1.0,
    marker_log_fold_change: Annotated[
        float, typer.Option(help="log2 of how much more a group expresses its own genes.")
    ] = 2.0,
    random_state: RandomState = 0,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an earlier simulation in the folder."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Simulate cells of known groups.

    Draws negative-binomial counts with group-specific genes, library sizes and dropout,
    and writes counts.npy (log-normalised), labels.txt and truth.h5ad.
    """
    from cellglass.simulate import simulate as draw
    from cellglass.simulate import write_simulation

    with _exits():
        if output.exists() and not overwrite:
            # Said before the work, not after it.
            raise InputError(
                f"The output folder {output} already exists, and nothing in it was changed. "
                "Give another name, or --overwrite to replace the simulation in it."
            )
        adata = draw(
            n_cells, n_genes, n_groups, dropout_rate=dropout_rate, dispersion=dispersion,
            marker_log_fold_change=marker_log_fold_change, random_state=random_state,
        )  # fmt: skip
        write_simulation(adata, output, overwrite=overwrite)
    if not quiet:
        typer.echo(
            f"{n_cells:,} cells × {n_genes:,} genes, groups: {n_groups}; written to {output}\n"
            f"Go on with: cellglass compare {output / 'counts.npy'} "
            f"--labels {output / 'labels.txt'} -o report/"
        )


@app.command()
def demo(
    output: Output = Path("report"),
    simulated: Annotated[
        bool,
        typer.Option("--simulated", help="Use simulated data: 5,000 cells × 1,000 genes."),
    ] = False,
    random_state: RandomState = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    open_page: Open = False,
) -> None:
    """Run the main job on data that need no download.

    700 blood cells with 765 genes that come with scanpy (pbmc68k_reduced, log-normalised;
    Zheng et al. 2017), or simulated ones.
    """
    _compare(
        (lambda: _simulated(random_state)) if simulated else _blood_cells,
        output, {"random_state": random_state},
        overwrite=overwrite, quiet=quiet, open_page=open_page,
    )  # fmt: skip


def _blood_cells() -> AnnData:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scanpy, on reading its own old file
        import scanpy

        from cellglass.read import SOURCE_KEY

        reduced = scanpy.datasets.pbmc68k_reduced()
        adata = reduced.raw.to_adata()
    adata.obs["label"] = reduced.obs["bulk_labels"].astype(str).to_numpy()
    adata.uns[SOURCE_KEY] = {
        "matrix": "pbmc68k_reduced (scanpy)", "labels": "bulk_labels",
        "command": "cellglass demo",
    }  # fmt: skip
    return adata


def _simulated(random_state: int) -> AnnData:
    from cellglass.read import SOURCE_KEY
    from cellglass.simulate import simulate as draw

    adata = draw(random_state=random_state)
    adata.uns[SOURCE_KEY] = {
        "matrix": "simulated cells", "labels": "groups", "command": "cellglass demo --simulated"
    }  # fmt: skip
    return adata


def _compare(
    load: Callable[[], AnnData],
    output: Path,
    options: dict[str, Any],
    *,
    overwrite: bool,
    quiet: bool,
    open_page: bool,
) -> None:
    """Check, read, compare, write, and say what came out."""
    from cellglass.report.write import check_folder

    with _exits():
        check_folder(output, overwrite=overwrite)
        with _progress(quiet) as progress:
            progress("Reading", 0, 1)
            adata = load()
            progress("Reading", 1, 1)

            from cellglass.compare import compare as run
            from cellglass.report.write import write_report

            comparison = run(adata, **options, progress=progress)
            page = write_report(comparison, output, overwrite=overwrite, progress=progress)
    if not quiet:
        _print_closing_table(comparison, page)
    if open_page:
        typer.launch(str(page.resolve()))


@contextmanager
def _exits() -> Iterator[None]:
    """Turn a user's mistake into one message and exit code 2, a failure into 1."""
    try:
        yield
    except InputError as error:
        _print_error(str(error))
        raise typer.Exit(2) from None
    except TrainingError as error:
        _print_error(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _print_error("Interrupted; nothing was written.")
        raise typer.Exit(130) from None
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        _print_error(f"{error.strerror or error}{place}. Nothing was written.")
        raise typer.Exit(1) from None


def _print_error(message: str) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print("[bold red]Error:[/]", end=" ")
    console.print(message, markup=False, soft_wrap=not console.is_terminal)


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    """Show one bar a stage while there is a terminal to show it on."""
    if quiet:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), console=Console(stderr=True),
    ) as bars:  # fmt: skip
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield show


def _print_closing_table(comparison: Comparison, page: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from cellglass.report.contrast import number, score

    summary = comparison.summary
    labelled = summary["dataset"]["n_labels"] is not None
    clusters = "ARI" if labelled else "silhouette"
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("run")
    for heading in ("MSE", "held-out", "non-zero", "zeros"):
        table.add_column(heading, justify="right")
    for method in ("k-means", "Leiden"):
        table.add_column(f"{method} {clusters}", justify="right")
    rows = [(f"pca_{b['n_components']}", b) for b in summary["baselines"]]
    for name, row in [(run["run"], run) for run in summary["runs"]] + rows:
        errors = [
            row["reconstruction"][kind]
            for kind in ("mse_all", "mse_all_validation", "mse_nonzero", "mse_zero")
        ]
        scores = [row["clustering"][m][clusters.lower()] for m in ("kmeans", "leiden")]
        table.add_row(
            name,
            *("–" if value is None else number(value) for value in errors),
            *("–" if value is None else score(value) for value in scores),
        )
    console = Console()
    console.print(table)
    console.print(f"\n{page}", highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of few characters is no failure
            stream.reconfigure(errors="replace")
    sys.exit(app())
