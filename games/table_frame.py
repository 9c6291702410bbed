"""Draw a small table of text as a picture: how matrix games are rendered."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, RULE, PAPER, MARK = (32, 32, 32), (190, 190, 190), (255, 255, 255), (255, 214, 102)
FONT_SIZE, PADDING = 18, 10


def draw_table(
    title: str,
    rows: Sequence[Sequence[str]],
    marked: Collection[tuple[int, int]] = (),
    room: Sequence[Sequence[str]] = (),
) -> np.ndarray:
    """Draw rows of text as a ruled table under a title.

    Args:
        title: one line of text.
        rows: the cells' texts, row by row, all rows equally long.
        marked: (row, column) of the cells to highlight.
        room: rows that are not drawn but would fit, so that several tables have one size.

    Returns:
        uint8 [height, width, 3], as large as the text needs.

    >>> draw_table("prices", [["tea", "2"], ["milk", "1"]], marked={(0, 1)}).dtype
    dtype('uint8')
    """
    font = ImageFont.load_default(size=FONT_SIZE)
    widths = [
        int(max(map(font.getlength, column))) + 2 * PADDING for column in zip(*rows, *room, strict=True)
    ]
    height = FONT_SIZE + 2 * PADDING
    width = max(sum(widths), int(font.getlength(title)) + 2 * PADDING)
    image = Image.new("RGB", (width + 1, height * (len(rows) + 1) + 1), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((PADDING, height / 2), title, fill=INK, font=font, anchor="lm")
    for row, cells in enumerate(rows):
        left, top = 0, height * (row + 1)
        for column, (cell, cell_width) in enumerate(zip(cells, widths, strict=True)):
            fill = MARK if (row, column) in marked else PAPER
            draw.rectangle((left, top, left + cell_width, top + height), fill=fill, outline=RULE)
            middle = (left + cell_width / 2, top + height / 2)
            draw.text(middle, cell, fill=INK, font=font, anchor="mm")
            left += cell_width
    return np.asarray(image).copy()
