"""What comes from elsewhere can neither fill the memory, nor reach out, nor be run."""

import csv
import gzip
import json
import os
import re
import struct
import zipfile
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import anndata
import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
import scipy.io
from scipy import sparse
from typer.testing import CliRunner

import cellglass as cg
from cellglass import memory
from cellglass.cli import app
from cellglass.errors import InputError
from cellglass.outputs import csv_text
from cellglass.read import open_h5ad, read
from cellglass.report.summarize import metrics_csv
from conftest import HOSTILE

LIMIT = 1_000_000
X = np.arange(12).reshape(4, 3)


@pytest.fixture
def little_memory(monkeypatch):
    """A machine with one megabyte to spare."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=LIMIT))


def refusal(path, *words, labels=None) -> str:
    with pytest.raises(InputError) as caught:
        read(path, labels=labels)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


def too_much(path, *, labels=None) -> None:
    """Refused for its size, soon after the limit where it is counted on the way."""
    message = refusal(path, "more than the 1.0 MB that are available", labels=labels)
    taken, unit = re.search(r"at least ([\d.,]+) (MB|GB|TB|PB) of memory", message).groups()
    assert float(taken.replace(",", "")) >= 1
    if path.name.endswith(".gz") or labels is not None or path.is_dir():
        assert unit == "MB" and float(taken) < 6


# --- memory ------------------------------------------------------------------------------


def test_what_fits_to_the_byte_passes(little_memory):
    memory.check_fits(LIMIT, name="m")
    with pytest.raises(InputError, match=r"at least 1\.0 MB of memory, more than the 1\.0 MB"):
        memory.check_fits(LIMIT + 1, name="m")


def test_a_container_has_no_more_than_it_may_take(little_memory, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", tmp_path / "memory.max")
    for text, expected in (
        (None, LIMIT),
        ("max\n", LIMIT),
        ("5000\n", 5000),
        ("9" * 18, LIMIT),
    ):
        if text is not None:
            memory.CONTAINER_LIMIT.write_text(text)
        assert memory.available_memory() == expected


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [
        (2_000_000, "2.0 MB"),
        (123_456_789_012, "123.4 GB"),
        (10**400, ",000.0 PB"),
    ],
)
def test_sizes_are_written_for_people(little_memory, n_bytes, words):
    with pytest.raises(InputError, match=re.escape(words)):
        memory.check_fits(n_bytes, name="m")


# --- compressed text ---------------------------------------------------------------------

BOMBS = {
    "rows without end": b"1,2,3\n" * 2_000_000,
    "a row without end": b"1,2,3\n" + b"0" * 10_000_000,
    "a first row without end": b"0," * 5_000_000,
    "blank lines without end": b"\n" * 10_000_000,
    "blanks without end": b"1,2,3\n" * 3 + b" " * 10_000_000,
}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv.gz", ".txt.gz"])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_table_that_unpacks_to_more_than_the_memory_is_refused(
    suffix, bomb, tmp_path, little_memory
):
    text = bomb.replace(b",", b"\t") if suffix == ".tsv.gz" else bomb
    path = tmp_path / f"m{suffix}"
    path.write_bytes(gzip.compress(text, 1) if suffix.endswith(".gz") else text)
    if suffix == ".txt.gz":
        path.write_bytes(gzip.compress(text.replace(b",", b" "), 1))
    too_much(path)


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_labels_that_unpack_to_more_than_the_memory_are_refused(bomb, tmp_path, little_memory):
    np.save(tmp_path / "m.npy", X)
    (tmp_path / "l.txt.gz").write_bytes(gzip.compress(bomb, 1))
    too_much(tmp_path / "m.npy", labels=tmp_path / "l.txt.gz")


def test_short_fields_count_as_the_numbers_that_they_become(tmp_path, little_memory):
    (tmp_path / "m.csv").write_text("0,0,0\n" * 50_000)
    assert (tmp_path / "m.csv").stat().st_size < LIMIT / 3
    too_much(tmp_path / "m.csv")


def test_labels_of_an_array_count_as_the_texts_that_they_become(tmp_path, little_memory):
    np.save(tmp_path / "m.npy", X)
    np.save(tmp_path / "l.npy", np.zeros(20_000, np.uint8))
    too_much(tmp_path / "m.npy", labels=tmp_path / "l.npy")


def test_tables_and_labels_that_fit_are_read_whole(tmp_path, little_memory):
    rows = "".join(f"{i},2,3\n" for i in range(4000))
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "l.txt.gz").write_bytes(gzip.compress(b"a\nb\n" * 2000))
    adata = read(tmp_path / "m.csv.gz", labels=tmp_path / "l.txt.gz")
    np.testing.assert_array_equal(adata.X[:, 0], np.arange(4000))
    assert adata.obs["label"].value_counts().to_list() == [2000, 2000]


# --- .npy and .npz -----------------------------------------------------------------------


def npy_head(shape, dtype="<f8") -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("head", "words"),
    [
        pytest.param(npy_head((10**6, 10**6)), ["8,000,000,000,000 bytes, but 96"], id="giant"),
        pytest.param(npy_head((10**30, 10**30)), ["but 96"], id="beyond 64 bits"),
        pytest.param(npy_head((4, 4)), ["128 bytes, but 96"], id="a little"),
        pytest.param(npy_head((-1, 3)), ["shape (-1, 3)"], id="negative"),
        pytest.param(npy_head((10**9, 10**9), "<U0"), ["would take at least"], id="of nothing"),
        pytest.param(npy_head((4, 3), "|O"), ["pickled Python objects"], id="objects"),
    ],
)
def test_an_array_that_claims_what_it_does_not_hold_is_refused(head, words, tmp_path):
    (tmp_path / "m.npy").write_bytes(head + bytes(96))
    refusal(tmp_path / "m.npy", "m.npy", *words)
    np.save(tmp_path / "good.npy", X)
    refusal(tmp_path / "good.npy", "m.npy", *words, labels=tmp_path / "m.npy")
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", head + bytes(96))
    if "objects" not in words[0]:
        refusal(tmp_path / "m.npz", "m.npz", "'X'", *words)


def test_an_array_that_is_larger_than_the_memory_is_refused(tmp_path, little_memory):
    big = np.zeros((1000, 1001), np.uint8)
    np.save(tmp_path / "m.npy", big)
    too_much(tmp_path / "m.npy")
    np.savez_compressed(tmp_path / "m.npz", big)
    assert (tmp_path / "m.npz").stat().st_size < 10_000
    too_much(tmp_path / "m.npz")
    sparse.save_npz(tmp_path / "s.npz", sparse.csr_matrix(np.ones((300, 300))))
    too_much(tmp_path / "s.npz")


@pytest.mark.parametrize("form", ["coo", "csr", "csc", "dia"])
def test_an_empty_matrix_of_giant_shape_is_refused(form, tmp_path):
    path = tmp_path / "m.npz"
    sparse.save_npz(path, sparse.random(4, 4, 0.5, format=form))
    with np.load(path) as archive:
        parts = {**archive, "shape": np.array([4, 10**12])}
    np.savez_compressed(path, **parts)
    refusal(path, "would take at least 64.0 TB")


def test_a_directory_of_an_archive_that_lies_about_sizes_is_refused(tmp_path, little_memory):
    path = tmp_path / "m.npz"
    np.savez_compressed(path, np.zeros((1000, 1001)))
    data = path.read_bytes()
    size = struct.pack("<I", 1000 * 1001 * 8 + 128)
    assert data.count(size) >= 1
    path.write_bytes(data.replace(size, struct.pack("<I", 500_000)))
    refusal(path, "8,008,000 bytes, but 499,872 bytes follow")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_without_bound_are_refused(method, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.npz", "w", method) as archive:
        archive.writestr("X.npy", npy_head((4, 3)) + bytes(96))
    refusal(tmp_path / "m.npz", "'X.npy' in a compression that numpy does not write")


# --- HDF5 --------------------------------------------------------------------------------


@pytest.fixture
def h5ad(tmp_path):
    """A good file, and a secret beside it."""
    anndata.AnnData(X.astype(np.float32)).write_h5ad(tmp_path / "m.h5ad")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["X"] = X * 100.0
    (tmp_path / "secret.bin").write_bytes(X.astype(np.float64).tobytes())
    return tmp_path / "m.h5ad"


def external_link(file):
    file["X"] = h5py.ExternalLink("secret.h5", "/X")


def deep_external_link(file):
    file["uns/a/b"] = h5py.ExternalLink("secret.h5", "/X")
    file["X"] = X * 1.0


def external_storage(file):
    file.create_dataset("X", (4, 3), "f8", external=[("secret.bin", 0, 96)])


def virtual(file):
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource("secret.h5", "X", (4, 3))
    file.create_virtual_dataset("X", layout)


def soft_link(file):
    file["layers/counts"] = X * 1.0
    file["X"] = h5py.SoftLink("/layers/counts")


def doubling(file):
    """Forty groups, each of which holds the next one twice: a million million paths."""
    file["X"] = X * 1.0
    group = file["uns"]
    for _ in range(40):
        group["a"] = file.create_group(None)
        group["b"] = group["a"]
        group = group["a"]


def circle(file):
    file["X"] = X * 1.0
    file["uns/again"] = file["/"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external_link, ["'/X'", "link to the file 'secret.h5'"]),
        (deep_external_link, ["'/uns/a/b'", "link to the file 'secret.h5'"]),
        (external_storage, ["'/X'", "values from other files"]),
        (virtual, ["'/X'", "values from other files"]),
        (soft_link, ["'/X'", "is a soft link"]),
        (doubling, ["a second name"]),
        (circle, ["'/uns/again'", "a second name"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("suffix", [".h5ad", ".h5"])
def test_nothing_outside_of_the_file_is_read_and_nothing_twice(change, words, h5ad, suffix):
    with h5py.File(h5ad, "r+") as file:
        del file["X"]
        change(file)
    refusal(h5ad.rename(h5ad.with_suffix(suffix)), "is refused", *words)


@pytest.mark.parametrize("suffix", [".h5ad", ".h5"])
def test_a_dataset_that_claims_more_than_the_memory_is_refused(suffix, h5ad):
    path = h5ad.rename(h5ad.with_suffix(suffix))
    with h5py.File(path, "r+") as file:
        options = {"chunks": (1000,), "compression": "gzip"}
        file.create_dataset("uns/big", (10**12,), "f8", **options)
    assert path.stat().st_size < 100_000
    refusal(path, "would take at least 8.0 TB")


def test_a_chunk_that_is_larger_than_the_memory_is_refused(h5ad, little_memory):
    with h5py.File(h5ad, "r+") as file:
        options = {"chunks": (10**6,), "maxshape": (None,)}
        file.create_dataset("uns/big", (1,), "f8", **options)
    too_much(h5ad)


def test_a_matrix_that_stays_in_its_file_need_not_fit(tmp_path, little_memory):
    path = tmp_path / "m.h5ad"
    anndata.AnnData(np.zeros((600, 1000), np.float32)).write_h5ad(path)
    too_much(path)
    opened = open_h5ad(path)
    assert opened.shape == (600, 1000)
    opened.file.close()
    with h5py.File(path, "r+") as file:
        file["Xtra"] = np.zeros(200_000)
    with pytest.raises(InputError, match="would take at least"):
        open_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["Xtra"], file["X"]
        file["X"] = h5py.ExternalLink("secret.h5", "/X")
    with pytest.raises(InputError, match="link to the file"):
        open_h5ad(path)


@pytest.mark.parametrize("where", ["shape", "h5sparse_shape"])
def test_a_sparse_matrix_that_claims_a_giant_shape_is_refused(where, tmp_path):
    path = tmp_path / "m.h5ad"
    anndata.AnnData(sparse.csc_matrix(X.astype(float))).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X"].attrs[where] = np.array([10**12, 3])
    refusal(path, "would take at least 64.0 TB")


def test_many_texts_that_are_one_long_text_are_refused(h5ad, little_memory):
    with h5py.File(h5ad, "r+") as file:
        texts = ["x" * 9000] + ["short"] * 199
        dataset = file.create_dataset("uns/texts", data=texts, dtype=h5py.string_dtype())
        start = dataset.id.get_offset()
    data = bytearray(h5ad.read_bytes())
    assert len(data) < 60_000
    data[start : start + 16 * 200] = data[start : start + 16] * 200
    h5ad.write_bytes(data)
    with h5py.File(h5ad) as file:
        assert len(file["uns/texts"][199]) == 9000
    too_much(h5ad)


def test_texts_that_fit_are_no_harm(h5ad):
    adata = read(h5ad)
    adata.obs["kind"] = ["a", "b", "a", "long" * 1000]
    adata.write_h5ad(h5ad)
    assert list(read(h5ad).obs["kind"]) == ["a", "b", "a", "long" * 1000]


# --- 10x folders -------------------------------------------------------------------------


def tenx(folder, matrix: bytes, *, gz=False, **others):
    end = ".gz" if gz else ""
    files = {
        "matrix.mtx": matrix,
        ("features" if gz else "genes") + ".tsv": b"E1\ta\tGene Expression\nE2\tb\t"
        b"Gene Expression\nE3\tc\tGene Expression\n",
        "barcodes.tsv": b"A\nB\nC\nD\n",
    }
    folder.mkdir()
    for name, content in (files | others).items():
        data = gzip.compress(content, 1) if gz else content
        (folder / f"{name}{end}").write_bytes(data)
    return folder


HEAD = b"%%MatrixMarket matrix coordinate integer general\n"
BODY = b"1 1 5\n3 4 7\n"


@pytest.mark.parametrize("gz", [False, True])
def test_a_good_folder_is_read(gz, tmp_path):
    folder = tenx(tmp_path / "m", HEAD + b"% by hand\n3 4 2\n" + BODY, gz=gz)
    expected = np.zeros((4, 3))
    expected[0, 0], expected[3, 2] = 5, 7
    adata = read(folder)
    np.testing.assert_array_equal(adata.X.toarray(), expected)
    assert list(adata.obs_names) == list("ABCD") and list(adata.var_names) == list("abc")
    assert list(adata.var["gene_ids"]) == ["E1", "E2", "E3"]


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (
            HEAD + b"3 4 1000000000000\n" + BODY,
            ["says that it holds 1,000,000,000,000 entries"],
        ),
        (HEAD + b"3 4000000000000 2\n" + BODY, ["would take at least 256.0 TB"]),
        (HEAD + b"3 4 2\n1 1 5\0\0\0\n3 4 7\n", ["NUL"]),
        (HEAD + b"3 4 -2\n" + BODY, ["'3 4 -2"]),
        (HEAD + b"3 4\n" + BODY, ["'3 4\\n'", "rows, columns and entries"]),
        (HEAD + b"%" * 10 + b"\n" * 10, ["rows, columns and entries"]),
        (b"3 4 2\n" + BODY, ["does not begin with '%%MatrixMarket matrix'"]),
        (HEAD + b"3 4 2\n1 1 5\n9 4 7\n", ["could not be read"]),
        (HEAD + b"3 4 3\n" + BODY, ["could not be read"]),
        (HEAD + b"4 4 2\n" + BODY, ["4 genes (rows) × 4 cells", "genes.tsv", "has 3 lines"]),
    ],
)
def test_a_matrix_market_file_that_lies_is_refused(matrix, words, tmp_path):
    refusal(tenx(tmp_path / "m", matrix), str(tmp_path / "m"), *words)


@pytest.mark.parametrize("end", [b"", b"x", b" 8", b"+", b"\x11"])
def test_a_last_line_without_an_end_does_not_crash(end, tmp_path):
    folder = tenx(tmp_path / "m", HEAD + b"3 4 2\n" + BODY.rstrip() + end)
    try:
        assert read(folder).X.sum() in (12, 83)
    except InputError:
        assert end


@pytest.mark.parametrize(
    "others",
    [
        {"matrix.mtx": HEAD + b"%" * 10_000_000},
        {"matrix.mtx": HEAD + b"3 4 2\n" + BODY + b" " * 10_000_000},
        {"features.tsv": b"E\ta\tGene Expression\n" * 500_000},
        {"features.tsv": b"E" * 10_000_000},
        {"barcodes.tsv": b"A\n" * 5_000_000},
    ],
    ids=lambda others: next(iter(others)),
)
def test_a_folder_whose_files_unpack_to_more_than_the_memory_is_refused(
    others, tmp_path, little_memory
):
    matrix = others.get("matrix.mtx", HEAD + b"3 4 2\n" + BODY)
    too_much(tenx(tmp_path / "m", **({"matrix": matrix, "gz": True} | others)))


def test_what_scipy_writes_is_read(tmp_path):
    for number, field in enumerate(["integer", "real", "pattern"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        matrix = sparse.coo_matrix((X.T > 4) * (1.5 if field == "real" else 1))
        scipy.io.mmwrite(folder / "matrix.mtx", matrix, field=field)
        tenx(tmp_path / f"m{number}", (folder / "matrix.mtx").read_bytes())
        got = read(tmp_path / f"m{number}").X
        np.testing.assert_array_equal(got.toarray(), matrix.toarray().T)


# --- CSV ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "-", "=\n"],
)
def test_a_text_that_a_spreadsheet_would_compute_gets_a_mark(text):
    assert csv_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "T cell", "a=1", "1", "-1.5", "+2e-3", "0", "'=1"])
def test_other_texts_and_numbers_stay_as_they_are(text):
    assert csv_text(text) == text


# --- names -------------------------------------------------------------------------------

NAMES = [
    *HOSTILE,
    "</style><img src=x onerror=alert(1)>",
    "../../x",
    "two\nlines",
    "\u202eright to left",
    "🧬",
    "x" * 10_000,
    "{{ 7 * 7 }}",
    "@SUM(A1)",
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What the command line makes of cells, genes, classes and a file with such names."""
    home = tmp_path_factory.mktemp("home") / "a" / "b"
    home.mkdir(parents=True)
    n = len(NAMES)
    adata = anndata.AnnData(
        np.random.default_rng(0).poisson(1.0, (6 * n, n)).astype(np.float32),
        obs=pd.DataFrame(
            {"=kind": NAMES * 6}, index=[f"{x}{i}" for i, x in enumerate(NAMES * 6)]
        ),
        var=pd.DataFrame(index=NAMES),
    )
    # Windows allows no markup in names of files.
    matrix = home / ("=1+1&$x_$.h5ad" if os.name == "nt" else "=<b onclick=alert(1)>$x_$.h5ad")
    adata.write_h5ad(matrix)
    before = {path: path.stat().st_mtime_ns for path in home.parents[1].rglob("*")}
    words = ["compare", matrix, "--labels", "=kind", "--n-latent", 2, "--loss", "mse"]
    words += ["--max-epochs", 1, "--n-hidden", 4, "-o", home / "out", "-q"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return SimpleNamespace(adata=adata, home=home, out=home / "out", before=before)


def test_nothing_is_written_outside_of_the_output_folder(outcome):
    outside = {
        path: path.stat().st_mtime_ns
        for path in outcome.home.parents[1].rglob("*")
        if not path.is_relative_to(outcome.out)
    }
    outcome.before[outcome.home] = outside[outcome.home]  # which got the output folder
    assert outside == outcome.before


class Markup(HTMLParser):
    """Collects what a browser would run or load."""

    def __init__(self):
        super().__init__()
        self.found, self.in_script = [], False

    def handle_starttag(self, tag, attributes):
        self.in_script = tag == "script"
        for name, value in attributes:
            if name.startswith("on") or value in ("x", "alert(1)"):
                self.found.append((tag, name, value))

    def handle_endtag(self, tag):
        self.in_script = False

    def handle_data(self, data):
        if self.in_script and data.strip() == "alert(1)":
            self.found.append(("script", data))


def test_names_are_text_on_the_page(outcome):
    page = (outcome.out / "report.html").read_text(encoding="utf-8")
    reader = Markup()
    reader.feed(page)
    assert not reader.found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    reader.feed("<b onclick=alert(1)><script>alert(1)</script>")
    assert len(reader.found) == 2


def test_names_are_text_in_every_picture(outcome):
    pictures = list((outcome.out / "figures").glob("*.svg"))
    assert pictures
    for path in pictures:
        for element in ElementTree.parse(path).iter():  # noqa: S314 - our own file
            assert not element.tag.endswith(("}script", "}b", "}foreignObject"))
            assert not [name for name in element.attrib if name.startswith("on")]


def test_no_cell_of_a_table_is_a_formula(outcome):
    with (outcome.out / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 2
    for cell in rows[0] + rows[1]:
        assert csv_text(cell) == cell


def test_a_run_with_the_name_of_a_formula_is_marked_in_the_table():
    text = metrics_csv({"runs": [{"run": "=1+1", "loss": "mse", "error": -0.5, "none": None}]})
    assert text == "run,loss,error,none\n'=1+1,mse,-0.5,\n"


def test_names_are_kept_as_they_are_in_data(outcome):
    embedding = anndata.read_h5ad(outcome.out / "embedding.h5ad")
    assert list(embedding.obs["label"]) == NAMES * 6
    assert list(embedding.obs_names) == list(outcome.adata.obs_names)
    assert list(cg.load(outcome.out / "models" / "mse_2_seed0.safetensors").genes) == NAMES
    results = json.loads((outcome.out / "results.json").read_text(encoding="utf-8"))
    assert results["dataset"]["n_labels"] == len(NAMES)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\0b", "a\\x00b"), ("\x1b[31mred", "\\x1b[31mred"), ("\ud800", "\\ud800")],
    ids=["NUL", "escape", "half a pair"],
)
def test_characters_that_no_table_or_picture_can_hold_are_refused(name, shown, tmp_path):
    np.save(tmp_path / "m.npy", X)
    np.save(tmp_path / "l.npy", np.array(["good", name, "good", "good"]))
    words = ["Number 2 of the labels", "l.npy", shown]
    refusal(tmp_path / "m.npy", *words, labels=tmp_path / "l.npy")
    if "\x1b" in name:
        (tmp_path / "m.csv").write_text(f"cell,a,b{name}\nc1,1,2\nc2,3,4\nc3,5,6\n")
        refusal(tmp_path / "m.csv", "Number 2 of the names of genes", shown)
        (tmp_path / "m.csv").write_text(f"cell,a,b\nc1,1,2\nc2,3,4\n{name},5,6\n")
        refusal(tmp_path / "m.csv", "Number 3 of the names of cells", shown)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".txt"])
def test_a_number_that_is_cut_by_a_nul_is_refused(suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    text = b"1,2\n3,1\x0000\n5,6\n"
    path.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    refusal(path, "holds a NUL character")
