"""The command line: what it writes, and what it says when it cannot."""

import json
import os
import subprocess
import sys
from importlib import import_module

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

import cellglass as cg
from cellglass import cli
from cellglass.cli import comparing, options
from cellglass.report.write import REPORT

FAST = ["--n-latent", "2", "--loss", "mse", "--n-hidden", "4", "--max-epochs", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "counts.npy", small.X)
    (folder / "labels.txt").write_text("\n".join(small.obs["label"]) + "\n", encoding="utf-8")
    return folder


def call(*words, cwd=None):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def run_process(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "cellglass", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=300, **options,
    )  # fmt: skip


# --- the main job ------------------------------------------------------------------------


def test_compare_writes_the_folder_and_closes_with_a_table_and_the_path(data, tmp_path):
    out = tmp_path / "report"
    done = call(
        "compare", data / "counts.npy", "--labels", data / "labels.txt", *FAST, "-o", out
    )
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in out.iterdir()) == sorted(REPORT.content)
    assert "mse_2_seed0" in done.stdout
    assert "pca_2" in done.stdout
    assert done.stdout.rstrip().endswith(str(out / "report.html"))
    assert "Training" in done.stderr


@pytest.mark.parametrize("command", ["compare", "select", "cluster"])
def test_values_that_look_odd_are_warned_about_where_the_command_was_given(
    data, tmp_path, command
):
    np.save(tmp_path / "odd.npy", np.load(data / "counts.npy") * 90.5)
    words = [*FAST, "--method", "kmeans"] if command == "cluster" else FAST
    done = call(command, tmp_path / "odd.npy", *words, "--quiet", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Warning: The matrix was taken as log-normalised, but" in done.stderr
    assert done.stdout == ""


def test_lists_take_several_values_and_the_matrix_may_come_last(data, tmp_path):
    out = tmp_path / "report"
    done = call(
        "compare", "-o", out, "--max-epochs", 1, "--n-hidden", 4, "--loss", "mse",
        "nonzero_mse",        "--n-latent", 2, 3, data / "counts.npy", "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output == ""
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [run["run"] for run in results["runs"]] == [
        "mse_2_seed0", "mse_3_seed0",
        "nonzero_mse_2_seed0", "nonzero_mse_3_seed0",
    ]  # fmt: skip
    assert results["dataset"]["n_labels"] is None
    assert results["runs"][0]["clustering"]["kmeans"]["ari"] is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--n-latent", "10", "50"], ["--n-latent", "10", "--n-latent", "50"]),
        (["--n-latent", "10", "--n-latent", "50"], ["--n-latent", "10", "--n-latent", "50"]),
        (["--loss", "mse", "nb", "x.npy"], ["--loss", "mse", "--loss", "nb", "x.npy"]),
        (["--loss", "mse", "dir/x"], ["--loss", "mse", "dir/x"]),
        (["--seeds", "2", "x"], ["--seeds", "2", "x"]),
        (["--loss", "a", "b", "-o", "out"], ["--loss", "a", "--loss", "b", "-o", "out"]),
        (["--n-latent=2", "3", "x.npy"], ["--n-latent=2", "--n-latent", "3", "x.npy"]),
        (["--loss", "mse", "present"], ["--loss", "mse", "present"]),
        (["--n-latent", "2", "3"], ["--n-latent", "2", "--n-latent", "3"]),
        (["--n-latent"], ["--n-latent"]),
        ([], []),
    ],
)
def test_values_behind_a_list_option_are_spread(given, expected, tmp_path, monkeypatch):
    for name in ("present", "3", "nonzero_mse"):  # as it happens, folders of these names
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert list(options.repeat_options(given)) == expected


@pytest.mark.as_shipped
def test_the_same_seed_gives_the_same_results_in_another_process(tmp_path):
    """With more cells than scikit-learn's t-SNE is used for; and to a narrow terminal."""
    assert call("simulate", tmp_path / "sim", "--n-cells", 600, "--n-genes", 40).exit_code == 0
    words = ["compare", tmp_path / "sim" / "counts.npy", *FAST]
    words += ["--labels", tmp_path / "sim" / "labels.txt"]
    texts = []
    for name in ("one", "two"):
        env = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = run_process(*words, "-o", tmp_path / name, env=env)
        assert done.returncode == 0, done.stderr
        results = json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))
        for run in results["runs"]:
            assert run.pop("seconds").keys() == {"train"}
        texts.append(json.dumps(results))
    assert texts[0] == texts[1]
    model = "models/mse_2_seed0.safetensors"
    assert (tmp_path / "one" / model).read_bytes() == (tmp_path / "two" / model).read_bytes()
    one, two = (
        anndata.read_h5ad(tmp_path / name / "embedding.h5ad") for name in ("one", "two")
    )
    for key in one.obsm:
        np.testing.assert_array_equal(one.obsm[key], two.obsm[key])


