"""Ctrl-C that waits for a good moment."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back; a second one interrupts at once, as ever.

    Only in the main thread, which alone may change how signals are handled, and only where
    nobody else has changed it: elsewhere Ctrl-C does what it did before. Whoever uses this
    must ask, and raise :class:`KeyboardInterrupt` when it is time.

    Yields
    ------
    callable
        Tells whether Ctrl-C was pressed.
    """
    pressed = False
    usual = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()
        or usual is not signal.default_int_handler
    ):
        yield lambda: False
        return

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, usual)
        sys.stderr.write("\nStopping after this epoch; Ctrl-C again stops at once.\n")

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed:  # after the last time that anyone asked
        raise KeyboardInterrupt
