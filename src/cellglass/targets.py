"""Writes results into AnnData objects, and checks before any work that they may be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass.checks import check_key_added
from cellglass.errors import InputError
from cellglass.slots import check_anndata, keys_of_models

if TYPE_CHECKING:
    from anndata import AnnData


def check_target(adata: AnnData, key_added: str, *, copy: bool) -> None:
    """Check, before any work, that results can be written into the object."""
    check_anndata(adata)
    check_key_added(key_added)
    if adata.isbacked and adata.is_view and not copy:
        raise InputError(
            "adata is a view of an object that is backed by a file, and nothing can be set in "
            "such a view. Read its part of the file first: adata = adata.to_memory()."
        )


def check_key_is_free(adata: AnnData, key: str, key_added: str) -> None:
    """Check that ``uns`` has nothing of that name but an earlier model of the same key."""
    if key not in adata.uns:
        return
    there = f"key_added is {key_added!r}, so the model goes to adata.uns[{key!r}]"
    if key not in keys_of_models(adata):
        raise InputError(
            f"{there}, which holds something else already that would be lost. Give another "
            f"name, such as {key_added + '_2'!r}."
        )
    then = adata.uns[key].get("params", {}).get("key_added", key_added)
    if then != key_added:
        raise InputError(
            f"{there}, which holds the model of adata.obsm[{then!r}]: the two names differ "
            f"only in 'X_'. Give {then!r} to replace it, or another name."
        )


def check_own(
    adata: AnnData, slot: str, key_added: str, *, made_by: str, also: Sequence[str] = ()
) -> None:
    """Check that there is nothing of a name but what the same function put there before.

    `also` are further names in the slot that come with it.
    """
    there = [(s, key_added) for s in (slot, "uns") if key_added in getattr(adata, s)]
    there += [(slot, name) for name in also if name in getattr(adata, slot)]
    entry = adata.uns.get(key_added)
    if there and not (isinstance(entry, Mapping) and entry.get("made_by") == made_by):
        place, name = there[0]
        raise would_be_lost(key_added, f"adata.{place}[{name!r}]", made_by=made_by)


def would_be_lost(key_added: str, name: str, *, made_by: str) -> InputError:
    """Say that a result would replace what its function did not make."""
    return InputError(
        f"key_added is {key_added!r}, but there is an {name} that "
        f"cg.tl.{made_by} did not make, and it would be lost. Give another name."
    )


def check_same_genes(adata: AnnData) -> None:
    """Check that what is predicted of the genes of ``raw`` can be a layer."""
    if adata.raw is not None and not np.array_equal(adata.raw.var_names, adata.var_names):
        raise InputError(
            f"use_raw is True, but the {adata.raw.n_vars:,} genes of adata.raw are not the "
            f"{adata.n_vars:,} of adata in the same order, and the reconstruction would be a "
            "layer, which must have those. Work on an object of its own: "
            "raw = adata.raw.to_adata()."
        )


def write_slots(adata: AnnData, *, copy: bool, **slots: Mapping[str, Any]) -> AnnData | None:
    """Set results, all of them at the end, in the object or in a copy of it.

    What is None is removed.
    """
    from anndata import ImplicitModificationWarning

    target = adata
    if copy:
        target = adata.to_memory() if adata.isbacked else adata.copy()
    with warnings.catch_warnings():
        # A view becomes an object of its own, which is what the caller was told.
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        for slot, values in slots.items():
            for name, value in values.items():
                if value is None:
                    del getattr(target, slot)[name]
                else:
                    getattr(target, slot)[name] = value
    return target if copy else None
