"""The output folder of a comparison: all files or none."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass.fit import model_of
from cellglass.report.folder import OutputFolder, write_figures, write_results
from cellglass.report.summarize import figure_names, metrics_csv, scores_csv

if TYPE_CHECKING:
    from anndata import AnnData

    from cellglass.compare import Comparison
    from cellglass.report.panels import Drawing


def _files(results: Mapping[str, Any]) -> set[str]:
    runs = [run["run"] for run in results["runs"]]
    return {
        *(f"{name}{suffix}" for name in figure_names(runs) for suffix in (".png", ".svg")),
        *(f"{run}.safetensors" for run in runs),
    }


REPORT = OutputFolder(
    noun="report",
    content=(
        "report.html",
        "results.json",
        "metrics.csv",
        "scores.csv",
        "figures",
        "embedding.h5ad",
        "models",
    ),
    rows="runs",
    files=_files,
)


def write_report(
    comparison: Comparison,
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    drawn: Mapping[str, Sequence[Drawing]] = MappingProxyType({}),
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Path:
    """Write all output files of a comparison.

    Parameters
    ----------
    comparison
        What to report.
    folder, overwrite, resume
        As :meth:`cellglass.report.folder.OutputFolder.write` takes them.
    drawn
        Figures of runs, by name, that :class:`cellglass.report.figures.RunFigures` has drawn
        already.
    progress
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    pathlib.Path
        Of ``report.html`` in the target.
    """
    return REPORT.write(
        folder, lambda made: _write_content(comparison, made, drawn, progress),
        overwrite=overwrite, resume=resume,
    )  # fmt: skip


def _write_content(
    comparison: Comparison,
    folder: Path,
    drawn: Mapping[str, Sequence[Drawing]],
    progress: Callable[[str, int, int], None],
) -> None:
    from cellglass.report.figures import classes_of, draw, n_drawings
    from cellglass.report.render import render

    summary = comparison.summary
    write_results(summary, folder)
    (folder / "metrics.csv").write_text(metrics_csv(summary), encoding="utf-8")
    (folder / "scores.csv").write_text(scores_csv(summary), encoding="utf-8")

    (folder / "models").mkdir()
    for run in comparison.runs:
        model = model_of(
            run.training, run.settings, comparison.preprocessor,
            genes=comparison.gene_names, gene_ids=comparison.gene_ids,
            data=comparison.data,
        )  # fmt: skip
        model.save(folder / "models" / f"{run.name}.safetensors")
    (folder / "embedding.h5ad").write_bytes(h5ad_bytes(embedding_of(comparison)))

    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress("Figures", done, n_drawings(comparison))

    drawings = write_figures(draw(comparison, advance, drawn), folder)
    legends = {run.name: classes_of(run, comparison.labels)[1] for run in comparison.runs}
    page = render(summary, drawings, legends)
    (folder / "report.html").write_text(page, encoding="utf-8")


def h5ad_bytes(adata: AnnData) -> bytes:
    """Put an object into the bytes of an .h5ad file.

    HDF5 itself does not survive a disk that is full.
    """
    import h5py
    from anndata.io import write_elem

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write_elem(file, "/", adata)
    return content.getvalue()


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
