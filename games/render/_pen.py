"""Drawing at any scale, and pictures made of tables and captions."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from games.core import require

INK = "#333333"
"""Color of lines and words."""

AGENTS = (
    ("#D55E00", "white"),
    ("#0072B2", "white"),
    ("#E69F00", "black"),
    ("#CC79A7", "black"),
    ("#56B4E9", "black"),
    ("#009E73", "white"),
    ("#F0E442", "black"),
)
"""Okabe and Ito's colors, distinguishable to the color-blind, each with a legible text color."""

SMALLEST_TEXT = 6
CAPTION_TEXT, MARGIN = 16, 6
RULE, PAPER, MARK = "#BEBEBE", "#FFFFFF", "#FFD666"
FONT_SIZE, KEY_TEXT, PADDING = 18, 15, 10
Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Pen:
    """A canvas; all lengths are in units of `scale` pixels.

    Args:
        width: width of the picture, in units.
        height: height of the picture, in units.
        scale: pixels of a unit, above 0.
        paper: color of the background, as #RRGGBB.
    Raises:
        ValueError: the scale is not above 0.

    >>> Pen(20, 10, scale=2.5).picture().shape
    (25, 50, 3)
    """

    def __init__(self, width: float, height: float, *, scale: float = 1.0, paper: str = "#FFFFFF") -> None:
        require(scale > 0, f"A picture's scale must be above 0, not {scale}.")
        self._scale = scale
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        self._image = Image.new("RGB", size, paper)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self) -> np.ndarray:
        """The picture so far: uint8 [height, width, 3], in pixels."""
        return np.array(self._image)

    def rectangle(self, box: Box, *, fill: str, outline: str = INK, line: float = 1) -> None:
        """Draw the rectangle from (left, top) to (right, bottom), both included, in units."""
        left, top, right, bottom = box
        low, high = self._at((left, top)), self._at((right + 1, bottom + 1))
        inside = tuple(max(end - 1, start) for start, end in zip(low, high, strict=True))
        self._draw.rectangle((low, inside), fill=fill, outline=outline, width=self._width(line))

    def circle(self, center: Point, radius: float, *, fill: str, outline: str = INK, line: float = 1) -> None:
        """Draw a disc."""
        self._draw.circle(
            self._at(center), radius * self._scale, fill=fill, outline=outline, width=self._width(line)
        )

    def polygon(
        self, corners: Sequence[Point], *, fill: str, outline: str | None = None, line: float = 1
    ) -> None:
        """Draw the area between these corners."""
        points = [self._at(corner) for corner in corners]
        self._draw.polygon(points, fill=fill, outline=outline, width=self._width(line))

    def line(self, points: Sequence[Point], *, color: str = INK, line: float = 1) -> None:
        """Draw a line through these points."""
        self._draw.line([self._at(point) for point in points], fill=color, width=self._width(line))

    def text(self, place: Point, words: str, *, size: float, color: str = INK, anchor: str = "mm") -> None:
        """Write one line of text, with its `anchor` point (in Pillow's letters) at the place."""
        font = ImageFont.load_default(max(size * self._scale, SMALLEST_TEXT))
        self._draw.text(self._at(place), words, color, font, anchor=anchor)

    def _at(self, point: Point) -> Point:
        return point[0] * self._scale, point[1] * self._scale

    def _width(self, line: float) -> int:
        return max(1, round(line * self._scale))


def text_width(words: str, size: float) -> float:
    """Width of a line of text in Pillow's font.

    Args:
        words: one line.
        size: size of the font, for instance in pixels.
    Returns:
        The width, in the unit of the size.

    >>> text_width("wide", 20) > text_width("wide", 10) > text_width("i", 10)
    True
    """
    return float(ImageFont.load_default(size).getlength(words))


def resized(picture: np.ndarray, scale: float) -> np.ndarray:
    """Resize a picture.

    Args:
        picture: uint8 [height, width, 3].
        scale: factor of both sides, above 0.
    Returns:
        The picture, uint8 [height, width, 3]; the same object if the scale is 1.
    Raises:
        ValueError: the scale is not above 0.

    >>> resized(np.zeros((4, 6, 3), dtype=np.uint8), 1.5).shape
    (6, 9, 3)
    """
    require(scale > 0, f"A picture's scale must be above 0, not {scale}.")
    if scale == 1:
        return picture
    height, width = picture.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(picture).resize(size))


