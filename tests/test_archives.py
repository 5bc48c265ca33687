"""Models that earlier versions wrote load, and give the numbers that they gave then."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from cellglass import load
from cellglass.model import FORMAT_VERSION

ARCHIVES = sorted(Path(__file__).with_name("archives").glob("*.safetensors"))

# That they have no checksum is told, see test_model.py.
pytestmark = pytest.mark.filterwarnings("ignore:.*format 1, which had no checksum")

# Values go up to about 10 and sums have a dozen terms: 32-bit numbers keep six digits.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def archive(request):
    companion = request.param.with_suffix(".json")
    return request.param, json.loads(companion.read_text(encoding="utf-8"))


def test_there_are_models_of_every_format():
    for version in range(1, FORMAT_VERSION + 1):
        assert any(path.name.startswith(f"format{version}_") for path in ARCHIVES)


def test_an_archived_model_is_of_the_format_that_its_name_says(archive):
    path, _ = archive
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    said = json.loads(header["__metadata__"]["cellglass"])
    assert path.name.startswith(f"format{said['format_version']}_")
    assert len(data) < 5000


@pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix], ids=["dense", "csr"])
def test_an_archived_model_gives_the_numbers_that_it_gave(archive, kind):
    path, then = archive
    model = load(path)
    cells = kind(np.array(then["cells"], np.float32))
    np.testing.assert_allclose(model.transform(cells), then["latent"], **TOLERANCE)
    np.testing.assert_allclose(model.reconstruct(cells), then["reconstruction"], **TOLERANCE)


def test_an_archived_model_says_what_it_said(archive):
    path, then = archive
    model = load(path)
    assert model.genes == tuple(then["genes"])
    assert model.loss == then["loss"]
    assert model.preprocessor.input == then["input"]
    assert model.preprocessor.detected == then["detected"]
    assert len(model.network.encoder) == then["n_layers"] + 1
    assert model.gene_ids == (tuple(then["gene_ids"]) if then.get("gene_ids") else None)
    assert len(model.history["train"]) == model.settings["max_epochs"]


def test_an_archived_model_saved_again_gives_the_same_numbers_to_the_last_bit(
    archive, tmp_path
):
    path, then = archive
    cells = np.array(then["cells"], np.float32)
    before = load(path)
    before.save(tmp_path / "again.safetensors")
    after = load(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(after.transform(cells), before.transform(cells))
    for part in ("loss", "genes", "gene_ids", "preprocessor", "settings", "history"):
        assert getattr(after, part) == getattr(before, part)
