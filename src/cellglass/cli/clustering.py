"""The command that finds clusters: ``cluster``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellglass.cli import options as opt
from cellglass.cli.reading import checksum, read_labelled
from cellglass.cli.terminal import bars, exits, load, print_clustering, print_warnings
from cellglass.cli.work import Work

if TYPE_CHECKING:
    from cellglass.checkpoint import Checkpoints
    from cellglass.cluster import Clustering

app = typer.Typer()


class Method(StrEnum):
    """How clusters are found."""

    consensus = "consensus"
    leiden = "leiden"
    kmeans = "kmeans"
    gaussian_mixture = "gaussian_mixture"
    idec = "idec"


@app.command()
def cluster(
    matrix: Annotated[Path, typer.Argument(help=opt.MATRIX)],
    labels: Annotated[
        str | None,
        typer.Option(
            help="Known classes, for scores only: a text file with one label a line, or a "
            "column of obs.",
            show_default=False,
        ),
    ] = None,
    output: opt.Output = Path("clusters"),
    method: Annotated[
        Method,
        typer.Option(
            help="consensus averages several networks and PCA; leiden, kmeans and "
            "gaussian_mixture use one; idec trains one together with its clusters."
        ),
    ] = Method.consensus,
    n_clusters: Annotated[
        int | None,
        typer.Option(
            help="How many. Default: as many as lie farthest apart, up to the finest that "
            "subsamples find again; for leiden the finest.",
            show_default=False,
        ),
    ] = None,
    n_top_genes: Annotated[
        int, typer.Option(help="Genes of largest variance that networks see; 0: all.", min=0)
    ] = 2000,
    seeds: Annotated[int, typer.Option(help="Networks for a consensus.")] = 5,
    resolution: Annotated[
        float | None,
        typer.Option(
            help="Of Leiden, in place of the finest stable one; kmeans, gaussian_mixture and "
            "idec then find as many clusters.",
            show_default=False,
        ),
    ] = None,
    n_neighbors: Annotated[
        int,
        typer.Option(
            help="Nearest neighbours of every cell in Leiden's graph, and the most that it "
            "hears in a consensus."
        ),
    ] = 15,
    n_latent: Annotated[
        int | None,
        typer.Option(
            help="Dimensions of the bottleneck. Default: 20, but one for every 20 cells at "
            "most.",
            show_default=False,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help=f"What is made small: {opt.LOSS_NAMES}. Default: nb for raw counts, mse "
            "for log-normalised values.",
            show_default=False,
        ),
    ] = None,
    gamma: Annotated[float, typer.Option(help="Weight of the clustering loss of idec.")] = 0.1,
    n_hidden: opt.NHidden = 100,
    n_layers: opt.NLayers = 1,
    max_epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training cells. Default: as many as make 2,000 steps, but 50 "
            "at least and 400 at most.",
            show_default=False,
        ),
    ] = None,
    batch_size: opt.BatchSize = 128,
    learning_rate: opt.LearningRate = 1e-3,
    schedule: opt.Schedule = "constant_schedule",
    patience: opt.Patience = None,
    min_delta: opt.MinDelta = 0.0,
    validation_fraction: opt.ValidationFraction = 0.1,
    dropout_rate: opt.DropoutRate = 0.0,
    input_noise: opt.InputNoise = 0.0,
    weight_decay: opt.WeightDecay = 0.0,
    variational: Annotated[
        bool | None,
        typer.Option(
            "--variational/--no-variational",
            help="Draw latent vectors from a distribution by cell. Default: for losses on raw "
            "counts.",
            show_default=False,
        ),
    ] = None,
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
    """Find the clusters of cells, and say how sure each cell's place is.

    Trains networks and writes report.html, results.json, clusters.csv, markers.csv (where
    genes have names), embedding.h5ad and figures/ to the output folder.
    Ctrl-C finishes the epoch and keeps the state of the trainings there, for --resume.
    """
    load("cellglass.cluster", "cellglass.report.cluster_write")
    from cellglass.report.cluster_write import CLUSTERING, write_clustering

    task = Work(CLUSTERING, output, checkpoint_every, resume, overwrite, quiet=quiet)
    with exits(task.folder):
        task.check()
        settings: dict[str, Any] = {
            "method": method.value, "n_clusters": n_clusters,
            "n_top_genes": n_top_genes if n_top_genes else None, "seeds": seeds,
            "resolution": resolution, "n_neighbors": n_neighbors, "n_latent": n_latent,
            "loss": loss, "gamma": gamma, "n_hidden": n_hidden, "n_layers": n_layers,
            "max_epochs": max_epochs, "batch_size": batch_size,
            "learning_rate": learning_rate, "schedule": schedule, "patience": patience,
            "min_delta": min_delta, "validation_fraction": validation_fraction,
            "dropout_rate": dropout_rate, "input_noise": input_noise,
            "weight_decay": weight_decay, "variational": variational,
            "kl_warmup_epochs": kl_warmup_epochs, "free_bits": free_bits,
            "input": input.value, "random_state": random_state,
        }  # fmt: skip
        with opt.loggers(tensorboard, mlflow) as callbacks, bars(quiet) as progress:
            progress("Reading", 0, 1)
            from cellglass.cluster import cluster as run

            adata = read_labelled(matrix, labels, layer=layer, use_raw=use_raw)
            progress("Reading", 1, 1)

            def make(
                kept: Checkpoints | None, may_be_there: Callable[[], bool]
            ) -> tuple[Clustering, Path]:
                found = run(
                    adata, **settings, callbacks=callbacks, checkpoints=kept, progress=progress
                )
                return found, write_clustering(
                    found, output, overwrite=overwrite, resume=may_be_there()
                )

            asked = {**settings, "loss": [loss]}
            for name in ("loss", "n_latent", "max_epochs", "variational"):
                if settings[name] is None:  # then the data decide
                    del asked[name]
            done = task.do(asked, lambda: checksum(adata), make)
    if done is None:
        return
    print_warnings(done[0].warnings)
    if not quiet:
        print_clustering(*done)
    if open_page:
        typer.launch(str(done[1].resolve()))
