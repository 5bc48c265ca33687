"""Every check on an option, or on how labels and options fit the matrix."""

from __future__ import annotations

import difflib
import math
import numbers
import re
from collections.abc import Iterable, Sequence

import numpy as np

from cellglass.errors import InputError


def suggest(value: object, choices: Iterable[object]) -> str:
    """Phrase the closest of some names as a question.

    Parameters
    ----------
    value : object
        What was given.
    choices : iterable
        What would have been accepted.

    Returns
    -------
    str
        ``" Did you mean 'nonzero_mse'?"``, with its leading space, or ``""`` when no
        choice is close.
    """
    names = {str(choice).lower(): str(choice) for choice in choices}
    close = difflib.get_close_matches(str(value).lower(), names, n=1, cutoff=0.6)
    return f" Did you mean {names[close[0]]!r}?" if close else ""


# What XML, and so SVG, cannot hold in any form, and HDF5 only in part.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def check_names(names: Iterable[str], *, what: str) -> None:
    """Check that names of classes, cells or genes can be written to every output.

    Rule: any text, but no control character other than tab and line break, and no half of
    a pair of surrogates. Markup, formulas and the like are escaped where they are written.

    Parameters
    ----------
    names : iterable of str
        The names.
    what : str
        What they are, for the message, such as ``"the labels in l.txt"``.

    Raises
    ------
    InputError
        If the rule is broken; the message quotes the first such name and its number,
        counted from 1.
    """
    names = list(map(str, names))
    if not _UNWRITABLE.search("\n".join(names)):
        return
    for number, name in enumerate(names, start=1):
        if found := _UNWRITABLE.search(name):
            shown = ascii(name if len(name) <= 60 else name[:60] + "…")
            raise InputError(
                f"Number {number:,} of {what}, {shown}, holds the character "
                f"{found[0]!a}, which files of tables and pictures cannot hold. Remove it."
            )


def check_labels_length(
    n_labels: int,
    n_cells: int,
    n_genes: int,
    *,
    labels_name: str = "labels",
    matrix_name: str = "the matrix",
    first_label: str | None = None,
) -> None:
    """Check that there is one label for every cell.

    Rule: as many labels as cells. Where there are as many labels as genes instead, the
    message says that the matrix looks transposed; where there is one label too many, it
    says that the first line may be a header.

    Parameters
    ----------
    n_labels, n_cells, n_genes : int
        Number of labels, of rows and of columns.
    labels_name, matrix_name : str
        What to call the two in the message, such as their file names.
    first_label : str, optional
        The first label, quoted where it may be a header; default none.

    Raises
    ------
    InputError
        If the rule is broken.
    """
    if n_labels == n_cells:
        return
    message = (
        f"{labels_name} holds {n_labels:,} label{'s' * (n_labels != 1)}, but {matrix_name} "
        f"holds {n_cells:,} cell{'s' * (n_cells != 1)} (rows) × {n_genes:,} "
        f"gene{'s' * (n_genes != 1)} (columns); there must be exactly one label for every "
        "cell, in the order of the rows."
    )
    quoted = f" ({first_label!r})" if first_label else ""
    header = (
        f" One label too many may mean that the first line{quoted} is a header: remove "
        "that line if it is."
    )
    if n_labels == n_genes:
        message += (
            " There are as many labels as genes, so the matrix looks transposed, genes × "
            "cells: save it as cells × genes, for instance with np.save(path, X.T) or "
            "adata.T.write_h5ad(path)."
        )
        if n_labels == n_cells + 1:
            message += header
    elif n_labels == n_cells + 1:
        message += header
    else:
        message += " Check that both come from the same set of cells, after the same filtering."
    raise InputError(message)


def _is_whole(value: object) -> bool:
    """Whether a value is an integer; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def _shown(value: object) -> object:
    """Turn a NumPy number, whose repr is ``np.float64(0.5)``, into what was written."""
    return value.item() if isinstance(value, np.generic) else value


def check_n_latent(n_latent: int | Sequence[int], n_cells: int, n_genes: int) -> None:
    """Check the sizes of the bottleneck against the matrix.

    Rules: at least one size; each a whole number of at least 1, and no larger than the
    number of genes or the number of cells; none twice.

    Parameters
    ----------
    n_latent : int or sequence of int
        The size, or all sizes, of the latent layer.
    n_cells, n_genes : int
        Rows and columns of the matrix.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if isinstance(n_latent, str) or not isinstance(n_latent, Iterable):
        n_latent = [n_latent]
    sizes = list(n_latent)
    if not sizes:
        raise InputError(
            "n_latent is empty, but at least one size of the latent layer is needed: give "
            "for instance n_latent=10."
        )
    for place, size in enumerate(sizes):
        if not _is_whole(size) or size < 1:
            raise InputError(
                f"n_latent is {_shown(size)!r}, but the size of the latent layer must be a "
                "whole number of at least 1, such as 10."
            )
        for limit, noun in ((n_genes, "genes (columns)"), (n_cells, "cells (rows)")):
            if size > limit:
                raise InputError(
                    f"n_latent is {size}, but the matrix has only {limit:,} {noun}, and "
                    "the latent layer must not be larger than that. Give an n_latent of at "
                    f"most {min(n_genes, n_cells)} ({n_cells:,} cells, {n_genes:,} genes)."
                )
        if size in sizes[:place]:
            raise InputError(
                f"n_latent names {size} twice, but each size is trained once: give each "
                "size only once. To repeat a training, ask for more seeds."
            )


