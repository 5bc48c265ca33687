"""Judges the clusters that methods find on labelled sets of real cells, and writes the table.

Nothing but the number of clusters, as is usual in the literature, is taken from the labels,
and by one method not even that: they score what was found. Beside the methods stands what a
classifier that learns the labels comes to, as a mark of how far they can be told from the
values at all. Everything runs with several random states.

    .venv/bin/python benchmarks/quality/run.py FOLDER_OR_H5AD [...]   # with obs["label"]
    .venv/bin/python benchmarks/quality/run.py my.h5ad --write my_tables
    make quality DATA=folder
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import cellglass as cg
from cellglass.cluster import Settings, enough_dimensions, enough_epochs
from cellglass.cluster_space import cluster_space
from cellglass.denoising import score_denoising
from cellglass.gene_choice import most_variable_genes
from cellglass.metrics import AGREEMENT, silhouettes
from cellglass.pca import fit_pca
from cellglass.preprocess import Preprocessor
from cellglass.uncertainty import mean_and_interval

sys.path.insert(0, str(Path(__file__).parents[1]))
from tables import hardware, put_into, table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
KEPT = ROOT / ".bench" / "quality"
PACKAGES = ("cellglass", "jax", "numpy", "scikit-learn", "igraph")
N_GENES = 2000
LABELS = "label"
LOSSES_ON_COUNTS = ("poisson", "nb", "nb_gene_cell", "zinb")
LOSSES_ON_LOGS = ("mse", "nonzero_mse", "gaussian")
CONSENSUS = "default: consensus"
K_UNKNOWN = f"{CONSENSUS}, number not given"
IDENTITY = ("dataset", "digest", "random_state")
DENOISING, BY_DEFAULT = "denoising", "denoising by the default network"
SUPERVISED = "PCA 50, classifier that learns the labels"


@dataclass(frozen=True)
class Set:
    """One labelled set, its genes chosen."""

    name: str
    digest: str  # of the file
    adata: AnnData
    codes: np.ndarray
    n_labels: int
    logs: np.ndarray  # log-normalised values of the chosen genes
    on_counts: bool


@dataclass(frozen=True)
class Row:
    """One method with one random state on one set."""

    dataset: str
    digest: str
    method: str
    random_state: int
    ari: float
    nmi: float
    silhouette: float | None
    deviance: float | None
    seconds: float | None  # None: unknown, as where the process was halted on its way
    n_clusters: int | None = None  # None: as many as there are labels


@dataclass(frozen=True)
class Denoised:
    """One model with one random state on one set of raw counts, and what it brings back."""

    dataset: str
    digest: str
    model: str
    random_state: int
    held_out_deviance: float | None
    recovery_correlation: float
    recovery_mse: float


def load(path: Path) -> Set:
    """Read a set, and keep its 2,000 genes of largest variance for everybody alike."""
    if not path.is_file():
        raise SystemExit(f"There is no file {path}.")
    adata = read_h5ad(path)
    if LABELS not in adata.obs or adata.obs[LABELS].isna().any():
        raise SystemExit(
            f"{path} has no known type for every cell in obs[{LABELS!r}], so nothing can be "
            "judged by it. Put them there, and leave out cells without one."
        )
    X = adata.X
    preprocessor = Preprocessor.fit(X, input="auto")
    values = preprocessor.transform(X)
    genes = most_variable_genes(values, N_GENES)
    logs = values[:, genes]
    logs = logs if isinstance(logs, np.ndarray) else logs.toarray()
    types = adata.obs[LABELS].astype("category").cat.remove_unused_categories()
    codes = types.cat.codes.to_numpy()
    n_labels = len(types.cat.categories)
    if n_labels < 2:
        raise SystemExit(f"All cells of {path} have one type: there is nothing to find.")
    kept = adata[:, genes].copy()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    on_counts = preprocessor.input == "counts"
    return Set(path.stem, digest, kept, codes, n_labels, logs, on_counts)


Found = tuple[np.ndarray, np.ndarray]  # clusters; the space they were found in


def by_pca(method: str) -> Callable[[Set, int], Found]:
    """Cluster 50 principal components."""

    def run(data: Set, random_state: int) -> Found:
        scores = fit_pca(data.logs, 50, random_state=random_state).transform(data.logs)
        found = cluster_space(
            scores, method, n_clusters=data.n_labels, random_state=random_state
        )
        return found.clusters, scores

    return run


def by_network(
    method: str, *, k_given: bool = True, **settings: Any
) -> Callable[[Set, int], Found]:
    """Cluster by :func:`cellglass.cluster`, with all genes that were chosen."""

    def run(data: Set, random_state: int) -> Found:
        found = cg.cluster(
            data.adata, method, n_clusters=data.n_labels if k_given else None,
            n_top_genes=None, random_state=random_state, **settings,
        )  # fmt: skip
        return found.clusters, found.latent_vectors[found.mapped]

    return run


def by_classifier(data: Set, random_state: int) -> Found:
    """Tell the type of every fifth cell from 50 principal components and the others' types."""
    scores = fit_pca(data.logs, 50, random_state=random_state).transform(data.logs)
    n_folds = min(5, int(np.bincount(data.codes).max()))
    told = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), scores, data.codes,
        cv=StratifiedKFold(n_folds, shuffle=True, random_state=random_state),
    )  # fmt: skip
    return told, scores


