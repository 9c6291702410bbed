"""Pictures of networks: agents as discs, edges as lines with their direction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from games.networked._network import Network, circle
from games.render import INK, Pen

SIZE, MARGIN, TITLE = 420.0, 30.0, 34.0
LARGEST, LEGIBLE, SMALLEST = 15.0, 9.0, 1.5
ARROW = 7.0
MAX_LABELED = 64
"""Largest number of agents that are labeled with their numbers."""


def draw_network(
    network: Network,
    fills: Sequence[tuple[str, str]],
    title: str,
    *,
    edges: NDArray[np.int64] | None = None,
    colors: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    directed: bool = True,
    scale: float = 1.0,
) -> NDArray[np.uint8]:
    """Draw a network under a title: uint8 [height, width, 3].

    Args:
        network: agents, their places, and edges.
        fills: color of each agent and of its label, [agent].
        title: one line of text.
        edges: edges to draw in place of the network's, [edge, 2].
        colors: color of each edge, [edge]; None: all gray.
        labels: texts in the agents' discs, [agent]; None: their numbers.
        directed: draw arrows along edges that lead in one direction only.
        scale: factor of the usual size.

    >>> from games.networked import Network
    >>> draw_network(Network(2, np.array([[0, 1]]), np.ones(1)), [("#FFFFFF", "#000000")] * 2, "two").shape
    (454, 420, 3)
    """
    pen = Pen(SIZE, SIZE + TITLE, scale=scale)
    pen.text((MARGIN / 2, TITLE / 2), title, size=17, anchor="lm")
    unit = circle(network.agents) if network.places is None else network.places
    places = np.array((MARGIN, TITLE + MARGIN)) + (SIZE - 2 * MARGIN) * unit
    radius = _radius(places)
    drawn = network.edges if edges is None else edges
    pairs = set(map(tuple, drawn.tolist()))
    for number, (source, target) in enumerate(drawn.tolist()):
        color = "#BEBEBE" if colors is None else colors[number]
        start, end = places[source], places[target]
        if colors is not None or source < target or (target, source) not in pairs:
            pen.line([tuple(start), tuple(end)], color=color, line=1.5)
        if directed and (target, source) not in pairs:
            _draw_arrow(pen, start, end, radius, color)
    for agent, ((x, y), (fill, ink)) in enumerate(zip(places.tolist(), fills, strict=True)):
        pen.circle((x, y), radius, fill=fill, outline=INK)
        if network.agents <= MAX_LABELED:
            text = str(agent) if labels is None else labels[agent]
            pen.text((x, y), text, size=0.95 * radius, color=ink)
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
