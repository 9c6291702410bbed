"""Pictures of networks: agents as discs, edges as lines with their direction, and a key."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from games.networked._network import Network, circle
from games.render import INK, Pen, Symbol, draw_key, key_size

SIZE, MARGIN, TITLE = 420.0, 30.0, 34.0
LARGEST, LEGIBLE, SMALLEST = 15.0, 9.0, 1.5
ARROW = 7.0
Point = tuple[float, float]
EDGE = "#8C8C8C"
"""Color of edges, with a contrast of 3 to 1 with white."""
TIMES_APART = 100
"""Largest number of times that overlapping discs are moved apart."""
MAX_LABELED = 64
"""Largest number of agents that are labeled with their numbers."""


def draw_network(
    network: Network,
    fills: Sequence[tuple[str, str]],
    title: str,
    *,
    edges: NDArray[np.int64] | None = None,
    colors: Sequence[str] | None = None,
    widths: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    squares: Collection[int] = (),
    directed: bool = True,
    key: Sequence[tuple[Symbol, str]] = (),
    scale: float = 1.0,
) -> NDArray[np.uint8]:
    """Draw a network under a title, and its key below: uint8 [height, width, 3].

    Args:
        network: agents, their positions, and edges. Discs that would overlap are moved apart.
        fills: color of each agent and of its label, [agent].
        title: one line of text.
        edges: edges to draw instead of the network's, [edge, 2].
        colors: color of each edge, [edge]; None: all gray.
        widths: width of each edge's line, [edge]; None: all thin.
        labels: texts in the agents' discs, [agent]; None: their numbers.
        squares: agents drawn as squares instead of discs.
        directed: draw arrows along edges that lead in one direction only.
        key: symbols and their meanings, as for `games.render.draw_key`.
        scale: factor of the usual size.

    >>> from games.networked import Network
    >>> draw_network(Network(2, np.array([[0, 1]]), np.ones(1)), [("#FFFFFF", "#000000")] * 2, "two").shape
    (454, 420, 3)
    """
    across, down = key_size([meaning for _, meaning in key], SIZE)
    pen = Pen(max(SIZE, across), SIZE + TITLE + down, scale=scale)
    pen.text((MARGIN / 2, TITLE / 2), title, size=17, anchor="lm")
    unit = circle(network.agents) if network.places is None else network.places
    corner = np.array((MARGIN, TITLE + MARGIN))
    places = corner + (SIZE - 2 * MARGIN) * unit
    radius = _radius(places)
    if network.agents <= MAX_LABELED:
        places = _apart(places, radius, corner - MARGIN / 2, corner + SIZE - 1.5 * MARGIN)
    drawn = network.edges if edges is None else edges
    pairs = set(map(tuple, drawn.tolist()))
    for number, (source, target) in enumerate(drawn.tolist()):
        color, width = EDGE if colors is None else colors[number], 1.0 if widths is None else widths[number]
        start, end = places[source], places[target]
        if colors is not None or source < target or (target, source) not in pairs:
            pen.line([tuple(start), tuple(end)], color=color, line=width)
        if directed and (target, source) not in pairs:
            _draw_arrow(pen, start, end, radius, color)
    for agent, ((x, y), (fill, ink)) in enumerate(zip(places.tolist(), fills, strict=True)):
        _draw_agent(pen, (x, y), radius, fill, square=agent in squares)
        if network.agents <= MAX_LABELED:
            text = str(agent) if labels is None else labels[agent]
            pen.text((x, y), text, size=0.95 * radius, color=ink)
    draw_key(pen, key, SIZE + TITLE, SIZE)
    return pen.picture()


def blend(empty: str, full: str, fraction: float) -> str:
    """Mix two colors: `empty` at a fraction of 0, `full` at 1.

    >>> blend("#000000", "#FF8000", 0.5)
    '#804000'
    """
    part = min(max(fraction, 0.0), 1.0)
    channels = [
        round((1 - part) * int(empty[i : i + 2], 16) + part * int(full[i : i + 2], 16)) for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{channel:02X}" for channel in channels)


def agent_symbol(fill: str, ink: str, text: str = "", *, square: bool = False) -> Symbol:
    """A symbol of the key: an agent, with a text."""

    def draw(pen: Pen, corner: Point, side: float) -> None:
        center = corner[0] + side / 2, corner[1] + side / 2
        _draw_agent(pen, center, side / 2 - 1, fill, square=square)
        pen.text(center, text, size=0.5 * side, color=ink)

    return draw


def line_symbol(color: str, width: float = 1.0, *, arrow: bool = False) -> Symbol:
    """A symbol of the key: an edge."""

    def draw(pen: Pen, corner: Point, side: float) -> None:
        start, end = (np.array((corner[0] + along, corner[1] + side / 2)) for along in (0.0, side))
        pen.line([tuple(start), tuple(end)], color=color, line=width)
        if arrow:
            _draw_arrow(pen, start, end + np.array((ARROW + 1, 0.0)), ARROW, color)

    return draw


def text_symbol(text: str) -> Symbol:
    """A symbol of the key: a text."""

    def draw(pen: Pen, corner: Point, side: float) -> None:
        pen.text((corner[0] + side / 2, corner[1] + side / 2), text, size=0.6 * side)

    return draw


def _draw_agent(pen: Pen, center: Point, radius: float, fill: str, *, square: bool) -> None:
    if square:
        x, y = center
        half = 0.9 * radius  # about the area of the disc
        pen.rectangle((x - half, y - half, x + half - 1, y + half - 1), fill=fill, outline=INK)
    else:
        pen.circle(center, radius, fill=fill, outline=INK)


def _apart(
    places: NDArray[np.float64], radius: float, low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Move agents apart whose discs overlap, within the box from `low` to `high`."""
    for _ in range(TIMES_APART):
        between = places[:, None] - places
        distance = np.linalg.norm(between, axis=-1) + np.diag(np.full(len(places), np.inf))
        overlap = (2 * radius + 1 - distance).clip(0)
        if not overlap.any():
            break
        push = overlap / 2 / distance.clip(1e-9)
        places = (places + (push[..., None] * between).sum(1)).clip(low, high)
    return places


def _radius(places: NDArray[np.float64]) -> float:
    """Radius of the agents' discs that leaves room for arrows between the two nearest."""
    if len(places) > MAX_LABELED:
        return max(SMALLEST, LARGEST / 2 * math.sqrt(MAX_LABELED / len(places)))
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    nearest = float(apart[~np.eye(len(places), dtype=bool)].min())
    return min(max(0.3 * nearest, LEGIBLE), LARGEST)


def _draw_arrow(
    pen: Pen, start: NDArray[np.float64], end: NDArray[np.float64], radius: float, color: str
) -> None:
    """Draw the head of an arrow at the border of the target's disc."""
    length = float(np.hypot(*(end - start)))
    if length < 2 * radius:
        return
    along = (end - start) / length
    across = np.array((-along[1], along[0]))
    tip, size = end - (radius + 1) * along, min(ARROW, radius)
    back = tip - size * along
    corners = (tip, back + 0.5 * size * across, back - 0.5 * size * across)
    pen.polygon([(float(x), float(y)) for x, y in corners], fill=color)
