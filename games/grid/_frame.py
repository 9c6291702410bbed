"""Frames of grid games: common colors, cells at any scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from games.render import AGENTS, INK, Pen, draw_key, key_size

RULE = "#DDDDDD"
CAPTION = 24  # height of the line below the map
COLORS = {
    "ground": "#F2F2F2",
    "wall": "#5B5B5B",
    "river": "#5F9ACF",
    "stream": "#5F9ACF",
    "waste": "#8C6D46",
    "orchard": "#D3E5C7",
    "apple": "#009E73",
    "drift": "#FFFFFF",
    "beam": "#DDB530",
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
    across, down = key_size([entry.meaning for entry in key], width * cell)
    pen = Pen(max(width * cell, across), height * cell + below + down, scale=scale)
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
    entries = [(partial(_draw_symbol, symbol), meaning) for symbol, meaning in key]
    draw_key(pen, entries, height * cell + below, width * cell)
    return pen.picture()


def _draw_symbol(symbol: str | Thing | Figure, pen: Pen, corner: tuple[float, float], side: float) -> None:
    left, above = corner
    place = above / side, left / side
    if isinstance(symbol, Thing):
        _thing(pen, symbol, place, side)
    elif isinstance(symbol, Figure):
        _crowd(pen, [symbol], place, side)
    else:
        pen.rectangle((left, above, left + side - 1, above + side - 1), fill=COLORS.get(symbol, symbol))


def _thing(pen: Pen, thing: Thing, place: tuple[float, float], cell: float) -> None:
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
        pen.text((x, y), thing.text, size=0.4 * cell, color="white" if _is_dark(fill) else INK)


def _is_dark(color: str) -> bool:
    """True if white text is easier to read on this color than black."""
    red, green, blue = (math.pow(int(color[i : i + 2], 16) / 255, 2.2) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.24


def _crowd(pen: Pen, figures: Sequence[Figure], place: tuple[float, float], cell: float) -> None:
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