def test_without_labels_on_the_command_line_a_column_of_labels_is_not_used(small, tmp_path):
    small.write_h5ad(tmp_path / "cells.h5ad")
    assert "label" in small.obs
    out = tmp_path / "report"
    assert call("compare", tmp_path / "cells.h5ad", *FAST, "-o", out, "-q").exit_code == 0
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["dataset"]["n_labels"] is None
    assert "label" not in anndata.read_h5ad(out / "embedding.h5ad").obs


def test_an_interrupt_is_told_and_leaves_nothing(data, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("cellglass.epoch_program"), "run_epoch", interrupt)
    done = call("compare", data / "counts.npy", *FAST, "-o", tmp_path / "out")
    assert done.exit_code == 130
    assert "nothing was written" in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_open_shows_the_page(data, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(comparing.typer, "launch", opened.append)
    out = tmp_path / "report"
    assert call("compare", data / "counts.npy", *FAST, "-o", out, "--open", "-q").exit_code == 0
    assert opened == [str(out / "report.html")]


# --- mistakes ----------------------------------------------------------------------------


def bad_value(value):
    X = np.ones((20, 5), np.float32)
    X[3, 2] = value
    return X


def write(folder, name, X):
    np.save(folder / name, X)
    return folder / name


MISTAKES = {
    "missing file": (lambda d: ["no.npy"], ["no.npy"]),
    "not a matrix": (lambda d: [write(d, "line.npy", np.ones(9))], ["line.npy", "(9,)"]),
    "NaN": (
        lambda d: [write(d, "nan.npy", bad_value(np.nan))],
        ["nan.npy", "NaN", "cell 4", "gene 3"],
    ),
    "infinite": (
        lambda d: [write(d, "inf.npy", bad_value(np.inf))],
        ["inf.npy", "infinite", "cell 4", "gene 3"],
    ),
    "negative": (
        lambda d: [write(d, "minus.npy", bad_value(-1))],
        ["minus.npy", "negative", "cell 4", "gene 3"],
    ),
    "pickle": (
        lambda d: [write(d, "pickle.npy", np.array([[{}, 1]], dtype=object))],
        ["pickle.npy", "pickle"],
    ),
    "too few cells": (lambda d: [write(d, "two.npy", np.ones((2, 5)))], ["two.npy", "2", "3"]),
    "labels too short": (
        lambda d: [write(d, "m.npy", bad_value(2)), "--labels", text(d, "a\nb\n")],
        ["labels", "2", "20"],
    ),
    "transposed": (
        lambda d: [write(d, "m.npy", bad_value(2)), "--labels", text(d, "a\n" * 5)],
        ["5", "20", "transpose"],
    ),
    "n_latent too large": (
        lambda d: [write(d, "m.npy", bad_value(2)), "--n-latent", "2", "6"],
        ["n_latent", "6", "5"],
    ),
    "unknown loss": (
        lambda d: [write(d, "m.npy", bad_value(2)), "--loss", "mse", "nonzero-mse"],
        ["nonzero-mse", "did you mean", "nonzero_mse"],
    ),
    "no seeds": (lambda d: [write(d, "m.npy", bad_value(2)), "--seeds", "0"], ["seeds", "0"]),
    "fraction": (
        lambda d: [write(d, "m.npy", bad_value(2)), "--validation-fraction", "1.5"],
        ["validation_fraction", "1.5"],
    ),
    "values joined by a comma": (
        lambda d: [write(d, "m.npy", bad_value(2)), "--n-latent", "2,3"],
        ["--n-latent", "'2,3'", "by spaces: --n-latent 2 3"],
    ),
    "labels that are names of cells": (
        lambda d: [
            write(d, "many.npy", np.ones((60, 5))),
            "--labels",
            text(d, "\n".join(map(str, range(60)))),
        ],
        ["60 different labels for 60 cells", "names of cells"],
    ),
    "a word for a number": (
        lambda d: [write(d, "m.npy", bad_value(2)), "--n-latent", "ten"],
        ["n-latent", "ten"],
    ),
}


def text(folder, content):
    (folder / "labels.txt").write_text(content)
    return folder / "labels.txt"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_message_code_2_and_no_folder(name, tmp_path):
    words, expected = MISTAKES[name]
    given = words(tmp_path)
    defaults = [] if "--n-latent" in given else ["--n-latent", "2"]
    done = call("compare", *given, *defaults, "-o", tmp_path / "report", "-q")
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "report").exists()
    message = " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.output
    for part in expected:
        assert part.lower() in message.lower(), message


