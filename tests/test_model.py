"""A model read back is the model that was saved, or a message says why not."""

import copy
import json
import os
import pickle
import pickletools
import tracemalloc
import warnings
from contextlib import suppress
from pathlib import Path

import anndata as ad
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy import sparse

from cellglass import __version__
from cellglass import model as module
from cellglass.errors import InputError
from cellglass.losses import LOSSES
from cellglass.model import Model, load
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor
from cellglass.tensor_file import METADATA_KEY, pack, unpack

GENES = tuple(f"gene {i}" for i in range(6))
IDS = tuple(f"ENSG0000000000{i}" for i in range(6))
X = np.random.default_rng(0).poisson(2, (11, 6)).astype(np.float32)


def model(n_layers: int = 1, gene_ids: tuple[str, ...] | None = IDS) -> Model:
    return Model(
        network=AutoencoderNetwork(6, 2, n_hidden=4, n_layers=n_layers, key=jax.random.key(3)),
        loss="mse",
        genes=GENES,
        preprocessor=Preprocessor.fit(X),
        settings={"seed": 3, "max_epochs": 2},
        history={"train": [1.0, 0.1], "validation": []},
        gene_ids=gene_ids,
    )


@pytest.fixture
def path(tmp_path):
    model().save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def parts() -> tuple[dict, dict]:
    """Tensors and content of a model's file, to be changed."""
    tensors, content = unpack(
        model().to_bytes(), name="m", kind="model", format_version=module.FORMAT_VERSION
    )
    return tensors, copy.deepcopy(content)


def packed(tensors, content) -> bytes:
    """Bytes of a file whose checksum is right, whatever it holds."""
    return pack(tensors, content, kind="model", format_version=module.FORMAT_VERSION)


def refusal_of(data: bytes) -> str:
    with pytest.raises(InputError) as error:
        Model.from_bytes(data, name="m.safetensors")
    assert str(error.value).startswith("m.safetensors ")
    return str(error.value)


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        load(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.as_shipped
@pytest.mark.parametrize("gene_ids", [None, IDS], ids=["names", "names and ids"])
@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_a_model_read_back_transforms_to_the_last_bit_alike(n_layers, gene_ids, tmp_path):
    before = model(n_layers, gene_ids)
    before.save(tmp_path / "m.safetensors")
    after = load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(after.transform(X), before.transform(X))
    np.testing.assert_array_equal(after.reconstruct(X), before.reconstruct(X))
    for name in ("loss", "genes", "gene_ids", "preprocessor", "settings", "history"):
        assert getattr(after, name) == getattr(before, name)


def test_bytes_and_file_are_the_same(path):
    assert path.read_bytes() == model().to_bytes()
    assert Model.from_bytes(model().to_bytes()).to_bytes() == model().to_bytes()


def test_transform_takes_dense_and_sparse_counts_and_equals_the_network():
    Z = model().transform(X)
    assert Z.shape == (11, 2) and Z.dtype == np.float32
    np.testing.assert_array_equal(model().transform(sparse.csr_matrix(X)), Z)
    logged = np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1e4)
    np.testing.assert_allclose(model().network.encode(logged), Z, rtol=1e-4, atol=1e-5)


def test_reconstruct_equals_the_network_on_the_logarithms():
    X_hat = model().reconstruct(X)
    assert X_hat.shape == (11, 6) and X_hat.dtype == np.float32
    logged = np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1e4)
    np.testing.assert_allclose(model().network(logged).eta, X_hat, rtol=1e-4, atol=1e-5)


@pytest.mark.as_shipped
@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_decoding_what_was_encoded_is_the_reconstruction_to_the_last_bit(n_layers):
    one = model(n_layers)
    np.testing.assert_array_equal(one.inverse_transform(one.transform(X)), one.reconstruct(X))


def test_inverse_transform_equals_the_decoder():
    Z = np.array([[0, 0], [1e3, -2], [3, 4]])
    X_hat = model().inverse_transform(Z)
    assert X_hat.shape == (3, 6) and X_hat.dtype == np.float32
    np.testing.assert_allclose(X_hat, model().network.decode(Z).eta, rtol=1e-4, atol=1e-4)
    assert model().inverse_transform(np.zeros((0, 2))).shape == (0, 6)
    np.testing.assert_array_equal(model().inverse_transform(sparse.csr_matrix(Z)), X_hat)


