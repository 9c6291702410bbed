"""Random graphs: small worlds, scale-free and random geometric graphs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import lazy_loader  # type: ignore[import-untyped]
import numpy as np

from games.core import require
from games.networked._graphs import Graph, require_edges
from games.networked._network import Network, both_directions, circle, in_unit_square

networkx = lazy_loader.load("networkx")

MAX_SPRINGS = 300
"""Maximum number of agents for which pictures have a force-directed layout, which takes O(N^2)."""


@dataclass(frozen=True, kw_only=True)
class SmallWorld(Graph):
    """Small world: a ring of near neighbors, some of whose edges are rewired to random agents.

    Raises:
        ValueError: the degree is odd or below 2, or the rewiring probability is not from 0 to 1; from
            `network`, there are too few agents.
    Source:
        Watts and Strogatz, Collective dynamics of 'small-world' networks, Nature 393, 1998.

    >>> len(SmallWorld(degree=4).network(100).edges)
    400
    """

    degree: int = 4
    """Mean number of neighbors; even, at least 2."""
    rewiring: float = 0.1
    """Probability that an edge is rewired; from 0 to 1."""
    seed: int = 0
    """Random seed of the graph, a nonnegative integer."""

    def __post_init__(self) -> None:
        require(
            self.degree >= 2 and self.degree % 2 == 0,
            f"degree must be even, 2 or more, not {self.degree}.",
        )
        require(0 <= self.rewiring <= 1, f"rewiring is a probability, from 0 to 1, not {self.rewiring}.")
        _require_seed(self.seed)

    def build(self, agents: int) -> Network:
        require(
            self.degree < agents,
            f"An agent of a small world has fewer neighbors than there are agents, {agents}; degree is "
            f"{self.degree}.",
        )
        require_edges(agents * self.degree)
        found = networkx.watts_strogatz_graph(agents, self.degree, self.rewiring, seed=self.seed)
        edges = both_directions(list(found.edges))
        return Network(agents, edges, np.ones(len(edges)), circle(agents))


@dataclass(frozen=True, kw_only=True)
class ScaleFree(Graph):
    """Scale-free graph by preferential attachment: agents join one by one, at agents with many neighbors.

    Raises:
        ValueError: `links` is below 1; from `network`, there are too few agents.
    Source:
        Barabasi and Albert, Emergence of scaling in random networks, Science 286, 1999.

    >>> len(ScaleFree(links=2).network(100).edges)
    392
    """

    links: int = 2
    """Number of neighbors of an agent when it joins; at least 1."""
    seed: int = 0
    """Random seed of the graph, a nonnegative integer."""

    def __post_init__(self) -> None:
        require(self.links >= 1, f"A new agent joins at least 1 other; links is {self.links}.")
        _require_seed(self.seed)

    def build(self, agents: int) -> Network:
        require(
            self.links < agents,
            f"A new agent joins fewer others than there are agents, {agents}; links is {self.links}.",
        )
        require_edges(2 * agents * self.links)
        found = networkx.barabasi_albert_graph(agents, self.links, seed=self.seed)
        edges = both_directions(list(found.edges))
        return Network(agents, edges, np.ones(len(edges)), _spring_places(found))


@dataclass(frozen=True, kw_only=True)
class RandomGeometric(Graph):
    """Random geometric graph: agents at random points of the unit square, with edges up to a distance.

    Agents may be isolated, and the graph may be disconnected.

    Raises:
        ValueError: the radius is not above 0.
    Source:
        Gilbert, Random plane networks, Journal of the Society for Industrial and Applied Mathematics 9(4),
        1961.

    >>> RandomGeometric(radius=0.3).network(20).places.shape
    (20, 2)
    """

    radius: float = 0.25
    """Largest distance between neighbors, in sides of the square; above 0."""
    seed: int = 0
    """Random seed of the graph, a nonnegative integer."""

    def __post_init__(self) -> None:
        require(self.radius > 0, f"radius must be above 0, not {self.radius}.")
        _require_seed(self.seed)

    def build(self, agents: int) -> Network:
        require_edges(agents**2 * min(1.0, np.pi * self.radius**2))
        places = np.random.default_rng(self.seed).random((agents, 2))
        found = networkx.Graph()
        found.add_nodes_from((agent, {"pos": tuple(place)}) for agent, place in enumerate(places.tolist()))
        edges = both_directions(networkx.geometric_edges(found, self.radius))
        return Network(agents, edges, np.ones(len(edges)), places)


def _require_seed(seed: int) -> None:
    require(seed >= 0, f"The seed of a graph is a whole number from 0, not {seed}.")


def _spring_places(graph: Iterable[Any]) -> Any:
    """Positions by a force-directed layout, [agent, 2]; None for large graphs."""
    if len(list(graph)) > MAX_SPRINGS:
        return None
    places = networkx.spring_layout(graph, seed=0, iterations=200)
    return in_unit_square([places[agent] for agent in graph])