def captioned(picture: np.ndarray, words: str, scale: float = 1.0) -> np.ndarray:
    """Add a line of text below a picture.

    Args:
        picture: uint8 [height, width, 3].
        words: the line.
        scale: factor of the text's usual size, above 0.
    Returns:
        A picture, uint8 [height, width, 3], wide enough for the text.

    >>> captioned(np.zeros((10, 400, 3), dtype=np.uint8), "step 3", scale=2).shape
    (66, 400, 3)
    """
    height, width = picture.shape[:2]
    needed = text_width(words, CAPTION_TEXT) + 2 * MARGIN
    strip = Pen(max(needed, width / scale), CAPTION_TEXT + 2 * MARGIN, scale=scale)
    strip.text((MARGIN, CAPTION_TEXT / 2 + MARGIN), words, size=CAPTION_TEXT, anchor="lm")
    below = strip.picture()
    return np.concatenate((framed(picture, (height, below.shape[1])), below))


def framed(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pad a picture with white on the right and below.

    Args:
        picture: uint8 [height, width, 3].
        size: height and width of the result, in pixels; not below the picture's.
    Returns:
        A picture, uint8 [height, width, 3].

    >>> framed(np.zeros((4, 6, 3), dtype=np.uint8), (5, 6))[-1, 0]
    array([255, 255, 255], dtype=uint8)
    """
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, size[0] - height), (0, size[1] - width), (0, 0)), constant_values=255)


def draw_table(
    title: str,
    rows: Sequence[Sequence[str]],
    marked: Collection[tuple[int, int]] = (),
    room: Sequence[Sequence[str]] = (),
    *,
    key: str = "",
    scale: float = 1.0,
) -> np.ndarray:
    """Draw rows of text as a ruled table under a title.

    Args:
        title: one line of text.
        rows: the cells' texts, row by row, all rows equally long.
        marked: (row, column) of the cells to highlight.
        room: rows that are not drawn but fit, so that several tables have the same size.
        key: meaning of the highlight, below the table; empty: no key.
        scale: factor of the usual size.
    Returns:
        A picture, uint8 [height, width, 3], as large as the text needs.

    >>> draw_table("prices", [["tea", "2"], ["milk", "1"]], marked={(0, 1)}).dtype
    dtype('uint8')
    """
    widths = [
        int(max(text_width(text, FONT_SIZE) for text in column)) + 2 * PADDING
        for column in zip(*rows, *room, strict=True)
    ]
    height = FONT_SIZE + 2 * PADDING
    beside_swatch = 2 * PADDING + FONT_SIZE
    width = max(
        sum(widths),
        int(text_width(title, FONT_SIZE)) + 2 * PADDING,
        int(text_width(key, KEY_TEXT)) + beside_swatch + PADDING if key else 0,
    )
    pen = Pen(width + 1, height * (len(rows) + 1 + bool(key)) + 1, scale=scale, paper=PAPER)
    pen.text((PADDING, height / 2), title, size=FONT_SIZE, anchor="lm")
    for row, cells in enumerate(rows):
        left, top = 0, height * (row + 1)
        for column, (cell, cell_width) in enumerate(zip(cells, widths, strict=True)):
            pen.rectangle((left, top, left + cell_width, top + height), fill=PAPER, outline=RULE)
            if (row, column) in marked:
                _highlight(pen, (left, top, left + cell_width, top + height))
            pen.text((left + cell_width / 2, top + height / 2), cell, size=FONT_SIZE)
            left += cell_width
    if key:
        middle = height * (len(rows) + 1.5)
        half = FONT_SIZE / 2
        _highlight(pen, (PADDING, middle - half, PADDING + FONT_SIZE, middle + half))
        pen.text((beside_swatch, middle), key, size=KEY_TEXT, anchor="lm")
    return pen.picture()


def _highlight(pen: Pen, box: Box) -> None:
    """Fill a cell; its border shows in greyscale."""
    left, top, right, bottom = box
    pen.rectangle((left + 1, top + 1, right - 1, bottom - 1), fill=MARK, outline=INK, line=2)
