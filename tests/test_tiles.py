"""Parts of figures that are drawn once and put together several times."""

import io
import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cellglass.report.colors import class_styles
from cellglass.report.panels import Legend, MapTiles, _shortened
from cellglass.report.tiles import Tile, png_bytes, put_together, svg_bytes

SVG = "{http://www.w3.org/2000/svg}"


def drawn(color: str, width: float = 2, height: float = 1) -> Tile:
    figure = Figure(figsize=(width, height), dpi=130, facecolor=color)
    figure.add_axes((0.2, 0.2, 0.7, 0.7)).plot([0, 1], label="line")
    return Tile.of(figure)


@pytest.fixture(scope="module")
def page() -> Tile:
    red = drawn("red")
    return put_together([[drawn("lime", 4, 0.5)], [red, red], [drawn("blue", 4, 0.5)]])


def test_tiles_lie_where_they_are_put(page):
    assert page.pixels.shape == (2 * 130, 4 * 130, 3)
    corners = page.pixels[[2, 70, 70, 200], [2, 2, 262, 2]]
    lime, red, blue = (0, 255, 0), (255, 0, 0), (0, 0, 255)
    np.testing.assert_array_equal(corners, [lime, red, red, blue])
    left, right = page.pixels[65:195, :260], page.pixels[65:195, 260:]
    np.testing.assert_array_equal(left, right)


def test_an_svg_of_tiles_has_the_places_of_the_pixels(page):
    root = ElementTree.fromstring(svg_bytes(page))  # noqa: S314 - ours
    assert (root.get("width"), root.get("viewBox")) == ("288pt", "0 0 288 144")
    places = [(part.get("x"), part.get("y")) for part in root.findall(f"{SVG}svg")]
    assert places == [("0", "0"), ("0", "36"), ("144", "36"), ("0", "108")]


def test_ids_are_unique_and_what_is_referred_to_is_there(page):
    svg = svg_bytes(page).decode()
    ids = re.findall(r' id="([^"]*)"', svg)
    assert len(ids) == len(set(ids)) > 40
    referred = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)
    assert len(referred) > 20 and {a or b for a, b in referred} <= set(ids)


@pytest.mark.parametrize(("label", "lacks"), [("CD4 − T · é", False), ("細胞", True)])
def test_characters_that_the_font_lacks_are_no_warning(label, lacks, monkeypatch):
    """Filters of warnings are those of all threads, so they are left alone otherwise."""
    silenced = []
    usual = warnings.catch_warnings
    monkeypatch.setattr(warnings, "catch_warnings", lambda: silenced.append(1) or usual())
    figure = Figure(figsize=(2, 1), dpi=130)
    figure.text(0.5, 0.5, label)
    Tile.of(figure)  # here warnings are errors
    assert bool(silenced) == lacks


def test_a_palette_keeps_colors_that_few_pixels_have():
    pixels = np.full((200, 200, 3), 255, np.uint8)
    blues = np.arange(240, dtype=np.uint8)[:100]
    pixels[:100, :100, 0], pixels[:100, :100, 1] = blues[:, None], blues[None]  # 10,000 colours
    pixels[101, 161], pixels[150:, :50] = (200, 30, 40), (252, 252, 252)
    pixels[151:153, 161:163] = (30, 200, 40)  # smaller than the mark of one cell among many
    found = np.asarray(Image.open(io.BytesIO(png_bytes(Tile(pixels, "")))).convert("RGB"))
    away = np.abs(found.astype(int) - pixels).max(axis=2)
    assert away[151:153, 161:163].max() <= 12
    assert (found[:90, 110:] == 255).all()  # white stays white, whatever is near it
    assert np.median(away[:100, :100]) <= 16


@pytest.mark.parametrize("n_panels", [1, 2])
def test_a_legend_of_long_names_keeps_within_the_figure(n_panels):
    names = tuple(f"{'effector memory, ' * 8}terminally differentiated {i}" for i in "ab")
    tiles = MapTiles(np.array([0, 1]), Legend("label", names, class_styles(names)))
    panels = {str(i): tiles.tsne("map", np.eye(2)) for i in range(n_panels)}
    drawing = tiles.page("name", "title", "caption", panels)
    _, top, _, height = drawing.panels[0]
    pixels = np.asarray(Image.open(io.BytesIO(drawing.png)).convert("RGB")).astype(int)
    legend = pixels[top + height :]
    inked = np.flatnonzero((legend < 230).any(axis=(0, 2)))
    assert inked[0] > 5 and inked[-1] < legend.shape[1] - 5
    coloured = np.ptp(legend, axis=2) > 50  # the marks, which tell classes apart
    assert coloured.any(axis=1).sum() > 10


def test_names_that_differ_at_either_end_still_do_when_they_are_shortened():
    long = "x" * 50
    assert _shortened("short", 20) == "short"
    assert _shortened(long + "a", 21) == "xxxxxxxxxx…xxxxxxxxxa"
    assert len({_shortened(n, 20) for n in (long, long + "a", "a" + long)}) == 3
