"""The output folder of a selection: all files or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellglass.report.folder import OutputFolder, write_figures, write_results

if TYPE_CHECKING:
    from cellglass.select import Selection


def _files(results: Mapping[str, Any]) -> set[str]:
    measures = {curve["measure"] for curve in results["curves"]}
    return {f"{name}_by_latent{suffix}" for name in measures for suffix in (".png", ".svg")}


SELECTION = OutputFolder(
    noun="selection",
    content=("report.html", "results.json", "errors.csv", "figures"),
    rows="curves",
    files=_files,
)


def write_selection(
    selection: Selection, folder: Path, *, overwrite: bool = False, resume: bool = False
) -> Path:
    """Write all output files of a selection.

    Parameters
    ----------
    selection
        What to report.
    folder, overwrite, resume
        As :meth:`cellglass.report.folder.OutputFolder.write` takes them.

    Returns
    -------
    pathlib.Path
        Of ``report.html`` in the target.
    """
    return SELECTION.write(
        folder, lambda made: _write_content(selection, made),
        overwrite=overwrite, resume=resume,
    )  # fmt: skip


def _write_content(selection: Selection, folder: Path) -> None:
    from cellglass.report.select_figures import draw_selection
    from cellglass.report.select_page import render_selection
    from cellglass.report.select_summary import errors_csv

    summary = selection.summary
    write_results(summary, folder)
    (folder / "errors.csv").write_text(errors_csv(summary), encoding="utf-8")
    drawings = write_figures(draw_selection(summary), folder)
    page = render_selection(summary, drawings)
    (folder / "report.html").write_text(page, encoding="utf-8")
