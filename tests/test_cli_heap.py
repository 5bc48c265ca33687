"""Memory of freed arrays goes back to the system."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HELD_AFTER_FREEING = """
import numpy as np
from cellglass.cli.heap import give_back_freed_arrays

MIB = 2**20

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * {page} / MIB

give_back_freed_arrays()
large = np.ones(31 * MIB, np.uint8)
del large  # from here on, arrays below 31 MiB share pages, if nothing is set
before = resident()
pairs = [(np.ones(8 * MIB, np.uint8), np.ones(MIB, np.uint8)) for _ in range(20)]
assert resident() - before > 175
small = [small for _, small in pairs]  # in between
del pairs
print(resident() - before - 20)
"""

glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries do as they do"
)


def held_after_freeing(**environment: str) -> float:
    """MiB that a process still holds of 160 that it has freed."""
    without_settings = {
        name: value
        for name, value in os.environ.items()
        if name != "GLIBC_TUNABLES" and not name.startswith("MALLOC_")
    }
    code = HELD_AFTER_FREEING.format(page=os.sysconf("SC_PAGE_SIZE"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**without_settings, **environment},
    )  # fmt: skip
    return float(done.stdout)


@glibc
def test_freed_arrays_are_returned() -> None:
    assert held_after_freeing() < 20


@glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "33554432"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=33554432"),
    ],
)
def test_a_threshold_that_the_environment_sets_stays(name: str, value: str) -> None:
    assert held_after_freeing(**{name: value}) > 150


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from cellglass.cli import heap

    monkeypatch.setattr(heap.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda *_: pytest.fail("a library was asked"))
    heap.give_back_freed_arrays()


@pytest.mark.parametrize("least", [0, 1])
def test_large_matrices_alone_have_it_done(
    least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellglass.cli import reading

    calls: list[bool] = []
    monkeypatch.setattr(reading, "give_back_freed_arrays", lambda: calls.append(True))
    monkeypatch.setattr(reading, "LARGE_MATRIX", 4 * 30 * 7 + least)
    np.save(tmp_path / "cells.npy", np.arange(210, dtype=np.float32).reshape(30, 7) / 9)
    reading.read_labelled(tmp_path / "cells.npy", None, layer=None, use_raw=False)
    assert len(calls) == 1 - least
