"""Work whose result is an output folder: begun, gone on with, or found to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from cellglass.errors import InputError

if TYPE_CHECKING:
    from cellglass.checkpoint import Checkpoints
    from cellglass.report.folder import OutputFolder

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """What is to be done to an output folder.

    Attributes
    ----------
    kind
        What is written into it.
    output
        The folder.
    checkpoint_every, resume, overwrite
        As on the command line.
    resumable
        Whether trainings that are stopped are kept.
    quiet
        Whether nothing is said of an output that is there already.
    """

    kind: OutputFolder
    output: Path
    checkpoint_every: int | None = None
    resume: bool = False
    overwrite: bool = False
    resumable: bool = True
    quiet: bool = False

    @property
    def folder(self) -> Path:
        """Where the state of trainings is kept."""
        return self.output / self.kind.checkpoints

    def check(self) -> None:
        """Refuse a folder that may not be written to, before the work."""
        self.kind.check(self.output, overwrite=self.overwrite, resume=self.resume)

    def do(
        self,
        settings: Mapping[str, Any],
        sha256: Callable[[], str],
        make: Callable[[Checkpoints | None, Callable[[], bool]], T],
    ) -> T | None:
        """Do what is not done yet.

        Parameters
        ----------
        settings
            What is asked for, to tell a finished output from another.
        sha256
            Gives the checksum of the data, as ``results.json`` has it.
        make
            Does the work and writes it. It gets where trainings are kept, and a function
            that says whether the output folder may be there already because they are.

        Returns
        -------
        object or None
            What `make` gives; None where the output is there, made like this.

        Raises
        ------
        InputError
            If the output is there, made otherwise, and may not be replaced.
        """
        from cellglass.checkpoint import kept_on_failure, make_checkpoints

        resume = self.resume
        if resume and self.kind.is_finished(self.output):
            found = self.kind.difference(self.output, settings, sha256())
            if found is None:
                if not self.quiet:
                    page = self.output / "report.html"
                    typer.echo(f"{page} is there already, made like this.")
                return None
            if not self.overwrite:
                raise InputError(
                    f"The output folder {self.output} holds a finished {self.kind.noun}, but "
                    f"{found}: there is nothing to resume. Give another name to -o, or "
                    "--overwrite to replace it."
                )
            resume = False
        kept = None
        if self.resumable:
            kept = make_checkpoints(self.folder, self.checkpoint_every, resume=resume)
        with kept_on_failure(kept):
            made = make(kept, lambda: resume or self.folder.exists())
        if kept is not None:
            kept.remove()
        return made
