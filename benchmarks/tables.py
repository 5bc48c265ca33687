"""Tables that benchmarks make, and where in the pages of ``docs/`` they stand."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def hardware() -> str:
    """Put the machine into words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line for line in info.read_text().splitlines() if "model name" in line]
        name = named[0].partition(":")[2].strip() if named else name
    return f"{os.cpu_count()} cores of {name}, {platform.system()}"


def put_into(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of that name on a page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
