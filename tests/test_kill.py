"""Killed at random moments and resumed, a training ends as if nothing had happened.

The processes are real, and so is the SIGKILL: no handler, no clean-up, no last words.
"""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import cellglass as cg


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    adata = cg.simulate(200, 30, 3, random_state=1)
    np.save(folder / "counts.npy", adata.X)
    (folder / "labels.txt").write_text("\n".join(adata.obs["label"]), encoding="utf-8")
    return folder


def start(place: Path, *words: object) -> subprocess.Popen:
    # Compiled programs are kept, so that most of a short life is spent on the work itself.
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(place / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "cellglass", *map(str, words), "-q"],
        cwd=place, env={**os.environ, **kept}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said


def lives(place: Path, words: list, n_kills: int, seconds: float, seed: int) -> list[float]:
    """Start a command again and again, kill it after a random time, and let it end at last.

    Each time that it ends before it is killed its output is removed, so that the killing
    starts from the beginning. Returns the moments of the kills.
    """
    output = place / words[words.index("-o") + 1]
    rng = np.random.default_rng(seed)
    moments: list[float] = []
    for _ in range(5 * n_kills):
        process = start(place, *words, "--resume")
        try:
            process.communicate(timeout=rng.uniform(0.1, 1.1) * seconds)
            remove(output)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if process.returncode == -signal.SIGKILL:
                moments.append(time.monotonic())
            else:  # it ended of itself between the timeout and the signal
                assert process.returncode == 0
                remove(output)
        if len(moments) == n_kills:
            break
    assert len(moments) == n_kills
    finish(start(place, *words, "--resume"))
    return moments


def remove(output: Path) -> None:
    import shutil

    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink()


def seconds_of(place: Path, *words: object) -> float:
    started = time.monotonic()
    finish(start(place, *words))
    return time.monotonic() - started


@pytest.mark.parametrize("n_kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_training_killed_again_and_again_gives_the_same_model_to_the_last_bit(place, n_kills):
    words = ["train", "counts.npy", "--n-latent", 3, "--n-hidden", 8, "--max-epochs", 200,
             "--checkpoint-every", 1, "--schedule", "cosine_decay_schedule",
             "--patience", 190]  # fmt: skip
    seconds_of(place, *words, "-o", "warm.safetensors")
    usual = seconds_of(place, *words, "-o", "straight.safetensors")
    chains = [(i, [*words, "-o", f"killed_{i}.safetensors"]) for i in range(2)]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(lives, place, chain, n_kills // 2, usual, seed)
            for seed, chain in chains
        ]
        assert sum(len(run.result()) for run in runs) == n_kills
    straight = (place / "straight.safetensors").read_bytes()
    for i in range(2):
        assert (place / f"killed_{i}.safetensors").read_bytes() == straight
    left = {path.name for path in place.iterdir()}
    assert not any("checkpoint" in name or "partial" in name for name in left), left


@pytest.mark.slow
def test_a_comparison_killed_again_and_again_gives_the_same_results(place):
    words = ["compare", "counts.npy", "--labels", "labels.txt", "--n-latent", 2,
             "--n-hidden", 8, "--max-epochs", 40, "--checkpoint-every", 3]  # fmt: skip
    seconds_of(place, *words, "-o", "warm")
    usual = seconds_of(place, *words, "-o", "straight")
    lives(place, [*words, "-o", "killed"], 20, usual, seed=0)
    straight, killed = place / "straight", place / "killed"
    assert files(killed) == files(straight)
    assert results(killed) == results(straight)
    for model in (straight / "models").iterdir():
        assert model.read_bytes() == (killed / "models" / model.name).read_bytes()
        assert load_file(model)
    assert not [path.name for path in place.iterdir() if path.name.startswith(".")]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def results(folder: Path) -> dict:
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for run in content["runs"]:
        assert run["seconds"].pop("train") > 0  # the only thing that may differ
    return content
