"""A saved model and a file of new cells give a file of latent vectors."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_key_added, suggest
from cellglass.errors import InputError, MissingGenesError
from cellglass.files import first_line
from cellglass.genes import MOST_NAMES, GeneMatch
from cellglass.new_cells import new_cells
from cellglass.outputs import check_output_file, csv_text, scratch_beside, write_whole

if TYPE_CHECKING:
    from anndata import AnnData

    from cellglass.model import Model


SPARE_BYTES = 1 << 20
"""Room for what HDF5 and AnnData write beside the latent vectors."""


@dataclass(frozen=True)
class Embedding:
    """Latent vectors and what they are of.

    Attributes
    ----------
    source
        The file of the cells.
    adata
        Its content.
    key
        Name of the latent vectors in ``obsm``.
    Z
        Latent vectors, shape (n_cells, n_latent), float32.
    about
        What is kept beside them in ``uns``, as plain data.
    """

    source: Path
    adata: AnnData
    key: str
    Z: np.ndarray
    about: dict[str, Any]


def embed_file(
    model_path: Path,
    matrix: Path,
    output: Path,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    min_coverage: float = 0.8,
    key_added: str = "X_ae",
    missing_genes: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Apply a saved model to the cells of a file and write what comes out.

    An ``.h5ad`` is read and encoded in runs of cells, so that it may be larger than the
    memory.

    Parameters
    ----------
    model_path
        A model that was saved.
    matrix
        New cells, in any format of :func:`cellglass.read.read`, of the kind the model was
        trained on (raw counts or log-normalised values).
    output
        File to write. ``.h5ad``: all of the input (for an ``.h5ad``), or its names (for
        other formats), with ``obsm[key_added]``; ``.csv``: one row a cell, its name and
        latent vector; ``.npy``: the latent vectors alone.
    layer
        Layer of an ``.h5ad`` that is taken in place of its ``X``.
    use_raw
        Whether its ``raw`` is, with its own genes.
    min_coverage
        Least share of the model's genes that must be found, in [0, 1].
    key_added
        Name of the latent vectors.
    missing_genes
        File for the names of the model's genes that the cells lack, one a line, written even
        where there are too many of them. Default: none.
    overwrite
        Whether `output` and `missing_genes` may be replaced.

    Returns
    -------
    str
        One paragraph on what was found.

    Raises
    ------
    InputError
        If a file cannot be read or written, or the genes do not match; no output is written
        then.
    """
    from cellglass.model import load

    write = _find_writer(output)
    _check_output(output, [matrix, model_path], overwrite=overwrite)
    if missing_genes is not None:
        _check_output(missing_genes, [matrix, model_path, output], overwrite=overwrite)
    check_key_added(key_added)
    model = load(model_path)
    adata = _open(matrix, layer, use_raw)
    try:
        if key_added in adata.obsm and output.suffix.lower() == ".h5ad":
            raise InputError(
                f"{matrix} has obsm[{key_added!r}] already, and it is kept. Give another name "
                "to --key-added."
            )
        match = _match(model, adata, use_raw, min_coverage, missing_genes)
        new = new_cells(adata, model.genes, layer=layer, use_raw=use_raw, match=lambda _: match)
        Z = model.encode(new)
        about = {
            "model": model_path.name,
            "loss": model.loss,
            "n_genes_found": match.n_found,
            "n_genes_missing": len(match.missing),
        }
        write(output, Embedding(matrix, adata, key_added, Z, about))
    except (OSError, KeyError, TypeError) as error:
        # A damaged file makes each of the libraries beneath fail in its own way.
        raise InputError(
            f"{matrix} could not be read, or {output} not be written: {first_line(error)} "
            "Check that there is room, and save the cells again with a current AnnData."
        ) from error
    finally:
        adata.file.close()
    cells = f"{len(Z):,} cell{'s' * (len(Z) != 1)}"
    return f"{cells}, {Z.shape[1]} latent dimensions. {match.describe()}"


def _match(
    model: Model, adata: AnnData, use_raw: bool, min_coverage: float, missing_genes: Path | None
) -> GeneMatch:
    """Find the model's genes, and write down which are missing if that was asked for."""

    def write_down(missing: Sequence[str]) -> None:
        if missing_genes is not None:
            write_whole(missing_genes, "".join(f"{name}\n" for name in missing).encode())

    try:
        match = model.match(adata, use_raw=use_raw, min_coverage=min_coverage)
    except MissingGenesError as error:
        write_down(error.missing)
        if missing_genes is not None or len(error.missing) <= MOST_NAMES:
            raise
        said = f"{error} To have all their names, give a file to --missing-genes."
        raise MissingGenesError(said, error.missing) from None
    write_down(match.missing)
    return match


