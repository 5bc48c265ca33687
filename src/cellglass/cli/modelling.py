"""The commands that make and use one model: ``train`` and ``transform``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellglass.cli import options as opt
from cellglass.cli.terminal import bars, exits, load, print_warnings
from cellglass.errors import InputError
from cellglass.outputs import check_output_file, check_writable

if TYPE_CHECKING:
    from cellglass.callbacks import Epoch
    from cellglass.settings import ModelSettings
    from cellglass.training_progress import Training

app = typer.Typer()


@app.command()
def train(
    matrix: Annotated[Path, typer.Argument(help=opt.MATRIX)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Model to write, such as model.safetensors.")
    ],
    n_latent: opt.NLatent = 10,
    loss: opt.LossName = "mse",
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
) -> None:
    """Train one model and save it, to be applied to new cells with transform.

    Ctrl-C finishes the epoch and keeps the state of the training beside the output, for
    --resume.
    """
    folder = output.parent / f"{output.name}.checkpoints"
    load("cellglass.fit", "cellglass.read")
    with exits(folder):
        from cellglass.checkpoint import Checkpoints, is_unfinished, kept_on_failure
        from cellglass.checks import check_checkpointing
        from cellglass.fit import digest, fit_model
        from cellglass.genes import collect_gene_ids
        from cellglass.read import read
        from cellglass.settings import ModelSettings

        settings = ModelSettings(
            n_latent=n_latent, loss=loss, n_hidden=n_hidden, n_layers=n_layers,
            max_epochs=max_epochs, batch_size=batch_size, learning_rate=learning_rate,
            schedule=schedule, patience=patience, min_delta=min_delta,
            validation_fraction=validation_fraction, dropout_rate=dropout_rate,
            input_noise=input_noise,
            weight_decay=weight_decay, variational=variational,
            kl_warmup_epochs=kl_warmup_epochs, free_bits=free_bits,
            input=input.value, random_state=random_state,
        )  # fmt: skip
        check_checkpointing(folder, checkpoint_every, resume=resume)
        _check_output(output, folder, overwrite=overwrite, resume=resume)
        adata = read(matrix, layer=layer, use_raw=use_raw)
        ids = collect_gene_ids(adata)
        if resume and output.exists() and not is_unfinished(folder):
            data = digest(adata.X, adata.var_names, ids)
            if _is_the_same(output, settings, data, overwrite=overwrite):
                if not quiet:
                    typer.echo(f"{output} is there already, made like this.")
                return
            resume = False
        kept = Checkpoints(folder, checkpoint_every, resume)
        with (
            opt.loggers(tensorboard, mlflow) as callbacks,
            bars(quiet) as progress,
            kept_on_failure(kept),
        ):

            def show(epoch: Epoch) -> None:
                progress("Training", epoch.epoch, epoch.max_epochs)

            fit = fit_model(
                adata.X, settings, cells=adata.obs_names, genes=adata.var_names,
                gene_ids=ids, name=str(matrix), callbacks=[*callbacks, show], checkpoints=kept,
            )  # fmt: skip
            fit.model.save(output)
        kept.remove()
    print_warnings(fit.warnings)
    if not quiet:
        typer.echo(_account(fit.training, output))


def _check_output(output: Path, folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse a file that a model may not be written to, before the work."""
    from cellglass.checkpoint import check_no_link, clear_unmarked, is_unfinished
    from cellglass.model import check_model_path

    check_model_path(output)
    check_writable(output)
    check_no_link(folder)
    if resume or overwrite:
        clear_unmarked(folder)
    if is_unfinished(folder) and not (overwrite or resume):
        raise InputError(
            f"{folder} holds the state of a training that was stopped. Add --resume to the "
            "same command to go on with it, or --overwrite to start anew."
        )
    check_output_file(output, replace=overwrite or resume)


def _is_the_same(output: Path, settings: ModelSettings, data: str, *, overwrite: bool) -> bool:
    """Whether a finished model is the one that is asked for.

    Raises
    ------
    InputError
        If it is another, which may not be replaced.
    """
    from cellglass.model import load

    model = load(output)
    then = {**model.settings, "loss": model.loss}
    now = settings.to_dict()
    del now["input"]  # which the model knows only by its outcome
    found = [f"{key} was {then.get(key)!r} for it and is now {now[key]!r}" for key in now
             if then.get(key) != now[key]]  # fmt: skip
    if then.get("data") != data:
        found.append("its data were others")
    if settings.input not in ("auto", model.preprocessor.input):
        found.append(f"its data were taken as {model.preprocessor.input!r}")
    if found and not overwrite:
        raise InputError(
            f"{output} is a finished model, but {found[0]}: there is nothing to resume. Give "
            "another name to -o, or --overwrite to replace it."
        )
    return not found


def _account(training: Training, output: Path) -> str:
    """Say what came of a training."""
    n = len(training.loss_train)
    said = f"{n} epoch{'s' * (n != 1)}, training loss {training.loss_train[-1]:.4g}"
    best = training.best_epoch
    if best is not None:
        said += f", held-out loss {training.loss_validation[best - 1]:.4g}"
        if best < n:
            said += f" (weights of epoch {best}, the best)"
    return (
        f"{said}; saved in {output}\n"
        f"Go on with: cellglass transform {output} new.h5ad -o out.h5ad"
    )


@app.command()
def transform(
    model: Annotated[Path, typer.Argument(help="Model that train or compare saved.")],
    matrix: Annotated[Path, typer.Argument(help=opt.MATRIX)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .h5ad (the input with obsm X_ae), .csv (one row a cell) or "
            ".npy (the latent vectors alone).",
        ),
    ],
    layer: opt.Layer = None,
    use_raw: opt.UseRaw = False,
    min_coverage: Annotated[
        float, typer.Option(help="Least share of the model's genes that must be found.")
    ] = 0.8,
    key_added: Annotated[
        str, typer.Option(help="Name of the latent vectors in obsm.")
    ] = "X_ae",
    missing_genes: Annotated[
        Path | None,
        typer.Option(
            help="File for the names of the model's genes that are missing, one a line; also "
            "where too many are.",
            show_default=False,
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
) -> None:
    """Apply a saved model to new cells.

    Genes are matched by name, whatever their order; missing ones are taken as zero, and
    counted. The preprocessing is the model's own, never fitted anew.
    """
    load("cellglass.embed", "cellglass.model")
    with exits():
        from cellglass.embed import embed_file

        account = embed_file(
            model, matrix, output, layer=layer, use_raw=use_raw,
            min_coverage=min_coverage, missing_genes=missing_genes,
            key_added=key_added, overwrite=overwrite,
        )  # fmt: skip
    if not quiet:
        typer.echo(f"{account}\nWritten to {output}")