def test_an_existing_folder_is_refused_before_any_work(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = call("compare", "missing.npy", "-o", tmp_path)
    assert done.exit_code == 2
    assert "already exists" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_diverging_training_ends_with_code_1_and_no_folder(data, tmp_path):
    done = call(
        "compare", data / "counts.npy", *FAST, "--learning-rate", "1e30", "-o", tmp_path / "out"
    )
    assert done.exit_code == 1
    assert "learning rate" in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_place_that_cannot_be_written_is_refused_before_any_work():
    done = call("compare", "missing.npy", "-o", "/proc/cellglass/report")
    assert done.exit_code == 2
    assert "cannot be made" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        pytest.param((3, 4), ["--n-latent", "1"], id="3 cells"),
        pytest.param((12, 1), ["--n-latent", "1"], id="1 gene"),
        pytest.param(
            (17, 4), ["--n-latent", "2", "--batch-size", "15"], id="a cell over a batch"
        ),
        pytest.param(
            (17, 4), ["--n-latent", "2", "--batch-size", "500"], id="less than a batch"
        ),
        pytest.param(
            (17, 4), ["--n-latent", "2", "--validation-fraction", "0"], id="none held out"
        ),
    ],
)
def test_the_smallest_data_go_all_the_way(shape, options, tmp_path):
    X = np.random.default_rng(0).poisson(1.0, shape)
    path = write(tmp_path, "m.npy", X)
    labels = text(tmp_path, "\n".join("ab"[i % 2] for i in range(shape[0])))
    done = call(
        "compare", path, "--labels", labels, *options, "--loss", "mse", "--max-epochs", 2,
        "-o", tmp_path / "out", "-q",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    json.loads(
        (tmp_path / "out" / "results.json").read_text(encoding="utf-8"), parse_constant=fail
    )


def fail(constant):
    raise AssertionError(f"{constant} in results.json")


# --- the other commands ------------------------------------------------------------------


def test_simulate_writes_what_compare_reads(tmp_path):
    done = call("simulate", tmp_path / "sim", "--n-cells", 50, "--n-genes", 40, "--n-groups", 2)
    assert done.exit_code == 0, done.output
    adata = cg.read(tmp_path / "sim" / "counts.npy", labels=tmp_path / "sim" / "labels.txt")
    assert adata.shape == (50, 40)
    assert adata.obs["label"].nunique() == 2
    assert (tmp_path / "sim" / "truth.h5ad").exists()
    again = call("simulate", tmp_path / "sim")
    assert again.exit_code == 2
    assert "already exists" in " ".join(again.stderr.split())


def test_demo_runs_on_the_blood_cells_that_scanpy_ships(tmp_path, monkeypatch):
    seen = {}

    def stop(adata, **options):
        seen["adata"] = adata
        raise cg.InputError("far enough")

    monkeypatch.setattr(import_module("cellglass.compare"), "compare", stop)
    assert call("demo", "-o", tmp_path / "out", "-q").exit_code == 2
    assert seen["adata"].shape == (700, 765)
    assert seen["adata"].obs["label"].nunique() == 10
    assert call("demo", "--simulated", "-o", tmp_path / "out", "-q").exit_code == 2
    assert seen["adata"].shape == (5000, 1000)


def test_help_is_quick_to_import_and_names_every_option():
    heavy = ("jax", "sklearn", "scanpy", "pandas", "anndata", "matplotlib")
    code = f"import sys, cellglass.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    done = run_process("compare", "--help", env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0
    for option in ("--labels", "--n-latent", "--loss", "--max-epochs", "--seeds", "--input"):
        assert option in done.stdout


def test_the_version_is_shown():
    assert call("--version").output.strip() == f"cellglass {cg.__version__}"
