"""The output folder: all files or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass.checkpoint import is_unfinished
from cellglass.errors import InputError
from cellglass.fit import model_of
from cellglass.outputs import (
    check_writable,
    exchange,
    recover_leftovers,
    scratch_beside,
)
from cellglass.report.summarize import figure_names, metrics_csv

if TYPE_CHECKING:
    from anndata import AnnData

    from cellglass.compare import Comparison

CONTENT = (
    "report.html",
    "results.json",
    "metrics.csv",
    "figures",
    "embedding.h5ad",
    "models",
)


CHECKPOINTS = "cellglass-checkpoints"
"""Folder with the state of unfinished trainings, there until the report is written."""


def check_folder(folder: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Refuse a folder that a report may not be written to.

    Rules: it must not exist yet, and there must be room to write. With ``overwrite`` it may
    exist, if none of its files has the name of a part of a report, or they are an earlier
    report: then the files of that report are replaced, and all else in the folder stays.
    With ``resume`` it may exist if it holds checkpoints, or nothing yet; what a killed
    process left half done in it is removed.

    Parameters
    ----------
    folder
        Where the report is to go.
    overwrite
        Whether an earlier report may be replaced.
    resume
        Whether the report of an earlier, stopped call is to be finished.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if resume:
        recover_leftovers(folder)
    if not (folder.exists() or folder.is_symlink()):
        check_writable(folder)
        return
    if not folder.is_dir():
        raise InputError(
            f"The output {folder} is a file; expected the name of a folder to make."
        )
    unfinished = is_unfinished(folder / CHECKPOINTS)
    begun = unfinished or not any(folder.iterdir()) or _is_report(folder)
    if unfinished and not (overwrite or resume):
        raise InputError(
            f"The output folder {folder} holds the checkpoints of a comparison that was "
            "stopped, and nothing in it was changed. Add --resume to the same command to go "
            "on with it, or --overwrite to start anew."
        )
    if not (overwrite or (resume and begun)):
        raise InputError(
            f"The output folder {folder} already exists, and nothing in it was changed. Give "
            "another name to -o, or --overwrite to replace the report in it."
        )
    present = [name for name in CONTENT if (folder / name).exists()]
    if present and not (unfinished or _is_report(folder)):
        raise InputError(
            f"The output folder {folder} holds {', '.join(present)}, but no results.json of "
            "cellglass beside it, so these are perhaps not an earlier report, and nothing was "
            "changed. Give another name to -o."
        )
    check_writable(folder)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole report, and no state of trainings to resume."""
    return _is_report(folder) and not is_unfinished(folder / CHECKPOINTS)


def difference(folder: Path, settings: Mapping[str, Any], sha256: str) -> str | None:
    """Say in what a report differs from one that is asked for, or None.

    Parameters
    ----------
    folder
        With a report in it.
    settings
        Of :func:`cellglass.compare.compare`.
    sha256
        Checksum of data and labels, as ``dataset`` of ``results.json`` has it.
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


def _is_report(folder: Path) -> bool:
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return "cellglass" in results["environment"] and all(
            "run" in r for r in results["runs"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_report(
    comparison: Comparison,
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Path:
    """Write all output files of a comparison.

    They are made in a hidden folder, which takes the target's place at the end: a run that
    fails or is stopped on the way leaves what was there untouched.

    Parameters
    ----------
    comparison
        What to report.
    folder
        Target; see :func:`check_folder`.
    overwrite
        Whether an earlier report may be replaced.
    resume
        Whether the target may hold the checkpoints of this comparison.
    progress
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    pathlib.Path
        Of ``report.html`` in the target.
    """
    check_folder(folder, overwrite=overwrite, resume=resume)
    with scratch_beside(folder) as scratch:
        made = scratch / "report"
        made.mkdir()
        _write_content(comparison, made, progress)
        if folder.is_dir():
            written = _names_of_last_report(folder)
            exchange(folder, made, CONTENT, scratch, keep=lambda path: path.name not in written)
        else:
            made.rename(folder)
    return folder / "report.html"


def _names_of_last_report(folder: Path) -> set[str]:
    """Names of all files that an earlier report wrote into its folders."""
    results = folder / "results.json"
    if not _is_report(folder):
        return set()
    runs = [run["run"] for run in json.loads(results.read_text(encoding="utf-8"))["runs"]]
    figures = figure_names(runs)
    return {
        *(f"{name}{suffix}" for name in figures for suffix in (".png", ".svg")),
        *(f"{run}.safetensors" for run in runs),
    }


def _write_content(
    comparison: Comparison, folder: Path, progress: Callable[[str, int, int], None]
) -> None:
    from cellglass.report.figures import classes_of, draw, n_drawings
    from cellglass.report.render import render

    summary = comparison.summary
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "metrics.csv").write_text(metrics_csv(summary), encoding="utf-8")

    (folder / "models").mkdir()
    for run in comparison.runs:
        model = model_of(
            run.training, run.settings, comparison.preprocessor,
            genes=comparison.gene_names, gene_ids=comparison.gene_ids,
            data=comparison.data,
        )  # fmt: skip
        model.save(folder / "models" / f"{run.name}.safetensors")
    embedding_of(comparison).write_h5ad(folder / "embedding.h5ad")

    (folder / "figures").mkdir()
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress("Figures", done, n_drawings(comparison))

    drawings = []
    for drawing in draw(comparison, advance):
        (folder / "figures" / f"{drawing.name}.png").write_bytes(drawing.png)
        (folder / "figures" / f"{drawing.name}.svg").write_bytes(drawing.svg)
        drawings.append(drawing)
    legends = {run.name: classes_of(comparison, run)[1] for run in comparison.runs}
    page = render(summary, drawings, legends)
    (folder / "report.html").write_text(page, encoding="utf-8")


def embedding_of(comparison: Comparison) -> AnnData:
    """Collect what was computed for every cell, without the matrix itself.

    Returns
    -------
    anndata.AnnData
        ``obsm``: latent vectors ``X_ae_<run>``, PCA scores ``X_pca_<n>``, and the 2-D maps
        ``X_<pca|tsne>_original`` and ``X_<pca|tsne>_<latent|reconstruction>_<run>``.
        ``obs``: ``label``, ``validation`` and the clusters ``<method>_<space>``.
    """
    import pandas as pd
    from anndata import AnnData

    obs = pd.DataFrame(index=pd.Index(comparison.cell_names, dtype=str))
    if comparison.labels is not None:
        obs["label"] = comparison.labels
    obs["validation"] = comparison.is_validation
    spaces = {"original": comparison.original}
    spaces |= {baseline.name: baseline.space for baseline in comparison.baselines}
    spaces |= {f"ae_{run.name}": run.latent for run in comparison.runs}
    for name, space in spaces.items():
        for method, clustering in space.clustering.items():
            obs[f"{method}_{name}"] = pd.Categorical(clustering.clusters.astype(str))
    obsm: dict[str, np.ndarray] = {
        f"X_ae_{run.name}": run.latent_vectors for run in comparison.runs
    }
    obsm |= {f"X_{baseline.name}": baseline.scores for baseline in comparison.baselines}
    maps = {"original": comparison.original_maps}
    for run in comparison.runs:
        maps[f"latent_{run.name}"] = run.latent_maps
        maps[f"reconstruction_{run.name}"] = run.reconstruction_maps
    for name, pair in maps.items():
        obsm[f"X_pca_{name}"] = pair.pca.astype(np.float32)
        obsm[f"X_tsne_{name}"] = pair.tsne.astype(np.float32)
    return AnnData(obs=obs, obsm=obsm)
