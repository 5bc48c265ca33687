"""The commands that compare: ``compare`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellglass.cli import options as opt
from cellglass.cli.reading import checksum, read_labelled
from cellglass.cli.terminal import bars, exits, print_closing_table, print_warnings
from cellglass.cli.terminal import load as load_modules
from cellglass.cli.work import Work

if TYPE_CHECKING:
    from concurrent.futures import Future

    from anndata import AnnData

    from cellglass.checkpoint import Checkpoints
    from cellglass.compare import Comparison
    from cellglass.evaluate import Evaluation
    from cellglass.project import Maps
    from cellglass.report.figures import RunFigures
    from cellglass.report.panels import Drawing

app = typer.Typer()


@app.command(cls=opt.ListCommand)
def compare(
    matrix: Annotated[Path, typer.Argument(help=opt.MATRIX)],
    output: opt.Output,
    labels: Annotated[
        str | None,
        typer.Option(help="Known classes: a text file, one a line, or a column of obs."),
    ] = None,
    n_latent: opt.NLatents = ["10", "50"],  # noqa: B006
    loss: opt.LossNames = ["mse", "nonzero_mse"],  # noqa: B006
    seeds: opt.Seeds = 1,
    n_hidden: opt.NHidden = 100,
    n_layers: opt.NLayers = 1,
    max_epochs: opt.MaxEpochs = 50,
    batch_size: opt.BatchSize = 128,
    learning_rate: opt.LearningRate = 1e-3,
    schedule: opt.Schedule = "constant_schedule",
    patience: opt.Patience = None,
    min_delta: opt.MinDelta = 0.0,
    validation_fraction: opt.ValidationFraction = 0.1,
    dropout_rate: opt.DropoutRate = 0.0,
    input_noise: opt.InputNoise = 0.0,
    weight_decay: opt.WeightDecay = 0.0,
    variational: opt.Variational = False,
    kl_warmup_epochs: opt.KlWarmupEpochs = 10,
    free_bits: opt.FreeBits = 0.25,
    n_clusters: opt.NClusters = None,
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
    """Compare latent sizes and losses beside PCA, on one page.

    Trains an autoencoder for every pair of --n-latent and --loss and writes report.html,
    results.json, metrics.csv, scores.csv, figures/, embedding.h5ad and models/ to the output
    folder.
    Ctrl-C finishes the epoch and keeps the state of the trainings there, for --resume.
    """
    with exits():
        settings = {
            "n_latent": opt.whole_numbers("--n-latent", n_latent), "loss": loss,
            "seeds": seeds, "n_hidden": n_hidden, "n_layers": n_layers,
            "max_epochs": max_epochs, "batch_size": batch_size,
            "learning_rate": learning_rate, "schedule": schedule, "patience": patience,
            "min_delta": min_delta, "validation_fraction": validation_fraction,
            "dropout_rate": dropout_rate, "input_noise": input_noise,
            "weight_decay": weight_decay, "variational": variational,
            "kl_warmup_epochs": kl_warmup_epochs, "free_bits": free_bits,
            "n_clusters": n_clusters, "input": input.value, "random_state": random_state,
        }  # fmt: skip

    _compare(
        lambda: read_labelled(matrix, labels, layer=layer, use_raw=use_raw),
        output, settings, checkpoint_every=checkpoint_every, resume=resume,
        tensorboard=tensorboard, mlflow=mlflow, overwrite=overwrite, quiet=quiet,
        open_page=open_page,
    )  # fmt: skip


@app.command()
def demo(
    output: opt.Output = Path("report"),
    simulated: Annotated[
        bool,
        typer.Option("--simulated", help="Use simulated data: 5,000 cells × 1,000 genes."),
    ] = False,
    random_state: opt.RandomState = 0,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
    open_page: opt.Open = False,
) -> None:
    """Run the main job on data that need no download.

    700 blood cells with 765 genes that come with scanpy (pbmc68k_reduced, log-normalised;
    Zheng et al. 2017), or simulated ones.
    """
    _compare(
        (lambda: _simulated(random_state)) if simulated else _blood_cells,
        output, {"random_state": random_state}, resumable=False,
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
    settings: dict[str, Any],
    *,
    tensorboard: Path | None = None,
    mlflow: str | None = None,
    quiet: bool,
    open_page: bool,
    **work: Any,
) -> None:
    """Check, read, compare, write, and say what came out."""
    load_modules("cellglass.compare", "cellglass.report.write")
    from cellglass.report.write import REPORT

    task = Work(REPORT, output, quiet=quiet, **work)
    with exits(task.folder):
        task.check()
        with opt.loggers(tensorboard, mlflow) as callbacks, bars(quiet) as progress:
            progress("Reading", 0, 1)
            adata = load()
            progress("Reading", 1, 1)

            from cellglass.compare import compare as run
            from cellglass.genes import collect_gene_ids
            from cellglass.report.write import write_report
            from cellglass.workers import workers

            def make(
                kept: Checkpoints | None, may_be_there: Callable[[], bool]
            ) -> tuple[Comparison, Path]:
                drawn: dict[str, Future[list[Drawing]]] = {}
                figures: RunFigures | None = None

                def draw_early(judged: Evaluation, original: Maps, labels: Any) -> None:
                    from cellglass.report.figures import RunFigures

                    for drawing in drawn.values():
                        if drawing.done():
                            drawing.result()  # raises what made it fail
                    nonlocal figures
                    figures = figures or RunFigures(original, labels)
                    drawn[judged.name] = one.submit(list, figures.of(judged))

                with workers(1) as one:  # one, since matplotlib keeps its style for all
                    comparison = run(
                        adata, **settings, callbacks=callbacks, checkpoints=kept,
                        on_run=draw_early, progress=progress,
                    )  # fmt: skip
                return comparison, write_report(
                    comparison, output, overwrite=task.overwrite, resume=may_be_there(),
                    drawn={name: drawing.result() for name, drawing in drawn.items()},
                    progress=progress,
                )  # fmt: skip

            done = task.do(settings, lambda: checksum(adata, collect_gene_ids(adata)), make)
    if done is None:
        return
    print_warnings(done[0].warnings)
    if not quiet:
        print_closing_table(*done)
    if open_page:
        typer.launch(str(done[1].resolve()))
