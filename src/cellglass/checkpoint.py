"""The state of a training on disk, from which it can go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from cellglass.checks import check_checkpointing
from cellglass.errors import InputError
from cellglass.outputs import write_whole
from cellglass.tensor_file import pack, unpack

if TYPE_CHECKING:
    from cellglass.train import Progress

FORMAT_VERSION = 1
KIND = "checkpoint"


@dataclass
class Checkpoint:
    """One training's file.

    Parameters
    ----------
    path
        The file; its folder is made when it is first written.
    identity
        Gives, as plain data, all that decides the outcome of the training: it must be the
        same on resuming. Called only when the file is written or read.
    every
        Write after every so many epochs, and at the end. None: only where the training is
        stopped.
    resume
        Whether to go on from the file if it is there.
    """

    path: Path
    identity: Callable[[], dict[str, Any]]
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

    def write(self) -> None:
        """Write what was last noted; a training without a whole epoch leaves nothing.

        Raises
        ------
        InputError
            If it cannot be written; the file then is as it was.
        """
        if self._latest is None or self._latest.epoch == 0:
            return
        content = {"identity": self.identity(), **self._latest.numbers}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {self.path.parent} for checkpoints cannot be made: "
                f"{error.strerror}. Choose a place where you may write."
            ) from error
        data = pack(_tensors(self._latest), content, kind=KIND, format_version=FORMAT_VERSION)
        write_whole(self.path, data)

    def _read(self, like: Progress) -> Progress:
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(
                f"The checkpoint {self.path} cannot be read: {error.strerror or error}. Check "
                "that you may read it, or start anew without --resume."
            ) from error
        tensors, content = unpack(
            data, name=str(self.path), kind=KIND, format_version=FORMAT_VERSION
        )
        self._check_identity(content.pop("identity"))
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

    def _check_identity(self, then: dict[str, Any]) -> None:
        now = self.identity()
        differing = [key for key in now if then.get(key) != now[key]]
        if not differing:
            return
        listed = "; ".join(
            "the data (other values, other genes or another order)"
            if key == "data"
            else f"{key} was {then.get(key)!r} and is now {now[key]!r}"
            for key in differing
        )
        raise InputError(
            f"{self.path} belongs to a training that began otherwise, and cannot be resumed "
            f"like this: {listed}. Give the same data and options as then, or start anew "
            "without --resume."
        )


def _tensors(progress: Progress) -> dict[str, np.ndarray]:
    """All arrays of a training by their place in it, in the order of its leaves."""
    places, _ = jax.tree_util.tree_flatten_with_path(progress.arrays)
    return {
        jax.tree_util.keystr(place, simple=True, separator="."): np.asarray(leaf)
        for place, leaf in places
    }


@dataclass
class Checkpoints:
    """The files of several trainings in one folder.

    Parameters
    ----------
    folder
        Where they go, ``<run>.safetensors``.
    every, resume
        As in :class:`Checkpoint`.
    """

    folder: Path
    every: int | None = None
    resume: bool = False
    _all: list[Checkpoint] = field(default_factory=list, repr=False)

    def of(self, run: str, identity: Callable[[], dict[str, Any]]) -> Checkpoint:
        """Make the checkpoint of one training."""
        path = self.folder / f"{run}.safetensors"
        self._all.append(Checkpoint(path, identity, self.every, self.resume))
        return self._all[-1]

    def write(self) -> None:
        """Write what every training so far has come to."""
        for checkpoint in self._all:
            checkpoint.write()


def make_checkpoints(
    folder: str | Path | None, every: int | None, *, resume: bool
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
    return None if folder is None else Checkpoints(Path(folder), every, resume)
