"""What the README shows works as it stands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```bash\n(.+?)```", README, re.S)
PROGRAMS = re.findall(r"```python\n(.+?)```", README, re.S)


def test_there_is_a_short_example_for_each_of_the_three_ways():
    (script,) = SCRIPTS
    scanpy, scikit_learn, comparison = PROGRAMS
    assert len(script.splitlines()) == 3
    assert "cg.tl.autoencoder" in scanpy and len(scanpy.split("\n\n")[1].splitlines()) == 3
    assert "cg.Autoencoder" in scikit_learn
    assert ".report(" in comparison


def test_the_example_of_the_command_line_runs(tmp_path):
    for line in SCRIPTS[0].splitlines():
        words = line.split()
        assert words[0] == "cellglass"
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    embedded = anndata.read_h5ad(tmp_path / "embedded.h5ad")
    assert embedded.obsm["X_ae"].shape == (1500, 10)


@pytest.mark.parametrize("program", PROGRAMS, ids=["scanpy", "scikit-learn", "compare"])
def test_the_examples_in_python_run(program, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if ".report(" in program:
        assert (tmp_path / "report" / "report.html").is_file()
        shutil.rmtree(tmp_path / "report")
    assert list(tmp_path.iterdir()) == []
