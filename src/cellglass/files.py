"""Opens one file, of text or of an array, and trusts nothing in it."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO, cast

import numpy as np

from cellglass.errors import InputError
from cellglass.matrices import aligned_empty
from cellglass.memory import available_memory, check_fits

# Longest start of an .npy file that is looked at; its header takes about a hundred bytes.
LONGEST_HEADER = 1 << 16


def lines_as_strings(piece: bytes) -> int:
    """Tell at most how many bytes of memory some text takes, kept line by line."""
    return 4 * len(piece) + 64 * piece.count(b"\n")


def refuse_nul(piece: bytes, path: Path) -> None:
    """Refuse text with NUL characters, where parsers written in C stop or crash.

    Raises
    ------
    InputError
        If there is one.
    """
    if b"\0" in piece:
        raise InputError(
            f"{path} holds a NUL character, which no text does. It is damaged, or of another "
            "kind than its name says. Copy or save it again."
        )


class _Counted(io.RawIOBase):
    """A file that is read no further than what has come out of it fits into memory.

    How much a compressed file unpacks to is not known before; so it is counted on the way.
    """

    def __init__(self, file: BinaryIO, name: str, cost: Callable[[bytes], int]) -> None:
        self._file, self._name, self._cost = file, name, cost
        self._limit = available_memory()
        self._taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        self._taken += self._cost(piece)
        check_fits(self._taken, name=self._name, available=self._limit)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_bytes(path: Path, cost: Callable[[bytes], int] = len) -> BinaryIO:
    """Open a file, gzipped or not, whose contents are counted as they are read.

    Parameters
    ----------
    path : pathlib.Path
        Gzipped if its name ends in ``.gz``.
    cost : callable
        Given one piece of the contents after another, without their compression, tells
        how many bytes of memory each will take. It may also refuse one. Default: as many
        as it has.

    Returns
    -------
    file
        Its ``read`` raises :class:`InputError` when all pieces together would take more
        memory than was available when the file was opened.
    """
    is_gzipped = path.name.lower().endswith(".gz")
    file = cast(BinaryIO, gzip.GzipFile(path) if is_gzipped else path.open("rb"))
    return cast(BinaryIO, io.BufferedReader(_Counted(file, str(path), cost), 1 << 18))


def open_text(path: Path, cost: Callable[[bytes], int] = lines_as_strings) -> TextIO:
    """Open text as :func:`open_bytes` does, with or without a byte order mark."""
    return io.TextIOWrapper(open_bytes(path, cost), encoding="utf-8-sig")


def split_line(line: str, separator: str) -> list[str]:
    """Cut one line of a table into its fields."""
    if separator == " ":
        line = line.strip()
    fields = next(csv.reader([line], delimiter=separator, skipinitialspace=separator == " "))
    return [field.strip() for field in fields]


class NpyHeader(NamedTuple):
    """What an array in NumPy's format says of itself.

    Attributes
    ----------
    shape : tuple of int
        As claimed; negative numbers are possible.
    dtype : numpy.dtype
        Type of its values.
    size : int
        Bytes before the values.
    fortran_order : bool
        Whether columns follow each other rather than rows.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    size: int
    fortran_order: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of all values; at least one a value, as some types claim to take none."""
        return math.prod(self.shape) * max(1, self.dtype.itemsize)


def npy_header(file: BinaryIO) -> NpyHeader:
    """Read what comes before the values of an array in NumPy's format.

    Raises
    ------
    ValueError
        If it is damaged, or of a version that only tables need.
    """
    head = io.BytesIO(file.read(LONGEST_HEADER))
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(head)
    if version not in read:
        raise ValueError(f"Its .npy format is of version {version}.")
    shape, fortran_order, dtype = read[version](head)
    return NpyHeader(shape, dtype, head.tell(), fortran_order)


def check_npy(header: NpyHeader, held: int, *, name: str) -> None:
    """Check, before any memory is taken, that an array is what it says.

    Rules: it holds no Python objects; no dimension is negative; as many bytes follow as its
    shape and type of number claim; and these fit into memory, by
    :func:`cellglass.memory.check_fits`.

    Parameters
    ----------
    header : NpyHeader
        What the array says of itself.
    held : int
        Bytes that there are after the header.
    name : str
        What to call the array in the message, such as its file name.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if header.dtype.hasobject:
        raise InputError(
            f"{name} holds pickled Python objects (data type {header.dtype}) and is refused, "
            "because unpickling can run any code; plain numbers (or strings, for "
            "labels) were expected. Load it where you trust it, convert it, for "
            "instance with array.astype('float32'), and save it again with numpy.save."
        )
    claimed = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or claimed > held:
        raise InputError(
            f"{name} says that it holds an array of shape {header.shape} and data type "
            f"{header.dtype}, {claimed:,} bytes, but {held:,} bytes follow. It is damaged, "
            "cut short or made to do harm. Copy or save it again."
        )
    check_fits(header.n_bytes, name=name)


def load_npy(path: Path) -> np.ndarray:
    """Load one array that passes :func:`check_npy`, and never unpickle."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(
                f"{path} is not a NumPy file: its first bytes are not those of the .npy "
                "format. If it is a pickle, load it where you trust it and save the matrix "
                "with numpy.save."
            )
        file.seek(0)
        header = npy_header(file)
        check_npy(header, path.stat().st_size - header.size, name=str(path))
        if header.dtype.kind != "f" or header.fortran_order:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        file.seek(header.size)
        values = aligned_empty(header.shape, header.dtype)
        if file.readinto(values.reshape(-1).view(np.uint8).data) < values.nbytes:
            raise ValueError("The file ends before its last value.")
        return values


def first_line(error: BaseException) -> str:
    """Return what another library says in its first line, as a sentence."""
    lines = str(error).strip().strip("'\"").splitlines()
    text = lines[0].strip() if lines else ""
    return f"{text or type(error).__name__}{'' if text.endswith('.') else '.'}"
