"""The state of a training on disk, from which it can go on as if it had never stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from cellglass.checks import check_checkpointing
from cellglass.errors import InputError
from cellglass.memory import check_fits
from cellglass.outputs import PARTIAL, as_path, write_whole
from cellglass.tensor_file import pack, unpack

if TYPE_CHECKING:
    from cellglass.training_progress import Progress

FORMAT_VERSION = 1
KIND = "checkpoint"
LAST_GOOD = ".last_good.safetensors"
"""End of the name of a model that a failed training leaves; nobody but the user removes it."""

MARK = "unfinished.json"
"""Says that a folder is one of checkpoints, whose work is not done, and what that work is."""


@dataclass
class Checkpoint:
    """One training's file.

    Parameters
    ----------
    path
        The file; its folder is made when it is first written.
    identity
        As plain data all that decides the outcome of the training: it must be the same on
        resuming.
    every
        Write after every so many epochs, and at the end. None: only where the training is
        stopped.
    resume
        Whether to go on from the file if it is there.
    """

    path: Path
    identity: dict[str, Any]
    every: int | None = None
    resume: bool = False
    _latest: Progress | None = field(default=None, repr=False)

    def start(self, fresh: Progress) -> Progress:
        """Progress to begin with: that of the file on resuming, and otherwise `fresh`.

        Raises
        ------
        InputError
            If the file cannot be read or belongs to another training.
        """
        self._latest = self._read(fresh) if self.resume and self.path.is_file() else fresh
        return self._latest

    def note(self, progress: Progress, *, finished: bool) -> None:
        """Take over what stands after an epoch, and write it if it is time."""
        self._latest = progress
        if self.every is not None and (finished or progress.epoch % self.every == 0):
            self.write()

    @property
    def worth_writing(self) -> bool:
        """Whether an epoch has been done."""
        return self._latest is not None and self._latest.epoch > 0

    def write(self) -> None:
        """Write what was last noted; a training without a whole epoch leaves nothing.

        Raises
        ------
        InputError
            If it cannot be written; the file then is as it was.
        """
        if self._latest is None or not self.worth_writing:
            return
        content = {"identity": self.identity, **self._latest.numbers}
        data = pack(_tensors(self._latest), content, kind=KIND, format_version=FORMAT_VERSION)
        write_whole(self.path, data)

    def _read(self, like: Progress) -> Progress:
        try:
            check_fits(self.path.stat().st_size, name=str(self.path))
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"The checkpoint {self.path} cannot be read: {error.strerror or error}. Check "
                "that you may read it, or start anew without --resume."
            ) from error
        tensors, content = unpack(
            data, name=str(self.path), kind=KIND, format_version=FORMAT_VERSION
        )
        check_identity(self.path, content.pop("identity"), self.identity)
        names = _tensors(like)
        if set(tensors) != set(names):
            raise InputError(
                f"{self.path} was written with other versions of Optax or Equinox: it holds "
                "other weights than a training of this version has. Go on with the versions "
                "it was made with, or start anew without --resume."
            )
        leaves = [jnp.asarray(tensors[name]) for name in names]
        arrays = jax.tree.unflatten(jax.tree.structure(like.arrays), leaves)
        return like.restored(arrays, content)


def check_identity(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that work that was begun is the work that is asked for.

    Raises
    ------
    InputError
        If it is not, with all that differs.
    """
    differing = [key for key in now if then.get(key) != now[key]]
    if not differing:
        return
    listed = "; ".join(
        "the data (other values, other genes or another order)"
        if key == "data"
        else "schedule is another function"
        if key == "schedule" and _is_digest(then.get(key)) and _is_digest(now[key])
        else f"{key} was {then.get(key)!r} and is now {now[key]!r}"
        for key in differing
    )
    raise InputError(
        f"{path} belongs to a training that began otherwise, and cannot be resumed like "
        f"this: {listed}. Give the same data and options as then, or --overwrite without "
        "--resume to start anew."
    )


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _tensors(progress: Progress) -> dict[str, np.ndarray]:
    """All arrays of a training by their place in it, in the order of its leaves."""
    places, _ = jax.tree_util.tree_flatten_with_path(progress.arrays)
    return {jax.tree_util.keystr(place): np.asarray(leaf) for place, leaf in places}


