"""A report that lacks a file, a number or a run is found."""

import copy
import json

import pytest

import check_report

ERRORS = dict.fromkeys(check_report.ERRORS, 0.5)
SCORES = {"ari": 0.5, "nmi": 0.5, "silhouette": 1, "n_clusters": 3}
CLUSTERING = {"kmeans": SCORES, "leiden": SCORES}
RESULTS = {
    "schema": 1,
    "dataset": {"n_cells": 9, "n_genes": 5, "fraction_zero": 0.1, "n_labels": 3},
    "runs": [
        {
            "run": "mse_2_seed0",
            "loss": "mse",
            "n_latent": 2,
            "seed": 0,
            "epochs": 1,
            "reconstruction": ERRORS,
            "clustering": CLUSTERING,
            "label_silhouette": 0.5,
            "seconds": {"train": 1.5},
        }
    ],
    "baselines": [
        {
            "name": "pca",
            "n_components": 2,
            "reconstruction": ERRORS,
            "clustering": CLUSTERING,
        }
    ],
    "conclusions": [{"question": "Q?", "answer": "A.", "evidence": {}}],
    "environment": {"cellglass": "0", "jax": "0", "device": "cpu", "random_state": 0},
}


def problems(results: dict) -> list[str]:
    return list(check_report.check_schema(results, check_report.SCHEMA))


def test_complete_results_pass():
    assert problems(RESULTS) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda r: r.pop("dataset"), "'dataset'", id="key"),
        pytest.param(lambda r: r["runs"].clear(), "runs is not", id="no-run"),
        pytest.param(lambda r: r["runs"][0].pop("run"), "runs[0] lacks", id="no-name"),
        pytest.param(
            lambda r: r["runs"][0].update(label_silhouette=None),
            "label_silhouette is None",
            id="null",
        ),
        pytest.param(lambda r: r.update(schema=True), "schema is True", id="bool"),
    ],
)
def test_what_is_missing_is_named(change, words):
    results = copy.deepcopy(RESULTS)
    change(results)
    [problem] = problems(results)
    assert words in problem


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_refused(number, tmp_path):
    text = json.dumps(RESULTS).replace("1.5", number)
    (tmp_path / "results.json").write_text(text)
    [problem] = check_report.check_report(tmp_path)
    assert number in problem


def test_missing_and_empty_files_are_named(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mse_2_seed0.safetensors").touch()
    found = list(check_report.check_files(tmp_path, ["mse_2_seed0"]))
    assert "figures/loss_mse_2_seed0.svg is missing" in found
    assert "models/mse_2_seed0.safetensors is empty" in found
    assert "models/mse_2_seed0.safetensors is missing" not in found


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://example.org/a.js"></script>',
        '<img src="//example.org/a.png">',
        '<link rel="stylesheet" href="http://example.org/a.css">',
        "<style>@import 'https://example.org/a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">',
    ],
)
def test_a_page_that_needs_the_network_is_found(html):
    [problem] = check_report.check_page(html, [])
    assert "example.org" in problem


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://example.org">paper</a>',
        '<svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/></svg>',
        '<img src="data:image/png;base64,AAAA//BB">',
        "<script>const a = 'src=https://example.org';</script>",
        "see https://example.org",
    ],
)
def test_a_page_that_carries_everything_passes(html):
    assert list(check_report.check_page(html, [])) == []


def test_a_run_that_the_page_leaves_out_is_found():
    [problem] = check_report.check_page("<p>mse_2_seed0</p>", ["mse_2_seed0", "nb_2_seed0"])
    assert "nb_2_seed0" in problem
