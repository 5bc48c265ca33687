"""What every peer prints: one line of JSON. Standard library alone, for any environment."""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import version


def answer(seconds: dict[str, float], packages: Sequence[str], **more: object) -> None:
    """Print seconds by what they were spent on, and versions."""
    versions = {"python": platform.python_version()}
    versions |= {package: version(package) for package in packages}
    sys.stdout.write(json.dumps({"seconds": seconds, "versions": versions, **more}) + "\n")


def epoch_seconds(times: Sequence[float]) -> dict[str, float]:
    """Tell the first epoch, which may compile or allocate, from the median of the others."""
    return {"first_epoch": times[0], "epoch": statistics.median(times[1:])}
