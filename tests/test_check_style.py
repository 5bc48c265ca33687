"""The project's own rules are found broken where they are, and only there."""

import pytest

import check_style
import lowest


@pytest.mark.parametrize(
    "source",
    [
        pytest.param('"""Reads a matrix."""', id="one-line"),
        pytest.param('"""Reads a matrix.\n\nMore. And more.\n"""', id="more-below"),
        pytest.param('"""Steps: read.py, train.py, version 1.2."""', id="dots-in-words"),
    ],
)
def test_a_module_that_says_its_job_in_one_sentence_passes(source):
    assert list(check_style.check_module_docstring(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("x = 1", id="none"),
        pytest.param('"""Reads. Writes."""', id="two-sentences"),
        pytest.param('"""Reads a matrix"""', id="no-full-stop"),
        pytest.param('"""Reads a matrix\nfrom a path."""', id="over-two-lines"),
    ],
)
def test_a_module_that_does_not_is_found(source):
    [(line, _)] = check_style.check_module_docstring(source)
    assert line == 1


@pytest.mark.parametrize("value", ["True", "trusted"])
def test_unpickling_an_array_is_found_in_its_line(value):
    source = f"import numpy as np\n\nx = np.load(path, allow_pickle={value})\n"
    assert [line for line, _ in check_style.check_no_pickle(source)] == [3]


def test_refusing_to_unpickle_passes():
    source = "x = np.load(path, allow_pickle=False)"
    assert list(check_style.check_no_pickle(source)) == []


@pytest.mark.parametrize(
    "text",
    [
        # Put together here, so that this file does not break the rule itself.
        pytest.param("data = '/" + "home/someone/counts.npy'", id="home"),
        pytest.param("cellglass compare -o /" + "tmp/out", id="tmp"),
        pytest.param("(/" + "Users/someone)", id="mac"),
        pytest.param("see https://" + "py" + "pi.org/project/x", id="registry"),
    ],
)
def test_a_path_or_host_of_somewhere_else_is_found(text):
    assert [line for line, _ in check_style.check_portable(f"fine\n{text}\n")] == [2]


@pytest.mark.parametrize(
    "text",
    ["report/tmp/x", "https://example.org/home/page", "~/tmp/x", "/usr/bin/env bash"],
)
def test_other_paths_pass(text):
    assert list(check_style.check_portable(text)) == []


def test_modules_that_the_architecture_page_leaves_out_are_found():
    page = "    __init__.py  names\n    train.py  the loop\n    losses/  squared.py\n"
    modules = ["__init__.py", "train.py", "losses/__init__.py", "losses/squared.py"]
    assert list(check_style.check_architecture(page, modules)) == []
    [(_, what)] = check_style.check_architecture(page, [*modules, "report/rain.py"])
    assert "report/rain.py" in what
    [(_, what)] = check_style.check_architecture(page, [*modules, "report/__init__.py"])
    assert "report/__init__.py" in what


@pytest.mark.parametrize(
    ("changelog", "passes"),
    [
        ("# Changelog\n\n## Unreleased\n", True),
        ("## [Unreleased]\n", True),
        ("## 1.2.0 (2026-01-01)\n", True),
        ("## 1.2.01\n", False),
        ("## 1.1.0\n\nUnreleased things.\n", False),
        ("", False),
    ],
)
def test_the_changelog_needs_a_section_for_this_version(changelog, passes):
    assert (not list(check_style.check_changelog(changelog, "1.2.0"))) == passes


@pytest.mark.parametrize(
    ("citation", "passes"),
    [
        ("cff-version: 1.2.0\nversion: 0.3.0\n", True),
        ('version: "0.3.0"\n', True),
        ("cff-version: 0.3.0\n", False),
        ("version: 0.3.1\n", False),
    ],
)
def test_the_citation_is_of_this_version(citation, passes):
    assert (not list(check_style.check_citation(citation, "0.3.0"))) == passes


def test_a_heavy_import_is_found(tmp_path, monkeypatch):
    (tmp_path / "light_module.py").write_text("import json")
    (tmp_path / "heavy_module.py").write_text("import pandas")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert list(check_style.check_light_import("light_module")) == []
    [(_, what)] = check_style.check_light_import("heavy_module")
    assert "pandas" in what
    [(_, what)] = check_style.check_light_import("missing_module")
    assert "missing_module" in what


def test_every_dependency_has_a_lower_bound(capsys):
    lowest.main()
    pins = capsys.readouterr().out.splitlines()
    assert all("==" in pin for pin in pins)
    assert lowest.lowest("x-y>=1.2; a == 'b'") == "x-y==1.2; a == 'b'"
    assert lowest.lowest("x[y,z]>=1.2") == "x==1.2"  # a constraint has no extras
    with pytest.raises(ValueError, match="'x<2'"):
        lowest.lowest("x<2")
