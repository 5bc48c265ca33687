"""The output folder of a clustering: all files or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellglass.outputs import csv_text
from cellglass.report.folder import OutputFolder, write_figures, write_results

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from cellglass.cluster import Clustering


def _files(results: Mapping[str, Any]) -> set[str]:
    names = ["tsne_clusters", "tsne_confidence"]
    names += [] if results["agreement"] is None else ["tsne_labels"]
    names += [] if results["scan"] is None else ["stability"]
    separation = results.get("separation") or {"n_clusters": []}
    names += ["separation"] if len(separation["n_clusters"]) > 1 else []
    return {f"{name}{suffix}" for name in names for suffix in (".png", ".svg")}


CLUSTERING = OutputFolder(
    noun="clustering",
    content=(
        "report.html", "results.json", "clusters.csv", "markers.csv", "embedding.h5ad",
        "figures",
    ),
    rows="clusters",
    files=_files,
)  # fmt: skip


def write_clustering(
    clustering: Clustering, folder: Path, *, overwrite: bool = False, resume: bool = False
) -> Path:
    """Write all output files of a clustering.

    Parameters
    ----------
    clustering
        What to report.
    folder, overwrite, resume
        As :meth:`cellglass.report.folder.OutputFolder.write` takes them.

    Returns
    -------
    pathlib.Path
        Of ``report.html`` in the target.
    """
    return CLUSTERING.write(
        folder, lambda made: _write_content(clustering, made),
        overwrite=overwrite, resume=resume,
    )  # fmt: skip


def _write_content(clustering: Clustering, folder: Path) -> None:
    from cellglass.report.cluster_figures import draw_clustering, legends_of
    from cellglass.report.cluster_page import render_clustering
    from cellglass.report.write import h5ad_bytes

    summary = clustering.summary
    write_results(summary, folder)
    _write_csv(clustering.to_frame().reset_index(), folder / "clusters.csv")
    if clustering.markers is not None:
        _write_csv(clustering.markers, folder / "markers.csv")
    (folder / "embedding.h5ad").write_bytes(h5ad_bytes(embedding_of(clustering)))
    drawings = write_figures(draw_clustering(clustering), folder)
    page = render_clustering(summary, drawings, legends_of(clustering))
    (folder / "report.html").write_text(page, encoding="utf-8")


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table, in which no text is a spreadsheet's formula."""
    text = frame.map(lambda cell: csv_text(cell) if isinstance(cell, str) else cell)
    path.write_text(text.to_csv(index=False, lineterminator="\n"), encoding="utf-8")


def embedding_of(clustering: Clustering) -> AnnData:
    """Collect what was found for every cell, without the matrix itself.

    Returns
    -------
    anndata.AnnData
        ``obs``: ``cluster``, ``confidence``, ``second``, ``between``, and ``label`` where
        there are any; ``obsm``: latent vectors ``X_ae_seed<i>``, ``X_tsne`` and the
        ``membership``, probabilities of all clusters.
    """
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    obs = clustering.to_frame()
    obs.index = pd.Index(clustering.cell_names, dtype=str)
    names = pd.Index([str(j) for j in range(clustering.found.n_clusters)])
    codes = {"cluster": clustering.clusters, "second": clustering.found.second}
    for name, numbers in codes.items():
        obs[name] = pd.Categorical.from_codes(numbers.tolist(), categories=names)
    if clustering.labels is not None:
        obs["label"] = clustering.labels
    obsm: dict[str, np.ndarray] = {
        f"X_ae_seed{i}": Z for i, Z in enumerate(clustering.latent_vectors)
    }
    obsm["X_tsne"] = clustering.maps.tsne.astype(np.float32)
    obsm["membership"] = clustering.found.membership.astype(np.float32)
    return AnnData(obs=obs, obsm=obsm)