def methods(data: Set) -> dict[str, Callable[[Set, int], Found]]:
    """Name all methods that suit a set."""
    found = {
        "PCA 50, k-means": by_pca("kmeans"),
        "PCA 50, Gaussian mixture": by_pca("gaussian_mixture"),
        "PCA 50, Leiden": by_pca("leiden"),
    }
    losses = LOSSES_ON_LOGS + (LOSSES_ON_COUNTS if data.on_counts else ())
    for loss in losses:
        plain = {"loss": loss, "n_latent": 10, "variational": False, "max_epochs": 50}
        found[f"{loss} 10, k-means"] = by_network("kmeans", **plain)
    default = "nb variational" if data.on_counts else "mse"
    for method, name in (
        ("kmeans", "k-means"), ("gaussian_mixture", "Gaussian mixture"),
        ("leiden", "Leiden"), ("idec", "IDEC"),
    ):  # fmt: skip
        found[f"{default} 20, {name}"] = by_network(method)
    found[CONSENSUS] = by_network("consensus")
    found[K_UNKNOWN] = by_network("consensus", k_given=False)
    found[SUPERVISED] = by_classifier
    return found


def denoise(data: Set, random_state: int) -> dict[str, dict[str, float | None]]:
    """Judge by model (every loss, PCA, the counts seen) what half of the molecules tell."""
    if not data.on_counts:
        return {}
    losses = ("mse", "gaussian", *LOSSES_ON_COUNTS)  # a loss must say something of zeros
    return by_model(
        score_denoising(data.adata, loss=losses, n_latent=10, random_state=random_state)
    )


def denoise_by_default(data: Set, random_state: int) -> dict[str, dict[str, float | None]]:
    """Judge the default network of clusters likewise, as it is and after IDEC."""
    if not data.on_counts:
        return {}
    settings = Settings()
    scored = score_denoising(
        data.adata, loss="nb", variational=True, n_clusters=data.n_labels,
        n_latent=enough_dimensions(*data.adata.shape),
        max_epochs=enough_epochs(data.adata.n_obs, settings.batch_size),
        random_state=random_state,
    )  # fmt: skip
    found = by_model(scored)
    return {
        "nb variational 20": found["nb"], "nb variational 20, IDEC": found["nb, IDEC"],
        "pca 20": found["pca"],
    }  # fmt: skip


