"""Reads a table of numbers from text, and finds out how it is laid out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cellglass.errors import InputError
from cellglass.files import first_line, open_text, refuse_nul, split_line

# First fields of a header that say: this column names the cells.
_INDEX_HEADERS = {"", "unnamed: 0", "index", "barcode", "barcodes", "cell", "cells"}
_INDEX_HEADERS |= {"cell_id", "cell id", "cellid", "cell_name", "cell name"}

# What pandas takes as a missing value: no number, but no name either.
_MISSING = {"", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "None", "NULL", "null"}
_MISSING |= {"NaN", "nan", "-NaN", "-nan"}


class Table(NamedTuple):
    """What a table of text holds.

    Attributes
    ----------
    values : numpy.ndarray, shape (n_cells, n_genes)
        The numbers, float64.
    cells, genes : list of str or None
        Their names, where the table has some.
    """

    values: np.ndarray
    cells: list[str] | None
    genes: list[str] | None


def read_table(path: Path) -> Table:
    """Read text, one line a cell.

    How a header and an index are told from numbers is said in :func:`cellglass.read`.

    Raises
    ------
    InputError
        If it is no table of numbers, or does not fit into memory.
    """
    import pandas as pd

    skip, separator, header, has_index = _table_layout(path)
    options: dict[str, Any] = {
        "sep": r"\s+" if separator == " " else separator,
        "header": None,
        "skiprows": skip,
        # By name, a cell called "NA" stays that; as a number it would be missing.
        "converters": {0: str.strip} if has_index else None,
    }
    cost = _table_cost(path, separator)
    with open_text(path, cost) as file:
        n_columns = pd.read_csv(file, nrows=1, **options).shape[1]
    values = range(int(has_index), n_columns)
    genes = header
    if header is not None:
        genes = header[1:] if has_index and len(header) == n_columns else header
        if len(genes) != len(values):
            raise InputError(
                f"The header of {path} names {len(genes):,} genes, but the first row of "
                f"numbers below it has {len(values):,} (with fields separated by "
                f"{separator!r}). Give every column one name; only the first field, above "
                "the names of the cells, may be left out."
            )
    try:
        with open_text(path, cost) as file:
            table = pd.read_csv(
                file,
                dtype=dict.fromkeys(values, np.float64),
                float_precision="round_trip",
                **options,
            )
    except pd.errors.ParserError as error:
        raise InputError(
            f"{path} is not a table: {first_line(error)} Every row must have as many "
            f"fields as the first ({n_columns:,}, separated by {separator!r}). Correct "
            "that line and save the file again."
        ) from error
    except (InputError, UnicodeDecodeError):
        raise
    except ValueError as error:
        _refuse_text(path, values, genes, options)
        raise error
    cells = table[0].tolist() if has_index else None
    if cells is not None and (
        header is None or (len(header) == n_columns and not _names_cells(header))
    ):
        _refuse_mixed_names(path, cells)
    return Table(table.iloc[:, int(has_index) :].to_numpy(), cells, genes)


def _table_cost(path: Path, separator: str) -> Callable[[bytes], int]:
    """Make a function that tells what a piece of a table takes in memory.

    Each field becomes a number of 8 bytes, which is there twice for a moment, once in
    columns and once in rows. A field without an end takes its own length.
    """
    mark = separator.encode()

    def cost(piece: bytes) -> int:
        refuse_nul(piece, path)
        if separator == " ":
            n_fields = len(piece.split())
        else:
            n_fields = piece.count(mark) + piece.count(b"\n")
        return max(len(piece), 16 * n_fields)

    return cost


def _is_number(field: str) -> bool:
    """Whether a field is a number, or a missing one."""
    if field.strip() in _MISSING:
        return True
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # which float() allows, and no table means


def _table_layout(path: Path) -> tuple[int, str, list[str] | None, bool]:
    """Find out how a table is laid out, from its first two rows that are not blank.

    Returns
    -------
    skip : int
        Lines before the first row of numbers.
    separator : str
    header : list of str or None
    has_index : bool
    """
    rows: list[str] = []
    skip = 0
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows.append(line.strip("\r\n"))
                if len(rows) == 1:
                    skip = number
            if len(rows) == 2:
                break
    if not rows:
        raise InputError(
            f"{path} holds no text but blank lines, and a table of numbers was expected, "
            "one line a cell. Save it again."
        )
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    by_suffix = {".csv": ",;\t", ".tsv": "\t,;", ".txt": "\t,; "}[suffix]
    separator = next((mark for mark in by_suffix if mark in rows[0]), by_suffix[0])
    cut = [split_line(row, separator) for row in rows]
    first, second = cut[0], cut[1] if len(cut) == 2 else None

    numeric = [_is_number(field) for field in first]
    names_cells = _names_cells(first)
    header = names_cells or not all(numeric[1:])
    one_short = False
    if second is not None:
        one_short = len(second) == len(first) + 1 and not (
            all(numeric) and all(map(_is_number, second))
        )
        header = header or one_short
    if not header and not numeric[0]:
        rest = first[1:]
        counting = (list(map(str, range(a, a + len(rest)))) for a in (0, 1))
        header = (len(rest) >= 5 and rest in counting) or (
            second is not None and _is_number(second[0])
        )
    if not header:
        return 0, separator, None, not numeric[0]
    if second is None:
        raise InputError(
            f"{path} holds one row that is a header and no row of numbers below it, but "
            "one line a cell was expected. Save it again."
        )
    return skip, separator, first, names_cells or one_short or not _is_number(second[0])


def _names_cells(header: list[str]) -> bool:
    """Whether a header says that the first column names the cells."""
    return len(header) > 1 and header[0].lower() in _INDEX_HEADERS


def _refuse_mixed_names(path: Path, names: list[str]) -> None:
    """Refuse a first column of which only some fields are numbers.

    More likely than names for only some cells is a number that was mistyped, and as an
    index the column would be lost without a word.
    """
    numeric = [name not in _MISSING and _is_number(name) for name in names]
    if any(numeric):
        row, other = numeric.index(False), numeric.index(True)
        raise InputError(
            f"The first column of {path} holds {names[row]!r} for cell {row + 1:,} (row "
            f"{row + 1:,} of the numbers), which is not a number, but {names[other]!r} for "
            f"cell {other + 1:,}, which is. If it is a gene, correct the first; if it "
            "names the cells, call the column 'cell' in a header line."
        )


def _refuse_text(
    path: Path, columns: range, genes: list[str] | None, options: dict[str, Any]
) -> None:
    """Find the first field of a table that is not a number, and raise with its place."""
    import pandas as pd

    with (
        open_text(path) as file,
        pd.read_csv(
            file, dtype=dict.fromkeys(columns, str), chunksize=1000, **options
        ) as chunks,
    ):
        for chunk in chunks:
            fields = chunk.iloc[:, columns.start :]
            numbers = fields.apply(pd.to_numeric, errors="coerce")
            bad = (numbers.isna() & fields.notna()).to_numpy()
            if not bad.any():
                continue
            row, column = (int(place) for place in np.argwhere(bad)[0])
            cell = f", {chunk.iloc[row, 0]!r}" if columns.start else ""
            gene = f", {genes[column]!r}" if genes is not None else ""
            number = int(chunk.index[row]) + 1
            raise InputError(
                f"{path} holds {fields.iloc[row, column]!r} for cell {number:,} (row "
                f"{number:,} of the numbers{cell}) and gene {column + 1:,} (column "
                f"{column + 1:,}{gene}), but a number was expected there, with a point "
                "before decimals and nothing between thousands. Correct the field, or "
                "remove the column if it is no gene."
            )
