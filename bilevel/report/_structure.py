"""Learned sharing beside the influence graph: which useful edges were learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bilevel.core import counted
from bilevel.experiments import Run, final_shares
from bilevel.report._heat_maps import Transfers, draw_transfers, impossible_transfers, transfer_note
from bilevel.report._style import AMBER, BLUE, RED, style, wrapped
from bilevel.sharing import edges_of, learned_edges, useful_edges
from games.core import Game

MAX_MATRIX = 64
"""Maximum number of agents whose shares are drawn as a matrix beside the graph."""
MAX_DRAWN = 2000
"""Maximum number of agents whose graph is drawn: edges of more are smaller than a dot of the picture."""
MAX_NAMED = 40
"""Maximum number of agents that have their numbers in the picture of the graph."""
PARTS: tuple[tuple[str, str, Any], ...] = (
    ("useful, learned", BLUE, "-"),
    ("useful, not learned", RED, (0, (4, 2))),
    ("learned, not useful", AMBER, (0, (1, 1))),
)
"""Label, color and line style of the kinds of edges."""


def structure_figure(run: Run) -> Figure | None:
    """Draw learned shares beside the influence graph; None without either, or with over 2000 agents.

    A useful edge leads from an agent to one that should act for it (`bilevel.edge_recovery`). An edge is
    learned if it has more than half of an equal share of what its giver gives away in at least half of the
    seeds. With more than 64 agents, the figure has the graph alone.

    Args:
        run: a finished run.

    >>> import bilevel
    >>> run = bilevel.train("aid", "tos", seeds=3, outer_steps=2, out="run", **{"game.agents": 4})
    >>> [axes.get_xlabel() for axes in structure_figure(run).axes[:2]]
    ['receiver (agent)', '']
    """
    shares, game, config = final_shares(run), run.config.game, run.config
    if shares is None or game.influence is None or game.num_agents > MAX_DRAWN:
        return None
    whole = shares.ndim == 3 and game.num_agents <= MAX_MATRIX
    with style():
        figure = Figure(figsize=(12.5 if whole else 7.5, 6.6))
        axes = figure.subplots(1, 1 + whole, squeeze=False)[0]
        if whole:
            values = np.moveaxis(shares, 0, -1)
            transfers = Transfers("share", "share", values, impossible=impossible_transfers(game, values))
            draw_transfers(axes[0], transfers)
            axes[0].set_title(
                f"learned shares, mean over {counted(config.seeds, 'seed')}{transfer_note(transfers)}"
            )
        counts = draw_recovered(axes[-1], game, shares)
        axes[-1].set_title("edges from giver to receiver\n(learned: in at least half of the seeds)")
        handles: list[Any] = [
            Line2D([], [], color=color, linestyle=dashes, linewidth=2, label=f"{label} ({count})")
            for (label, color, dashes), count in zip(PARTS, counts, strict=True)
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=3 if whole else 1,
            title="useful: the receiver should act for the giver; learned: more than half of an equal share",
        )
        title = f"{config.method_name} on {config.game_name}: learned sharing and the influence graph"
        figure.suptitle(wrapped(title, figure.get_figwidth()), fontsize=12)
    return figure


def draw_recovered(axes: Axes, game: Game, shares: NDArray[np.floating]) -> tuple[int, int, int]:
    """Draw a game's graph with its useful and its learned edges, and return the number of each kind."""
    edges, agents = edges_of(game), game.num_agents
    learned = edges.pairs[:, learned_edges(shares, game).double().mean(0) >= 0.5]
    useful = useful_edges(game)
    codes, right = learned[0] * agents + learned[1], useful[0] * agents + useful[1]
    kinds = (
        useful[:, torch.isin(right, codes)],
        useful[:, ~torch.isin(right, codes)],
        learned[:, ~torch.isin(codes, right)],
    )
    places = _places(game)
    torus = bool(getattr(getattr(game, "graph", None), "periodic", False))
    width = 1.4 if agents <= 1000 else 0.5
    radius = 0.3 / max(8.0, agents**0.5)
    for (_, color, dashes), found in zip(PARTS, kinds, strict=True):
        lines, heads = _arrows(places, found.numpy(), radius, torus)
        axes.add_collection(LineCollection(list(lines), colors=color, linestyles=[dashes], linewidths=width))
        for tip, along in zip(*heads, strict=True) if agents <= MAX_MATRIX else ():
            style_of_head = {"arrowstyle": "-|>", "color": color, "lw": 1.2}
            axes.annotate("", tip, tip - 0.01 * along, arrowprops=style_of_head)
    across, down = places.T
    size = (radius * 430) ** 2  # in square points
    axes.scatter(across, down, s=size, color="white", edgecolor="black", linewidth=0.8, zorder=3)
    for agent in range(agents if agents <= MAX_NAMED else 0):
        axes.text(across[agent], down[agent], str(agent), ha="center", va="center", fontsize=9, zorder=4)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_axis_off()
    first, second, third = (found.shape[1] for found in kinds)
    return first, second, third


def _places(game: Game) -> NDArray[np.float64]:
    """Positions of the agents in the unit square, [agent, 2]: those of the game's network, else on a
    circle."""
    places = getattr(getattr(game, "network", None), "places", None)
    if places is not None:
        return np.asarray(places)
    angles = 2 * np.pi * np.arange(game.num_agents) / game.num_agents
    return 0.5 + 0.5 * np.stack((np.sin(angles), -np.cos(angles)), -1)


def _arrows(
    places: NDArray[np.float64], edges: NDArray[np.int64], radius: float, torus: bool
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Lines of edges, [line, end, axis], and the tips and directions of their arrows, [edge, axis] each.

    Lines lie beside the straight ones, so that both directions of an edge show. On a torus the edges across
    its border are cut: they leave the picture on one side and enter it on the other.
    """
    start, end = places[edges[0]], places[edges[1]]
    across = (np.abs(end - start).max(1) > 0.5) & torus
    along = np.where(across[:, None], start - end, end - start)
    along = along / np.linalg.norm(along, axis=1, keepdims=True).clip(1e-9)
    aside = 0.25 * radius * np.stack((-along[:, 1], along[:, 0]), -1)
    first, last = start + aside + radius * along, end + aside - radius * along
    stub = 1.5 * radius * along
    lines = (
        np.stack((first, last), 1)[~across],
        np.stack((first, first + stub), 1)[across],
        np.stack((last - stub, last), 1)[across],
    )
    return np.concatenate(lines), (last, along)
