"""Lets go of the memory of large arrays as soon as they are freed."""

from __future__ import annotations

import ctypes
import os
import platform

M_MMAP_THRESHOLD = -3
"""Of <malloc.h>."""
LARGE = 4 * 2**20
"""Bytes from which an array has pages of its own."""


def give_back_freed_arrays() -> None:
    """Let the C library return the memory of large arrays to the system.

    That of GNU raises its threshold for this to the size of the largest array freed so far,
    up to 32 MiB; what smaller ones leave behind then stays with the process. A threshold that
    is set stays as it is. Where the environment says how to allocate, it is left alone, and so
    are other C libraries: nothing but memory depends on it.
    """
    told = any(name.startswith("MALLOC_") for name in os.environ)
    told = told or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if not told and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
