"""How a grid looks: one palette for every game, cells at any scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK = "#333333"
COLOURS = {
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
"""What cells and things are drawn in."""

AGENTS = (
    ("#D55E00", "white"),
    ("#0072B2", "white"),
    ("#E69F00", "black"),
    ("#CC79A7", "black"),
    ("#56B4E9", "black"),
    ("#009E73", "white"),
    ("#F0E442", "black"),
)
"""Okabe and Ito's colours, which the colour-blind can tell apart, each with the ink that reads on it."""


class Thing(NamedTuple):
    """Something that lies in a cell."""

    cell: int
    colour: str
    """A colour, or a name in `COLOURS`."""
    shape: str = "disc"
    """disc, square, diamond or triangle."""
    text: str = ""


class Figure(NamedTuple):
    """An agent."""

    cell: int
    number: int
    orientation: int | None = None
    """Where it faces: 0 north, 1 east, 2 south, 3 west; None where that means nothing."""


def draw_grid(
    ground: Sequence[Sequence[str]],
    things: Sequence[Thing] = (),
    agents: Sequence[Figure] = (),
    *,
    caption: str = "",
    scale: int = 32,
) -> np.ndarray:
    """Draw a map, what lies on it, and who stands on it; several agents in one cell share it.

    Args:
        ground: a colour, or a name in `COLOURS`, for each cell.
        things: drawn in this order.
        agents: drawn last, as numbered discs with a nose.
        caption: a line below the map.
        scale: pixels of a cell's side.

    Returns:
        uint8 [height, width, 3].

    >>> draw_grid([["ground", "wall"]], [Thing(0, "apple")], [Figure(0, 1)], scale=20).shape
    (20, 40, 3)
    """
    height, width = len(ground), len(ground[0])
    below = 24 if caption else 0
    image = Image.new("RGB", (width * scale, height * scale + below), "#FFFFFF")
    pen = ImageDraw.Draw(image)
    for row, colours in enumerate(ground):
        for column, colour in enumerate(colours):
            box = (column * scale, row * scale, (column + 1) * scale - 1, (row + 1) * scale - 1)
            pen.rectangle(box, fill=COLOURS.get(colour, colour), outline="#DDDDDD")
    for thing in things:
        _thing(pen, thing, divmod(thing.cell, width), scale)
    together: dict[int, list[Figure]] = {}
    for agent in agents:
        if agent.cell >= 0:
            together.setdefault(agent.cell, []).append(agent)
    for cell, figures in together.items():
        _crowd(pen, figures, divmod(cell, width), scale)
    if caption:
        pen.text((4, height * scale + below / 2), caption, INK, ImageFont.load_default(13), anchor="lm")
    return np.array(image)


def _thing(pen: ImageDraw.ImageDraw, thing: Thing, place: tuple[int, int], scale: int) -> None:
    y, x = ((part + 0.5) * scale for part in place)
    size, fill = 0.34 * scale, COLOURS.get(thing.colour, thing.colour)
    if thing.shape == "disc":
        pen.circle((x, y), size, fill=fill, outline=INK)
    else:
        corners = {
            "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
            "diamond": ((0, -1), (1, 0), (0, 1), (-1, 0)),
            "triangle": ((0, -1), (1, 1), (-1, 1)),
        }[thing.shape]
        pen.polygon([(x + size * dx, y + size * dy) for dx, dy in corners], fill=fill, outline=INK)
    if thing.text:
        pen.text((x, y), thing.text, INK, ImageFont.load_default(max(0.4 * scale, 6)), anchor="mm")


def _crowd(pen: ImageDraw.ImageDraw, figures: Sequence[Figure], place: tuple[int, int], scale: int) -> None:
    """Numbered discs side by side in one cell, in the smallest square that holds them."""
    columns = math.ceil(math.sqrt(len(figures)))
    room = scale / columns
    for k, figure in enumerate(figures):
        row, column = divmod(k, columns)
        x = place[1] * scale + (column + 0.5) * room
        y = place[0] * scale + (row + 0.5) * room
        colour, ink = AGENTS[figure.number % len(AGENTS)]
        if figure.orientation is not None:
            angle = math.pi / 2 * (figure.orientation - 1)
            tip = (x + 0.48 * room * math.cos(angle), y + 0.48 * room * math.sin(angle))
            sides = [
                (x + 0.3 * room * math.cos(angle + turn), y + 0.3 * room * math.sin(angle + turn))
                for turn in (-1.2, 1.2)
            ]
            pen.polygon([tip, *sides], fill=INK)
        pen.circle((x, y), 0.36 * room, fill=colour, outline=INK, width=max(1, scale // 24))
        pen.text((x, y), str(figure.number), ink, ImageFont.load_default(max(0.36 * room, 6)), anchor="mm")
