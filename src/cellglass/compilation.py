"""Compiles functions by Numba; importing this module takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for one thread: the same bits on any number of cores.

    Without a branch for divisions by zero, which would keep loops from being vectorised, and
    with sums in any order. What is compiled is kept beside the function's file or in the
    user's cache.
    """
    options: dict[str, Any] = {"fastmath": True, "nogil": True, "error_model": "numpy"}
    quick: Callable[..., Any]
    try:
        quick = njit(cache=True, **options)(function)
    except RuntimeError:  # neither can be written to: every process compiles for itself
        quick = njit(**options)(function)
    return quick
