"""Learned sharing compared with the influence graph: precision and recall of edges, distance to T*."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bilevel.sharing._edges import Edges, edges_of
from games.core import Game, require
from games.networked import Aid
from games.theory import minimal_transfer_on_graph

LEAST_GIVEN = 0.01
"""Fraction of its reward that a giver must give away in total to have learned edges."""


class EdgeRecovery(NamedTuple):
    """Precision and recall of learned sharing edges against the influence graph.

    >>> import games
    >>> found = edge_recovery(torch.eye(3)[None], games.make("aid", agents=3))
    >>> isinstance(found, EdgeRecovery), found.learned, found.recall  # nobody shares
    (True, tensor([0]), tensor([0.], dtype=torch.float64))
    """

    precision: Tensor
    """Fraction of the learned edges that are useful, float64 [...]; NaN if no edge is learned."""
    recall: Tensor
    """Fraction of the useful edges that are learned, float64 [...]; NaN if there are no useful edges."""
    learned: Tensor
    """Number of learned edges, int64 [...]."""
    density: float
    """Fraction of the possible edges that are useful: the precision of equal sharing; NaN without edges."""


def useful_edges(game: Game) -> Tensor:
    """Edges along which sharing serves welfare: from each agent to those that should act for it.

    Args:
        game: a game that defines `influence`.
    Returns:
        Giver and receiver, int64 [2, edge]: target and source of each edge of `Game.useful_influence`, which
        has the edges of the influence graph except wasteful ones.
    Raises:
        ValueError: the game does not define it.

    >>> import games
    >>> useful_edges(games.make("aid", agents=3, benefit=0.5)).shape  # help costs 1: it is all wasteful
    torch.Size([2, 0])
    >>> useful_edges(games.make("aid", agents=3))  # i helps i + 1, which should give to i
    tensor([[1, 2, 0],
            [0, 1, 2]])
    """
    useful = game.useful_influence
    if useful is None:
        raise ValueError(f"{type(game).__name__} does not state which agents affect which (Game.influence).")
    return useful.flip(0)


def learned_edges(
    shares: Tensor | NDArray[np.floating], game: Game, *, threshold: float | None = None
) -> Tensor:
    """Mask of the learned edges of `edge_recovery`, with its arguments.

    Returns:
        Boolean [..., edge], for the edges of `edges_of(game)`.

    >>> import games
    >>> learned_edges(torch.tensor([[0.2, 0.8], [0.005, 0.995]]), games.make("prisoners-dilemma"))
    tensor([False,  True, False, False])
    """
    edges = edges_of(game)
    giver, receiver = edges.pairs
    values = _on_edges(shares, edges, game) * (giver != receiver)
    if threshold is not None:
        above: Tensor = values > threshold
        return above
    given = values.new_zeros(*values.shape[:-1], edges.agents).index_add(-1, giver, values)
    half = given / (2 * (edges.degree - 1)).clamp(min=1)
    learned: Tensor = (values > half[..., giver]) & (given > LEAST_GIVEN)[..., giver]
    return learned


def edge_recovery(
    shares: Tensor | NDArray[np.floating], game: Game, *, threshold: float | None = None
) -> EdgeRecovery:
    """Compare learned sharing with the influence graph.

    Sharing serves welfare where a giver shares with the agents that should act for it: if i affects j, and
    does so in the welfare optimum, the edge from j to i is useful. Edges to agents whose influence costs more
    than it is worth are not (`Game.useful_influence`).

    An edge is learned if its share exceeds half of an equal share of what the giver gives away: T_ij >
    (1 - T_ii) / (2 (k_i - 1)), where i may give to k_i - 1 other agents. A giver that gives away 1 % of its
    reward or less has no learned edge.

    The rule depends on to whom an agent gives, not on how much it keeps: an agent that gives 25 % to the
    right one of two neighbors has learned that edge. Under equal sharing, such as the common reward or
    sharing before learning, all edges are learned: recall is 1, and precision is the `density` of useful
    edges. Higher precision shows structure. If a giver splits more than half of what it gives away equally
    among all other agents, all its edges are learned, too.

    Args:
        shares: [..., giver, receiver]; or shares on `Game.edges`, [..., edge].
        game: a game that defines `influence`.
        threshold: share above which an edge is learned, whatever its giver gives away; None: the rule above.
    Returns:
        Precision, recall and number of learned edges, [...] each, and the density of useful edges; own shares
        do not count as edges.
    Raises:
        ValueError: the game does not define `influence`, or the shares have another shape.

    >>> import games
    >>> ring = games.make("aid", agents=4, observe_graph=False)  # i helps i + 1
    >>> good = torch.eye(4).roll(-1, 1)  # everybody gives everything to its helper
    >>> edge_recovery(good[None], ring).recall, edge_recovery(good.mT[None], ring).recall
    (tensor([1.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """
    useful, edges = useful_edges(game), edges_of(game)
    agents, (giver, receiver) = edges.agents, edges.pairs
    learned = learned_edges(shares, game, threshold=threshold)
    right = torch.isin(giver * agents + receiver, useful[0] * agents + useful[1])
    hits, count = (learned & right).sum(-1), learned.sum(-1)
    total, possible = useful.shape[1], edges.pairs.shape[1] - agents
    return EdgeRecovery(
        hits.double() / torch.where(count > 0, count.double(), torch.nan),
        hits.double() / (total if total > 0 else torch.nan),
        count,
        int(right.sum()) / possible if possible else math.nan,
    )


def distance_to_minimal_transfer(shares: Tensor | NDArray[np.floating], game: Game) -> Tensor:
    """Distance of learned sharing to the minimal transfer T*, which makes cooperation dominant.

    The mean over givers of half the sum over receivers of |T_ij - T*_ij|: the fraction of its reward that an
    agent would have to reallocate. T* is the symmetric sharing of `games.minimal_transfer_on_graph`; it is
    unique on a directed ring, and one of many if an agent has several helpers.

    Args:
        shares: as for `edge_recovery`.
        game: `aid` on a fixed, regular graph.
    Returns:
        Distances, from 0 to 1, float64 [...].
    Raises:
        ValueError: there is no closed form of T* for the game, or the shares have another shape.

    >>> import games
    >>> ring = games.make("aid", agents=5)  # T* keeps 3 / 4
    >>> distance_to_minimal_transfer(torch.eye(5)[None], ring)
    tensor([0.2500], dtype=torch.float64)
    """
    require(
        isinstance(game, Aid),
        f"The least sufficient sharing has a closed form in aid on regular graphs, not in "
        f"{type(game).__name__}.",
    )
    assert isinstance(game, Aid)
    minimal, edges = minimal_transfer_on_graph(game), edges_of(game)
    agents, values = edges.agents, _on_edges(shares, edges, game)
    codes, order = (edges.pairs[0] * agents + edges.pairs[1]).sort()
    least = torch.zeros(len(codes), dtype=torch.float64)
    least[order[torch.searchsorted(codes, minimal.edges[0] * agents + minimal.edges[1])]] = minimal.shares
    return (values - least).abs().sum(-1) / (2 * agents)


def _on_edges(shares: Tensor | NDArray[np.floating], edges: Edges, game: Game) -> Tensor:
    """Shares on the edges of the sharing graph, float64 [..., edge]; ValueError for another shape."""
    values = shares if isinstance(shares, Tensor) else torch.from_numpy(np.array(shares))  # may be read-only
    agents = edges.agents
    if values.shape[-2:] == (agents, agents):
        values = values[..., edges.pairs[0], edges.pairs[1]]
    require(
        values.ndim >= 1 and values.shape[-1] == edges.pairs.shape[1],
        f"Shares of {type(game).__name__} are [..., {agents}, {agents}] (giver, receiver) or [..., "
        f"{edges.pairs.shape[1]}] (edge), not {list(values.shape)}.",
    )
    return values.double()
