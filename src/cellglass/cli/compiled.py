"""Keeps compiled programs on disk, so that another run need not compile them again."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

VARIABLE = "CELLGLASS_CACHE"
"""Names the folder for compiled programs; empty: none are kept."""

WORTH_KEEPING = 0.1
"""Seconds of compilation from which a program is kept."""


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles, unless it was told to itself, or nothing can be written.

    They may be deleted at any time.
    """
    folder = cache_folder()
    if folder is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # nothing but time is lost
    if not os.access(folder, os.W_OK):
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def cache_folder() -> Path | None:
    """Give the folder for this kind of processor; a home may be shared by several kinds."""
    chosen = os.environ.get(VARIABLE)
    if chosen == "":
        return None
    try:
        base = Path(chosen) if chosen else _usual_folder() / "cellglass"
    except RuntimeError:  # there is no home
        return None
    return base / f"compiled-{_processor()}"


def _usual_folder() -> Path:
    """Give the platform's folder for what can be made again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"])
    named = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else Path.home() / ".cache"


def _processor() -> str:
    """Tell processors apart that cannot run each other's programs."""
    known = f"{platform.machine()} {platform.processor()}"
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        known += "".join(sorted({line for line in lines if line[:5] in ("flags", "Featu")}))
    return hashlib.sha256(known.encode()).hexdigest()[:12]
