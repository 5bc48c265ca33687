"""What the command line shows: progress, errors and results."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cellglass.cli.compiled import keep_compiled_programs
from cellglass.errors import InputError, TrainingError, TrainingInterrupted

if TYPE_CHECKING:
    from cellglass.cluster import Clustering
    from cellglass.compare import Comparison, Progress
    from cellglass.select import Selection


GIVEN = re.compile(
    r"""(?<!\w)(?<!\w\()(?P<name>[a-z_]+)=(?:["'](?P<quoted>[^"']+)["']|(?P<bare>\w+(\.\w+)?))"""
)
"""An argument as it is passed from Python, but not as the first of a call."""


def quit_at_once(signum: int, frame: object) -> None:
    """End the process on a signal, while nothing but imports has begun.

    JAX swallows an interrupt while it is imported, or is left half imported.
    """
    sys.stderr.write("\nInterrupted; nothing was written.\n")
    sys.stderr.flush()
    os._exit(130)


def load(*modules: str) -> None:
    """Import what takes long, after which Ctrl-C does what it does in any Python program."""
    for module in modules:
        import_module(module)
    keep_compiled_programs()
    if signal.getsignal(signal.SIGINT) is quit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def exits(checkpoints: Path | None = None) -> Iterator[None]:
    """Turn a user's mistake into one message and exit code 2, a failure into 1.

    Parameters
    ----------
    checkpoints
        File or folder that is there if what was done so far is kept.
    """
    try:
        yield
    except InputError as error:
        print_error(str(error))
        raise typer.Exit(2) from None
    except TrainingError as error:
        print_error(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt as error:
        print_error(_interrupted(error, checkpoints))
        raise typer.Exit(130) from None
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        kept = _kept(checkpoints) or "No result was written."
        print_error(f"{error.strerror or error}{place}. {kept}")
        raise typer.Exit(1) from None


def _interrupted(error: KeyboardInterrupt, checkpoints: Path | None) -> str:
    kept = _kept(checkpoints)
    if kept is None:
        return "Interrupted; nothing was written."
    said = f"{error} " if isinstance(error, TrainingInterrupted) else "Interrupted. "
    return f"{said}{kept}"


def _kept(checkpoints: Path | None) -> str | None:
    """Say where unfinished trainings are kept, and how to go on; None where there are none."""
    from cellglass.checkpoint import is_unfinished

    if checkpoints is None or not is_unfinished(checkpoints):
        return None
    words = ["cellglass", *sys.argv[1:]]
    again = shlex.join(words if "--resume" in words else [*words, "--resume"])
    return (
        f"All trainings so far are kept in {checkpoints}. To go on, with the same result as "
        f"without the stop:\n  {again}"
    )


def print_error(message: str) -> None:
    """Write a message to the standard error."""
    _print_marked("[bold red]Error:[/]", message)


def print_warnings(messages: Iterable[str]) -> None:
    """Write what a user should know, though the work was done, to the standard error."""
    for message in messages:
        _print_marked("[bold yellow]Warning:[/]", message)


def _print_marked(mark: str, message: str) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(mark, end=" ")
    console.print(in_words_of_options(message), markup=False, soft_wrap=not console.is_terminal)


def in_words_of_options(message: str) -> str:
    """Turn what is to be passed from Python into options of the command line.

    ``seeds=5`` becomes ``--seeds 5``, ``layer="counts"`` ``--layer counts``, and
    ``use_raw=True`` ``--use-raw``.
    """
    from cellglass.cli import app

    commands = typer.main.get_group(app).commands.values()
    options = {p.name: p.opts[0] for command in commands for p in command.params}

    def turned(found: re.Match[str]) -> str:
        option, value = options.get(found["name"], ""), found["quoted"] or found["bare"]
        if not option.startswith("--"):
            return found[0]
        return option if value == "True" else f"{option} {value}"

    return GIVEN.sub(turned, message)


@contextmanager
def bars(quiet: bool) -> Iterator[Progress]:
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


def print_closing_table(comparison: Comparison, page: Path) -> None:
    """Write the main numbers of all runs, and where the page is."""
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


def print_clustering(clustering: Clustering, page: Path) -> None:
    """Write the clusters, what follows from them, and where the page is."""
    from rich.console import Console
    from rich.table import Table

    from cellglass.report.contrast import percent, score

    summary, console = clustering.summary, Console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("cluster")
    for heading in ("cells", "share", "confidence", "between"):
        table.add_column(heading, justify="right")
    named = summary["clusters"][0]["markers"] is not None
    if named:
        table.add_column("markers")
    for row in summary["clusters"]:
        table.add_row(
            str(row["cluster"]), f"{row['n_cells']:,}", percent(row["share"]),
            score(row["confidence"]), f"{row['n_between']:,}",
            *([", ".join(row["markers"][:5])] if named else []),
        )  # fmt: skip
    console.print(table)
    console.print()
    for conclusion in summary["conclusions"]:
        console.print(conclusion["answer"], markup=False, highlight=False)
    console.print(f"\n{page}", highlight=False, soft_wrap=True)


def print_selection(selection: Selection, page: Path) -> None:
    """Write the errors of all sizes, what follows from them, and where the page is."""
    from rich.console import Console
    from rich.table import Table

    from cellglass.report.select_page import error_text
    from cellglass.report.select_summary import measures_of, model_name

    summary, console = selection.summary, Console()
    sizes: list[tuple[int | None, object]] = [*enumerate(summary["settings"]["n_latent"])]
    for measure in measures_of(summary):
        curves = [curve for curve in summary["curves"] if curve["measure"] == measure]
        table = Table(
            box=None, header_style="bold", pad_edge=False, title_justify="left",
            title=f"Held-out {curves[0]['measure_is']}",
        )  # fmt: skip
        table.add_column("latent dimensions", justify="right")
        for curve in curves:
            table.add_column(model_name(curve), justify="right")
        for i, size in [*sizes, (None, "none")]:
            table.add_row(str(size), *(error_text(curve, i) for curve in curves))
        console.print(table)
    for item in summary["conclusions"]:
        console.print(f"\n{item['question']}", style="bold", highlight=False, markup=False)
        console.print(item["answer"], highlight=False, markup=False)
    console.print(f"\n{page}", highlight=False, soft_wrap=True)
