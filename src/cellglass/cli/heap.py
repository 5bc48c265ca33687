"""Lets go of the memory of large arrays as soon as they are freed."""

from __future__ import annotations

import ctypes
import os
import platform

# Of <malloc.h>.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

LARGE = 4 * 2**20
"""Bytes from which an array has pages of its own."""


def give_back_freed_arrays() -> None:
    """Let the C library return the memory of large arrays to the system.

    That of GNU raises its threshold for this to the size of the largest array freed so far,
    up to 32 MiB; what smaller ones leave behind then stays with the process. A threshold that
    is set stays as it is. One that the environment sets is left alone, and so are other C
    libraries: nothing but memory depends on it.
    """
    told = "MALLOC_MMAP_THRESHOLD_" in os.environ or "GLIBC_TUNABLES" in os.environ
    if told or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(M_MMAP_THRESHOLD, LARGE)
    library.mallopt(M_TRIM_THRESHOLD, LARGE)
