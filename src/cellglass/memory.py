"""Refuses, before anything is read, what would not fit into this machine's memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cellglass.errors import InputError

# Where Linux says how much a container may take, which is often less than there is.
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")

FOR_FILES = (
    "If it is meant to be that large, use a machine with more memory, a sparse format, or "
    "fewer cells or genes; if not, it is damaged or made to do harm: do not open it."
)


def available_memory() -> int:
    """Tell how many bytes can be taken now without swapping.

    Returns
    -------
    int
        What the system says is available; in a container, at most what it may take.
    """
    import psutil

    available = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no container, or one that may take all ("max")
        available = min(available, int(CONTAINER_LIMIT.read_text(encoding="ascii")))
    return available


def check_fits(
    n_bytes: int, *, name: str, available: int | None = None, remedy: str = FOR_FILES
) -> None:
    """Check that what something would take fits into the memory that is available.

    Rule: at most what is available. A few bytes of a file can claim, or unpack to,
    any size, and a process that takes more memory than there is is killed without a word.

    Parameters
    ----------
    n_bytes : int
        What it would take, or has taken so far.
    name : str
        What to call it in the message, such as its file name.
    available : int, optional
        What was available before the first of it was taken. Default:
        :func:`available_memory`.
    remedy : str, optional
        What to do about it. Default: what helps with files.

    Raises
    ------
    InputError
        If the rule is broken.
    """
    if available is None:
        available = available_memory()
    if n_bytes > available:
        raise InputError(
            f"{name} would take at least {_readable(n_bytes)} of memory, more than the "
            f"{_readable(available)} that are available. {remedy}"
        )


def _readable(n_bytes: int) -> str:
    """Write a number of bytes with the unit that suits its size."""
    for unit, size in (("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if n_bytes >= size:
            # Whole numbers, since claims can be larger than any float.
            return f"{n_bytes // size:,}.{n_bytes % size * 10 // size} {unit}"
    return f"{n_bytes:,} bytes"
