"""Minimal reward transfer in closed form, on regular graphs of any number of agents."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.core import Game, require
from games.networked import Aid


class GraphTransfer(NamedTuple):
    """Minimal transfer on a regular graph: maximum own shares, and a sharing matrix that attains g*.

    >>> from games import make
    >>> found = minimal_transfer_on_graph(make("aid", agents=10_000))
    >>> isinstance(found, GraphTransfer), found.g, found.edges.shape
    (True, 0.75, torch.Size([2, 20000]))
    """

    s: float
    """s*: the maximum own share, the same for all agents, if each splits the rest equally among its
    neighbors."""
    g: float
    """g*: the maximum own share, the same for all agents, under any sharing matrix."""
    edges: Tensor
    """Giver and receiver of a sharing that attains g*, int64 [2, edge], sorted by giver; with own edges."""
    shares: Tensor
    """Its shares, float64 [edge]: g* for the agent itself, the rest split equally among its helpers."""


def transfer_obstacle(game: Game, *, along_graph: bool = True) -> str:
    """Reason why `minimal_transfer_on_graph` does not apply to a game, in one sentence; empty if it does.

    >>> from games import make
    >>> transfer_obstacle(make("aid")), transfer_obstacle(make("chicken"))
    ('', 'The closed form is of aid on graphs, not of SymmetricTwoAgentGame.')
    """
    if not isinstance(game, Aid):
        return f"The closed form is of aid on graphs, not of {type(game).__name__}."
    if game.rewiring:
        return "The closed form is for graphs that do not change: leave rewiring at 0."
    network, others = game.network, _others(game, along_graph)
    into = np.bincount(network.edges[:, 1], minlength=game.agents)
    degree = network.out_degrees[0]
    regular = degree > 0 and bool(
        (network.out_degrees == degree).all()
        and (into == degree).all()
        and np.allclose(network.weights, network.weights[0], rtol=1e-12)
        and (others == others[0]).all()
    )
    if not regular:
        return (
            "The closed form is for regular graphs, on which all agents have equally many edges in and out, "
            "of one weight, such as ring and periodic grid: for few agents on other graphs, use "
            "minimal_transfer."
        )
    worth = game.benefit * float(network.out_weights[0])
    if worth <= game.cost:
        return (
            f"Helping is not the optimum: it costs {game.cost:g} and is worth {worth:g}, so no transfer is "
            "needed."
        )
    return ""


def _others(game: Aid, along_graph: bool) -> Tensor:
    """Number of other agents with which each may share, [agent], or [1] where it is all of them."""
    if along_graph and game.edges is not None:
        return torch.bincount(game.edges[0], minlength=game.agents) - 1
    return torch.tensor([game.agents - 1])


def minimal_transfer_on_graph(game: Aid, *, along_graph: bool = True) -> GraphTransfer:
    """Minimal reward transfer of `aid` in closed form, on regular graphs.

    Helping costs agent i an amount c and benefits each of the d agents j to which its edges lead by b w.
    Under the sharing matrix T, agent i gains sum_j T_ji b w - T_ii c by helping, whatever the other agents
    do. If every agent keeps s and splits the rest equally among K other agents, helping is dominant if d b w
    (1 - s) / K >= s c, so

        s* = d b w / (d b w + K c).

    For any T, summing the condition over all agents i gives b w sum_j (1 - T_jj) >= c sum_i T_ii, because j
    gives at most 1 - T_jj to its helpers. So the mean own share, and with it the smallest, is at most

        g* = b w / (b w + c),

    which is attained if each agent keeps g* and splits the rest equally among the d agents that may help it.

    Args:
        game: `aid` on a fixed graph on which all agents have d edges in and d out, of one weight, and on
            which helping is the optimum.
        along_graph: allow sharing only along `game.edges`, among K neighbors; otherwise, or if the graph is
            hidden, among all agents (K = N - 1). g* is the same.
    Returns:
        s*, g* and a sharing that attains g*.
    Raises:
        ValueError: the graph changes or is irregular, or helping is not the optimum.
    Source:
        The thresholds of Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv
        2310.12928, which `minimal_transfer` finds by a linear program; the closed form is this toolkit's.

    >>> from games import make
    >>> found = minimal_transfer_on_graph(make("aid", agents=100))  # a ring: i helps i + 1
    >>> found.s, found.g  # benefit 3, cost 1, one helper, two neighbors
    (0.6, 0.75)
    """
    obstacle = transfer_obstacle(game, along_graph=along_graph)
    require(not obstacle, obstacle)
    network, others = game.network, _others(game, along_graph)
    degree, worth = int(network.out_degrees[0]), game.benefit * float(network.weights[0])
    count = int(others[0])
    s, g = degree * worth / (degree * worth + count * game.cost), worth / (worth + game.cost)
    own = np.arange(game.agents)
    givers = np.concatenate((network.edges[:, 1], own))
    receivers = np.concatenate((network.edges[:, 0], own))
    order = np.lexsort((receivers, givers))
    shares = np.concatenate((np.full(len(network.edges), (1 - g) / degree), np.full(game.agents, g)))[order]
    edges = np.stack((givers[order], receivers[order]))
    return GraphTransfer(s, g, torch.from_numpy(edges), torch.from_numpy(shares))
