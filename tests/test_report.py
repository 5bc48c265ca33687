"""The output folder: what is in it, what the page says, and what is never lost."""

import base64
import copy
import csv
import importlib
import io
import json
import re
import shlex
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import anndata
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import cellglass as cg
from cellglass.cli import app
from cellglass.report import write
from cellglass.report.colors import class_styles
from cellglass.report.figures import RunFigures, classes_of, draw
from cellglass.report.render import command, python_call, render
from cellglass.report.write import REPORT
from conftest import HOSTILE


@pytest.fixture(scope="module")
def folder(small_comparison, tmp_path_factory):
    page = small_comparison.report(tmp_path_factory.mktemp("out") / "report")
    return page.parent


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


RUNS = [f"{loss}_{n}_seed0" for loss in ("mse", "nonzero_mse") for n in (2, 3)]


# --- files -------------------------------------------------------------------------------


def test_the_folder_holds_just_what_is_promised(folder):
    assert sorted(p.name for p in folder.iterdir()) == sorted(REPORT.content)
    assert sorted(p.stem for p in (folder / "models").iterdir()) == sorted(RUNS)
    kinds = ["pca_reconstruction", "tsne_reconstruction", "pca_latent", "tsne_latent", "loss"]
    names = {f"{kind}_{run}" for kind in kinds for run in RUNS}
    names |= {"mse_by_latent", "clustering_by_run"}
    for suffix in ("png", "svg"):
        assert {p.stem for p in (folder / "figures").glob(f"*.{suffix}")} == names


def test_results_have_the_schema(results):
    assert results["schema"] == 1
    assert {"n_cells", "n_genes", "fraction_zero", "n_labels"} <= set(results["dataset"])
    assert [run["run"] for run in results["runs"]] == RUNS
    for run in results["runs"]:
        assert run["epochs"] == 3
        assert run["seconds"]["train"] > 0
        for kind in ("mse_all", "mse_nonzero", "mse_zero"):
            for cells in ("", "_train", "_validation"):
                assert run["reconstruction"][kind + cells] > 0
        assert set(run["clustering"]) == {"kmeans", "leiden"}
    assert [(b["name"], b["n_components"]) for b in results["baselines"]] == [
        ("pca", 2),
        ("pca", 3),
    ]
    assert all({"question", "answer", "evidence"} <= set(c) for c in results["conclusions"])
    assert {"cellglass", "jax", "device", "random_state"} <= set(results["environment"])


def test_error_over_all_entries_is_the_weighted_mean_of_the_other_two(results):
    share = results["dataset"]["fraction_zero"]
    for row in (*results["runs"], *results["baselines"]):
        errors = row["reconstruction"]
        mixed = share * errors["mse_zero"] + (1 - share) * errors["mse_nonzero"]
        assert errors["mse_all"] == pytest.approx(mixed)
        n = [results["dataset"][key] for key in ("n_train", "n_validation")]
        parts = [errors["mse_all_train"], errors["mse_all_validation"]]
        assert errors["mse_all"] == pytest.approx(np.average(parts, weights=n))


def test_metrics_have_a_row_a_run_with_the_numbers_of_the_results(folder, results):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == RUNS
    for row, run in zip(rows, results["runs"], strict=True):
        assert float(row["reconstruction_mse_zero"]) == run["reconstruction"]["mse_zero"]
        assert float(row["clustering_kmeans_ari"]) == run["clustering"]["kmeans"]["ari"]


def test_saved_models_give_the_latent_vectors_of_the_embedding(folder, small):
    embedding = anndata.read_h5ad(folder / "embedding.h5ad")
    assert list(embedding.obs_names) == list(small.obs_names)
    assert list(embedding.obs["label"]) == list(small.obs["label"])
    for run in RUNS:
        model = cg.load(folder / "models" / f"{run}.safetensors")
        assert model.genes == tuple(small.var_names)
        np.testing.assert_array_equal(model.transform(small.X), embedding.obsm[f"X_ae_{run}"])
        for kind in ("pca", "tsne"):
            for space in ("latent", "reconstruction"):
                assert embedding.obsm[f"X_{kind}_{space}_{run}"].shape == (60, 2)
        assert {f"kmeans_ae_{run}", f"leiden_ae_{run}"} <= set(embedding.obs)


def test_scores_can_be_computed_again_from_the_embedding(folder, results):
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    embedding = anndata.read_h5ad(folder / "embedding.h5ad")
    for run in results["runs"]:
        Z = embedding.obsm[f"X_ae_{run['run']}"].astype(float)
        for method, scores in run["clustering"].items():
            clusters = embedding.obs[f"{method}_ae_{run['run']}"]
            ari = adjusted_rand_score(embedding.obs["label"], clusters)
            assert scores["ari"] == pytest.approx(ari)
            assert scores["silhouette"] == pytest.approx(
                silhouette_score(Z, clusters), abs=1e-4
            )
        labels = silhouette_score(Z, embedding.obs["label"])
        assert run["label_silhouette"] == pytest.approx(labels, abs=1e-4)