@pytest.mark.parametrize(
    ("Z", "words"),
    [
        (np.zeros((4, 3)), ["(4, 3)", "cells × 2"]),
        (np.zeros(2), ["(2,)", "cells × 2"]),
        (np.array([["a", "b"]]), ["numbers"]),
        (np.zeros((1, 2), complex), ["complex"]),
        (np.array([[0, 0], [0, np.nan]]), ["nan", "cell 2", "dimension 2"]),
        (np.array([[-np.inf, 0]]), ["-inf", "cell 1", "dimension 1"]),
        (np.array([[0, 1e39]]), ["1e+39", "32-bit"]),
        ([[1, 2], [3]], ["cells × 2"]),
        (sparse.csr_matrix((3, 4)), ["(3, 4)", "cells × 2"]),
    ],
    ids=["wide", "1-d", "text", "complex", "nan", "infinite", "too large", "ragged", "sparse"],
)
def test_latent_vectors_that_cannot_be_decoded_are_refused(Z, words):
    with pytest.raises(InputError) as error:
        model().inverse_transform(Z)
    for word in words:
        assert word in str(error.value)


def test_genes_in_another_order_among_others_give_the_same_bits():
    wide = np.hstack([X[:, ::-1], np.full((11, 2), 7, np.float32)])
    adata = ad.AnnData(wide)
    adata.var_names = [*GENES[::-1], "other 1", "other 2"]
    np.testing.assert_array_equal(model().transform(adata), model().transform(X))
    np.testing.assert_array_equal(model().reconstruct(adata), model().reconstruct(X))
    match = model().match(adata)
    assert (match.n_found, match.missing, match.n_ignored) == (6, (), 2)


def test_genes_are_found_by_their_ids_where_the_model_knows_them():
    adata = ad.AnnData(X[:, ::-1])
    adata.var_names = [f"{name}.{i}" for i, name in enumerate(IDS[::-1])]
    np.testing.assert_array_equal(model().transform(adata), model().transform(X))
    with pytest.raises(InputError, match="of the model's 6 genes"):
        model(gene_ids=None).transform(adata)


def test_a_missing_gene_counts_as_0_where_that_is_allowed():
    adata = ad.AnnData(X[:, :5])
    adata.var_names = GENES[:5]
    expected = model().transform(np.hstack([X[:, :5], np.zeros((11, 1), np.float32)]))
    with pytest.warns(UserWarning, match="1 of the model's 6 genes is missing"):
        np.testing.assert_array_equal(model().transform(adata), expected)
    for call in (model().transform, model().reconstruct, model().match):
        with pytest.raises(InputError, match="gene 5"):
            call(adata, min_coverage=0.9)


def test_raw_is_matched_by_its_own_genes():
    adata = ad.AnnData(X)
    adata.var_names = GENES
    adata.raw = adata
    adata = adata[:, :2].copy()
    assert model().match(adata, use_raw=True).n_found == 6
    np.testing.assert_array_equal(model().transform(adata, use_raw=True), model().transform(X))
    with pytest.raises(InputError, match="gene 2"):
        model().match(adata)
    with pytest.raises(InputError, match=r"adata\.raw is None"):
        model().match(ad.AnnData(X), use_raw=True)


def test_a_model_says_in_a_line_what_it_is():
    assert repr(model()) == (
        "Model of raw counts of 6 genes: 2 latent dimensions, trained with mse"
    )


