"""The command line, in the words of the Python interface."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from typing import Annotated

import typer

from cellglass import __version__
from cellglass.cli import clustering, comparing, modelling, selecting, simulating
from cellglass.cli.terminal import quit_at_once

app = typer.Typer(
    name="cellglass",
    help="Autoencoder embeddings of single cells: train, compare and judge them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
for commands in (comparing, selecting, clustering, modelling, simulating):
    app.add_typer(commands.app)


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


def _as_ctrl_c(signum: int, frame: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of few characters is no failure
            stream.reconfigure(errors="replace")
    warnings.formatwarning = lambda message, *_: f"Warning: {message}\n"
    # What ends a job on a cluster is to be as gentle as Ctrl-C.
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, quit_at_once)
    sys.exit(app())
