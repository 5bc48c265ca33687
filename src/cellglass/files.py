"""Opens one file, of text or of an array, and trusts nothing in it."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import TextIO

import numpy as np

from cellglass.errors import InputError


def open_text(path: Path) -> TextIO:
    """Open text, gzipped or not, with or without a byte order mark."""
    if path.name.lower().endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def split_line(line: str, separator: str) -> list[str]:
    """Cut one line of a table into its fields."""
    if separator == " ":
        line = line.strip()
    fields = next(csv.reader([line], delimiter=separator, skipinitialspace=separator == " "))
    return [field.strip() for field in fields]


def load_npy(path: Path) -> np.ndarray:
    """Load one array, and never unpickle."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(
                f"{path} is not a NumPy file: its first bytes are not those of the .npy "
                "format. If it is a pickle, load it where you trust it and save the matrix "
                "with numpy.save."
            )
        file.seek(0)
        try:
            return np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
            raise InputError(
                f"{path} holds pickled Python objects (data type object) and is refused, "
                "because unpickling can run any code; plain numbers (or strings, for "
                "labels) were expected. Load it where you trust it, convert it, for "
                "instance with array.astype('float32'), and save it again with numpy.save."
            ) from error


def first_line(error: BaseException) -> str:
    """Return what another library says in its first line, as a sentence."""
    lines = str(error).strip().strip("'\"").splitlines()
    text = lines[0].strip() if lines else ""
    return f"{text or type(error).__name__}{'' if text.endswith('.') else '.'}"
