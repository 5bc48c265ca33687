"""A model read back is the model that was saved, or a message says why not."""

import json
import pickle
import pickletools

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy import sparse

from cellglass import model as module
from cellglass.errors import InputError
from cellglass.model import Model, load
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor

GENES = tuple(f"gene {i}" for i in range(6))
X = np.random.default_rng(0).poisson(2, (11, 6)).astype(np.float32)


def model(n_layers: int = 1) -> Model:
    return Model(
        network=AutoencoderNetwork(6, 2, n_hidden=4, n_layers=n_layers, key=jax.random.key(3)),
        loss="mse",
        genes=GENES,
        preprocessor=Preprocessor.fit(X),
        settings={"seed": 3, "max_epochs": 2},
        history={"train": [1.0, 0.1], "validation": []},
    )


@pytest.fixture
def path(tmp_path):
    model().save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        load(path)
    assert str(path) in str(error.value)
    return str(error.value)


def rewrite(path, **changed) -> None:
    """Save the file again with other content; None takes a key away."""
    content = json.loads(metadata(path)[module.METADATA_KEY]) | changed
    content = {key: value for key, value in content.items() if value is not None}
    header = {module.METADATA_KEY: json.dumps(content)}
    save_file(load_file(path), path, metadata=header)


def metadata(path) -> dict[str, str]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]


@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_a_model_read_back_transforms_to_the_last_bit_alike(n_layers, tmp_path):
    before = model(n_layers)
    before.save(tmp_path / "m.safetensors")
    after = load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(after.transform(X), before.transform(X))
    np.testing.assert_array_equal(after.reconstruct(X), before.reconstruct(X))
    for name in ("loss", "genes", "preprocessor", "settings", "history"):
        assert getattr(after, name) == getattr(before, name)


def test_transform_takes_dense_and_sparse_counts_and_equals_the_network():
    Z = model().transform(X)
    assert Z.shape == (11, 2) and Z.dtype == np.float32
    np.testing.assert_array_equal(model().transform(sparse.csr_matrix(X)), Z)
    logged = np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1e4)
    np.testing.assert_allclose(model().network.encode(logged), Z, rtol=1e-4, atol=1e-5)


def test_a_cell_is_transformed_alike_whatever_cells_stand_around_it():
    np.testing.assert_allclose(model().transform(X[4:8]), model().transform(X)[4:8], rtol=1e-5)


def test_the_same_model_is_the_same_file_to_the_last_byte(path, tmp_path):
    for name in "ab":
        load(path).save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == path.read_bytes()


def test_the_file_holds_tensors_and_text_and_no_pickle(path):
    assert set(load_file(path)) == {
        f"{part}.{i}.{kind}"
        for part in ("encoder", "decoder")
        for i in (0, 1)
        for kind in ("weight", "bias")
    }
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        list(pickletools.genops(path.read_bytes()))


@pytest.mark.parametrize("n", [3, 9, 200], ids="{} bytes left".format)
def test_a_file_that_was_cut_short_is_said_to_be_damaged(n, path):
    path.write_bytes(path.read_bytes()[:n])
    assert "damaged" in refusal(path)


def test_a_file_that_lost_its_end_is_said_to_be_damaged(path):
    path.write_bytes(path.read_bytes()[:-1])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("data", [b"", b"\x80\x04 no model at all"], ids=["empty", "other"])
def test_another_file_is_no_model(data, path):
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert "no file" in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize("header", [None, {"format": "pt"}], ids=["bare", "torch"])
def test_tensors_of_another_program_are_no_model(header, path):
    save_file({"a": np.ones(3)}, path, metadata=header)
    assert "did not write it" in refusal(path)


def test_a_newer_format_says_to_install_a_newer_cellglass(path):
    rewrite(path, format_version=module.FORMAT_VERSION + 1)
    assert "newer cellglass" in refusal(path)


@pytest.mark.parametrize(
    "key", ["format_version", "loss", "genes", "preprocessor", "settings", "history"]
)
def test_a_part_that_is_missing_is_named(key, path):
    rewrite(path, **{key: None})
    assert key in refusal(path)


@pytest.mark.parametrize(
    "changed",
    [{"genes": ["one"]}, {"format_version": "new"}, {"preprocessor": {"input": "raw"}}],
    ids=["genes", "version", "preprocessor"],
)
def test_a_part_that_does_not_fit_is_refused(changed, path):
    rewrite(path, **changed)
    assert "missing or changed" in refusal(path)


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_a_tensor_that_is_missing_or_does_not_fit_is_named(damage, path):
    tensors, header = load_file(path), metadata(path)
    if damage == "missing":
        del tensors["decoder.1.weight"]
    else:
        tensors["decoder.1.weight"] = np.ones((4, 5), np.float32)
    save_file(tensors, path, metadata=header)
    assert "decoder.1.weight" in refusal(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (X[:, :5], ["(11, 5)", "6 genes"]),
        (X.T, ["(6, 11)", "6 genes"]),
        (X[0], ["(6,)"]),
        (np.where(X == 0, np.nan, X), ["NaN", "'gene "]),
        (X - 5, ["negative"]),
    ],
    ids=["too-few", "transposed", "1-d", "nan", "negative"],
)
def test_cells_that_do_not_fit_the_model_are_refused(given, words):
    with pytest.raises(InputError) as error:
        model().transform(given)
    for word in words:
        assert word in str(error.value)
