"""The benchmark on labelled sets, run on a small set as a user would."""

import csv
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cellglass as cg

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "quality" / "run.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="benchmarks are not shipped")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def labelled(tmp_path):
    adata = cg.simulate(90, 30, 3, random_state=0)
    adata.X = adata.layers["counts"].copy()
    adata.write_h5ad(tmp_path / "mine.h5ad")
    return tmp_path / "mine.h5ad"


def test_a_table_of_other_sets_is_not_overwritten(labelled):
    before = (ROOT / "docs" / "quality.csv").read_bytes()
    done = run(labelled, "--write")
    assert done.returncode == 2
    assert "would leave out. Give all sets, or name another folder" in done.stderr
    assert (ROOT / "docs" / "quality.csv").read_bytes() == before


def test_a_set_without_labels_is_refused(labelled, tmp_path):
    adata = cg.simulate(40, 20, 2, random_state=0)
    del adata.obs["label"]
    adata.write_h5ad(tmp_path / "unlabelled.h5ad")
    done = run(tmp_path / "unlabelled.h5ad")
    assert done.returncode == 1
    assert "no known type for every cell" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", 0], "--seeds is 0"),
        (["--only", "nosuch"], "no method has 'nosuch' in its name"),
        (["other/mine.h5ad"], "Two files are called mine.h5ad"),
        (["nosuch.h5ad"], "There is no file"),
    ],
)
def test_a_mistake_is_told_before_anything_is_run(labelled, tmp_path, words, message):
    (tmp_path / "other").mkdir()
    cg.simulate(40, 20, 2, random_state=0).write_h5ad(tmp_path / "other" / "mine.h5ad")
    paths = [tmp_path / w if str(w).endswith(".h5ad") else w for w in words]
    done = run(labelled, *paths)
    assert done.returncode != 0
    assert message in done.stderr and "Traceback" not in done.stderr


def test_types_are_those_that_cells_have_and_a_file_given_twice_counts_once(labelled, tmp_path):
    adata = cg.read(labelled)
    some = np.asarray(adata.obs["label"].astype(str) != "0")
    adata.obs["label"] = adata.obs["label"].astype("category")
    two = adata[some].copy()
    two.obs["label"] = pd.Categorical(two.obs["label"], adata.obs["label"].cat.categories)
    two.write_h5ad(labelled)
    done = run(
        labelled, labelled.parent, "--seeds", 1, "--only", "PCA 50, k-means",
        "--kept", tmp_path / "kept",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("PCA 50, k-means") == 1
    assert '"n_clusters": 2' in done.stderr


def test_what_was_measured_is_written_with_intervals_and_taken_up_again(labelled, tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    measured = [
        f'mine,{{digest}},"PCA 50, k-means",{state},{ari},0.5,0.1,,1.0,'
        for state, ari in enumerate((0.4, 0.6))
    ]
    digest = hashlib.sha256(labelled.read_bytes()).hexdigest()[:12]
    head = "dataset,digest,method,random_state,ari,nmi,silhouette,deviance,seconds,n_clusters"
    lines = "\n".join([head, *measured]).format(digest=digest)
    (tables / "quality.csv").write_text(lines + "\n")
    done = run(
        labelled, "--seeds", 2, "--kept", tmp_path / "kept", "--resume", tables,
        "--as-it-stands", "--write", tables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tables / "quality.md").read_text()
    # Student's t with one degree of freedom: 12.706 standard errors of .1.
    assert "| PCA 50, k-means | 0.500 ± 1.271 |" in page
    assert [row["ari"] for row in rows(tables / "quality.csv")] == ["0.4", "0.6"]


@pytest.mark.parametrize(
    ("method", "model"),
    [
        ("PCA 50, k-means", "pca"),
        ("nb_gene_cell 10, k-means", "nb_gene_cell"),
        ("nb variational 20, Leiden", "nb variational 20"),
        ("nb variational 20, IDEC", "nb variational 20, IDEC"),
        ("default: consensus", None),
        ("default: consensus, number not given", None),
        ("PCA 50, classifier that learns the labels", None),
    ],
)
def test_the_deviance_beside_a_method_is_that_of_its_network(method, model, monkeypatch):
    spec = importlib.util.spec_from_file_location("quality_run", SCRIPT)
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "quality_run", benchmark)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(benchmark)
    assert benchmark.model_of(method) == model