# --- the page ----------------------------------------------------------------------------


class Reader(HTMLParser):
    """Collects what a browser would load, run and show."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.text, self.ids, self.uses = [], [], [], [], []
        self._hidden = False

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self._hidden = tag in ("style", "script")
        if tag == "use":
            self.uses.append(given["href"].removeprefix("#"))
        elif tag != "a":
            self.loads += [v for k, v in attributes if k in ("src", "href", "srcset", "data")]
        if "id" in given:
            self.ids.append(given["id"])

    def handle_data(self, data):
        if not self._hidden:
            self.text.append(data)


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_loads_nothing_but_itself(page, read):
    assert all(source.startswith("data:image/") for source in read.loads)
    assert "script" not in read.tags
    assert not re.search(r"url\(|@import", page)


def test_every_picture_on_the_page_is_there_and_named(read):
    assert len(read.ids) == len(set(read.ids))
    assert set(read.uses) <= set(read.ids)
    for kind in (
        "pca_reconstruction",
        "pca_latent",
        "tsne_reconstruction",
        "tsne_latent",
        "loss",
    ):
        for run in RUNS:
            assert f"image-{kind}_{run}" in read.uses


def test_names_from_files_are_shown_as_text(page, read):
    assert "<script" not in page
    assert "<b>.npy" not in page
    text = " ".join(read.text)
    for name in (*HOSTILE, "<b>.npy"):
        assert name in text


def test_every_number_in_the_tables_is_in_the_results(page, results):
    from cellglass.report.contrast import number, percent, score

    known = set()

    def walk(tree):
        if isinstance(tree, dict):
            for value in tree.values():
                walk(value)
        elif isinstance(tree, list):
            for value in tree:
                walk(value)
        elif isinstance(tree, int | float):
            known.update({str(tree), f"{tree:.1f}", number(tree), score(tree), percent(tree)})

    walk(results)
    cells = re.findall(r"<td>([^<]*)</td>", page.split('id="repeat"')[0])
    assert len(cells) > 100
    assert {cell.strip() for cell in cells if cell.strip()} <= known


def test_every_answer_is_on_the_page(read, results):
    text = re.sub(r"\s+", " ", "".join(read.text))
    for item in results["conclusions"]:
        assert re.sub(r"\s+", " ", item["question"]) in text
        assert re.sub(r"\s+", " ", item["answer"]) in text


def test_the_page_says_what_was_made_of_the_input_and_how_to_override_it(page):
    assert "Taken as log-normalised and used as it is" in page
    assert "--input counts" in page


def test_one_seed_is_said_to_tell_nothing_of_repetition(page):
    assert "Every network was trained once." in page
    assert page.count("--seeds 5") >= 3  # beside errors and clusters, and in the conclusions
    assert "±" not in page


def test_scores_have_a_row_a_loss_and_size_with_the_numbers_of_the_results(folder, results):
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["loss"], row["n_latent"]) for row in rows] == [
        (loss, str(n)) for loss in ("mse", "nonzero_mse") for n in (2, 3)
    ]
    for row, group in zip(rows, results["groups"], strict=True):
        errors = group["scores"]["reconstruction"]
        assert float(row["reconstruction_mse_zero_mean"]) == errors["mse_zero"]["mean"]
        assert row["reconstruction_mse_zero_low"] == ""  # of one seed


def test_counts_are_normalised_and_the_page_says_so(small, tmp_path):
    comparison = cg.compare(
        small.layers["counts"], n_latent=2, n_hidden=4, max_epochs=1, loss="mse"
    )
    page = comparison.report(tmp_path / "report").read_text(encoding="utf-8")
    assert "Taken as raw counts and normalised" in page
    assert "--input log" in page
    assert "Without labels, cells are coloured by the k-means clusters" in page


def test_the_command_on_the_page_repeats_the_settings(small_comparison):
    text = command(small_comparison.summary)
    assert "--n-latent 2 3 --loss mse nonzero_mse --seeds 1" in text
    assert "--max-epochs 3" in text
    assert "'<b>.npy' --labels 'l & l.txt'" in text
    compile(python_call(small_comparison.summary), "call", "exec")


def test_the_command_on_the_page_is_read_back_as_the_same_settings(small_comparison):
    summary = copy.deepcopy(small_comparison.summary)
    chosen = {"dropout_rate": 0.2, "input_noise": 0.1, "weight_decay": 0.01,
              "kl_warmup_epochs": 3, "free_bits": 0.5, "variational": True,
              "patience": 5}  # fmt: skip
    summary["settings"] |= chosen
    heard = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            importlib.import_module("cellglass.cli.comparing"), "_compare",
            lambda read, output, settings, **more: heard.update(settings),
        )  # fmt: skip
        words = shlex.split(command(summary))[1:]
        assert CliRunner().invoke(app, words).exit_code == 0
    assert heard == {name: summary["settings"][name] for name in heard}
    assert chosen.items() <= heard.items()
    call = python_call(summary)
    assert all(f"    {name}={value!r},\n" in call for name, value in chosen.items())


# --- figures -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawings(small_comparison):
    return list(draw(small_comparison, lambda: None))


def test_runs_are_handed_out_in_order_and_drawn_early_they_look_the_same(small, drawings):
    drawn, done = {}, []

    def draw_early(run, original, labels):
        drawn[run.name] = list(RunFigures(original, labels).of(run))

    comparison = cg.compare(
        small, n_latent=(2, 3), n_hidden=8, max_epochs=3, on_run=draw_early,
        progress=lambda *told: done.append(told),
    )  # fmt: skip
    assert list(drawn) == [run.name for run in comparison.runs]
    again = list(draw(comparison, lambda: None, drawn))
    assert [(one.name, one.png, one.svg) for one in again] == [
        (one.name, one.png, one.svg) for one in drawings
    ]
    early = list(chain.from_iterable(drawn.values()))
    assert all(one is other for one, other in zip(again, early, strict=False))
    assert ("Maps and clusters", 7, 7) in done


def test_what_on_run_raises_ends_the_comparison(small):
    def fail(run, original, labels):
        raise KeyError(run.name)

    with pytest.raises(KeyError, match="mse_2_seed0"):
        cg.compare(small, n_latent=2, loss="mse", n_hidden=8, max_epochs=1, on_run=fail)


def test_figures_are_the_same_every_time(drawings, folder):
    for drawing in drawings:
        path = folder / "figures" / drawing.name
        assert path.with_suffix(".png").read_bytes() == drawing.png
        assert path.with_suffix(".svg").read_bytes() == drawing.svg


def test_panels_lie_inside_their_figure(drawings):
    for drawing in drawings:
        assert Image.open(io.BytesIO(drawing.png)).size == drawing.size
        for left, top, width, height in drawing.panels:
            assert left >= 0 <= top
            assert left + width <= drawing.size[0]
            assert top + height <= drawing.size[1]


def test_cells_keep_the_colors_of_their_class_in_the_png(small, tmp_path):
    """A palette of 256 colours must not bend those of the classes; here are 15."""
    other = small.copy()
    other.obs["label"] = [f"class {i % 15}" for i in range(60)]
    comparison = cg.compare(other, n_latent=2, n_hidden=4, max_epochs=1, loss="mse")
    drawing = next(draw(comparison, lambda: None))
    image = np.asarray(Image.open(io.BytesIO(drawing.png)).convert("RGB")).astype(int)
    legend = image[drawing.panels[0][1] + drawing.panels[0][3] :]
    for style in class_styles(list(other.obs["label"])).values():
        color = [int(style.color[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(legend - color).max(axis=2).min() <= 12, style


def test_every_figure_lies_on_white(drawings):
    for drawing in drawings:
        image = np.asarray(Image.open(io.BytesIO(drawing.png)).convert("RGB"))
        assert (image[0] == 255).all() and (image[-1] == 255).all(), drawing.name


def test_a_style_of_the_user_does_not_change_the_figures(small_comparison, drawings):
    with mpl.rc_context({"savefig.bbox": "tight", "savefig.dpi": 50, "figure.dpi": 50}):
        again = list(draw(small_comparison, lambda: None))
    assert [(one.png, one.svg) for one in again] == [(one.png, one.svg) for one in drawings]


def test_panels_are_not_empty(drawings):
    for drawing in drawings:
        image = np.asarray(Image.open(io.BytesIO(drawing.png)).convert("L"))
        for left, top, width, height in drawing.panels:
            panel = image[top : top + height, left : left + width]
            assert (panel < 200).mean() > 0.002, drawing.name


def test_data_without_any_variation_go_all_the_way(tmp_path):
    for name, X in (("zero", np.zeros((30, 6))), ("constant", np.full((30, 6), 1.5))):
        comparison = cg.compare(X, n_latent=2, n_hidden=4, max_epochs=3, loss="mse")
        comparison.report(tmp_path / name)
        text = (tmp_path / name / "results.json").read_text(encoding="utf-8")
        assert "does not vary" in text
        assert "NaN" not in text


def test_a_run_is_trained_with_the_loss_it_is_named_after(small, small_comparison):
    for run in small_comparison.runs:
        cells = small_comparison.is_validation
        y, y_hat = small.X[cells], np.asarray(run.training.network(small.X[cells]).eta)
        mask = y != 0 if run.settings.loss == "nonzero_mse" else np.ones_like(y)
        expected = np.square(y - y_hat * mask).sum() / mask.sum()
        assert run.training.loss_validation[-1] == pytest.approx(expected, rel=1e-4)


def test_labels_of_another_column_are_named(small):
    other = small.copy()
    other.obs["kind"] = ["x", "y"] * 30
    summary = cg.compare(other, labels="kind", n_latent=2, n_hidden=4, max_epochs=1).summary
    assert summary["dataset"]["labels_name"] == "kind"
    assert summary["dataset"]["label_sizes"] == {"x": 30, "y": 30}


def test_a_class_has_the_same_style_in_every_run(small_comparison):
    legends = [classes_of(run, small_comparison.labels)[1] for run in small_comparison.runs]
    assert all(legend.styles == class_styles(HOSTILE) for legend in legends)


def test_the_page_embeds_the_figures_of_the_folder(folder, page):
    for path in (folder / "figures").glob("pca_*.png"):
        assert base64.b64encode(path.read_bytes()).decode() in page


def test_rendering_again_gives_the_same_page(small_comparison, drawings, page):
    legends = {r.name: classes_of(r, small_comparison.labels)[1] for r in small_comparison.runs}
    assert render(small_comparison.summary, drawings, legends) == page


# --- nothing is lost ---------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_an_existing_folder_is_refused_and_left_alone(small_comparison, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(cg.InputError, match=r"already exists.*overwrite=True"):
        small_comparison.report(tmp_path / "out")
    assert tree(tmp_path) == {"out/notes.txt": b"mine"}


def test_overwriting_replaces_a_report_and_keeps_other_files(
    small_comparison, folder, tmp_path, monkeypatch
):
    target = tmp_path / "out"
    monkeypatch.setattr(write, "_write_content", write_stub)
    small_comparison.report(target)
    (target / "notes.txt").write_text("mine")
    (target / "figures" / "mine.png").write_text("mine")
    (target / "figures" / "loss_mse_2_seed0.png").write_text("old")
    (target / "report.html").write_text("old")
    small_comparison.report(target, overwrite=True)
    assert (target / "notes.txt").read_text() == "mine"
    assert [p.name for p in (target / "figures").iterdir()] == ["mine.png"]
    assert (target / "report.html").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def write_stub(comparison, folder, drawn, progress):
    for name in REPORT.content:
        if "." in name:
            (folder / name).write_text("new")
        else:
            (folder / name).mkdir()
    results = {"environment": {"cellglass": "0"}, "runs": [{"run": "mse_2_seed0"}]}
    (folder / "results.json").write_text(json.dumps(results))


def test_overwriting_refuses_a_folder_that_is_no_report(small_comparison, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    with pytest.raises(cg.InputError, match="holds figures"):
        small_comparison.report(tmp_path, overwrite=True)
    assert tree(tmp_path) == {"figures/mine.png": b"mine"}


def test_a_file_in_the_way_is_refused(small_comparison, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(cg.InputError, match="is a file"):
        small_comparison.report(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("existing", [False, True], ids=["new folder", "overwriting"])
def test_a_failure_leaves_what_was_there(small_comparison, tmp_path, monkeypatch, existing):
    target = tmp_path / "out"
    if existing:
        monkeypatch.setattr(write, "_write_content", write_stub)
        small_comparison.report(target)
        monkeypatch.undo()
    before = tree(tmp_path)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cellglass.report.figures.draw", fail)
    with pytest.raises(OSError, match="No space left"):
        small_comparison.report(target, overwrite=existing)
    assert tree(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if existing else [])


@pytest.mark.parametrize(
    "failure", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["disk", "Ctrl-C"]
)
def test_a_failure_while_files_are_exchanged_puts_the_old_ones_back(
    small_comparison, tmp_path, monkeypatch, failure
):
    monkeypatch.setattr(write, "_write_content", write_stub)
    target = tmp_path / "out"
    small_comparison.report(target)
    before = tree(target)
    rename = Path.rename

    def fail_late(self, other):
        if Path(other) == target / "embedding.h5ad" and "old" not in self.parts:
            raise failure
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail_late)
    with pytest.raises(type(failure)):
        small_comparison.report(target, overwrite=True)
    assert tree(target) == before
