"""``train`` and ``transform`` on the command line, and what can go wrong there."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

import cellglass as cg
from cellglass import cli

FAST = ["--n-latent", "2", "--n-hidden", "4", "--max-epochs", "3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    adata = cg.simulate(60, 20, 3, random_state=1)
    np.save(folder / "counts.npy", adata.X)
    adata.write_h5ad(folder / "cells.h5ad")
    return folder


def call(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def said(done):
    return " ".join((done.stdout + done.stderr).split())


def test_a_model_is_trained_saved_and_applied(data, tmp_path):
    done = call("train", data / "cells.h5ad", "--layer", "counts", *FAST,
                "-o", tmp_path / "m.safetensors")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 epochs, training loss" in done.stdout and "held-out loss" in done.stdout
    model = cg.load(tmp_path / "m.safetensors")
    assert model.genes[:2] == ("gene_0", "gene_1") and model.preprocessor.input == "counts"
    done = call("transform", tmp_path / "m.safetensors", data / "cells.h5ad", "--layer",
                "counts", "-o", tmp_path / "out.h5ad")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "60 cells, 2 latent dimensions. All 20 genes are there" in said(done)
    adata = anndata.read_h5ad(data / "cells.h5ad")
    Z = anndata.read_h5ad(tmp_path / "out.h5ad").obsm["X_ae"]
    np.testing.assert_array_equal(Z, model.transform(adata, layer="counts"))
    assert {p.name for p in tmp_path.iterdir()} == {"m.safetensors", "out.h5ad"}


def test_every_option_of_transform_has_its_effect(data, tmp_path):
    cells = anndata.read_h5ad(data / "cells.h5ad")
    cells.X = cells.layers["counts"]
    cells.raw = cells
    cells.var["gene_ids"] = [f"ENSG{i:011d}.2" for i in range(20)]
    cells.write_h5ad(tmp_path / "all.h5ad")
    few = cells[:, :15].copy()
    few.X = -few.X
    few.write_h5ad(tmp_path / "few.h5ad")
    model = tmp_path / "m.safetensors"
    done = call("train", tmp_path / "few.h5ad", "--use-raw", *FAST, "-o", model)
    assert done.exit_code == 0, done.output
    transform = ["transform", model, tmp_path / "few.h5ad", "-o"]
    done = call(*transform, tmp_path / "raw.h5ad", "--use-raw", "--key-added", "X_new")
    assert done.exit_code == 0, done.output
    expected = cg.load(model).transform(cells)
    found = anndata.read_h5ad(tmp_path / "raw.h5ad")
    np.testing.assert_array_equal(found.obsm["X_new"], expected)
    assert "X_ae" not in found.obsm

    few.layers["counts"] = -few.X
    few.write_h5ad(tmp_path / "few.h5ad")
    refused = call(*transform, tmp_path / "out.npy", "--layer", "counts")
    assert refused.exit_code == 2 and "only 15 of the model's 20 genes" in said(refused)
    done = call(*transform, tmp_path / "out.npy", "--layer", "counts", "--min-coverage", "0.75",
                "--missing-genes", tmp_path / "missing.txt")  # fmt: skip
    assert done.exit_code == 0 and "5 missing, filled with 0" in said(done)
    assert (tmp_path / "missing.txt").read_text().split() == list(cells.var_names[15:])
    absent = np.hstack([few.layers["counts"], np.zeros((60, 5))])
    np.testing.assert_array_equal(
        np.load(tmp_path / "out.npy"), cg.load(model).transform(absent)
    )


def test_genes_are_found_by_the_ids_that_stood_beside_their_names(data, tmp_path):
    cells = anndata.read_h5ad(data / "cells.h5ad")
    ids = [f"ENSG{i:011d}" for i in range(20)]
    cells.var["gene_ids"] = [f"{name}.2" for name in ids]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    model = tmp_path / "m.safetensors"
    assert call("train", tmp_path / "cells.h5ad", *FAST, "-o", model).exit_code == 0
    other = anndata.AnnData(cells.X[:, ::-1], var=cells.var.iloc[::-1][[]])
    other.var_names = ids[::-1]
    other.write_h5ad(tmp_path / "other.h5ad")
    done = call("transform", model, tmp_path / "other.h5ad", "-o", tmp_path / "out.npy")
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(
        np.load(tmp_path / "out.npy"), cg.load(model).transform(cells.X)
    )


def test_what_looks_odd_and_what_is_to_be_done_are_said_in_words_of_the_command_line(
    data, tmp_path
):
    cells = anndata.read_h5ad(data / "cells.h5ad")
    cells.X = 1000 * cells.X
    cells.var_names = ["g", "g", *cells.var_names[2:]]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    done = call("train", tmp_path / "cells.h5ad", *FAST, "-o", tmp_path / "m.safetensors", "-q")
    assert done.exit_code == 0 and done.stdout == ""
    assert "Warning: The matrix was taken as log-normalised, but its" in said(done)
    assert "Warning: Of the genes 1 name stands more than once, such as 'g' at 1 and 2" in said(
        done
    )
    counts = tmp_path / "counts.safetensors"
    call("train", tmp_path / "cells.h5ad", "--layer", "counts", *FAST, "-o", counts)
    refused = call("transform", counts, tmp_path / "cells.h5ad", "-o", tmp_path / "out.npy")
    assert refused.exit_code == 2
    assert "in a layer (--layer counts) or in raw (--use-raw)" in said(refused)


def test_train_gives_the_model_of_the_comparison_to_the_last_bit(data, tmp_path):
    assert call("train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors", "-q",
                ).exit_code == 0  # fmt: skip
    done = call("compare", data / "counts.npy", *FAST, "--loss", "mse", "-o", tmp_path / "out",
                "-q")  # fmt: skip
    assert done.exit_code == 0, done.output
    of_grid = (tmp_path / "out" / "models" / "mse_2_seed0.safetensors").read_bytes()
    assert (tmp_path / "m.safetensors").read_bytes() == of_grid


def test_early_stopping_says_which_epoch_was_kept(data, tmp_path):
    done = call("train", data / "counts.npy", "--n-latent", 2, "--n-hidden", 4,
                "--max-epochs", 200, "--learning-rate", 0.3, "--patience", 2,
                "-o", tmp_path / "m.safetensors")  # fmt: skip
    assert done.exit_code == 0, done.output
    model = cg.load(tmp_path / "m.safetensors")
    losses = model.history["validation"]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < 200
    assert f"weights of epoch {best}, the best" in done.stdout


def test_tensorboard_gets_its_files_where_it_was_told(data, tmp_path):
    done = call("train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors", "-q",
                "--tensorboard", tmp_path / "logs")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "logs" / "mse_2_seed0").iterdir())) == 1


# --- stop and resume ---------------------------------------------------------------------


def test_ctrl_c_on_a_process_says_how_to_resume_and_that_command_does(data, tmp_path):
    words = ["train", str(data / "counts.npy"), "--n-latent", "2", "--max-epochs", "3000",
             "-o", "m.safetensors"]  # fmt: skip
    env = {**os.environ, "COLUMNS": "500"}
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "cellglass", *words, "--tensorboard", "logs"],
            cwd=tmp_path, env=env, stderr=file, start_new_session=True,
        )  # fmt: skip
        for _ in range(600):  # until the first epoch is told
            if (tmp_path / "logs" / "mse_2_seed0").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    message = " ".join(log.read_text().split())
    assert "Training of mse_2_seed0 was stopped after epoch" in message
    assert not (tmp_path / "m.safetensors").exists()
    folder = tmp_path / "m.safetensors.checkpoints"
    assert {p.name for p in folder.iterdir()} == {"mse_2_seed0.safetensors", "unfinished.json"}
    command = message.partition("as without the stop: ")[2]
    assert command.startswith("cellglass train") and command.endswith("--resume")

    again = call(*words[:-1], tmp_path / "m.safetensors")
    assert again.exit_code == 2 and "Add --resume" in said(again)
    resumed = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert not folder.exists()
    straight = call(*words[:-1], tmp_path / "straight.safetensors", "-q")
    assert straight.exit_code == 0, straight.output
    assert (tmp_path / "m.safetensors").read_bytes() == (
        tmp_path / "straight.safetensors"
    ).read_bytes()


def stop_in_evaluation(monkeypatch, of_run):
    from cellglass.judging import Judging

    usual, done = Judging.begin_run, []

    def evaluate(*arguments):
        done.append(arguments)
        if len(done) == of_run:
            raise KeyboardInterrupt
        return usual(*arguments)

    monkeypatch.setattr(Judging, "begin_run", evaluate)


def test_a_comparison_stopped_between_trainings_keeps_them_and_resumes(
    data, tmp_path, monkeypatch
):
    words = ["compare", data / "counts.npy", *FAST]
    with monkeypatch.context() as patch:
        stop_in_evaluation(patch, of_run=2)
        done = call(*words, "-o", tmp_path / "out", "-q")
    assert done.exit_code == 130
    assert "All trainings so far are kept in" in said(done)
    kept = {p.name for p in (tmp_path / "out" / "cellglass-checkpoints").iterdir()}
    assert kept == {
        "mse_2_seed0.safetensors", "nonzero_mse_2_seed0.safetensors", "unfinished.json"
    }  # fmt: skip

    plain = call(*words, "-o", tmp_path / "out", "-q")
    assert plain.exit_code == 2 and "Give --resume" in said(plain)
    other = call(*words, "--learning-rate", 0.01, "-o", tmp_path / "out", "-q", "--resume")
    assert other.exit_code == 2
    assert "learning_rate was 0.001 and is now 0.01" in said(other)

    called = []
    program = import_module("cellglass.epoch_program")
    usual = program.run_epoch
    with monkeypatch.context() as patch:
        patch.setattr(program, "run_epoch", lambda *a, **k: called.append(1) or usual(*a, **k))
        resumed = call(*words, "-o", tmp_path / "out", "-q", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert called == []  # both were trained to the end
    assert not (tmp_path / "out" / "cellglass-checkpoints").exists()

    assert call(*words, "-o", tmp_path / "straight", "-q").exit_code == 0
    assert results(tmp_path / "out") == results(tmp_path / "straight")


def results(folder):
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for run in content["runs"]:
        del run["seconds"]
    return content


def written(path):
    """Which file lies there and when it was last written; reading it changes neither."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def test_resuming_what_is_finished_does_nothing_and_says_so(data, tmp_path):
    words = ["train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors"]
    assert call(*words).exit_code == 0
    before = written(tmp_path / "m.safetensors")
    again = call(*words, "--resume")
    assert again.exit_code == 0 and "is there already" in said(again)
    assert written(tmp_path / "m.safetensors") == before
    other = call(*words, "--resume", "--learning-rate", 0.5)
    assert other.exit_code == 2 and "learning_rate was 0.001" in said(other)

    words = ["compare", data / "counts.npy", *FAST, "--loss", "mse", "-o", tmp_path / "out"]
    assert call(*words, "-q").exit_code == 0
    again = call(*words, "--resume")
    assert again.exit_code == 0 and "is there already" in said(again)
    other = call(*words, "--resume", "--seeds", 2)
    assert other.exit_code == 2 and "seeds was 1 for it and is now 2" in said(other)


