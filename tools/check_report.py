"""Check what ``cellglass compare`` wrote: the files, the numbers and the page.

Usage: ``python tools/check_report.py FOLDER``. Prints one line a problem, and exits with 1
if there is any.
"""

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py

NUMBER = (int, float)
RUN_FIGURES = (
    "pca_latent",
    "pca_reconstruction",
    "tsne_latent",
    "tsne_reconstruction",
    "loss",
)

# What results.json must hold: a type, a dictionary of such, or a list of one such.
ERRORS = dict.fromkeys(
    ("mse_all", "mse_nonzero", "mse_zero", "mse_all_train", "mse_all_validation"), NUMBER
)
SCORES = dict.fromkeys(("ari", "nmi", "silhouette"), NUMBER)
CLUSTERING = {"kmeans": SCORES, "leiden": SCORES}
SCHEMA = {
    "schema": int,
    "dataset": {"n_cells": int, "n_genes": int, "fraction_zero": NUMBER, "n_labels": int},
    "runs": [
        {
            "run": str,
            "loss": str,
            "n_latent": int,
            "seed": int,
            "epochs": int,
            "reconstruction": ERRORS,
            "clustering": CLUSTERING,
            "label_silhouette": NUMBER,
            "seconds": {"train": NUMBER},
        }
    ],
    "baselines": [
        {
            "name": str,
            "n_components": int,
            "reconstruction": ERRORS,
            "clustering": CLUSTERING,
        }
    ],
    "conclusions": [{"question": str, "answer": str, "evidence": dict}],
    "environment": {"cellglass": str, "jax": str, "device": str, "random_state": int},
}


def check_files(folder: Path, runs: Sequence[str]) -> Iterator[str]:
    """Demand every file of a report, with something in it."""
    names = ["report.html", "metrics.csv", "scores.csv", "embedding.h5ad"]
    figures = [f"{figure}_{run}" for run in runs for figure in RUN_FIGURES]
    for figure in [*figures, "mse_by_latent"]:
        names += [f"figures/{figure}.png", f"figures/{figure}.svg"]
    names += [f"models/{run}.safetensors" for run in runs]
    for name in names:
        if not (folder / name).is_file():
            yield f"{name} is missing"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size == 0:
            yield f"{path.relative_to(folder)} is empty"


def check_schema(value: Any, schema: Any, where: str = "results.json") -> Iterator[str]:
    """Demand the keys and types of a schema; further keys are welcome."""
    if isinstance(schema, Mapping):
        if not isinstance(value, Mapping):
            yield f"{where} is {value!r}, not an object"
            return
        for key, part in schema.items():
            if key in value:
                yield from check_schema(value[key], part, f"{where}: {key}")
            else:
                yield f"{where} lacks the key {key!r}"
    elif isinstance(schema, list):
        if not (isinstance(value, list) and value):
            yield f"{where} is not a list with something in it"
            return
        for i, item in enumerate(value):
            yield from check_schema(item, schema[0], f"{where}[{i}]")
    elif not isinstance(value, schema) or isinstance(value, bool):
        yield f"{where} is {value!r}, which has the wrong type"


def refuse_constant(name: str) -> float:
    """Refuse NaN and the infinities, which are not JSON."""
    raise ValueError(f"{name} is not a finite number")


class NetworkLoads(HTMLParser):
    """Collects what a page would load from the network; a plain link loads nothing."""

    LOADING = ("src", "srcset", "href", "xlink:href", "data", "poster", "action")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            if name == "style":
                self._search_css(value or "")
            loads = name in self.LOADING and tag != "a"
            if loads and re.search(r"(^|\s)(https?:)?//", value or "", re.I):
                self.found.append(f"<{tag} {name}={value!r}>")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._search_css(data)

    def _search_css(self, css: str) -> None:
        self.found += re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\s\"')]*", css)


def check_page(page: str, runs: Sequence[str]) -> Iterator[str]:
    """Demand a page that names every run and needs no network."""
    for run in runs:
        if run not in page:
            yield f"report.html does not name the run {run}"
    parser = NetworkLoads()
    parser.feed(page)
    for load in parser.found:
        yield f"report.html loads from the network: {load}"


def check_report(folder: Path) -> Iterator[str]:
    try:
        text = (folder / "results.json").read_text(encoding="utf-8")
        results = json.loads(text, parse_constant=refuse_constant)
    except (OSError, ValueError) as error:
        yield f"results.json cannot be read: {error}"
        return
    wrong = list(check_schema(results, SCHEMA))
    yield from wrong
    if wrong:
        return
    if results["schema"] != 1:
        yield f"results.json has schema {results['schema']}, not 1"
    runs = [run["run"] for run in results["runs"]]
    for run in results["runs"]:
        name = f"{run['loss']}_{run['n_latent']}_seed{run['seed']}"
        if run["run"] != name:
            yield f"results.json calls a run {run['run']}, not {name}"
    missing = list(check_files(folder, runs))
    yield from missing
    if missing:
        return
    yield from check_page((folder / "report.html").read_text(encoding="utf-8"), runs)
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row.get("run") for row in csv.DictReader(file)]
    if rows != runs:
        yield f"metrics.csv has rows for {rows}, not for {runs}"
    with h5py.File(folder / "embedding.h5ad") as file:
        for run in runs:
            if f"obsm/X_ae_{run}" not in file:
                yield f"embedding.h5ad lacks obsm['X_ae_{run}']"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    problems = list(check_report(folder))
    for problem in problems:
        print(f"{folder}: {problem}")
    if problems:
        sys.exit(1)
    print(f"{folder}: complete")


if __name__ == "__main__":
    main()
