"""Draw a small table of text as a picture: how matrix games are rendered."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from games.pen import Pen, text_width

RULE, PAPER, MARK = "#BEBEBE", "#FFFFFF", "#FFD666"
FONT_SIZE, PADDING = 18, 10


def draw_table(
    title: str,
    rows: Sequence[Sequence[str]],
    marked: Collection[tuple[int, int]] = (),
    room: Sequence[Sequence[str]] = (),
    *,
    scale: float = 1.0,
) -> np.ndarray:
    """Draw rows of text as a ruled table under a title.

    Args:
        title: one line of text.
        rows: the cells' texts, row by row, all rows equally long.
        marked: (row, column) of the cells to highlight.
        room: rows that are not drawn but would fit, so that several tables have one size.
        scale: how many times as large as usual.

    Returns:
        uint8 [height, width, 3], as large as the text needs.

    >>> draw_table("prices", [["tea", "2"], ["milk", "1"]], marked={(0, 1)}).dtype
    dtype('uint8')
    """
    widths = [
        int(max(text_width(text, FONT_SIZE) for text in column)) + 2 * PADDING
        for column in zip(*rows, *room, strict=True)
    ]
    height = FONT_SIZE + 2 * PADDING
    width = max(sum(widths), int(text_width(title, FONT_SIZE)) + 2 * PADDING)
    pen = Pen(width + 1, height * (len(rows) + 1) + 1, scale=scale, paper=PAPER)
    pen.text((PADDING, height / 2), title, size=FONT_SIZE, anchor="lm")
    for row, cells in enumerate(rows):
        left, top = 0, height * (row + 1)
        for column, (cell, cell_width) in enumerate(zip(cells, widths, strict=True)):
            fill = MARK if (row, column) in marked else PAPER
            pen.rectangle((left, top, left + cell_width, top + height), fill=fill, outline=RULE)
            pen.text((left + cell_width / 2, top + height / 2), cell, size=FONT_SIZE)
            left += cell_width
    return pen.picture()
