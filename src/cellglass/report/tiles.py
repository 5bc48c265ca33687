"""Parts of figures: drawn once, and put together as PNG and SVG as often as they are needed."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text
from PIL import Image

from cellglass.partition import warnings_silenced

DPI = 130
NEARLY_WHITE = 248
"""Red, green and blue of that and more are white in a PNG of few colours."""
POINTS = 72
"""Of an SVG in an inch."""


@dataclass(frozen=True)
class Tile:
    """A part of a figure, or all of it.

    Attributes
    ----------
    pixels
        Red, green and blue, shape (height, width, 3), uint8; 130 an inch.
    svg
        The same as elements of an SVG, 72 units an inch.
    """

    pixels: np.ndarray
    svg: str

    @classmethod
    def of(cls, figure: Figure) -> Tile:
        """Draw a figure of matplotlib."""
        if not _lacks_glyphs(figure):
            return cls._drawn(figure)
        # The page's own legend shows such characters. Filters are those of all threads.
        with warnings_silenced, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            return cls._drawn(figure)

    @classmethod
    def _drawn(cls, figure: Figure) -> Tile:
        file = io.StringIO()
        canvas = FigureCanvasAgg(figure)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        canvas.draw()
        whole = file.getvalue()
        drawn = whole[whole.index("<g id=") : whole.rindex("</svg>")]
        return cls(np.asarray(canvas.buffer_rgba())[..., :3].copy(), drawn)

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]


def _lacks_glyphs(figure: Figure) -> bool:
    """Tell whether a text has a character that its font does not."""
    for text in figure.findobj(Text):
        font = get_font(findfont(text.get_fontproperties()))
        if not all(font.get_char_index(ord(character)) for character in text.get_text()):
            return True
    return False


def put_together(rows: Sequence[Sequence[Tile]]) -> Tile:
    """Lay tiles out: rows of one width from the top, each of tiles of one height."""
    pixels = np.concatenate([np.concatenate([t.pixels for t in row], axis=1) for row in rows])
    return Tile(pixels, "".join(_nested(rows)))


def _nested(rows: Sequence[Sequence[Tile]]) -> Iterator[str]:
    top = number = 0
    for row in rows:
        left = 0
        for tile in row:
            number += 1
            yield f'<svg x="{_points(left)}" y="{_points(top)}" {_size(tile)}>\n'
            # Ids are unique in a file, also if a tile is there twice.
            yield re.sub(r'( id="|"#|url\(#)', rf"\g<1>t{number}-", tile.svg)
            yield "</svg>\n"
            left += tile.width
        top += row[0].height


def png_bytes(tile: Tile) -> bytes:
    """Write a PNG of 256 colours, enough for points and text, at a third of the size."""
    file = io.BytesIO()
    image = Image.fromarray(tile.pixels)
    # Chosen by every second pixel of every second row, in a third of the time.
    some = Image.fromarray(np.ascontiguousarray(tile.pixels[::2, ::2]))
    palette = some.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    small = image.quantize(palette=palette, dither=Image.Dither.NONE)
    colors = np.array(small.getpalette(), np.uint8).reshape(-1, 3)
    colors[(colors >= NEARLY_WHITE).all(axis=1)] = 255  # colours are looked up in coarse steps
    small.putpalette(colors.tobytes())
    small.save(file, format="png")
    return file.getvalue()


def svg_bytes(tile: Tile) -> bytes:
    """Write a file of its own."""
    return (
        '<?xml version="1.0" encoding="utf-8" standalone="no"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'version="1.1" {_size(tile, unit="pt")}>\n'
        '<style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style>\n'
        f"{tile.svg}</svg>\n"
    ).encode()


def _size(tile: Tile, unit: str = "") -> str:
    width, height = _points(tile.width), _points(tile.height)
    return f'width="{width}{unit}" height="{height}{unit}" viewBox="0 0 {width} {height}"'


def _points(pixels: int) -> str:
    return f"{pixels * POINTS / DPI:.6g}"
