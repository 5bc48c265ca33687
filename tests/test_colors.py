"""The styles of classes stay apart for every kind of colour vision."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.markers import MarkerStyle

from cellglass.report.colors import EIGHT, FIFTEEN, Style, class_styles

# Linear RGB as seen with each kind of vision. Machado, Oliveira & Fernandes (2009), "A
# physiologically-based model for simulation of color vision deficiency", severity 1.0.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}

# Rows of linear sRGB → CIE XYZ (IEC 61966-2-1, white point D65).
RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear_rgb(colors):
    """(n,) hex colours → (n, 3) linear RGB in [0, 1]."""
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cielab(rgb):
    """(n, 3) linear RGB → (n, 3) L*, a*, b* (CIE 15)."""
    t = np.clip(rgb, 0, 1) @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(axis=1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def ciede2000(lab1, lab2):
    """Colour difference of two L*a*b* triples.

    Sharma, Wu & Dalal (2005), Color Research & Application 30(1), equations 2 to 22.
    Plain Lab distance is no fair judge: it counts saturated blues and purples as far
    apart which people take for the same.
    """
    (l1, a1, b1), (l2, a2, b2) = lab1, lab2
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(c7 / (c7 + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2([b1, b2], [a1, a2])) % 360
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    hue = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    c7 = chroma**7
    rotation = -2 * np.sqrt(c7 / (c7 + 25.0**7))
    rotation *= np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    s = (light - 50) ** 2
    dl = (l2 - l1) / (1 + 0.015 * s / np.sqrt(20 + s))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    return float(np.sqrt(dl**2 + dc**2 + dh**2 + rotation * dc * dh))


def closest(colors, vision, difference):
    """Return the smallest difference between two of the colours, seen that way."""
    lab = cielab(linear_rgb(colors) @ VISION[vision].T)
    return min(difference(x, y) for x, y in itertools.combinations(lab, 2))


def lab_distance(lab1, lab2):
    return float(np.linalg.norm(lab1 - lab2))


def names(n):
    return [f"class {i:03d}" for i in range(n)]


@pytest.mark.parametrize(
    ("lab1", "lab2", "expected"),
    [
        pytest.param((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425, id="pair-1-blue"),
        pytest.param((50, 0, 0), (50, -1, 2), 2.3669, id="pair-7-grey"),
        pytest.param((50, 2.5, 0), (73, 25, -18), 27.1492, id="pair-17-large"),
        pytest.param(
            (60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644, id="pair-25"
        ),
    ],
)
def test_the_yardstick_agrees_with_sharmas_published_pairs(lab1, lab2, expected):
    assert ciede2000(lab1, lab2) == pytest.approx(expected, abs=5e-5)


def test_the_yardstick_knows_black_and_white():
    lab = cielab(linear_rgb(["#000000", "#ffffff"]))
    np.testing.assert_allclose(lab, [[0, 0, 0], [100, 0, 0]], atol=0.01)
    assert closest(["#000000", "#ffffff"], "normal", ciede2000) == pytest.approx(100, abs=0.01)


# The smallest CIEDE2000 difference among the first colours of so many classes, as the
# docstring states it.
STATED = [
    pytest.param(n, vision, value, id=f"{n}-{vision}")
    for n, row in {
        4: (22.3, 12.2, 15.7, 13.9),
        8: (22.2, 12.2, 12.5, 10.9),
        15: (18.6, 14.0, 14.0, 14.2),
    }.items()
    for vision, value in zip(VISION, row, strict=True)
]


@pytest.mark.parametrize(("n", "vision", "stated"), STATED)
def test_colors_stay_apart_for_every_kind_of_vision(n, vision, stated):
    colors = [style.color for style in class_styles(names(n)).values()]
    assert len(set(colors)) == n
    assert closest(colors, vision, ciede2000) == pytest.approx(stated, abs=0.051)
    # Some published sets of this size fall to 2 and 4.
    assert closest(colors, vision, ciede2000) >= 10
    assert closest(colors, vision, lab_distance) >= 12


@pytest.mark.parametrize("vision", VISION)
def test_three_classes_are_farthest_apart(vision):
    colors = [style.color for style in class_styles(names(3)).values()]
    assert closest(colors, vision, ciede2000) >= 19.9
    assert closest(colors, vision, lab_distance) >= 24


@pytest.mark.parametrize("palette", [EIGHT, FIFTEEN], ids=["eight", "fifteen"])
def test_every_color_stands_out_from_a_white_page(palette):
    luminance = linear_rgb(palette) @ RGB_TO_XYZ[1]
    contrast = 1.05 / (luminance + 0.05)  # WCAG 2.2, "contrast ratio"
    assert contrast.min() >= 1.7


def test_black_comes_once_and_last():
    assert EIGHT[-1] == "#000000"
    assert EIGHT.count("#000000") + FIFTEEN.count("#000000") == 1


@pytest.mark.parametrize("n", [*range(1, 20), 30, 31, 100, 101, 195])
def test_no_pair_of_color_and_marker_comes_twice(n):
    styles = class_styles(names(n))
    assert len(styles) == n
    assert len(set(styles.values())) == n


def test_few_classes_need_no_shapes():
    assert {style.marker for style in class_styles(names(15)).values()} == {"o"}
    assert {style.marker for style in class_styles(names(16)).values()} == {"o", "s"}


def test_more_classes_than_pairs_still_have_a_style():
    assert len(class_styles(names(250))) == 250


def test_the_same_classes_always_look_the_same():
    cells = ["T", "B", "NK", "T", "B", "Mono"]
    styles = class_styles(cells)
    assert styles == class_styles(cells[::-1]) == class_styles(sorted(set(cells)))
    assert list(styles) == ["B", "Mono", "NK", "T"]
    assert styles["B"] == Style("#0072b2", "o")


def test_no_classes_give_no_styles():
    assert class_styles([]) == {}


def test_matplotlib_draws_every_style_filled():
    for style in class_styles(names(195)).values():
        assert re.fullmatch(r"#[0-9a-f]{6}", style.color)
        assert MarkerStyle(style.marker).is_filled()
        assert style.marker in MarkerStyle.filled_markers
