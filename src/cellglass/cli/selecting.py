"""The command that chooses a latent size: ``select``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellglass.cli import options as opt
from cellglass.cli.terminal import bars, exits, load, print_selection, print_warnings
from cellglass.cli.work import Work

if TYPE_CHECKING:
    from cellglass.checkpoint import Checkpoints
    from cellglass.select import Selection

app = typer.Typer()


@app.command(cls=opt.ListCommand)
def select(
    matrix: Annotated[Path, typer.Argument(help=opt.MATRIX)],
    output: opt.Output = Path("selection"),
    n_latent: Annotated[
        list[str] | None,
        typer.Option(
            help="Dimensions of the bottleneck to try, one or several. Default: 2 5 10 20 50 "
            "100, as far as there are so many genes and cells.",
            metavar="N [N ...]",
        ),
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What is made small, one or several: {opt.LOSS_NAMES}. Default: nb for raw "
            "counts, gaussian for log-normalised values."
        ),
    ] = None,
    splits: Annotated[
        int, typer.Option(help="How often the data are divided anew, at least 2.")
    ] = 3,
    seeds: Annotated[
        int, typer.Option(help="Networks trained for every size on every split.")
    ] = 1,
    n_hidden: opt.NHidden = 100,
    n_layers: opt.NLayers = 1,
    max_epochs: opt.MaxEpochs = 50,
    batch_size: opt.BatchSize = 128,
    learning_rate: opt.LearningRate = 1e-3,
    schedule: opt.Schedule = "constant_schedule",
    patience: opt.Patience = None,
    min_delta: opt.MinDelta = 0.0,
    validation_fraction: opt.ValidationFraction = 0.0,
    dropout_rate: opt.DropoutRate = 0.0,
    input_noise: opt.InputNoise = 0.0,
    weight_decay: opt.WeightDecay = 0.0,
    variational: opt.Variational = False,
    kl_warmup_epochs: opt.KlWarmupEpochs = 10,
    free_bits: opt.FreeBits = 0.25,
    layer: opt.Layer = None,
    use_raw: opt.UseRaw = False,
    input: opt.InputKind = opt.Input.auto,  # noqa: A002
    random_state: opt.RandomState = 0,
    checkpoint_every: opt.CheckpointEvery = None,
    resume: opt.Resume = False,
    tensorboard: opt.TensorBoardFolder = None,
    mlflow: opt.MLflowExperiment = None,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
    open_page: opt.Open = False,
) -> None:
    """Choose the latent size by how well each predicts what it has not seen.

    Holds out half the molecules of every cell, or a tenth of its log-normalised values,
    trains networks of every --n-latent on the rest, and writes report.html, results.json,
    errors.csv and figures/ to the output folder.
    Ctrl-C finishes the epoch and keeps the state of the trainings there, for --resume.
    """
    load("cellglass.select", "cellglass.report.select_write")
    from cellglass.report.select_write import SELECTION, write_selection

    task = Work(SELECTION, output, checkpoint_every, resume, overwrite, quiet=quiet)
    with exits(task.folder):
        task.check()
        sizes = opt.whole_numbers("--n-latent", n_latent) if n_latent else None
        settings: dict[str, Any] = {
            "n_latent": sizes, "loss": loss or None, "splits": splits, "seeds": seeds,
            "n_hidden": n_hidden, "n_layers": n_layers, "max_epochs": max_epochs,
            "batch_size": batch_size, "learning_rate": learning_rate, "schedule": schedule,
            "patience": patience, "min_delta": min_delta,
            "validation_fraction": validation_fraction, "dropout_rate": dropout_rate,
            "input_noise": input_noise, "weight_decay": weight_decay,
            "variational": variational, "kl_warmup_epochs": kl_warmup_epochs,
            "free_bits": free_bits, "input": input.value, "random_state": random_state,
        }  # fmt: skip
        with opt.loggers(tensorboard, mlflow) as callbacks, bars(quiet) as progress:
            progress("Reading", 0, 1)
            from cellglass.fit import digest
            from cellglass.read import read
            from cellglass.select import select as run

            adata = read(matrix, layer=layer, use_raw=use_raw)
            progress("Reading", 1, 1)

            def make(
                kept: Checkpoints | None, may_be_there: Callable[[], bool]
            ) -> tuple[Selection, Path]:
                selection = run(
                    adata, **settings, callbacks=callbacks, checkpoints=kept, progress=progress
                )
                return selection, write_selection(
                    selection, output, overwrite=overwrite, resume=may_be_there()
                )

            asked = {**settings, "n_latent": sorted(sizes or [])}
            for name, given in (("n_latent", sizes), ("loss", loss)):
                if not given:  # then the data decide
                    del asked[name]
            done = task.do(asked, lambda: digest(adata.X, adata.var_names), make)
    if done is None:
        return
    print_warnings(done[0].preprocessor.warnings)
    if not quiet:
        print_selection(*done)
    if open_page:
        typer.launch(str(done[1].resolve()))
