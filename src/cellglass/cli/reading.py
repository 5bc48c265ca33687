"""The cells that a command is given, with the labels that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellglass.cli.heap import give_back_freed_arrays

if TYPE_CHECKING:
    from anndata import AnnData

LARGE_MATRIX = 128 * 2**20
"""Bytes of a matrix, if dense and of 32 bits, from which freed arrays are given back at once:
new pages take time, 7 of 90 seconds of processor time for 5000 × 1000."""


def read_labelled(
    matrix: Path, labels: str | None, *, layer: str | None, use_raw: bool
) -> AnnData:
    """Read a matrix, with labels only where they were asked for."""
    from cellglass.read import read

    adata = read(matrix, labels=labels, layer=layer, use_raw=use_raw)
    if labels is None and "label" in adata.obs:
        del adata.obs["label"]  # no labels were asked for
    if 4 * adata.n_obs * adata.n_vars >= LARGE_MATRIX:
        give_back_freed_arrays()
    return adata


def checksum(adata: AnnData, *names: Sequence[str] | None) -> str:
    """Checksum of data and labels, as ``results.json`` has it.

    Further names that belong to the matrix are those that the work itself counts in.
    """
    from cellglass.fit import digest
    from cellglass.labels import labels_of
    from cellglass.report.summarize import data_and_labels

    labels = labels_of(adata, "label") if "label" in adata.obs else None
    return data_and_labels(digest(adata.X, adata.var_names, *names), labels)