def test_the_same_model_is_the_same_file_to_the_last_byte(path, tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
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


def test_the_file_says_which_version_wrote_it(path):
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    said = json.loads(header["__metadata__"][METADATA_KEY])
    assert (said["kind"], said["format_version"]) == ("model", 3)
    assert said["written_by"] == f"cellglass {__version__}"


@pytest.mark.parametrize("name", ["m", "m.h5ad", "m.safetensors.gz", "m.SAFETENSORS"])
def test_a_model_is_saved_under_no_other_ending(name, tmp_path):
    with pytest.raises(InputError, match=r"\.safetensors"):
        model().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_written_leaves_the_old_one(path, monkeypatch):
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        model(3).save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert "no file" in refusal(tmp_path / "m.safetensors")
    assert "no file" in refusal(tmp_path)


def test_a_file_that_cannot_be_read_is_named(path, monkeypatch):
    def broken(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", broken)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize("n", [0, 3, 9, 200, -1], ids="bytes up to {}".format)
def test_a_file_that_was_cut_short_is_refused_with_its_name(n, path):
    path.write_bytes(path.read_bytes()[:n])
    assert "empty" if n == 0 else "saved" in refusal(path)


@pytest.mark.parametrize("header", [None, {"format": "pt"}], ids=["bare", "torch"])
def test_tensors_of_another_program_are_no_model(header, path):
    save_file({"a": np.ones(3)}, path, metadata=header)
    assert "did not write it" in refusal(path)


def test_a_checkpoint_is_no_model():
    data = pack({}, {}, kind="checkpoint", format_version=1)
    assert "checkpoint" in refusal_of(data)


def test_a_newer_format_says_to_install_a_newer_cellglass():
    data = pack(*parts(), kind="model", format_version=module.FORMAT_VERSION + 1)
    assert "newer cellglass" in refusal_of(data)


@pytest.mark.parametrize("key", ["loss", "genes", "preprocessor", "settings", "history"])
def test_a_part_that_is_missing_is_named(key):
    tensors, content = parts()
    del content[key]
    assert f"{key!r} is missing" in refusal_of(packed(tensors, content))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"genes": ["one"], "gene_ids": None}, "encoder.0.weight"),
        ({"genes": []}, "genes"),
        ({"genes": "abcdef"}, "'genes' is a str"),
        ({"genes": [1, 2, 3, 4, 5, 6]}, "genes"),
        ({"gene_ids": ["a"]}, "gene_ids (1)"),
        ({"gene_ids": 3}, "'gene_ids' is a int"),
        ({"loss": "l2"}, ", ".join(LOSSES)),
        ({"loss": ["mse"]}, "'loss' is a list"),
        ({"history": {"train": "falling"}}, "'train'"),
        ({"history": {"train": [True]}}, "'train'"),
        ({"history": [1, 2]}, "'history' is a list"),
        ({"settings": None}, "'settings' is a NoneType"),
        ({"preprocessor": {"input": "raw"}}, "'raw'"),
        ({"preprocessor": {}}, "'input'"),
        ({"preprocessor": {"input": "log", "warnings": 3}}, "preprocessor"),
        ({"preprocessor": {"input": "log", "detected": "yes"}}, "preprocessor"),
        ({"preprocessor": {"input": "counts", "target_sum": "1e4"}}, "target_sum"),
    ],
)  # fmt: skip
def test_a_part_that_does_not_fit_is_named(changed, words):
    tensors, content = parts()
    assert words in refusal_of(packed(tensors, content | changed))