def by_model(scored: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Name scores by their model."""
    found: dict[str, dict[str, float | None]] = {}
    for row in scored.drop(columns="split").to_dict("records"):
        model = str(row.pop("model"))
        found[model] = {str(k): None if np.isnan(v) else float(v) for k, v in row.items()}
    return found


def model_of(method: str) -> str | None:
    """Name the model whose held-out deviance stands beside a method; None if there is none."""
    if method == SUPERVISED or method.startswith(CONSENSUS):
        return None
    if method.startswith("PCA"):
        return "pca"
    network, _, clusters = method.partition(", ")
    if network.endswith(" 20"):
        return f"{network}, IDEC" if clusters == "IDEC" else network
    return network.removesuffix(" 10")


def measure(
    data: Set, random_state: int, only: str | None, kept: Kept, *, anything_new: bool
) -> tuple[list[Row], list[Denoised]]:
    """Run everything on one set once; what an earlier call has measured is not run again."""
    rows: list[Row] = []

    def result(what: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        name = name_of(data.name, data.digest, what, random_state)
        wanted = anything_new and (only is None or only in what)
        return kept.get_or(name, compute) if wanted else kept.get(name)

    held_out = {
        **(result(DENOISING, lambda: denoise(data, random_state)) or {}),
        **(result(BY_DEFAULT, lambda: denoise_by_default(data, random_state)) or {}),
    }
    for name, run in methods(data).items():
        if only is not None and only not in name:
            continue
        found = result(name, lambda run=run: judge(data, run, random_state))
        if found is None:
            continue
        n = found.get("n_clusters")
        found["n_clusters"] = int(n) if n is not None and name == K_UNKNOWN else None
        deviance = held_out.get(model_of(name) or "", {}).get("held_out_deviance")
        rows.append(Row(data.name, data.digest, name, random_state, **found, deviance=deviance))
    denoised = [
        Denoised(data.name, data.digest, model, random_state, **scores)
        for model, scores in (held_out.items() if only is None else ())
    ]
    return rows, denoised


def judge(data: Set, run: Callable[[Set, int], Found], random_state: int) -> dict[str, Any]:
    """Run one method once, and score what it finds."""
    begun = time.perf_counter()
    clusters, space = run(data, random_state)
    seconds = time.perf_counter() - begun
    scores = {key: score(data.codes, clusters) for key, score in AGREEMENT.items()}
    silhouette = silhouettes(space, [clusters])[0]
    n_clusters = len(np.unique(clusters))
    return {**scores, "silhouette": silhouette, "seconds": seconds, "n_clusters": n_clusters}


def name_of(dataset: str, digest: str, what: str, random_state: int | str) -> str:
    """Name a result, by the content of the file among others: files of one name may differ."""
    return f"{dataset} {digest}, {what}, {random_state}"


@dataclass(frozen=True)
class Kept:
    """Results on disk, so that an interrupted call goes on."""

    folder: Path

    def get(self, name: str) -> dict[str, Any] | None:
        """Take a result; None if it is not there."""
        path = self._path(name)
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
        return found

    def put(self, name: str, result: dict[str, Any]) -> None:
        """Keep a result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"name": name, "result": result})
        self._path(name).write_text(text, encoding="utf-8")

    def get_or(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Take a result, or compute and keep it."""
        found = self.get(name)
        if found is None:
            found = compute()
            self.put(name, found)
            sys.stderr.write(f"{name}: {json.dumps(found)}\n")
        return found

    def resume(self, tables: Path) -> None:
        """Take over what the tables of an earlier machine hold, but nothing measured here."""
        results: dict[str, dict[str, Any]] = {}
        for row in read_csv(tables / "quality.csv"):
            name = name_of(row["dataset"], row["digest"], row["method"], row["random_state"])
            results[name] = numbers(row, leave_out=(*IDENTITY, "method", "deviance"))
        for row in read_csv(tables / "denoising.csv"):
            what = BY_DEFAULT if " 20" in row["model"] else DENOISING
            name = name_of(row["dataset"], row["digest"], what, row["random_state"])
            of_model = numbers(row, leave_out=(*IDENTITY, "model"))
            results.setdefault(name, {})[row["model"]] = of_model
        for name, result in results.items():
            if self.get(name) is None:
                self.put(name, result)

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def numbers(row: dict[str, str], leave_out: tuple[str, ...]) -> dict[str, float | None]:
    """Read the numbers in a row of a table; None where there is none."""
    return {key: float(v) if v else None for key, v in row.items() if key not in leave_out}


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table, none if there is no table."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def interval(values: list[float | None], digits: int) -> str:
    """Write a mean and its 95 % interval."""
    there = known(values)
    if not there:
        return "–"
    found = mean_and_interval(there)
    said = f"{found.mean:.{digits}f}"
    if found.low is not None and found.high is not None:
        said += f" ± {(found.high - found.low) / 2:.{digits}f}"
    return said


def median(values: list[float | None]) -> str:
    """Write the median of what is known."""
    there = known(values)
    return f"{np.median(there):.0f}" if there else "–"


def mean(values: list[float]) -> str:
    """Write a mean, where there is one."""
    return f"{np.mean(values):.3f}" if values else "–"


def known(values: list[float | None]) -> list[float]:
    """Leave out what is not known."""
    return [value for value in values if value is not None]


def overview(rows: list[Row]) -> str:
    """Write one table of mean ARI, by method and set."""
    sets = list(dict.fromkeys(row.dataset for row in rows))
    lines = []
    names = list(dict.fromkeys(generic(row.method) for row in rows))
    for method in sorted(names, key=lambda name: name == SUPERVISED):  # it is none of them
        cells = []
        for name in sets:
            own = [r.ari for r in rows if (r.dataset, generic(r.method)) == (name, method)]
            cells.append(mean(own))
        lines.append([method, *cells])
    return f"### All sets: mean ARI\n\n{table(['method', *sets], lines)}"


def numbers_found(rows: list[Row], n_labels: dict[str, int]) -> str:
    """Write how many clusters were found where their number was not given."""
    lines = []
    for name, n in n_labels.items():
        own = [row for row in rows if (row.dataset, row.method) == (name, K_UNKNOWN)]
        if not own:
            continue
        states = {row.random_state for row in own}
        told = [
            row for row in rows
            if (row.dataset, row.method) == (name, CONSENSUS) and row.random_state in states
        ]  # fmt: skip
        lines.append(
            [
                name,
                str(n),
                ", ".join(str(row.n_clusters) for row in own),
                *(
                    interval([getattr(row, score) for row in found], 3)
                    for found in (own, told)
                    for score in AGREEMENT
                ),
            ]
        )
    if not lines:
        return ""
    heads = ["set", "types", "clusters, by random state", "ARI", "NMI"]
    heads += ["ARI, number given", "NMI, number given"]
    return f"### Number of clusters not given\n\n{table(heads, lines)}"


def generic(method: str) -> str:
    """Call a network of the package's default loss by that: which one hangs on the values."""
    for loss in ("nb variational 20", "mse 20"):
        if method.startswith(loss):
            return f"one default network{method.removeprefix(loss)}"
    return method


def report_denoising(rows: list[Denoised]) -> str:
    """Write one table of what denoising brings back, by set and model."""
    lines = []
    for name, model in dict.fromkeys((row.dataset, row.model) for row in rows):
        own = [row for row in rows if (row.dataset, row.model) == (name, model)]
        lines.append(
            [
                name,
                model,
                interval([row.held_out_deviance for row in own], 4),
                interval([row.recovery_correlation for row in own], 3),
                interval([row.recovery_mse for row in own], 4),
            ]
        )
    heads = ["set", "model", "held-out deviance", "recovery: correlation", "recovery: MSE"]
    return f"### Denoising\n\n{table(heads, lines)}"


def report(rows: list[Row], n_labels: dict[str, int]) -> str:
    """Write a table of all sets, one of the numbers of clusters, and one for every set."""
    counted = numbers_found(rows, n_labels)
    rows = [row for row in rows if row.method != K_UNKNOWN]
    said = [overview(rows), *([counted] if counted else [])]
    rows = [row for row in rows if row.method != SUPERVISED]
    for name in dict.fromkeys(row.dataset for row in rows):
        own = [row for row in rows if row.dataset == name]
        lines = []
        for method in dict.fromkeys(row.method for row in own):
            found = [row for row in own if row.method == method]
            lines.append(
                [
                    method,
                    interval([row.ari for row in found], 3),
                    interval([row.nmi for row in found], 3),
                    interval([row.silhouette for row in found], 2),
                    interval([row.deviance for row in found], 4),
                    median([row.seconds for row in found]),
                ]
            )
        heads = ["method", "ARI", "NMI", "silhouette", "held-out deviance", "seconds"]
        n = len({row.random_state for row in own})
        said.append(f"### {name}\n\nRandom states: {n}.\n\n{table(heads, lines)}")
    return "\n\n".join(said)


def paths_of(given: list[Path]) -> list[Path]:
    """Find all .h5ad files in what was given, each once."""
    found: dict[Path, Path] = {}
    for path in given:
        several = sorted(path.glob("*.h5ad")) if path.is_dir() else [path]
        found |= {one.resolve(): one for one in several}
    if not found:
        raise SystemExit("There is no .h5ad file in what was given.")
    names = [path.stem for path in found.values()]
    for name in names:
        if names.count(name) > 1:
            raise SystemExit(f"Two files are called {name}.h5ad: their rows would be mixed.")
    return list(found.values())


def write_csv(path: Path, rows: list[Row] | list[Denoised]) -> None:
    """Write every row, where there are any."""
    if rows:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])), lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(asdict, rows))


