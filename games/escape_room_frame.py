"""How a frame of Escape Room looks: three rooms side by side, the door in the wall of the last one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from games.pen import AGENTS, INK, Pen

WIDTH, HEIGHT = 150, 180  # of one room
TITLE, PROP = 26, 52  # heights of the room's name and of the lever or the door
FLOOR, OPEN, SHUT = "#F2F2F2", "#FFFFFF", "#8C6D46"


def draw_places(
    names: Sequence[str], places: Sequence[int], *, door_open: bool, scale: float = 1.0
) -> np.ndarray:
    """Draw who stands where.

    Args:
        names: the rooms' names; the lever is in the first, the door in the last.
        places: each agent's room, an index into `names`.
        door_open: whether the door is drawn open; the lever is then down.
        scale: how many times as large as usual.

    Returns:
        uint8 [height, width, 3].

    >>> draw_places(("lever", "start", "door"), [0, 2], door_open=True).shape
    (180, 450, 3)
    """
    pen = Pen(WIDTH * len(names), HEIGHT, scale=scale)
    for room, name in enumerate(names):
        left = room * WIDTH
        pen.rectangle((left + 3, 3, left + WIDTH - 4, HEIGHT - 4), fill=FLOOR, line=2)
        pen.text((left + WIDTH / 2, TITLE / 2 + 5), name, size=16)
        agents = [agent for agent, place in enumerate(places) if place == room]
        _discs(pen, left, agents)
    _lever(pen, WIDTH / 2, down=door_open)
    _door(pen, (len(names) - 0.5) * WIDTH, door_open=door_open)
    return pen.picture()


def _lever(pen: Pen, middle: float, *, down: bool) -> None:
    """A pivot and a handle that leans to the left (up) or the right (pulled)."""
    pivot = (middle, TITLE + PROP - 8)
    handle = (middle + (26 if down else -26), pivot[1] - 24)
    pen.line((pivot, handle), line=5)
    pen.circle(handle, 6, fill=SHUT, line=2)
    pen.rectangle((middle - 16, pivot[1] - 4, middle + 16, pivot[1] + 6), fill=INK)


def _door(pen: Pen, middle: float, *, door_open: bool) -> None:
    """A doorway; shut it is filled by the leaf, open the leaf stands beside it."""
    left, top, right, bottom = middle - 15, TITLE + 4, middle + 15, TITLE + PROP
    pen.rectangle((left, top, right, bottom), fill=OPEN if door_open else SHUT, line=3)
    if door_open:
        leaf = ((left, top), (left - 16, top + 6), (left - 16, bottom + 6), (left, bottom))
        pen.polygon(leaf, fill=SHUT, outline=INK, line=2)
    else:
        pen.circle((right - 8, (top + bottom) / 2 + 2), 3, fill=INK)


def _discs(pen: Pen, left: float, agents: Sequence[int]) -> None:
    """Numbered discs in the smallest square grid that holds them, below the lever or the door."""
    if not agents:
        return
    columns = math.ceil(math.sqrt(len(agents)))
    top, room = TITLE + PROP + 10, WIDTH - 20
    cell = min(room / columns, (HEIGHT - 8 - top) / math.ceil(len(agents) / columns), 44)
    inset = (WIDTH - cell * columns) / 2
    for k, agent in enumerate(agents):
        row, column = divmod(k, columns)
        centre = (left + inset + (column + 0.5) * cell, top + (row + 0.5) * cell)
        colour, ink = AGENTS[agent % len(AGENTS)]
        pen.circle(centre, 0.45 * cell, fill=colour, line=2)
        pen.text(centre, str(agent), size=0.45 * cell, colour=ink)
