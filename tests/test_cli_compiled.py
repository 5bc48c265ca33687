"""What was compiled is kept for the next command, in a folder that may be chosen or missing."""

import os
import subprocess
import sys

import pytest

from cellglass.cli import compiled


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in (compiled.VARIABLE, "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def test_the_folder_is_the_platforms_or_the_one_that_is_named(home, monkeypatch):
    assert compiled.cache_folder().parent == home / ".cache" / "cellglass"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "x"))
    assert compiled.cache_folder().parent == home / "x" / "cellglass"
    monkeypatch.setenv(compiled.VARIABLE, str(home / "mine"))
    assert compiled.cache_folder().parent == home / "mine"
    monkeypatch.setenv(compiled.VARIABLE, "")
    assert compiled.cache_folder() is None


def test_processors_of_other_kinds_have_other_folders(home, monkeypatch):
    here = compiled.cache_folder()
    assert compiled.cache_folder() == here
    monkeypatch.setattr(compiled.platform, "machine", lambda: "another")
    assert compiled.cache_folder() != here


def test_a_command_leaves_programs_there_and_the_next_one_gives_the_same(tmp_path):
    def train(out, cache):
        environment = {**os.environ, compiled.VARIABLE: str(cache)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        environment.pop("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", None)
        subprocess.run(
            [sys.executable, "-m", "cellglass", "train", "counts.npy", "-o", out, "-q",
             "--n-latent", "2", "--n-hidden", "8", "--max-epochs", "2"],
            cwd=tmp_path, env=environment, check=True,
        )  # fmt: skip
        return (tmp_path / out).read_bytes()

    import numpy as np

    counts = np.random.default_rng(0).poisson(1, size=(40, 12))
    np.save(tmp_path / "counts.npy", counts)
    first = train("a.safetensors", tmp_path / "cache")
    assert any(p.is_file() for p in (tmp_path / "cache").rglob("*"))
    assert train("b.safetensors", tmp_path / "cache") == first
    (tmp_path / "file").touch()  # no folder can be made in its place
    assert train("c.safetensors", tmp_path / "file") == first
