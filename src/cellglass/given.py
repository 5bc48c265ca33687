"""Brings what is passed from Python, a matrix or one or several values, to one form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_array
from cellglass.errors import InputError
from cellglass.matrices import to_csr

if TYPE_CHECKING:
    from anndata import AnnData


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Take one value, or several, as several; text is one value."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        return (value,)
    return tuple(value)


def as_anndata(data: Any) -> AnnData:
    """Take a matrix of cells × genes, however it is given, as AnnData.

    Parameters
    ----------
    data
        AnnData, which is handed back as it is, or read into memory if it is backed by a file;
        a data frame; an array or a sparse matrix,
        shape (n_cells, n_genes).

    Raises
    ------
    InputError
        If it is no matrix of numbers.
    """
    from anndata import AnnData

    if isinstance(data, AnnData):
        return data.to_memory() if data.isbacked else data
    if isinstance(data, str | Path):
        raise InputError(
            f"data is {str(data)!r}, a path or a text, but a matrix is needed. Read the file "
            "first: cellglass.read(path)."
        )
    if type(data).__name__ == "DataFrame":
        return AnnData(data)
    X = data if sparse.issparse(data) else np.asanyarray(data)
    check_array(X, name="the matrix")
    return AnnData(to_csr(X) if sparse.issparse(X) else np.asarray(X))