def main() -> None:
    """Run everything, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path, help=".h5ad files, or folders of them")
    parser.add_argument("--seeds", type=int, default=5, help="random states, from 0")
    parser.add_argument("--only", help="methods with this in their names")
    parser.add_argument(
        "--kept", type=Path, default=KEPT, metavar="FOLDER",
        help="where results are kept on the way (.bench/quality)",
    )  # fmt: skip
    parser.add_argument("--anew", action="store_true", help="forget what was measured")
    parser.add_argument(
        "--resume", nargs="?", const=DOCS, type=Path, metavar="FOLDER",
        help="go on from the tables in a folder (docs/)",
    )  # fmt: skip
    parser.add_argument(
        "--as-it-stands", action="store_true", help="run nothing, tell what was measured"
    )
    parser.add_argument(
        "--write", nargs="?", const=DOCS, type=Path, metavar="FOLDER",
        help="put the tables into a folder (docs/): quality.md, quality.csv and denoising.csv",
    )  # fmt: skip
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error(f"--seeds is {given.seeds}, but there must be one random state or more")
    paths = paths_of(given.data)
    if given.write:
        if given.only:
            parser.error("--write would leave all methods but those of --only out of the table")
        there = {row["dataset"] for row in read_csv(given.write / "quality.csv")}
        if missing := sorted(there - {path.stem for path in paths}):
            parser.error(
                f"{given.write / 'quality.csv'} has rows of {', '.join(missing)}, which "
                "--write would leave out. Give all sets, or name another folder."
            )
    warnings.simplefilter("ignore")
    if given.anew:
        shutil.rmtree(given.kept, ignore_errors=True)
    kept = Kept(given.kept)
    if given.resume:
        kept.resume(given.resume)
    rows: list[Row] = []
    denoised: list[Denoised] = []
    sets = [load(path) for path in paths]
    names = {name for data in sets for name in methods(data)}
    if given.only and not any(given.only in name for name in names):
        parser.error(f"no method has {given.only!r} in its name: {'; '.join(sorted(names))}")
    for random_state in range(given.seeds):  # so that an interrupted call has all sets
        for data in sets:
            clustered, brought_back = measure(
                data, random_state, given.only, kept, anything_new=not given.as_it_stands
            )
            rows += clustered
            denoised += brought_back
    order = [data.name for data in sets]
    n_labels = {data.name: data.n_labels for data in sets}
    rows.sort(key=lambda row: order.index(row.dataset))
    denoised.sort(key=lambda row: order.index(row.dataset))
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    text = f"{hardware()}. {versions}.\n\n{report(rows, n_labels)}"
    if denoised:
        text += f"\n\n{report_denoising(denoised)}"
    print(text)
    if given.write:
        write(given.write, text, rows, denoised)


def write(folder: Path, text: str, rows: list[Row], denoised: list[Denoised]) -> None:
    """Put the tables into a folder, the text where its page has a place for it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "quality.csv", rows)
    write_csv(folder / "denoising.csv", denoised)
    page = folder / "quality.md"
    if not page.exists():
        page.write_text("# Quality of clusters\n\n", encoding="utf-8")
    put_into(page, "quality", text)


if __name__ == "__main__":
    main()
