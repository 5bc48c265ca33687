"""Looks through an HDF5 file for what would reach beyond it or not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass.errors import InputError
from cellglass.memory import available_memory, check_fits

if TYPE_CHECKING:
    import h5py

# What one Python string takes beside its characters, and what a name of a cell or gene does.
OBJECT_BYTES = 64

# Texts that are read at once while their lengths are added up.
TEXTS_AT_ONCE = 64

REMEDY = (
    "If it is meant to be that large, use a machine with more memory, or fewer cells or "
    'genes; a trained model takes it as anndata.read_h5ad(path, backed="r"), run by run. If '
    "it is not, it is damaged or made to do harm: do not open it."
)


def check_hdf5(path: Path, *, left_there: Sequence[str] = ()) -> None:
    """Check a file in HDF5 before a library that follows and believes it reads it.

    Rules: everything in it lies in the file itself, under one name, and fits into memory.
    So there are no links to other files and no data that other files hold (external or
    virtual datasets), which could be any file of the user's; no soft links, and no object
    with two names, which a few bytes can multiply without end. What the shapes of all
    datasets claim is added up, also of those that are stored in next to nothing, and what
    texts of any length really take.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    left_there : sequence of str
        Names, such as ``"/X"``, of groups or datasets that will not be read as a whole and
        need not fit. Default: none.

    Raises
    ------
    InputError
        If a rule is broken.
    OSError
        If it is no HDF5 file.
    """
    import h5py

    available = available_memory()
    needed = 0
    with h5py.File(path, "r") as file:
        for place, item in _walk(file, path):
            values = isinstance(item, h5py.Dataset) and not place.endswith("/indptr")
            if values and any(f"{place}/".startswith(f"{name}/") for name in left_there):
                continue
            needed += _claim(item)
            check_fits(needed, name=str(path), available=available, remedy=REMEDY)
            if isinstance(item, h5py.Dataset):
                for length in _text_lengths(item, available, path.stat().st_size):
                    needed += length
                    check_fits(needed, name=str(path), available=available, remedy=REMEDY)


def _walk(file: h5py.File, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every group and dataset with its name, and refuse links."""
    import h5py

    seen = {h5py.h5o.get_info(file.id).addr}
    waiting: list[tuple[str, Any]] = [("", file)]
    while waiting:
        place, item = waiting.pop()
        yield place, item
        if not isinstance(item, h5py.Group):
            if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise _reaches_out(path, place, "takes its values from other files")
            continue
        for key in item:
            name = f"{place}/{key}"
            link = item.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise _reaches_out(path, name, f"is a link to the file {link.filename!r}")
            if not isinstance(link, h5py.HardLink):
                raise _reaches_out(path, name, "is a soft link")
            child = item[key]
            address = h5py.h5o.get_info(child.id).addr
            if address in seen:
                raise _reaches_out(path, name, "is a second name of what stands elsewhere")
            seen.add(address)
            waiting.append((name, child))


def _reaches_out(path: Path, place: str, what: str) -> InputError:
    return InputError(
        f"{path} holds {place!r}, which {what}, and is refused: all that is read must lie in "
        "the file itself, once, since a link can lead to any other file of yours. If you "
        "trust it, open it with anndata or h5py and save the matrix as a new .h5ad."
    )


def _claim(item: Any) -> int:
    """Tell what the shapes of a group or dataset and of its attributes claim, in bytes."""
    import h5py

    claim = 0
    for key in item.attrs:
        attribute = item.attrs.get_id(key)
        claim += _array_bytes(attribute.shape, attribute.dtype)
    # Every row and column of a sparse matrix gets a name, however empty it is.
    for key in {"shape", "h5sparse_shape"} & set(item.attrs):
        lengths = np.atleast_1d(item.attrs[key])
        if lengths.dtype.kind in "iu":
            claim += sum(OBJECT_BYTES * max(0, int(length)) for length in lengths)
    if isinstance(item, h5py.Dataset):
        chunk = item.chunks or ()  # which is unpacked as a whole
        claim += max(_array_bytes(part, item.dtype) for part in (item.shape, chunk))
    return claim


def _array_bytes(shape: tuple[int, ...] | None, dtype: np.dtype) -> int:
    """Tell what an array of a shape takes, with Python objects; of no shape, nothing."""
    if shape is None:
        return 0
    return math.prod(shape) * (OBJECT_BYTES if dtype.hasobject else dtype.itemsize)


def _text_lengths(dataset: h5py.Dataset, available: int, file_size: int) -> Iterator[int]:
    """Yield the lengths of texts of any length, some at a time, if they could be too long.

    All of them may refer to one and the same long text, stored once.
    """
    if not dataset.dtype.hasobject or not dataset.shape or not dataset.size:
        return
    if dataset.size * file_size <= available:
        return
    width = math.prod(dataset.shape[1:])
    step = max(1, TEXTS_AT_ONCE // max(1, width))
    for start in range(0, dataset.shape[0], step):
        values = np.ravel(dataset[start : start + step])
        yield sum(len(v) if isinstance(v, bytes) else getattr(v, "nbytes", 0) for v in values)
