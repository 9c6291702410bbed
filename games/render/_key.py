"""The key of a frame: symbols and their meanings below the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from games.render._pen import Pen, Point, text_width

TEXT, SIDE, LINE = 13, 18, 26  # sizes of the texts, symbols and lines
GAP, MARGIN = 6, 8  # between a symbol and its text; around entries
Symbol = Callable[[Pen, Point, float], None]
"""Draws a symbol into the square with this left top corner and this side, in units of the pen."""


def key_size(meanings: Sequence[str], width: float) -> tuple[int, int]:
    """Width and height of a key, in the pen's units; wider than `width` only where an entry is.

    Args:
        meanings: texts of the entries, each one line.
        width: width of the picture above, to which lines are broken.

    >>> [key_size(["wall", "apple"], width)[1] for width in (400, 80)]  # one line, and two
    [26, 52]
    """
    lines = _lines(meanings, width)
    return max((math.ceil(sum(map(_width, line))) for line in lines), default=0), LINE * len(lines)


def draw_key(pen: Pen, entries: Sequence[tuple[Symbol, str]], top: float, width: float) -> None:
    """Draw symbols and their meanings from left to right, in lines as `key_size` counts them.

    Args:
        pen: canvas to draw on.
        entries: symbol and meaning of each entry.
        top: upper edge of the key, in the pen's units.
        width: as in `key_size`.

    >>> def square(pen, corner, side):
    ...     left, above = corner
    ...     pen.rectangle((left, above, left + side - 1, above + side - 1), fill="#5B5B5B")
    >>> pen = Pen(*key_size(["wall"], 400))
    >>> draw_key(pen, [(square, "wall")], 0, 400)
    >>> pen.picture()[13, 13]
    array([91, 91, 91], dtype=uint8)
    """
    symbols = iter(symbol for symbol, _ in entries)
    for number, line in enumerate(_lines([meaning for _, meaning in entries], width)):
        left, middle = float(MARGIN), top + LINE * (number + 0.5)
        for meaning in line:
            next(symbols)(pen, (left, middle - SIDE / 2), SIDE)
            pen.text((left + SIDE + GAP, middle), meaning, size=TEXT, anchor="lm")
            left += _width(meaning)


def _width(meaning: str) -> float:
    return SIDE + GAP + text_width(meaning, TEXT) + 2 * MARGIN


def _lines(meanings: Sequence[str], width: float) -> list[list[str]]:
    """Break entries into lines of at most this width, or of one entry."""
    lines: list[list[str]] = []
    for meaning in meanings:
        if lines and sum(map(_width, [*lines[-1], meaning])) <= width:
            lines[-1].append(meaning)
        else:
            lines.append([meaning])
    return lines
