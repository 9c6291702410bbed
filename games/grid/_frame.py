"""Frames of grid games: common colors, cells at any scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from games.render import AGENTS, INK, Pen, text_width

RULE = "#DDDDDD"
CAPTION = 24  # height of the line below the map
KEY_TEXT, KEY_SIDE, KEY_LINE = 13, 18, 26  # sizes of the key's texts, symbols and lines
KEY_GAP, KEY_MARGIN = 6, 8  # between a symbol and its text; around entries
COLORS = {
    "ground": "#F2F2F2",
    "wall": "#5B5B5B",
    "river": "#C9E3F2",
    "stream": "#C9E3F2",
    "waste": "#8C6D46",
    "orchard": "#E3EFDC",
    "apple": "#009E73",
    "drift": "#FFFFFF",
    "beam": "#F7E27A",
    "goal": "#F0E442",
}
"""Colors of cells and things."""


class Thing(NamedTuple):
    """An object in a cell."""

    cell: int
    color: str  # a color, or a name in `COLORS`
    shape: str = "disc"  # disc, square, diamond or triangle
    text: str = ""


class Figure(NamedTuple):
    """An agent."""

    cell: int
    number: int
    orientation: int | None = None  # 0 north, 1 east, 2 south, 3 west


class KeyEntry(NamedTuple):
    """A line of the key: a symbol of the map, and its meaning."""

    symbol: str | Thing | Figure  # a ground cell's color, or a name in `COLORS`; a thing; an agent
    meaning: str

    @property
    def width(self) -> float:
        return KEY_SIDE + KEY_GAP + text_width(self.meaning, KEY_TEXT) + 2 * KEY_MARGIN


AGENT_KEY = KeyEntry(Figure(0, 0), "agent and its number")
HEADING_KEY = KeyEntry(Figure(0, 0, 1), "agent, its number and heading")


def fitting(size: tuple[int, int]) -> int:
    """Side of a cell, in pixels, for a map of this many (rows, columns)."""
    return max(14, min(48, 640 // max(size)))


def draw_grid(
    ground: Sequence[Sequence[str]],
    things: Sequence[Thing] = (),
    agents: Sequence[Figure] = (),
    *,
    caption: str = "",
    key: Sequence[KeyEntry] = (),
    cell: int = 32,
    scale: float = 1.0,
) -> np.ndarray:
    """Draw a map, things in their order, and agents, which may share cells: uint8 [height, width, 3].

    Ground cells are colors, or names in `COLORS`. The caption and then the key are below the map, which they
    may widen; `cell` is the side of a cell in pixels at scale 1.
    """
    height, width = len(ground), len(ground[0])
    below = CAPTION if caption else 0
    lines = _key_lines(key, width * cell)
    across = max(width * cell, *(math.ceil(sum(entry.width for entry in line)) for line in lines), 0)
    pen = Pen(across, height * cell + below + KEY_LINE * len(lines), scale=scale)
    for row, colors in enumerate(ground):
        for column, color in enumerate(colors):
            box = (column * cell, row * cell, (column + 1) * cell - 1, (row + 1) * cell - 1)
            pen.rectangle(box, fill=COLORS.get(color, color), outline=RULE)
    for thing in things:
        _thing(pen, thing, divmod(thing.cell, width), cell)
    by_cell: dict[int, list[Figure]] = {}
    for agent in agents:
        if agent.cell >= 0:
            by_cell.setdefault(agent.cell, []).append(agent)
    for place, figures in by_cell.items():
        _crowd(pen, figures, divmod(place, width), cell)
    if caption:
        pen.text((4, height * cell + below / 2), caption, size=13, anchor="lm")
    for number, line in enumerate(lines):
        _key_line(pen, line, height * cell + below + KEY_LINE * number)
    return pen.picture()


def _key_lines(key: Sequence[KeyEntry], width: float) -> list[list[KeyEntry]]:
    """Break the key into lines of at most this width, or of one entry."""
    lines: list[list[KeyEntry]] = []
    for entry in key:
        if lines and sum(other.width for other in [*lines[-1], entry]) <= width:
            lines[-1].append(entry)
        else:
            lines.append([entry])
    return lines


def _key_line(pen: Pen, line: Sequence[KeyEntry], top: float) -> None:
    """Draw symbols and their meanings from left to right."""
    left, above = float(KEY_MARGIN), top + (KEY_LINE - KEY_SIDE) / 2
    for entry in line:
        symbol, place = entry.symbol, (above / KEY_SIDE, left / KEY_SIDE)
        if isinstance(symbol, Thing):
            _thing(pen, symbol, place, KEY_SIDE)
        elif isinstance(symbol, Figure):
            _crowd(pen, [symbol], place, KEY_SIDE)
        else:
            box = (left, above, left + KEY_SIDE - 1, above + KEY_SIDE - 1)
            pen.rectangle(box, fill=COLORS.get(symbol, symbol))
        pen.text((left + KEY_SIDE + KEY_GAP, top + KEY_LINE / 2), entry.meaning, size=KEY_TEXT, anchor="lm")
        left += entry.width


def _thing(pen: Pen, thing: Thing, place: tuple[float, float], cell: int) -> None:
    y, x = ((part + 0.5) * cell for part in place)
    size, fill = 0.34 * cell, COLORS.get(thing.color, thing.color)
    if thing.shape == "disc":
        pen.circle((x, y), size, fill=fill)
    else:
        corners = {
            "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
            "diamond": ((0, -1), (1, 0), (0, 1), (-1, 0)),
            "triangle": ((0, -1), (1, 1), (-1, 1)),
        }[thing.shape]
        pen.polygon([(x + size * dx, y + size * dy) for dx, dy in corners], fill=fill, outline=INK)
    if thing.text:
        pen.text((x, y), thing.text, size=0.4 * cell)


def _crowd(pen: Pen, figures: Sequence[Figure], place: tuple[float, float], cell: int) -> None:
    """Draw numbered discs in one cell, in the smallest square grid that holds them."""
    columns = math.ceil(math.sqrt(len(figures)))
    width = cell / columns
    for k, figure in enumerate(figures):
        row, column = divmod(k, columns)
        x = place[1] * cell + (column + 0.5) * width
        y = place[0] * cell + (row + 0.5) * width
        color, ink = AGENTS[figure.number % len(AGENTS)]
        if figure.orientation is not None:
            angle = math.pi / 2 * (figure.orientation - 1)
            arrow = ((0.48, 0.0), (0.3, -1.2), (0.3, 1.2))  # (distance, turn) of its corners
            corners = [
                (x + reach * width * math.cos(angle + turn), y + reach * width * math.sin(angle + turn))
                for reach, turn in arrow
            ]
            pen.polygon(corners, fill=INK)
        pen.circle((x, y), 0.36 * width, fill=color, line=cell / 24)
        pen.text((x, y), str(figure.number), size=0.36 * width, color=ink)
