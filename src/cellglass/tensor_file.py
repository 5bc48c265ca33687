"""One container for tensors and plain data: a ``.safetensors`` file with a checksum."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from cellglass import __version__
from cellglass.errors import InputError

METADATA_KEY = "cellglass"

_BLANK = b"0" * 64
"""Stands in the place of the checksum while the checksum is computed."""

_NOUNS = {"model": "a trained model", "checkpoint": "a checkpoint of a training"}


def pack(
    tensors: Mapping[str, np.ndarray],
    content: Mapping[str, Any],
    *,
    kind: str,
    format_version: int,
) -> bytes:
    """Put tensors and plain data into the bytes of one file.

    Parameters
    ----------
    tensors
        Arrays of numbers of any shape, by name.
    content
        Whatever JSON can hold.
    kind
        What the file is, ``"model"`` or ``"checkpoint"``.
    format_version
        Number of the layout of tensors and content, from 1.

    Returns
    -------
    bytes
        A ``.safetensors`` file. The same input gives the same bytes.
    """
    from safetensors.numpy import save

    # One key only: safetensors writes several in an order that changes from file to file.
    # The checksum comes first, so that it is found as the first of its kind.
    header = {
        "checksum": _BLANK.decode(),
        "kind": kind,
        "format_version": format_version,
        "written_by": f"cellglass {__version__}",
        "content": content,
    }
    ordered = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    data = save(ordered, metadata={METADATA_KEY: json.dumps(header)})
    return data.replace(_BLANK, _digest(data), 1)


def unpack(
    data: bytes, *, name: str, kind: str, format_version: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Get back what :func:`pack` was given.

    No more memory is taken than a small multiple of the file, whatever it claims to hold.
    A model of format 1, the only file that was ever written without a checksum, is read
    as well.

    Parameters
    ----------
    data
        All bytes of the file.
    name
        What to call the file in messages, such as its path.
    kind
        What it is expected to be, ``"model"`` or ``"checkpoint"``.
    format_version
        The newest format of that kind that the caller can read.

    Returns
    -------
    tuple of dict
        Tensors by name, and the content.

    Warns
    -----
    UserWarning
        If it is of format 1.

    Raises
    ------
    InputError
        If the file is empty, no ``.safetensors`` file, cut short, altered in any byte,
        written by another program, of another kind or of a newer format.
    """
    header = _header_of(data, name, kind)
    if "checksum" in header:
        checksum = header["checksum"]
        digits = checksum.encode(errors="replace") if isinstance(checksum, str) else b""
        readable = len(digits) == len(_BLANK) and digits in data
        if not readable or _digest(data, digits) != digits:
            raise InputError(
                f"{name} was altered after it was saved: its checksum does not fit its "
                "content. Copy it again from where it was saved."
            )
    elif "content" in header or header.get("format_version") != 1:
        raise _wrong_shape(name, "the checksum is missing")
    given = header.get("kind", "model")
    if given != kind:
        raise InputError(
            f"{name} holds {_NOUNS.get(str(given), f'something of the kind {given!r}')}, but "
            f"{_NOUNS[kind]} is needed here.{_advice(given, kind)}"
        )
    version = header.get("format_version")
    if type(version) is not int or version < 1:
        raise _wrong_shape(name, f"its format_version is {version!r}")
    if version > format_version:
        raise InputError(
            f"{name} has {kind} format {version}, written by "
            f"{header.get('written_by', 'a newer cellglass')}, but this is cellglass "
            f"{__version__}, which reads {kind} formats up to {format_version}. Install a "
            "newer cellglass to open it."
        )
    if "checksum" in header:
        content = header.get("content")
    else:
        content = {key: value for key, value in header.items() if key != "format_version"}
    if not isinstance(content, dict):
        raise _wrong_shape(name, "the content is missing")
    tensors = _tensors_of(data, name)
    if "checksum" not in header:
        warnings.warn(
            f"{name} is of format 1, which had no checksum: whether it was altered after it "
            "was saved cannot be told. Load it once and save it again.",
            stacklevel=4,
        )
    return tensors, content


def _header_of(data: bytes, name: str, kind: str) -> dict[str, Any]:
    """Read cellglass's own part of the metadata."""
    expected = f"expected {_NOUNS[kind]} that cellglass saved"
    if not data:
        raise InputError(f"{name} is empty; {expected}. Copy it again from where it was saved.")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or data[8:9] != b"{" or length > 100_000_000:
        raise InputError(f"{name} is not a .safetensors file; {expected}.")
    if 8 + length > len(data):
        raise _cut_short(name, 8 + length, len(data))
    try:
        entries = json.loads(data[8 : 8 + length])
        ends = [
            entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"
        ]
        whole = 8 + length + max(ends, default=0)
        cut = whole > len(data)
        metadata = entries.get("__metadata__", {})
        text = metadata.get(METADATA_KEY)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
        raise InputError(
            f"{name} is not a .safetensors file, or its beginning was altered; {expected}. "
            "Copy it again from where it was saved."
        ) from None
    if cut:
        raise _cut_short(name, whole, len(data))
    if text is None:
        raise InputError(
            f"{name} is a .safetensors file, but cellglass did not write it (its metadata "
            f"lack {METADATA_KEY!r}); {expected}."
        )
    try:
        header = json.loads(text)
    except (RecursionError, TypeError, ValueError):
        raise _wrong_shape(name, f"its metadata {METADATA_KEY!r} are not JSON") from None
    if not isinstance(header, dict):
        raise _wrong_shape(name, f"its metadata {METADATA_KEY!r} are no JSON object")
    return header


def _tensors_of(data: bytes, name: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (KeyError, SafetensorError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"The tensors of {name} cannot be read ({error}): it is damaged. Copy it again "
            "from where it was saved."
        ) from None


def _digest(data: bytes, checksum: bytes = _BLANK) -> bytes:
    """SHA-256, in hexadecimal digits, of the file with zeros where the checksum stands.

    That covers every byte: names, types, shapes and values of the tensors, the content,
    and what safetensors writes around them.
    """
    at = data.index(checksum)
    rest = memoryview(data)
    digest = hashlib.sha256(rest[:at])
    digest.update(_BLANK)
    digest.update(rest[at + len(_BLANK) :])
    return digest.hexdigest().encode()


def _cut_short(name: str, whole: int, there: int) -> InputError:
    return InputError(
        f"{name} is cut short: {there:,} bytes are there of at least {whole:,}. Copy it "
        "again from where it was saved."
    )


def _wrong_shape(name: str, what: str) -> InputError:
    return InputError(
        f"{name} says that cellglass wrote it, but {what}: it was altered after it was "
        "saved. Copy it again from where it was saved."
    )


def _advice(given: object, kind: str) -> str:
    if given == "checkpoint" and kind == "model":
        return " Resume the training to its end, and give the model that it saves."
    if given == "model" and kind == "checkpoint":
        return " A model is finished; give the file from the folder of checkpoints."
    return ""