@pytest.mark.parametrize(
    ("name", "weight", "words"),
    [
        ("decoder.1.weight", None, "decoder.1.weight"),
        ("decoder.1.weight", np.ones((4, 5), np.float32), "(4, 5)"),
        ("encoder.0.weight", np.ones(6, np.float32), "(6,)"),
        ("encoder.0.weight", np.ones((0, 4), np.float32), "(0, 4)"),
        ("decoder.0.weight", np.ones((3, 4), np.float32), "encoder.1.weight"),
        ("encoder.0.bias", np.full(4, np.nan, np.float32), "finite"),
        ("encoder.0.bias", np.full(4, -np.inf, np.float32), "finite"),
        ("encoder.0.bias", np.ones(4), "32-bit"),
        ("encoder.0.bias", np.ones(4, np.int32), "32-bit"),
        ("encoder.9.bias", np.ones(4, np.float32), "encoder.9.bias"),
    ],
    ids=["missing", "shape", "1-d", "empty", "other n_latent", "nan", "infinite", "64-bit",
         "whole numbers", "one more"],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(name, weight, words):
    tensors, content = parts()
    tensors.pop(name, None)
    if weight is not None:
        tensors[name] = weight
    assert words in refusal_of(packed(tensors, content))


def test_damage_to_a_file_without_a_checksum_gives_a_message_or_a_model():
    archive = Path(__file__).with_name("archives") / "format1_counts_mse.safetensors"
    data = archive.read_bytes()
    for n in range(0, len(data), 5):
        with pytest.raises(InputError):
            Model.from_bytes(data[:n])
    for place in range(0, len(data), 5):
        altered = bytearray(data)
        altered[place] ^= 0x55
        with suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Model.from_bytes(bytes(altered))


def test_a_file_without_a_checksum_loads_with_a_warning_and_saved_again_without(tmp_path):
    archive = Path(__file__).with_name("archives") / "format1_counts_mse.safetensors"
    with pytest.warns(UserWarning, match="format 1, which had no checksum") as told:
        found = load(archive)
    assert told[0].filename == __file__
    found.save(tmp_path / "m.safetensors")
    load(tmp_path / "m.safetensors")


@pytest.mark.filterwarnings("ignore:.*format 1, which had no checksum")
def test_metadata_of_the_first_format_must_be_whole_too(path):
    said = json.dumps({"format_version": 1, "genes": list(GENES)})
    save_file(load_file(path), path, metadata={METADATA_KEY: said})
    assert "'loss' is missing" in refusal(path)


def test_no_weights_at_all_are_refused():
    assert "weights" in refusal_of(packed({}, parts()[1]))


def test_a_network_without_latent_dimensions_is_refused():
    tensors, content = parts()
    for name, shape in {"encoder.1.weight": (4, 0), "encoder.1.bias": (0,),
                        "decoder.0.weight": (0, 4)}.items():  # fmt: skip
        tensors[name] = np.ones(shape, np.float32)
    assert "shape (" in refusal_of(packed(tensors, content))


def test_reading_draws_no_weights(monkeypatch):
    data = model().to_bytes()
    draw = jax.random.uniform

    def only_in_thought(key, *given, **options):
        assert isinstance(key, jax.core.Tracer)
        return draw(key, *given, **options)

    monkeypatch.setattr(jax.random, "uniform", only_in_thought)
    Model.from_bytes(data)


def test_a_file_cannot_make_the_network_larger_than_itself():
    tensors, content = parts()
    # A vector of a million fits into 4 MB; a matrix of as many rows and columns does not.
    tensors["encoder.0.weight"] = np.ones((1, 1_000_000), np.float32)
    tensors["decoder.0.weight"] = np.ones((1_000_000, 1), np.float32)
    data = packed(tensors, content)
    tracemalloc.start()
    refusal_of(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    part=st.sampled_from(
        ["loss", "genes", "gene_ids", "settings", "history", "preprocessor",
         "preprocessor.input", "preprocessor.detected", "preprocessor.reason",
         "preprocessor.target_sum", "preprocessor.warnings", "history.train"]
    ),
    value=JSON,
)  # fmt: skip
def test_any_other_content_gives_a_model_that_works_or_a_message(part, value):
    tensors, content = parts()
    *above, last = part.split(".")
    place = content[above[0]] if above else content
    place[last] = value
    try:
        changed = Model.from_bytes(packed(tensors, content))
    except InputError:
        return
    assert changed.transform(X).shape == (11, 2)
    assert changed.to_bytes() == Model.from_bytes(changed.to_bytes()).to_bytes()


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (X[:, :5], ["(11, 5)", "6 genes"]),
        (X.T, ["(6, 11)", "6 genes"]),
        (X[0], ["(6,)"]),
        (X[:0], ["0 cells"]),
        (np.where(X == 0, np.nan, X), ["NaN", "'gene "]),
        (X - 5, ["negative"]),
        (X + 0.5, ["raw counts", "whole numbers", "'gene 0'", "cell 1"]),
    ],
    ids=["too-few", "transposed", "1-d", "no cells", "nan", "negative", "fractions"],
)
def test_cells_that_do_not_fit_the_model_are_refused(cells, words):
    with pytest.raises(InputError) as error:
        model().transform(cells)
    for word in words:
        assert word in str(error.value)
