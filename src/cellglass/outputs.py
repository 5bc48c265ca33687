"""Output files and folders that appear whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cellglass.errors import InputError

PARTIAL = ".partial"
"""End of the name of a file that is being written."""

LONGEST_NAME = 220
"""Bytes; file systems take 255, and names are lengthened for what is made on the way."""

OLD = "old"
"""Folder within a scratch folder where replaced files wait until all is well."""


def as_path(value: object, name: str) -> Path:
    """Take what was given for a file or a folder as a path.

    Raises
    ------
    InputError
        If it is neither text nor a path.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(
            f"{name} is {value!r}, of type {type(value).__name__}, but a path is needed, as "
            "text or as pathlib.Path."
        )
    return Path(value)


def csv_text(value: str) -> str:
    """Make a text safe as a cell of a CSV file that a spreadsheet opens.

    A spreadsheet computes a cell that begins with ``=``, ``+``, ``-`` or ``@``, and such a
    formula can send data away or start a program. Names of files, classes and genes come
    from elsewhere.

    Parameters
    ----------
    value
        Any text.

    Returns
    -------
    str
        With ``'`` before it, which spreadsheets take as the mark of text, if it begins with
        one of these characters (also their full-width forms, also after blanks), or with a
        tab or a line break; else as it was. A number stays one, whatever its sign.
    """
    try:
        float(value)
    except ValueError:
        risky = value.startswith(("\t", "\r", "\n")) or value.lstrip().startswith(
            tuple("=+-@＝＋－＠")
        )
        return f"'{value}" if risky else value
    return value


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that at any moment either the old content is there or the new.

    The bytes go to a hidden file beside it, reach the disk, and take its name at the end:
    whatever stops the process, be it a kill, a full disk or a power cut, leaves no half
    file under that name. No link is followed: one that is called like either of the two is
    replaced, and what it leads to stays as it is.

    Parameters
    ----------
    path
        File to write or to replace; its folder is made if need be.
    content
        All its bytes.

    Raises
    ------
    InputError
        If it cannot be written; what was there before is unchanged then.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} could not be written: {error.strerror or error}. Nothing that was there "
            "before was changed. Choose a place with room where you may write."
        ) from error
    finally:
        with suppress(OSError):  # where the folder is none, for instance
            partial.unlink(missing_ok=True)


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """Make a hidden folder on the disk where `folder` is or will be, for a while.

    Inside a folder that exists, beside one that does not: a rename cannot cross from one
    disk to another.

    Raises
    ------
    InputError
        If nothing can be written there.
    """
    with _scratch_in(folder if folder.is_dir() else folder.parent, folder) as path:
        yield path


@contextmanager
def _scratch_in(home: Path, folder: Path) -> Iterator[Path]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(
            dir=home, prefix=_scratch_prefix(folder), ignore_cleanup_errors=True
        )
    except OSError as error:
        raise _no_room(folder, error) from error
    with scratch as path:
        yield Path(path)


def _no_room(output: Path, error: OSError) -> InputError:
    return InputError(
        f"The output {output} cannot be made: {error.strerror} in {output.parent}. Choose a "
        "place with room where you may write."
    )


def _scratch_prefix(folder: Path) -> str:
    # A name may be the beginning of another; its checksum is not.
    return f".cellglass-{hashlib.sha256(folder.name.encode()).hexdigest()[:12]}-"


def recover_leftovers(folder: Path) -> None:
    """Clear up after a process that was killed while it wrote to `folder`.

    What it had moved out of the folder and has no successor there is moved back; then its
    hidden folders are removed. Links are nothing that it made, and are left alone.
    """
    prefix = glob.escape(_scratch_prefix(folder))
    for left in _own_folders(folder.glob(f"{prefix}*")):
        for waiting in sorted(_own_folders(left.iterdir()), key=lambda path: path.name != OLD):
            for path in sorted(waiting.rglob("*")):
                target = folder / path.relative_to(waiting)
                if path.is_dir() and not path.is_symlink():
                    target.mkdir(exist_ok=True)
                elif not target.exists() and path.suffix != PARTIAL:
                    path.rename(target)
        shutil.rmtree(left, ignore_errors=True)
    for left in _own_folders(folder.parent.glob(f"{prefix}*")):
        shutil.rmtree(left, ignore_errors=True)


def _own_folders(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.is_dir() and not path.is_symlink())


def check_writable(folder: Path) -> None:
    """Find out before the work, not after it, whether a file or a folder can be made.

    Rules: its name is not too long for what is made beside it, and something can be written
    into the last folder on the way to it that exists.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if len(os.fsencode(folder.name)) > LONGEST_NAME:
        raise InputError(
            f"The output {folder} has a name of {len(os.fsencode(folder.name))} bytes, but at "
            f"most {LONGEST_NAME} can be used. Give a shorter one to -o."
        )
    home = folder
    while not home.exists() and home != home.parent:
        home = home.parent
    try:
        # The folders above the target are made by who writes; here, nothing is left behind.
        with tempfile.TemporaryFile(dir=home if home.is_dir() else folder.parent) as file:
            file.write(b"cellglass")
    except OSError as error:
        raise _no_room(folder, error) from error


def check_output_file(output: Path, *, replace: bool) -> None:
    """Refuse a file that may not be written, before the work.

    Rules: it is no folder; it does not exist yet unless it may be replaced; there is room
    to write.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    check_writable(output)
    if output.is_dir():
        raise InputError(
            f"The output {output} is a folder; expected the name of a file to write."
        )
    if (output.exists() or output.is_symlink()) and not replace:
        raise InputError(
            f"The output {output} already exists, and was not changed. Give another name to "
            "-o, or --overwrite to replace it."
        )


def exchange(
    folder: Path,
    fresh: Path,
    names: Sequence[str],
    scratch: Path,
    *,
    keep: Callable[[Path], bool] = lambda path: False,
) -> None:
    """Put new files and folders in the place of old ones; on any failure, put all back.

    Parameters
    ----------
    folder
        Where the files go; what is not named stays.
    fresh
        Where they were made, on the same disk.
    names
        Of files and folders; one that is not in `fresh` is gone afterwards.
    scratch
        Where the old ones wait.
    keep
        Tells of a file within an old folder whether it moves on into the new one.
    """
    waiting = scratch / OLD
    waiting.mkdir()
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        moved.append((source, target))
        source.rename(target)

    try:
        for name in names:
            old, new = folder / name, fresh / name
            if old.is_dir() and new.is_dir() and not old.is_symlink():
                for path in sorted(old.iterdir()):
                    if keep(path) and not (new / path.name).exists():
                        move(path, new / path.name)
            if old.exists() or old.is_symlink():
                move(old, waiting / name)
            if new.exists():
                move(new, old)
    except BaseException:  # an interrupt by the user as well
        for source, target in reversed(moved):
            if target.exists() and not source.exists():
                target.rename(source)
        raise