def check_choice(option: str, value: object, choices: Iterable[str]) -> None:
    """Check an option that takes one of a few words.

    Rule: the value is one of the choices, spelt exactly so.

    Parameters
    ----------
    option : str
        Name of the option, as the user writes it.
    value : object
        What was given.
    choices : iterable of str
        What is accepted.

    Raises
    ------
    InputError
        If the rule is broken; the message lists the choices and offers the closest.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        listed = ", ".join(repr(choice) for choice in known)
        raise InputError(
            f"{option} is {value!r}, which is not known.{suggest(value, known)} "
            f"It must be one of {listed}."
        )


def check_key_added(key_added: object) -> None:
    """Check a name under which results are put into an AnnData object.

    Rule: text that an .h5ad file can hold as a name, beyond a leading ``X_`` neither empty
    nor a dot or two, without a slash, and nothing that breaks :func:`check_names`.

    Parameters
    ----------
    key_added : object
        What was given.

    Raises
    ------
    InputError
        If the rule is broken.
    """
    name = key_added.removeprefix("X_") if isinstance(key_added, str) else ""
    if name in ("", ".", "..") or "/" in name:
        raise InputError(
            f"key_added is {key_added!r}, but it must be a name that an .h5ad file can hold: "
            "text without a slash, and more than 'X_' or dots. Give for instance 'X_ae'."
        )
    check_names([name], what="key_added")


def check_range(
    option: str,
    value: object,
    *,
    low: float | None = None,
    high: float | None = None,
    low_inclusive: bool = True,
    high_inclusive: bool = True,
    integer: bool = False,
) -> None:
    """Check an option that takes a number.

    Rules: a real number, no text, no boolean, neither NaN nor infinite; a whole one
    where ``integer`` is set (then 3 is taken and 3.0 is not); within the bounds.

    Parameters
    ----------
    option : str
        Name of the option, as the user writes it.
    value : object
        What was given.
    low, high : float, optional
        Bounds; default none.
    low_inclusive, high_inclusive : bool, default True
        Whether the bound itself is accepted.
    integer : bool, default False
        Whether only whole numbers are accepted.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    bounds = []
    if low is not None:
        bounds.append(f"of at least {low:,}" if low_inclusive else f"greater than {low:,}")
    if high is not None:
        bounds.append(f"at most {high:,.15g}" if high_inclusive else f"less than {high:,.15g}")
    kind = "whole number" if integer else "number"
    expected = f"a {kind}" + (f" {' and '.join(bounds)}" if bounds else "")

    real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    fine = _is_whole(value) or (not integer and real and math.isfinite(value))  # type: ignore[arg-type]
    if fine and low is not None:
        fine = value >= low if low_inclusive else value > low  # type: ignore[operator]
    if fine and high is not None:
        fine = value <= high if high_inclusive else value < high  # type: ignore[operator]
    if not fine:
        raise InputError(f"{option} is {_shown(value)!r}, but it must be {expected}.")


def check_resolution(resolution: float | None, *, method: str, n_clusters: int | None) -> None:
    """Check Leiden's resolution beside what else decides how many clusters there are.

    Rules: above 0; not together with a number of clusters, and not for a consensus, which
    does not use it.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if resolution is None:
        return
    check_range("resolution", resolution, low=0, low_inclusive=False)
    if method == "consensus":
        raise InputError(
            f"resolution is {resolution}, but a consensus is not made by Leiden and does not "
            "use it. Leave it out, name the method leiden, or say how many clusters there are "
            "with n_clusters."
        )
    if n_clusters is not None:
        raise InputError(
            f"n_clusters is {n_clusters} and resolution is {resolution}, but either decides "
            "alone how many clusters there are. Leave one of them out."
        )