def test_a_mistake_after_overwrite_keeps_what_there_is_to_resume(data, tmp_path):
    folder = tmp_path / "m.safetensors.checkpoints"
    folder.mkdir()
    for name in ("mse_2_seed0.safetensors", "unfinished.json"):
        (folder / name).write_text("hours of work")
    output = ["-o", tmp_path / "m.safetensors", "--overwrite", "-q"]
    assert call("train", data / "no such.npy", *FAST, *output).exit_code == 2
    assert call("train", data / "counts.npy", *FAST, "--n-latent", 99, *output).exit_code == 2
    assert len(list(folder.iterdir())) == 2


def test_resuming_with_other_data_is_refused_or_begins_anew_if_told(data, tmp_path):
    other = np.load(data / "counts.npy")
    other[0, 0] += 1
    np.save(tmp_path / "other.npy", other)
    for command, name in (("train", "m.safetensors"), ("compare", "out")):
        words = [*FAST, "--loss", "mse", "-o", tmp_path / name, "-q"]
        assert call(command, data / "counts.npy", *words).exit_code == 0
        done = call(command, tmp_path / "other.npy", *words, "--resume")
        assert done.exit_code == 2 and "its data" in said(done)
        again = call(command, tmp_path / "other.npy", *words, "--resume", "--overwrite")
        assert again.exit_code == 0, again.output
        done = call(command, tmp_path / "other.npy", *words, "--resume")
        assert done.exit_code == 0, done.output


