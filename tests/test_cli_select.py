"""``cellglass select``: what it prints, writes and refuses."""

import importlib
import inspect
import json
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from cellglass.cli import app
from cellglass.report.select_page import command
from cellglass.select import select

FAST = ["--n-hidden", "4", "--max-epochs", "1", "--splits", "2"]


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "counts.npy"
    np.save(path, rng.poisson(rng.gamma(1.0, 6.0, (30, 8))))
    return path


def test_it_says_what_to_use_and_writes_what_the_page_says(matrix, tmp_path):
    done = call("select", matrix, "--n-latent", 1, 2, *FAST, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    said = " ".join(done.stdout.split())
    for item in results["conclusions"]:
        assert " ".join(item["answer"].split()) in said
    assert "Held-out mean Poisson deviance of counts" in said
    assert results["settings"]["n_latent"] == [1, 2]
    assert results["settings"]["loss"] == ["nb"]


def test_without_options_it_is_the_call_from_python(matrix, tmp_path, monkeypatch):
    heard = {}

    def noted(adata, **settings):
        heard.update(settings)
        return select(adata, n_latent=1, max_epochs=1, splits=2)

    monkeypatch.setattr(importlib.import_module("cellglass.select"), "select", noted)
    monkeypatch.chdir(tmp_path)
    assert call("select", matrix, "-q").exit_code == 0
    assert (tmp_path / "selection" / "report.html").exists()
    del heard["callbacks"], heard["progress"], heard["checkpoints"]
    assert heard["n_latent"] is None and heard["loss"] is None
    defaults = inspect.signature(select).parameters
    assert {k: v for k, v in heard.items() if k != "n_latent"} == {
        k: defaults[k].default for k in heard if k != "n_latent"
    }


def test_every_option_reaches_the_selection(matrix, tmp_path):
    given = {
        "n_latent": [1], "loss": ["mse"], "splits": 2, "seeds": 2, "n_hidden": 4,
        "n_layers": 2, "max_epochs": 3, "batch_size": 8, "learning_rate": 0.002,
        "schedule": "cosine_decay_schedule", "patience": 2, "min_delta": 0.001,
        "validation_fraction": 0.2, "dropout_rate": 0.1, "input_noise": 0.1,
        "weight_decay": 0.01, "variational": True, "kl_warmup_epochs": 2, "free_bits": 0.1,
        "input": "counts", "random_state": 3,
    }  # fmt: skip
    words = []
    for name, value in given.items():
        shown = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{name.replace('_', '-')}", *shown]
    done = call("select", matrix, *words, "-q", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert {name: results["settings"][name] for name in given} == given


def test_the_command_on_the_page_gives_the_same_errors(matrix, tmp_path, monkeypatch):
    words = ["select", matrix, "--n-latent", 1, 2, "--loss", "mse", *FAST]
    assert call(*words, "--dropout-rate", 0.1, "-q", "-o", tmp_path / "a").exit_code == 0
    first = json.loads((tmp_path / "a" / "results.json").read_text(encoding="utf-8"))
    again = shlex.split(command(first))
    monkeypatch.chdir(matrix.parent)
    assert again[:2] == ["cellglass", "select"] and again[-2:] == ["-o", "selection/"]
    done = call(*again[1:-1], tmp_path / "b", "-q")
    assert done.exit_code == 0, done.output
    second = json.loads((tmp_path / "b" / "results.json").read_text(encoding="utf-8"))
    assert second["curves"] == first["curves"]
    assert second["settings"] == first["settings"]


@pytest.mark.parametrize(("words", "said"), [
    (["--n-latent", "1", "--seeds", "0"], "seeds is 0"),
    (["--n-latent", "1", "--splits", "1"], "splits is 1"),
    (["--n-latent", "9"], "n_latent is 9"),
    (["--n-latent", "two"], "--n-latent is 'two'"),
    (["--n-latent", "1", "--loss", "nonzero_mse"], "cannot choose the latent size"),
])  # fmt: skip
def test_a_mistake_is_one_message_and_writes_nothing(matrix, tmp_path, words, said):
    done = call("select", matrix, *FAST, *words, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_data_too_small_to_split_are_one_message(tmp_path):
    np.save(tmp_path / "tiny.npy", np.ones((3, 5)))
    done = call("select", tmp_path / "tiny.npy", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "too small to choose the latent size" in " ".join(done.stderr.split())


def test_a_folder_that_is_there_is_refused_before_any_work(matrix, tmp_path):
    (tmp_path / "out").mkdir()
    done = call("select", tmp_path / "missing.npy", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "already exists" in " ".join(done.stderr.split())


# --- stopped and gone on with ------------------------------------------------------------


def without_seconds(folder):
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for training in results["trainings"]:
        assert training["seconds"].pop("train") > 0
    return results


@pytest.mark.parametrize("every", [[], ["--checkpoint-every", 1]], ids=["stop", "kill"])
def test_a_selection_that_was_stopped_goes_on_to_the_same_results(
    matrix, tmp_path, monkeypatch, every
):
    words = ["select", matrix, "--n-latent", 2, 1, "--n-hidden", 4, "--max-epochs", 2,
             "--splits", 2, "--seeds", 2, *every]  # fmt: skip
    assert call(*words, "-q", "-o", tmp_path / "straight").exit_code == 0
    module, done = importlib.import_module("cellglass.select"), []
    usual = module.reconstruct

    def stop(*arguments):
        done.append(arguments)
        if len(done) == 5:
            raise SystemError("killed") if every else KeyboardInterrupt
        return usual(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "reconstruct", stop)
        stopped = call(*words, "-q", "-o", tmp_path / "out")
    assert stopped.exit_code == (1 if every else 130)
    kept = {p.name for p in (tmp_path / "out" / "cellglass-checkpoints").iterdir()}
    done = {f"nb_{n}_seed{seed}.safetensors" for n, seed in ((1, 0), (1, 1), (1, 2), (2, 0))}
    assert {*done, "nb_2_seed1.safetensors", "unfinished.json"} <= kept
    refused = call(*words, "-q", "-o", tmp_path / "out")
    assert refused.exit_code == 2 and "checkpoints of a selection" in refused.output
    other = call(*words, "--learning-rate", 0.01, "-q", "-o", tmp_path / "out", "--resume")
    assert other.exit_code == 2 and "learning_rate was 0.001" in " ".join(other.output.split())
    begun = []
    train = module.train_networks
    monkeypatch.setattr(
        module, "train_networks", lambda *a, **k: begun.append(a) or train(*a, **k)
    )
    resumed = call(*words, "-q", "-o", tmp_path / "out", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert without_seconds(tmp_path / "out") == without_seconds(tmp_path / "straight")
    assert not (tmp_path / "out" / "cellglass-checkpoints").exists()

    begun.clear()
    again = call(*words, "-o", tmp_path / "out", "--resume")
    assert again.exit_code == 0 and "is there already, made like this" in again.output
    assert begun == []
    other = call(*words, "--splits", 3, "-o", tmp_path / "out", "--resume")
    assert other.exit_code == 2 and "holds a finished selection, but splits" in " ".join(
        other.output.split()
    )


def test_the_epochs_that_were_kept_are_not_trained_again(matrix, tmp_path):
    heard = []
    how = {"n_latent": 1, "n_hidden": 4, "max_epochs": 3, "splits": 2, "loss": "mse",
           "checkpoints": tmp_path / "kept"}  # fmt: skip

    def stop(epoch):
        heard.append((epoch.run, epoch.epoch))
        if heard[-1] == ("mse_1_seed1", 2):
            raise KeyboardInterrupt

    counts = np.load(matrix)
    with pytest.raises(KeyboardInterrupt):
        select(counts, callbacks=stop, **how)
    heard.clear()
    found = select(
        counts, callbacks=lambda e: heard.append((e.run, e.epoch)), resume=True, **how
    )
    assert heard == [("mse_1_seed1", 3)]
    del how["checkpoints"]
    straight = select(counts, **how)
    np.testing.assert_array_equal(found.curves[0].errors, straight.curves[0].errors)