@dataclass
class Checkpoints:
    """The files of several trainings in one folder, marked as those of unfinished work.

    Parameters
    ----------
    folder
        Where they go, ``<run>.safetensors``. Files that this class did not write stay.
    every, resume
        As in :class:`Checkpoint`.
    """

    folder: Path
    every: int | None = None
    resume: bool = False
    _all: list[Checkpoint] = field(default_factory=list, repr=False)
    _identity: dict[str, Any] = field(default_factory=dict, repr=False)

    def begin(self, identity: dict[str, Any]) -> None:
        """Start the work, when all that is asked for has been found good.

        What earlier work left is removed unless it is to be resumed, and with ``every`` the
        folder is marked, so that a kill at any later moment can be told from no start.

        Parameters
        ----------
        identity
            As plain data all that was asked for.

        Raises
        ------
        InputError
            If other work than that was begun and is to be resumed.
        """
        self._identity = json.loads(json.dumps(identity))
        if not self.resume:
            self.remove()
        elif is_unfinished(self.folder):
            try:
                then = json.loads((self.folder / MARK).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                then = None
            if not isinstance(then, dict):
                raise InputError(
                    f"{self.folder / MARK}, which says what was begun there, cannot be read or "
                    "was changed. Start anew without --resume, with --overwrite."
                )
            check_identity(self.folder, then, self._identity)
        if self.every is not None:
            self._mark()

    def of(self, run: str, identity: dict[str, Any]) -> Checkpoint:
        """Make the checkpoint of one training."""
        path = self.folder / f"{run}.safetensors"
        self._all.append(Checkpoint(path, identity, self.every, self.resume))
        return self._all[-1]

    def write(self) -> None:
        """Write what every training so far has come to."""
        if any(checkpoint.worth_writing for checkpoint in self._all):
            self._mark()
        for checkpoint in self._all:
            checkpoint.write()

    def remove(self) -> None:
        """Remove what this class wrote, and the folder if nothing else is in it."""
        if not is_unfinished(self.folder):
            return
        for path in [
            *self.folder.glob("*_seed*.safetensors"),
            *self.folder.glob(f".*{PARTIAL}"),
        ]:
            if not path.name.endswith(LAST_GOOD):
                path.unlink(missing_ok=True)
        (self.folder / MARK).unlink()
        with suppress(OSError):  # something else is there
            self.folder.rmdir()

    def _mark(self) -> None:
        write_whole(self.folder / MARK, json.dumps(self._identity, indent=1).encode())


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds the state of unfinished work."""
    try:
        return (folder / MARK).is_file()
    except OSError:  # of a name that is too long, for instance
        return False


def clear_unmarked(folder: Path) -> None:
    """Remove a folder of checkpoints in which nothing was done before a kill.

    That is one without a mark that holds nothing but files half written.
    """
    if not folder.is_dir() or folder.is_symlink() or is_unfinished(folder):
        return
    left = list(folder.iterdir())
    if all(path.suffix == PARTIAL and path.name.startswith(".") for path in left):
        for path in left:
            path.unlink()
        folder.rmdir()


def check_no_link(folder: Path) -> None:
    """Check that the folder of checkpoints beside an output is none that leads elsewhere.

    Raises
    ------
    InputError
        If it is a link.
    """
    if folder.is_symlink():
        raise InputError(
            f"{folder} is a link, but nothing is written outside the place of the output. "
            "Remove the link, or give another name to -o."
        )


@contextmanager
def kept_on_failure(kept: Checkpoints | None) -> Iterator[None]:
    """Write what every training has come to when what follows fails or is stopped.

    Nothing is written where no checkpoints were asked for.
    """
    try:
        yield
    except BaseException:
        if kept is not None:
            kept.write()
        raise


def make_checkpoints(
    folder: str | Path | Checkpoints | None, every: int | None, *, resume: bool
) -> Checkpoints | None:
    """Make what was asked for, if it was.

    Returns
    -------
    Checkpoints or None
        None without a folder.

    Raises
    ------
    InputError
        As :func:`cellglass.checks.check_checkpointing`.
    """
    check_checkpointing(folder, every, resume=resume)
    if folder is None or isinstance(folder, Checkpoints):
        return folder
    return Checkpoints(as_path(folder, "checkpoints"), every, resume)
