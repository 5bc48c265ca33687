"""Finds what is asked for in an AnnData object, or says what there is instead."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from cellglass.checks import check_array, check_matrix, suggest
from cellglass.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData, Raw


class Slot(NamedTuple):
    """A matrix of an AnnData object and where it stands.

    Attributes
    ----------
    X
        The matrix, shape (n_cells, n_genes), as it is stored: perhaps on the disk.
    owner
        What names its genes: the object, or its ``raw``.
    name
        What to call it, such as ``adata.layers['counts']``.
    """

    X: Any
    owner: AnnData | Raw
    name: str


def check_anndata(adata: Any) -> None:
    """Check that something is an AnnData object with cells and genes in it.

    Raises
    ------
    InputError
        If it is not; the message says what to do with what was given instead.
    """
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        if isinstance(adata, str | os.PathLike):
            remedy = f"Read the file first: adata = cg.read({str(adata)!r})."
        elif hasattr(adata, "shape"):
            remedy = (
                "For a matrix there is cg.Autoencoder, with fit and transform; or wrap it: "
                "adata = anndata.AnnData(X)."
            )
        else:
            remedy = "Make one with cg.read(path) or anndata.AnnData(X)."
        kind = type(adata).__name__
        raise InputError(f"adata is of type {kind}, but an AnnData object is needed. {remedy}")
    if 0 in adata.shape:
        raise InputError(
            f"adata holds {adata.n_obs:,} cells and {adata.n_vars:,} genes, so there is "
            "nothing to work on. Check the step that made it: a filter may have removed "
            "everything."
        )


def read_matrix(adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> Slot:
    """Take the matrix that is asked for, into memory, and check all its values.

    Parameters
    ----------
    adata
        Cells × genes; may be a view, or backed by a file, whose matrix is read into memory.
    layer, use_raw
        Which matrix: that layer, or ``raw.X``; by default ``X``.

    Raises
    ------
    InputError
        If it is not there, or fails :func:`cellglass.checks.check_matrix`. The message
        names the matrices of the object that would do.
    """
    slot = find_matrix(adata, layer=layer, use_raw=use_raw)
    try:
        return _checked(slot, adata)
    except InputError as error:
        others = list(_usable(adata, besides=slot.name))
        if not others:
            raise
        raise InputError(f"{error} In this object, {'; '.join(others)}.") from None


def find_matrix(adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> Slot:
    """Take the matrix that is asked for, as it is.

    Raises
    ------
    InputError
        If it is not there.
    """
    if layer is not None and use_raw:
        raise InputError(
            f"layer is {layer!r} and use_raw is True, but only one matrix can be taken. Leave "
            "one of them out."
        )
    if use_raw:
        raw = raw_of(adata)
        return Slot(raw.X, raw, "adata.raw.X")
    if layer is not None:
        if layer not in adata.layers:
            layers = list(adata.layers)
            there = f"the layers there are: {', '.join(map(repr, layers))}"
            raise InputError(
                f"layer is {layer!r}, but adata.layers has none of that name; "
                f"{there if layers else 'there are no layers'}.{suggest(layer, layers)} Name "
                "one that is there, or leave layer out to take adata.X."
            )
        return Slot(adata.layers[layer], adata, f"adata.layers[{layer!r}]")
    if _has_no_x(adata):
        others = [how for _, how in _places(adata)]
        remedy = f"To take another, {' or '.join(others)}" if others else "Set it first"
        raise InputError(f"adata.X is None: this object has no main matrix. {remedy}.")
    return Slot(adata.X, adata, "adata.X")


def raw_of(adata: AnnData) -> Raw:
    """``adata.raw``, or an error where there is none."""
    if adata.raw is None:
        raise InputError(
            "use_raw is True, but adata.raw is None. Leave it out to take adata.X"
            f"{_or_a_layer(adata)}."
        )
    return adata.raw


def find_representation(adata: AnnData, use_rep: str) -> np.ndarray:
    """Take a representation of the cells out of ``obsm``.

    Returns
    -------
    numpy.ndarray
        Shape (n_cells, n_dimensions), finite.

    Raises
    ------
    InputError
        If it is not there, or is no matrix of finite numbers.
    """
    there = list(map(str, adata.obsm))
    if not isinstance(use_rep, str) or use_rep not in there:
        made_by = {"X_ae": "cg.tl.autoencoder(adata)", "X_pca": "sc.pp.pca(adata)"}
        remedy = f"Make it with {made_by[use_rep]}" if use_rep in made_by else ""
        if there:
            name = f"name one that is there: {', '.join(map(repr, there))}"
            remedy = f"{remedy}, or {name}" if remedy else f"{name[0].upper()}{name[1:]}"
        else:
            remedy = remedy or "Make one with cg.tl.autoencoder(adata)"
        raise InputError(f"adata.obsm has no {use_rep!r}.{suggest(use_rep, there)} {remedy}.")
    values, name = adata.obsm[use_rep], f"adata.obsm[{use_rep!r}]"
    X = values.toarray() if sparse.issparse(values) else np.asarray(values)
    check_array(X, name=name)
    bad = np.argwhere(~np.isfinite(X))
    if bad.size:
        cell, dimension = bad[0].tolist()
        many = "value that is" if len(bad) == 1 else "values that are"
        raise InputError(
            f"{name} holds {len(bad):,} {many} missing or infinite, the first at "
            f"cell {cell + 1:,} ({adata.obs_names[cell]!r}), dimension {dimension + 1:,}, but "
            "every value must be a finite number. Make it anew."
        )
    return X


def keys_of_models(adata: AnnData) -> list[str]:
    """Name the entries of ``uns`` that hold a model of this package."""
    return [
        str(key)
        for key, entry in adata.uns.items()
        if isinstance(entry, Mapping)
        and isinstance(entry.get("model"), np.ndarray)  # elsewhere it is a file's name
    ]


def _has_no_x(adata: AnnData) -> bool:
    """Whether there is no main matrix; a file that lacks it fails only where it is read."""
    if not adata.isbacked:
        return adata.X is None
    if not adata.file.is_open:
        adata.file.open()
    return "X" not in adata.file


def _in_memory(X: Any) -> Any:
    """Read a matrix that is backed by a file."""
    import h5py

    if isinstance(X, h5py.Dataset):
        return X[()]
    return X.to_memory() if hasattr(X, "to_memory") else X


def _checked(slot: Slot, adata: AnnData) -> Slot:
    slot = slot._replace(X=_in_memory(slot.X))
    check_matrix(
        slot.X, name=slot.name, cell_names=list(adata.obs_names),
        gene_names=list(slot.owner.var_names),
    )  # fmt: skip
    return slot


def _places(adata: AnnData) -> Iterator[tuple[Slot, str]]:
    """Yield all matrices, each with what to do to get it."""
    if not _has_no_x(adata):
        yield find_matrix(adata), "leave layer and use_raw out"
    for layer in adata.layers:
        yield find_matrix(adata, layer=layer), f"give layer={layer!r}"
    if adata.raw is not None:
        yield find_matrix(adata, use_raw=True), "give use_raw=True"


def _usable(adata: AnnData, *, besides: str) -> Iterator[str]:
    for slot, how in _places(adata):
        if slot.name == besides:
            continue
        try:
            _checked(slot, adata)
        except InputError:
            continue
        yield f"{slot.name} would do: {how}"


def _or_a_layer(adata: AnnData) -> str:
    layers = list(adata.layers)
    return f", or give one of the layers: {', '.join(map(repr, layers))}" if layers else ""
