"""The cells that a command is given, with the labels that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData


def read_labelled(
    matrix: Path, labels: str | None, *, layer: str | None, use_raw: bool
) -> AnnData:
    """Read a matrix, with labels only where they were asked for."""
    from cellglass.read import read

    adata = read(matrix, labels=labels, layer=layer, use_raw=use_raw)
    if labels is None and "label" in adata.obs:
        del adata.obs["label"]  # no labels were asked for
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
