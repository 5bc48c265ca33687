"""A file of tensors comes back as it was, or a message says what happened to it."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from cellglass.errors import InputError
from cellglass.tensor_file import METADATA_KEY, pack, unpack

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, -2], np.int64),
    "scalar": np.float32(2.5),
    "key": np.array([7, 8], np.uint32),
    "none": np.empty((0, 3), np.float32),
}
CONTENT = {"names": ["β", 'quo"te'], "number": 0.1, "nothing": None, "text": "0" * 64}


def packed(kind="model", format_version=2, tensors=TENSORS, content=CONTENT) -> bytes:
    return pack(tensors, content, kind=kind, format_version=format_version)


def unpacked(data: bytes, kind="model", format_version=2):
    return unpack(data, name="the file f", kind=kind, format_version=format_version)


def refusal(data: bytes, kind="model", format_version=2) -> str:
    with pytest.raises(InputError) as error:
        unpacked(data, kind, format_version)
    assert str(error.value).count("the file f")
    return str(error.value)


def parts(data: bytes) -> tuple[dict, bytes]:
    """Header of a safetensors file, and the bytes of its tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def joined(header: object, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def with_metadata(text: str) -> bytes:
    """A file as another program would write it, with this text under cellglass's key."""
    return save({"a": np.ones(3, np.float32)}, metadata={METADATA_KEY: text})


# --- there and back -------------------------------------------------------------------


def test_tensors_and_content_come_back_as_they_were():
    tensors, content = unpacked(packed())
    assert content == CONTENT
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        np.testing.assert_array_equal(tensors[name], tensor)


@pytest.mark.parametrize("order", ["F", "strided"])
def test_values_keep_their_places_whatever_the_order_in_memory(order):
    tensor = np.arange(12, dtype=np.float32).reshape(3, 4)
    given = np.asfortranarray(tensor) if order == "F" else np.repeat(tensor, 2, 1)[:, ::2]
    assert not given.flags.c_contiguous
    np.testing.assert_array_equal(unpacked(packed(tensors={"x": given}))[0]["x"], tensor)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_content_comes_back(content):
    assert unpacked(packed(content=content))[1] == content


def test_the_same_input_gives_the_same_bytes_in_whatever_order_tensors_come():
    backwards = dict(reversed(TENSORS.items()))
    assert packed() == packed() == packed(tensors=backwards)


def test_the_file_can_be_read_by_safetensors_itself():
    np.testing.assert_array_equal(load(packed())["b"], TENSORS["b"])


# --- damage ---------------------------------------------------------------------------


def test_a_file_cut_short_anywhere_is_refused():
    data = packed()
    for n in range(len(data)):
        assert any(
            word in refusal(data[:n]) for word in ("empty", "cut short", "not a .safetensors")
        )


def test_a_file_cut_short_says_how_many_bytes_are_there_of_how_many():
    data = packed()
    message = refusal(data[:-1])
    assert f"{len(data) - 1:,} bytes" in message and f"{len(data):,}" in message


@pytest.mark.parametrize("n", [10, 50, 300])
def test_a_file_cut_short_within_its_header_is_said_to_be_cut_short(n):
    assert f"cut short: {n} bytes" in refusal(packed()[:n])


def test_a_file_with_any_bit_flipped_is_refused():
    data = packed(tensors={"a": np.ones(2, np.float32)}, content={"n": 1})
    for place in range(len(data)):
        for bit in range(8):
            altered = bytearray(data)
            altered[place] ^= 1 << bit
            refusal(bytes(altered))


def test_a_changed_value_is_said_to_be_altered():
    data = bytearray(packed())
    data[-1] ^= 1
    assert "altered after it was saved" in refusal(bytes(data))


def test_bytes_added_at_the_end_are_refused():
    assert "altered" in refusal(packed() + b"\0")


@given(st.binary(max_size=64), st.integers(0, 400))
def test_bytes_written_over_a_file_never_give_anything_but_a_message(patch, place):
    data = packed()
    altered = data[:place] + patch + data[place + len(patch) :]
    if altered != data:
        refusal(altered)


@given(st.binary(max_size=200))
def test_bytes_of_no_meaning_never_give_anything_but_a_message(data):
    refusal(data)
    refusal(len(data).to_bytes(8, "little") + data)


@pytest.mark.parametrize("part", ["content", "format_version", "kind", "written_by"])
def test_content_changed_by_hand_is_refused(part):
    header, rest = parts(packed())
    said = json.loads(header["__metadata__"][METADATA_KEY])
    said[part] = {"n": 2} if part == "content" else 1 if part == "format_version" else "x"
    header["__metadata__"][METADATA_KEY] = json.dumps(said)
    assert "altered" in refusal(joined(header, rest))


@pytest.mark.parametrize("version", [1, 2])
def test_a_checksum_taken_away_does_not_make_an_altered_file_pass(version):
    header, rest = parts(packed())
    said = json.loads(header["__metadata__"][METADATA_KEY])
    del said["checksum"]
    said["format_version"] = version
    header["__metadata__"][METADATA_KEY] = json.dumps(said)
    assert "checksum is missing" in refusal(joined(header, rest))


@pytest.mark.parametrize(
    "claim",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [1 << 62, 1 << 62, 1 << 62], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 10**400]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, -12]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, "12"]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, float("nan")]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, float("inf")]},
        {"dtype": "F32", "shape": [-3], "data_offsets": [0, 12]},
        {"dtype": "F33", "shape": [3], "data_offsets": [0, 12]},
        {"dtype": "BF16", "shape": [6], "data_offsets": [0, 12]},
        {"shape": [3]},
        [],
        None,
    ],
    ids=lambda claim: json.dumps(claim)[:60],
)
def test_a_tensor_that_claims_what_is_not_there_is_refused_without_taking_memory(claim):
    said = {"format_version": 1, "genes": []}  # the format without a checksum
    header = {"a": claim, "__metadata__": {METADATA_KEY: json.dumps(said)}}
    tracemalloc.start()
    refusal(joined(header, bytes(12)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1, 99_999_999])
