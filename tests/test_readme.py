"""What the README and the pages in docs show works as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import pytest

import cellglass as cg

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```bash\n(.+?)```", README, re.S)
PROGRAMS = re.findall(r"```python\n(.+?)```", README, re.S)


def test_there_is_a_short_example_for_each_of_the_three_ways():
    (script,) = SCRIPTS
    scanpy, scikit_learn, comparison, selection, clusters = PROGRAMS
    bodies = [program.split("\n\n")[1] for program in (scanpy, scikit_learn)]  # after imports
    for example in (script, *bodies):
        assert len(example.splitlines()) == 3
    assert "cg.tl.autoencoder" in scanpy and "cg.Autoencoder" in scikit_learn
    assert "cg.compare(" in comparison and ".report(" in comparison
    assert "cg.select(" in selection and ".report(" in selection
    assert "cg.cluster(" in clusters and ".report(" in clusters


def test_the_example_of_the_command_line_runs(tmp_path):
    for line in SCRIPTS[0].splitlines():
        words = line.split()
        assert words[0] == "cellglass"
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    embedded = anndata.read_h5ad(tmp_path / "embedded.h5ad")
    assert embedded.obsm["X_ae"].shape == (1500, 10)


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=["scanpy", "scikit-learn", "compare", "select", "cluster"]
)
def test_the_examples_in_python_run(program, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for folder in re.findall(r'\.report\("(.+)/"\)', program):
        assert (tmp_path / folder / "report.html").is_file()
        shutil.rmtree(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def own_loss():
    """Give the blocks of Python on the page about a loss of one's own, in their order."""
    page = (ROOT / "docs" / "own_loss.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.+?)```", page, re.S)


def test_the_page_on_a_loss_of_ones_own_runs_and_its_model_needs_that_loss(own_loss, tmp_path):
    same = """
X = adata.layers["counts"]
np.testing.assert_array_equal(model.transform(X), autoencoder.transform(X))
np.testing.assert_array_equal(model.reconstruct(X), autoencoder.model_.reconstruct(X))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "".join(own_loss) + same],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mse_5_seed0" in done.stdout and "huber_5_seed0" in done.stdout
    with pytest.raises(cg.InputError, match=r"'nb1'.*register it first"):
        cg.load(tmp_path / "nb1.safetensors")


def test_the_contract_takes_up_a_loss_of_ones_own_as_its_page_says(own_loss, tmp_path):
    (tmp_path / "my_losses.py").write_text(own_loss[0], encoding="utf-8")
    claim = "tests/test_losses.py::test_a_loss_penalises_zeros_as_it_says[huber]"
    command = [sys.executable, "-m", "pytest", "-p", "my_losses", claim]
    found = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
