"""An output folder: what may be replaced, and how a whole one takes its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellglass.checkpoint import check_no_link, clear_unmarked, is_unfinished
from cellglass.errors import InputError
from cellglass.outputs import (
    check_writable,
    exchange,
    recover_leftovers,
    scratch_beside,
)

if TYPE_CHECKING:
    from cellglass.report.panels import Drawing


def write_results(summary: Mapping[str, Any], folder: Path) -> None:
    """Write ``results.json``."""
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")


def write_figures(drawings: Iterable[Drawing], folder: Path) -> list[Drawing]:
    """Write every figure as PNG and SVG into ``figures/``, as it is drawn; give all back."""
    figures = folder / "figures"
    figures.mkdir()
    written = []
    for drawing in drawings:
        (figures / f"{drawing.name}.png").write_bytes(drawing.png)
        (figures / f"{drawing.name}.svg").write_bytes(drawing.svg)
        written.append(drawing)
    return written


@dataclass(frozen=True)
class OutputFolder:
    """What one command writes into its folder.

    Attributes
    ----------
    noun
        What the whole is called in messages.
    content
        Names of the files and folders in it, ``results.json`` among them.
    rows
        The list in ``results.json`` that tells it from what other commands write.
    files
        Names of all files in its folders, from the content of ``results.json``.
    checkpoints
        Folder in it that holds the state of unfinished trainings.
    """

    noun: str
    content: tuple[str, ...]
    rows: str
    files: Callable[[dict[str, Any]], set[str]]
    checkpoints: str = "cellglass-checkpoints"

    def check(self, folder: Path, *, overwrite: bool, resume: bool = False) -> None:
        """Refuse a folder that may not be written to.

        Rules: it must not exist yet, and there must be room to write. With ``overwrite`` it may
        exist, if none of its files has the name of a part of the output, or they are an
        earlier output: then its files are replaced, and all else in the folder stays.
        With ``resume`` it may exist if it holds checkpoints, or nothing yet. With either, what
        a killed process left half done in it is removed. The folder of checkpoints in it is
        no link.

        Parameters
        ----------
        folder
            Where the output is to go.
        overwrite
            Whether an earlier output may be replaced.
        resume
            Whether that of an earlier, stopped call is to be finished.

        Raises
        ------
        InputError
            If a rule is broken.
        """
        check_writable(folder)
        if resume or overwrite:
            recover_leftovers(folder)
            clear_unmarked(folder / self.checkpoints)
        check_no_link(folder / self.checkpoints)
        if not (folder.exists() or folder.is_symlink()):
            return
        if not folder.is_dir():
            raise InputError(
                f"The output {folder} is a file; expected the name of a folder to make."
            )
        unfinished = self._is_unfinished(folder)
        begun = unfinished or not any(folder.iterdir()) or self.is_whole(folder)
        if unfinished and not (overwrite or resume):
            raise InputError(
                f"The output folder {folder} holds the checkpoints of a {self.noun} that was "
                "stopped, and nothing in it was changed. Give resume=True with the same "
                "settings to go on with it, or overwrite=True to start anew."
            )
        if not (overwrite or (resume and begun)):
            raise InputError(
                f"The output folder {folder} already exists, and nothing in it was changed. "
                f"Give another name, or overwrite=True to replace the {self.noun} in it."
            )
        present = [name for name in self.content if (folder / name).exists()]
        if present and not (unfinished or self.is_whole(folder)):
            raise InputError(
                f"The output folder {folder} holds {', '.join(present)}, but no results.json "
                f"of a {self.noun} by cellglass beside it, so these are perhaps not an earlier "
                f"{self.noun}, and nothing was changed. Give another name."
            )

    def is_finished(self, folder: Path) -> bool:
        """Whether a folder holds the whole output, and no state of trainings to resume."""
        return self.is_whole(folder) and not self._is_unfinished(folder)

    def difference(self, folder: Path, settings: Mapping[str, Any], sha256: str) -> str | None:
        """Say in what an output differs from one that is asked for, or None.

        Parameters
        ----------
        folder
            With an output in it.
        settings
            What is asked for, by the words of ``settings`` in ``results.json``.
        sha256
            Checksum of the data, as ``dataset`` of ``results.json`` has it.
        """
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        for option, value in settings.items():
            then = results.get("settings", {}).get(option)
            now = json.loads(json.dumps(value))
            if then != now:
                return f"{option} was {then!r} for it and is now {now!r}"
        if results.get("dataset", {}).get("sha256") != sha256:
            return "its data or labels were others"
        return None

    def is_whole(self, folder: Path) -> bool:
        """Whether a folder holds an output of this kind."""
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            self.files(results)
            return "cellglass" in results["environment"] and isinstance(
                results[self.rows], list
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def _is_unfinished(self, folder: Path) -> bool:
        return is_unfinished(folder / self.checkpoints)

    def write(
        self,
        folder: Path,
        make: Callable[[Path], None],
        *,
        overwrite: bool,
        resume: bool = False,
    ) -> Path:
        """Make everything in a hidden folder, which then takes the target's place.

        A run that fails or is stopped on the way leaves what was there untouched.

        Parameters
        ----------
        folder
            Target; see :meth:`check`.
        make
            Writes all content into the folder that it is given.
        overwrite
            Whether an earlier output may be replaced.
        resume
            Whether the target may hold checkpoints of the same work.

        Returns
        -------
        pathlib.Path
            Of the page in the target.

        Raises
        ------
        InputError
            If the target may not be written to.
        """
        self.check(folder, overwrite=overwrite, resume=resume)
        with scratch_beside(folder) as scratch:
            made = scratch / "made"
            made.mkdir()
            make(made)
            if folder.is_dir():
                written = self._last_files(folder)
                exchange(
                    folder, made, self.content, scratch,
                    keep=lambda path: path.name not in written,
                )  # fmt: skip
            else:
                made.rename(folder)
        return folder / "report.html"

    def _last_files(self, folder: Path) -> set[str]:
        """Name all files that an earlier output has in its folders."""
        if not self.is_whole(folder):
            return set()
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return self.files(results)