def _open(matrix: Path, layer: str | None, use_raw: bool) -> AnnData:
    """Open an .h5ad without reading its matrix; read anything else."""
    from cellglass.read import open_h5ad, read

    if matrix.name.lower().endswith(".h5ad"):
        return open_h5ad(matrix)
    if layer is not None or use_raw:
        asked = "raw was asked for" if layer is None else f"layer is {layer!r}"
        raise InputError(
            f"{asked}, but {matrix} is no .h5ad file and has only one matrix. Leave the option "
            "out."
        )
    return read(matrix, least_cells=1)


def _check_output(output: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    for path in inputs:
        if path == output or (output.exists() and path.exists() and output.samefile(path)):
            raise InputError(
                f"The output {output} is {path} itself, and was not changed. Give another name."
            )
    check_output_file(output, replace=overwrite)


# --- one function a format -----------------------------------------------------------


def _write_h5ad(output: Path, embedding: Embedding) -> None:
    """Write the input with the latent vectors added.

    An .h5ad is copied as a whole and added to, so that nothing in it is lost or changed by
    being read and written.
    """
    import anndata
    import h5py
    from anndata.io import write_elem

    key, about = embedding.key, embedding.about
    with scratch_beside(output) as scratch:
        made = scratch / "out.h5ad"
        _check_room(output, scratch, embedding)
        if embedding.source.name.lower().endswith(".h5ad"):
            shutil.copyfile(embedding.source, made)
        else:
            obs, var = embedding.adata.obs, embedding.adata.var
            anndata.AnnData(X=embedding.adata.X, obs=obs, var=var).write_h5ad(made)
        with h5py.File(made, "r+") as file:
            for group, name, value in (
                ("obsm", key, embedding.Z),
                ("uns", f"{key.removeprefix('X_')}_transform", about),
            ):
                if group not in file:
                    write_elem(file, group, {})
                write_elem(file[group], name, value)
        output.parent.mkdir(parents=True, exist_ok=True)
        made.replace(output)


def _check_room(output: Path, scratch: Path, embedding: Embedding) -> None:
    """Check that there is room on the disk, which HDF5 does not survive to be without."""
    source, X = embedding.source, embedding.adata.X
    size = source.stat().st_size
    if not source.name.lower().endswith(".h5ad"):
        size = (
            sum(part.nbytes for part in (X.data, X.indices)) if sparse.issparse(X) else X.nbytes
        )
    needed, free = size + embedding.Z.nbytes + SPARE_BYTES, shutil.disk_usage(scratch).free
    if free < needed:
        raise InputError(
            f"{output} could not be written: {needed:,} bytes are needed, and {free:,} are "
            "free. Choose a place with room."
        )


def _write_csv(output: Path, embedding: Embedding) -> None:
    """Write one row a cell: its name and its latent vector."""
    import pandas as pd

    name = embedding.key.removeprefix("X_")
    cells = [csv_text(str(cell)) for cell in embedding.adata.obs_names]
    table = pd.DataFrame(
        embedding.Z,
        index=pd.Index(cells, name="cell"),
        columns=[csv_text(f"{name}_{i}") for i in range(1, embedding.Z.shape[1] + 1)],
    )
    write_whole(output, table.to_csv(lineterminator="\n").encode())


def _write_npy(output: Path, embedding: Embedding) -> None:
    """Write the latent vectors alone."""
    content = io.BytesIO()
    np.save(content, embedding.Z, allow_pickle=False)
    write_whole(output, content.getvalue())


WRITERS: dict[str, Callable[[Path, Embedding], None]] = {
    ".h5ad": _write_h5ad,
    ".csv": _write_csv,
    ".npy": _write_npy,
}
"""End of the output's name → what writes it."""


def _find_writer(output: Path) -> Callable[[Path, Embedding], None]:
    if output.suffix.lower() not in WRITERS:
        raise InputError(
            f"The output {output} ends in {output.suffix or 'nothing'!r}, but latent vectors "
            f"are written as {', '.join(WRITERS)}.{suggest(output.suffix, WRITERS)} Give such "
            "a name to -o."
        )
    return WRITERS[output.suffix.lower()]
