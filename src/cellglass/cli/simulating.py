"""The command that simulates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellglass.cli import options as opt
from cellglass.cli.terminal import exits, load

app = typer.Typer()


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
    random_state: opt.RandomState = 0,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
) -> None:
    """Simulate cells of known groups.

    Draws negative-binomial counts with group-specific genes, library sizes and dropout,
    and writes counts.npy (log-normalised), labels.txt and truth.h5ad.
    """
    load("cellglass.simulate")
    from cellglass.simulate import check_simulation_folder, write_simulation
    from cellglass.simulate import simulate as draw

    with exits():
        check_simulation_folder(output, overwrite=overwrite)
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