def test_a_folder_of_somebody_else_is_not_taken_for_an_unfinished_report(data, tmp_path):
    out = tmp_path / "mine"
    (out / "cellglass-checkpoints").mkdir(parents=True)
    (out / "checkpoints").mkdir()
    for name in ("checkpoints/epoch1.pt", "metrics.csv", "report.html"):
        (out / name).write_text("mine")
    for words in (["--resume"], ["--overwrite"], ["--resume", "--overwrite"]):
        done = call("compare", data / "counts.npy", *FAST, "-o", out, *words, "-q")
        assert done.exit_code == 2, words
        for name in ("checkpoints/epoch1.pt", "metrics.csv", "report.html"):
            assert (out / name).read_text() == "mine"


def test_what_stops_the_writing_of_the_report_keeps_the_trainings(data, tmp_path, monkeypatch):
    write = import_module("cellglass.report.write")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    words = [
        "compare",
        data / "counts.npy",
        *FAST,
        "--loss",
        "mse",
        "-o",
        tmp_path / "out",
        "-q",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(write, "_write_content", full)
        done = call(*words)
    assert done.exit_code == 1
    assert "No space left" in said(done) and "To go on" in said(done)
    assert (tmp_path / "out" / "cellglass-checkpoints" / "mse_2_seed0.safetensors").exists()
    assert call(*words, "--resume").exit_code == 0
    assert not (tmp_path / "out" / "cellglass-checkpoints").exists()


def test_folders_above_the_output_are_made(data, tmp_path):
    model = tmp_path / "a" / "b" / "m.safetensors"
    assert call("train", data / "counts.npy", *FAST, "-o", model, "-q").exit_code == 0
    out = tmp_path / "c" / "d" / "out.csv"
    assert call("transform", model, data / "counts.npy", "-o", out, "-q").exit_code == 0
    assert out.exists()
    done = call("train", data / "counts.npy", *FAST, "-o", tmp_path / "a.safetensors" / "x")
    assert done.exit_code == 2


def test_mlflow_works_as_it_is_installed(data, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cellglass", "train", str(data / "counts.npy"), *FAST, "-q",
         "-o", "m.safetensors", "--mlflow", "cells"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stores = {"mlflow.db", "mlruns"}  # by the version of MLflow
    assert stores & {p.name for p in tmp_path.iterdir()}


def test_an_mlflow_that_cannot_be_reached_is_told_before_the_work(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    done = call("train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors",
                "--mlflow", "cells")  # fmt: skip
    assert done.exit_code == 2 and "MLflow cannot be used with nonsense://here" in said(done)


def test_a_network_that_no_memory_holds_is_refused(data, tmp_path):
    done = call("train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors",
                "--n-hidden", 10**12)  # fmt: skip
    assert done.exit_code == 2 and "smaller n_hidden" in said(done)


def test_resuming_what_never_began_begins(data, tmp_path):
    words = ["train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors", "--resume"]
    assert call(*words, "-q").exit_code == 0
    assert (tmp_path / "m.safetensors").exists()


def test_starting_anew_throws_the_old_state_away(data, tmp_path):
    folder = tmp_path / "m.safetensors.checkpoints"
    folder.mkdir()
    (folder / "mse_2_seed0.safetensors").write_text("of another training")
    (folder / "unfinished.json").write_text("")
    words = ["train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors", "-q"]
    assert call(*words, "--overwrite").exit_code == 0
    assert not folder.exists()


# --- failures ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_training_that_fails_leaves_a_model_of_the_last_good_weights(
    data, tmp_path, monkeypatch, command
):
    schedules = import_module("cellglass.schedules")
    monkeypatch.setitem(
        schedules.SCHEDULES, "linear_schedule",
        lambda rate, n_steps: lambda step: 1e-3 + 1e30 * (step // (n_steps // 5) >= 2),
    )  # fmt: skip
    output = tmp_path / ("m.safetensors" if command == "train" else "out")
    kept = (
        tmp_path / "m.safetensors.checkpoints"
        if command == "train"
        else output / "cellglass-checkpoints"
    )
    done = call(command, data / "counts.npy", "--n-latent", 2, "--loss", "mse", "--n-hidden", 4,
                "--max-epochs", 5, "--schedule", "linear_schedule", "-o", output, "-q",
                )  # fmt: skip
    assert done.exit_code == 1
    assert "in epoch 3 of 5" in said(done) and "kept as a model in" in said(done)
    model = cg.load(kept / "mse_2_seed0.last_good.safetensors")
    assert len(model.history["train"]) == 2
    assert np.isfinite(model.transform(np.load(data / "counts.npy"))).all()


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on file sizes")
def test_a_disk_that_is_full_in_truth_keeps_the_old_model(data, tmp_path):
    output = tmp_path / "m.safetensors"
    assert call("train", data / "counts.npy", *FAST, "-o", output, "-q").exit_code == 0
    before = output.read_bytes()
    # A file may not grow beyond 1,000 bytes: writing fails as on a full disk.
    code = (
        "import resource, signal, sys\n"
        "from cellglass.cli import main\n"
        "import cellglass.fit, cellglass.read\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "main()\n"
    )
    words = ["train", str(data / "counts.npy"), *FAST, "-o", str(output), "--overwrite", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "500"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "could not be written: File too large" in done.stderr
    assert output.read_bytes() == before
    assert not [p.name for p in tmp_path.iterdir() if "partial" in p.name]


@pytest.mark.parametrize("words", [
    ["--schedule", "cosine"], ["--patience", 0], ["--patience", 3, "--validation-fraction", 0],
    ["--min-delta", -1], ["--checkpoint-every", 0], ["-o", "m.pkl"], ["--loss", "msee"],
    ["--n-latent", 1000], ["--layer", "counts"],
], ids=lambda words: " ".join(map(str, words)))  # fmt: skip
def test_a_wrong_option_is_one_message_and_nothing_written(data, tmp_path, words):
    done = call("train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors", *words)
    assert done.exit_code == 2, done.output
    assert said(done).startswith("Error: ") or "Error: " in said(done)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_model_is_kept_unless_told(data, tmp_path):
    output = tmp_path / "m.safetensors"
    output.write_text("mine")
    done = call("train", data / "counts.npy", *FAST, "-o", output)
    assert done.exit_code == 2 and "already exists" in said(done)
    assert output.read_text() == "mine"


def test_transform_says_what_is_wrong(data, tmp_path):
    (tmp_path / "m.safetensors").write_text("not a model")
    done = call("transform", tmp_path / "m.safetensors", data / "cells.h5ad", "-o",
                tmp_path / "out.h5ad")  # fmt: skip
    assert done.exit_code == 2 and "not a .safetensors file" in said(done)
    assert not (tmp_path / "out.h5ad").exists()


def test_resuming_with_another_size_never_clears_away_what_was_stopped(
    data, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_in_evaluation(patch, of_run=1)
        call("compare", data / "counts.npy", *FAST, "--loss", "mse", "-o", out, "-q")
    before = sorted((out / "cellglass-checkpoints").iterdir())
    done = call("compare", data / "counts.npy", *FAST, "--loss", "nonzero_mse", "-o", out, "-q",
                "--resume")  # fmt: skip
    assert done.exit_code == 2 and "loss was ['mse'] and is now ['nonzero_mse']" in said(done)
    assert sorted((out / "cellglass-checkpoints").iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM to catch")
def test_the_signal_that_ends_a_job_on_a_cluster_keeps_the_training(data, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "cellglass", "train", str(data / "counts.npy"),
         "--n-latent", "2", "--max-epochs", "100000", "-o", "m.safetensors",
         "--tensorboard", "logs"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for _ in range(600):  # until the first epoch is told
        if (tmp_path / "logs" / "mse_2_seed0").exists():
            break
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert (tmp_path / "m.safetensors.checkpoints" / "mse_2_seed0.safetensors").exists()


def test_that_signal_is_heard_where_ctrl_c_is_not_meant_to_be(data, tmp_path):
    # As in the background of a script, where a shell has Ctrl-C ignored.
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" INT; exec "$0" "$@"', sys.executable, "-m", "cellglass",
         "train", str(data / "counts.npy"), *FAST[:4], "--max-epochs", "1000000",
         "--checkpoint-every", "1", "-q", "-o", "m.safetensors"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    kept = tmp_path / "m.safetensors.checkpoints" / "mse_2_seed0.safetensors"
    deadline = time.monotonic() + 120
    while not kept.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in errors, errors


@pytest.mark.parametrize("module", ["jax", "jax.numpy", "equinox"])
def test_ctrl_c_while_libraries_are_imported_ends_at_once_and_in_order(data, tmp_path, module):
    code = (
        "import signal, sys\n"
        "class Press:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\n"
        "from cellglass.cli import main\n"
        "main()\n"
    )
    words = ["train", str(data / "counts.npy"), *FAST, "-o", "m.safetensors"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr.split() == ["Interrupted;", "nothing", "was", "written."]
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_a_kill_left_empty_is_gone_on_with(data, tmp_path):
    words = ["compare", data / "counts.npy", *FAST, "--loss", "mse", "--resume", "-q"]
    for n, every in enumerate([[], ["--checkpoint-every", 1]]):
        out = tmp_path / f"out{n}"
        (out / "cellglass-checkpoints").mkdir(parents=True)
        (out / "cellglass-checkpoints" / ".unfinished.json.partial").touch()
        done = call(*words, *every, "-o", out)
        assert done.exit_code == 0, done.output
        assert (out / "report.html").exists()
        assert not (out / "cellglass-checkpoints").exists()


def test_checkpoints_do_not_go_through_a_link(data, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cellglass-checkpoints").symlink_to(outside)
    (tmp_path / "m.safetensors.checkpoints").symlink_to(outside)
    for words in (
        ("compare", "-o", tmp_path / "out"),
        ("train", "-o", tmp_path / "m.safetensors"),
    ):
        done = call(words[0], data / "counts.npy", *FAST, "--checkpoint-every", 1,
                    "--overwrite", *words[1:])  # fmt: skip
        assert done.exit_code == 2 and "is a link, but nothing is written outside" in said(done)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_name_that_is_too_long_is_one_message(data, tmp_path, command):
    done = call(
        command, data / "counts.npy", *FAST, "-o", tmp_path / ("x" * 240 + ".safetensors")
    )
    assert done.exit_code == 2 and "has a name of 252 bytes" in said(done)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on file sizes")
@pytest.mark.parametrize(
    "limit", [500, 20_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (4000, 50_000))]
)
def test_a_disk_that_is_full_in_truth_keeps_the_old_report(data, tmp_path, limit):
    out = tmp_path / "out"
    words = ["compare", str(data / "counts.npy"), *FAST, "--loss", "mse", "-o", str(out), "-q"]
    assert call(*words).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code = (
        "import resource, signal, sys\n"
        "from cellglass.cli import main\n"
        "import cellglass.compare, cellglass.report.write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--overwrite"], capture_output=True, text=True
    )
    assert done.returncode in (1, 2), done.stderr
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    kept = {path: content for path, content in after.items() if "checkpoints" not in str(path)}
    assert kept == before


def test_a_layer_of_the_comparison_is_named_on_the_page(data, tmp_path):
    out = tmp_path / "out"
    done = call("compare", data / "cells.h5ad", "--layer", "counts", *FAST, "--loss", "mse",
                "-o", out, "-q")  # fmt: skip
    assert done.exit_code == 0, done.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "--layer counts" in page
    assert json.loads((out / "results.json").read_text())["dataset"]["input"] == "counts"


def test_a_training_that_diverges_to_finite_numbers_is_no_success(data, tmp_path):
    done = call("train", data / "counts.npy", "--n-latent", 2, "--max-epochs", 20,
                "--learning-rate", 100, "-o", tmp_path / "m.safetensors", "-q")  # fmt: skip
    assert done.exit_code == 1 and "has diverged" in said(done)
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("output", [".", ".."])
def test_a_folder_as_the_model_is_one_message(data, output):
    done = call("train", data / "counts.npy", *FAST, "-o", output)
    assert done.exit_code == 2 and "must end in .safetensors" in said(done)


def test_a_file_in_place_of_the_folder_for_tensorboard_is_told_first(data, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = call("train", data / "counts.npy", *FAST, "-o", tmp_path / "m.safetensors",
                "--tensorboard", tmp_path / "file")  # fmt: skip
    assert done.exit_code == 2 and "for TensorBoard cannot be made" in said(done)
