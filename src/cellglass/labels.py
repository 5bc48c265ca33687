"""Reads the known class of every cell, from a file or a column."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellglass.checks import check_labels_length, check_names, suggest
from cellglass.errors import InputError
from cellglass.files import first_line, load_npy, open_text, split_line
from cellglass.memory import check_fits

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

DEFAULT_COLUMN = "label"
"""Column of ``obs`` that is taken where none is named."""
MANY_CLASSES = 50
"""Up to this many classes, nothing is said against classes of one cell."""


def read_labels(
    adata: AnnData, labels: str | os.PathLike[str], matrix: Path
) -> pd.Categorical[str]:
    """Read one label for every cell.

    Parameters
    ----------
    adata
        The cells, shape (n_cells, n_genes).
    labels
        Name of a column of ``obs``, which goes first, or a file: text with one label a
        line, or ``.npy`` with one array of strings or numbers.
    matrix
        Where the cells were read from, for messages.

    Returns
    -------
    pandas.Categorical
        Length n_cells, unordered; strings, the categories in natural order ("2" before
        "10"). Whole numbers written as 1.0 become "1".

    Raises
    ------
    InputError
        If the labels are found neither in ``obs`` nor as a file, one is missing or blank,
        or they fail :func:`cellglass.checks.check_labels_length` or
        :func:`cellglass.checks.check_names`.
    """
    if isinstance(labels, str) and labels in adata.obs:
        name = f"The column {labels!r} of obs in {matrix}"
        found = _labels_in_column(adata, labels, name)
    elif Path(labels).is_file():
        name = str(labels)
        found = _labels_in_file(Path(labels))
        check_labels_length(
            len(found),
            adata.n_obs,
            adata.n_vars,
            labels_name=name,
            matrix_name=str(matrix),
            first_label=found[0] if found else None,
        )
    else:
        columns = list(map(str, adata.obs.columns))
        listed = ", ".join(map(repr, columns)) or "none"
        parent = Path(labels).parent
        files = [p.name for p in parent.iterdir() if p.is_file()] if parent.is_dir() else []
        close = suggest(labels, columns) or suggest(Path(labels).name, files)
        raise InputError(
            f"The labels {str(labels)!r} were found neither as a file nor as a column of "
            f"obs in {matrix} (its columns: {listed}).{close} Give a text file with one "
            "label a line, or the name of such a column."
        )
    return _as_categorical(found, name)


def labels_of(adata: AnnData, column: str) -> pd.Categorical[str]:
    """Take labels from a column of ``obs``, by the rules of :func:`read_labels`.

    Raises
    ------
    InputError
        If there is no such column, a label in it is missing, or one fails
        :func:`cellglass.checks.check_names`.
    """
    if not isinstance(column, str):
        raise InputError(
            f"labels is a {type(column).__name__}, but the name of a column of obs is needed. "
            "Put the labels there first: adata.obs['label'] = labels."
        )
    if column not in adata.obs:
        columns = list(map(str, adata.obs.columns))
        close = suggest(column, columns)
        raise InputError(
            f"labels={column!r} is not a column of obs (its columns: "
            f"{', '.join(map(repr, columns)) or 'none'}).{close} Give the name "
            "of a column with one label for every cell."
        )
    name = f"The column {column!r} of obs"
    return _as_categorical(_labels_in_column(adata, column, name), name)


def known_classes(
    adata: AnnData, labels: str | Literal[False] | None
) -> tuple[pd.Categorical[str] | None, dict[str, str]]:
    """Take the labels that scores are held against, and the names of all that was read.

    Parameters
    ----------
    adata
        The cells.
    labels
        Column of ``obs``. None: the column ``label`` if there is one, else no labels. False:
        no labels.

    Raises
    ------
    InputError
        As :func:`labels_of`; if nobody asked for the column, it says how to do without.
    """
    from cellglass.read import SOURCE_KEY

    source = dict(adata.uns.get(SOURCE_KEY, {}))
    if labels is False or (labels is None and DEFAULT_COLUMN not in adata.obs):
        source.pop("labels", None)
        return None, source
    if labels is not None:
        source["labels"] = labels
        return labels_of(adata, labels), source
    source.setdefault("labels", DEFAULT_COLUMN)
    try:
        return labels_of(adata, DEFAULT_COLUMN), source
    except InputError as error:
        raise InputError(f"{error} Or do without labels: labels=False.") from error


def _as_categorical(found: list[str], name: str) -> pd.Categorical[str]:
    import pandas as pd

    check_names(found, what=f"the labels ({name})")
    found = _plain_whole_numbers(found)
    names = sorted(set(found), key=_natural_key(found))
    if len(names) > max(MANY_CLASSES, len(found) / 2):
        raise InputError(
            f"There are {len(names):,} different labels for {len(found):,} cells (such "
            f"as {names[0]!r} and {names[-1]!r}), so they look like names of cells; "
            "expected classes of several cells each. Give another column or file."
        )
    return pd.Categorical(found, categories=names)


def _labels_in_column(adata: AnnData, column: str, name: str) -> list[str]:
    """Return a column as strings; every cell must have a value that is not blank."""
    values = adata.obs[column]
    text = [str(value).strip() for value in values]
    missing = np.flatnonzero(values.isna().to_numpy() | np.array([not t for t in text]))
    if missing.size:
        first = int(missing[0])
        raise InputError(
            f"{name} has no label for {missing.size:,} of {len(values):,} cells, the "
            f"first being cell {first + 1:,} (row {first + 1:,}, "
            f"{adata.obs_names[first]!r}), but every cell needs one. Remove these cells, "
            "or name their group, for instance 'unknown'."
        )
    return text


def _labels_in_file(path: Path) -> list[str]:
    """Return one string for each line, or for each entry of an array."""
    if path.name.lower().endswith(".npy"):
        return _labels_in_npy(path)
    try:
        with open_text(path) as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8: byte {error.start + 1:,} of it cannot be read, "
            "but one label a line was expected. Save it again as UTF-8 text."
        ) from error
    except (OSError, EOFError) as error:
        raise InputError(
            f"The labels in {path} could not be read: {first_line(error)} Copy or save "
            "the file again."
        ) from error
    while lines and not lines[-1]:
        lines.pop()
    found = []
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    is_table = kind in (".csv", ".tsv")
    separator = "\t" if kind == ".tsv" else ","
    for number, line in enumerate(lines, start=1):
        fields = split_line(line, separator) if is_table and line else [line]
        if len(fields) > 1:
            raise InputError(
                f"Line {number:,} of {path}, {line!r}, has {len(fields)} columns, but the "
                "labels must be the only column, one label a line. Save that column by "
                "itself, or put a label that holds a comma in double quotes."
            )
        label = fields[0]
        if len(label) > 1 and label[0] == label[-1] == '"':
            label = label[1:-1].strip()
        if not label or label.lower() in ("nan", "<na>"):
            what = f"is {label!r}, a missing value" if label else "is blank"
            raise InputError(
                f"Line {number:,} of {path} {what}, but every line must hold the label of "
                "one cell. Fill it in, for instance with 'unknown', or remove the cell "
                "from the matrix and the line from the labels."
            )
        found.append(label)
    return found


def _labels_in_npy(path: Path) -> list[str]:
    """Return the entries of an array as strings."""
    if path.stat().st_size == 0:
        return []
    try:
        array = load_npy(path)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(
            f"The labels in {path} could not be read: {first_line(error)} Copy or save "
            "the file again."
        ) from error
    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim != 1 or array.dtype.kind not in "buifUS":
        raise InputError(
            f"{path} holds an array of shape {array.shape} and data type {array.dtype}, "
            "but the labels must be one row of strings or of numbers, one for each cell. "
            "Save them as such."
        )
    check_fits(64 * array.size, name=f"{path}, as text,")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    found = [str(value).strip() for value in array]
    missing = [place for place, label in enumerate(found) if label in ("", "nan")]
    if missing:
        raise InputError(
            f"{path} holds no label for {len(missing):,} of {len(found):,} cells, the "
            f"first being cell {missing[0] + 1:,} (entry {missing[0] + 1:,}), but every "
            "cell needs one. Fill them in, for instance with a number of their own."
        )
    return found


def _as_number(label: str) -> float | None:
    """Return a label's value where it is a finite number."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in label else None


def _plain_whole_numbers(labels: list[str]) -> list[str]:
    """Write "1.0" as "1" where all labels are whole numbers; "007" stays as it is."""
    values = [_as_number(label) for label in labels]
    if any(value is None or value != math.floor(value) for value in values):
        return labels
    return [
        label if re.fullmatch(r"[+-]?\d+", label) else str(int(float(label)))
        for label in labels
    ]


def _natural_key(labels: Sequence[str]) -> Callable[[str], tuple[Any, ...]]:
    """Return a sort key: numbers by size if all are, else text with numbers by size."""
    if all(_as_number(label) is not None for label in labels):
        return lambda label: (float(label), label)

    def key(label: str) -> tuple[Any, ...]:
        parts = re.split(r"([0-9]+)", label)
        parts[::2] = [text.lower() for text in parts[::2]]
        runs = [int(part) if i % 2 else part for i, part in enumerate(parts)]
        return (runs, label)

    return key