def test_a_header_that_claims_to_be_longer_than_the_file_is_refused(length):
    refusal(length.to_bytes(8, "little") + b"{" + bytes(100))


@pytest.mark.parametrize(
    "header",
    [[], 1, "text", *({"__metadata__": part} for part in ([], None, {METADATA_KEY: 1}))],
    ids=str,
)
def test_a_header_of_another_form_is_refused(header):
    refusal(joined(header, b""))


def test_a_header_nested_without_end_is_refused():
    deep = b'{"a":' + b"[" * 100_000
    refusal(len(deep).to_bytes(8, "little") + deep)
    refusal(with_metadata("[" * 100_000))


# --- other files ----------------------------------------------------------------------


def test_an_empty_file_is_said_to_be_empty():
    assert "is empty" in refusal(b"")


@pytest.mark.parametrize(
    "data",
    [b"\x80\x04 a pickle, perhaps", b"PK\x03\x04 an archive", b"\x89HDF\r\n\x1a\n" + bytes(99)],
    ids=["pickle", "zip", "hdf5"],
)
def test_a_file_of_another_kind_is_said_to_be_no_safetensors_file(data):
    assert "not a .safetensors file" in refusal(data)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["bare", "torch"])
def test_tensors_of_another_program_are_said_to_be_such(metadata):
    assert "did not write it" in refusal(save({"a": np.ones(3)}, metadata=metadata))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "not JSON"),
        ("[]", "no JSON object"),
        ("1e999", "no JSON object"),
        ("{}", "checksum is missing"),
        ('{"format_version": "new"}', "checksum is missing"),
        ('{"format_version": true}', "format_version is True"),
    ],
)
def test_metadata_of_another_form_are_said_to_be_such(text, said):
    assert said in refusal(with_metadata(text))


@pytest.mark.parametrize(
    ("given", "wanted", "words"),
    [
        ("checkpoint", "model", ["a checkpoint", "a trained model", "Resume"]),
        ("model", "checkpoint", ["a trained model", "a checkpoint", "folder of checkpoints"]),
        ("other", "model", ["'other'", "a trained model"]),
    ],
)
def test_a_file_of_the_other_kind_is_named(given, wanted, words):
    message = refusal(packed(kind=given), kind=wanted)
    for word in words:
        assert word in message


def test_a_newer_format_says_which_it_is_and_to_install_a_newer_cellglass():
    message = refusal(packed(format_version=3), format_version=2)
    assert "format 3" in message and "up to 2" in message
    assert "newer cellglass" in message


def test_an_older_format_is_read():
    assert unpacked(packed(format_version=1), format_version=2)[1] == CONTENT


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_only_models_of_format_1_may_lack_a_checksum(kind):
    data = with_metadata(json.dumps({"format_version": 1, "genes": ["g"]}))
    if kind == "model":
        with pytest.warns(UserWarning, match="format 1, which had no checksum"):
            assert unpacked(data)[1] == {"genes": ["g"]}
    else:
        assert "a trained model" in refusal(data, kind=kind)
