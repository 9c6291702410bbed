"""Kinds of graphs, as settings of games: rings, grids and lists of edges."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import numpy as np

from games.core import Registry, cached_constants, require
from games.networked._network import Network, both_directions, circle, in_unit_square

MAX_AGENTS, MAX_EDGES = 1_000_000, 20_000_000


@dataclass(frozen=True, kw_only=True)
class Graph(abc.ABC):
    """Kind of graph with its settings, from which `network` builds a network of any number of agents.

    Graphs are frozen dataclasses of numbers, so that they can be settings of games. By default edges lead in
    both directions and have weight 1.
    """

    @property
    def symmetric(self) -> bool:
        """True if the graph is vertex-transitive: some automorphism maps any agent to any other."""
        return False

    @abc.abstractmethod
    def build(self, agents: int) -> Network:
        """Build the network of this many agents; ValueError if the graph does not fit the number."""

    def network(self, agents: int) -> Network:
        """Return the network of this many agents, built once.

        >>> from games.networked import Ring
        >>> Ring().network(4).edges.tolist()
        [[0, 1], [1, 2], [2, 3], [3, 0]]
        """
        return _network(self, agents)


@cached_constants
def _network(graph: Graph, agents: int) -> Network:
    require(agents >= 2, f"A graph joins at least 2 agents, not {agents}.")
    require(agents <= MAX_AGENTS, f"A graph joins {MAX_AGENTS} agents at most, not {agents}.")
    return graph.build(agents)


def require_edges(count: float) -> None:
    """Raise ValueError if a graph has more edges than are built in reasonable time.

    >>> require_edges(1e9)
    Traceback (most recent call last):
    ValueError: Graphs are built with 20000000 edges at most; this one would have about 1e+09.
    """
    require(
        count <= MAX_EDGES,
        f"Graphs are built with {MAX_EDGES} edges at most; this one would have about {count:.3g}.",
    )


@dataclass(frozen=True, kw_only=True)
class Ring(Graph):
    """Ring on which each agent affects the next agents, up to the distance `reach`.

    Raises:
        ValueError: the reach is below 1; from `network`, the ring is too small for it.

    >>> Ring(reach=2).network(5).edges[:2].tolist()
    [[0, 1], [0, 2]]
    """

    reach: int = 1
    """Largest distance between neighbors; at least 1."""
    directed: bool = True
    """Let edges lead to the next agents only; otherwise to the previous agents, too."""

    symmetric = True

    def __post_init__(self) -> None:
        require(self.reach >= 1, f"Neighbors on a ring are at least 1 place apart; reach is {self.reach}.")

    def build(self, agents: int) -> Network:
        farthest = agents - 1 if self.directed else (agents - 1) // 2
        require(
            self.reach <= max(farthest, 1),
            f"On a ring of {agents} agents reach is from 1 to {max(farthest, 1)}, not {self.reach}.",
        )
        require_edges(agents * self.reach * (2 - self.directed))
        sources = np.repeat(np.arange(agents), self.reach)
        targets = (sources + np.tile(np.arange(1, self.reach + 1), agents)) % agents
        edges = np.stack((sources, targets), -1)
        edges = edges if self.directed else np.unique(both_directions(edges), axis=0)
        return Network(agents, edges, np.ones(len(edges)), circle(agents))


@dataclass(frozen=True, kw_only=True)
class Grid(Graph):
    """Rectangular grid on which adjacent agents affect each other, vertically and horizontally.

    Raises:
        ValueError: there are no rows; from `network`, the agents do not fill the rows, or are too few.

    >>> Grid(periodic=False).network(6).edges[:2].tolist()
    [[0, 1], [0, 3]]
    """

    rows: int | None = None
    """Number of rows; None: as nearly square as the number of agents allows."""
    periodic: bool = True
    """Join opposite borders, so that all agents have four neighbors; needs 3 rows and columns or more."""

    @property
    def symmetric(self) -> bool:
        return self.periodic

    def __post_init__(self) -> None:
        require(self.rows is None or self.rows >= 1, f"A grid has at least 1 row; rows is {self.rows}.")

    def shape(self, agents: int) -> tuple[int, int]:
        """Rows and columns of a grid of this many agents; ValueError if they do not fill it.

        >>> from games.networked import Grid
        >>> Grid().shape(12)
        (3, 4)
        """
        divisors = [rows for rows in range(1, int(agents**0.5) + 1) if agents % rows == 0]
        rows = divisors[-1] if self.rows is None else self.rows
        require(agents % rows == 0, f"{agents} agents do not fill {rows} rows of a grid.")
        columns = agents // rows
        require(
            not self.periodic or min(rows, columns) >= 3,
            f"A periodic grid needs at least 3 rows and 3 columns, but {agents} agents make {rows} x "
            f"{columns}.",
        )
        return rows, columns

    def build(self, agents: int) -> Network:
        rows, columns = self.shape(agents)
        numbers = np.arange(agents).reshape(rows, columns)
        pairs = []
        for axis in (0, 1):
            shifted = np.roll(numbers, -1, axis)
            inner = slice(None) if self.periodic else slice(None, -1)
            cut = (inner, slice(None)) if axis == 0 else (slice(None), inner)
            pairs.append(np.stack((numbers[cut].ravel(), shifted[cut].ravel()), -1))
        edges = both_directions(np.concatenate(pairs))
        places = np.stack((np.arange(agents) % columns, np.arange(agents) // columns), -1)
        return Network(agents, edges, np.ones(len(edges)), in_unit_square(places.astype(np.float64)))


@dataclass(frozen=True, kw_only=True)
class EdgeList(Graph):
    """Graph given by its edges, each in one direction.

    Raises:
        ValueError: an edge is malformed; from `network`, an edge leads to an unknown agent or to its source.

    >>> EdgeList(edges=((0, 1), (1, 2, 0.5))).network(3).weights
    array([1. , 0.5])
    """

    edges: tuple[tuple[float, ...], ...] = ()
    """Source, target and, unless it is 1, weight of each edge."""

    def __post_init__(self) -> None:
        for edge in self.edges:
            whole = len(edge) in (2, 3) and all(float(end).is_integer() for end in edge[:2])
            require(whole, f"An edge is (source, target) or (source, target, weight), not {edge}.")

    @classmethod
    def from_networkx(cls, graph: Any) -> EdgeList:
        """Take the edges of a networkx graph, whose nodes are numbered in the order in which it has them.

        Args:
            graph: a Graph, whose edges lead in both directions, or a DiGraph; the edge attribute "weight"
                is 1 where it is missing.

        >>> import networkx as nx
        >>> from games.networked import EdgeList
        >>> EdgeList.from_networkx(nx.path_graph(3, create_using=nx.DiGraph)).edges
        ((0, 1), (1, 2))
        """
        numbers = {node: number for number, node in enumerate(graph)}
        weighted = graph.to_directed().edges(data="weight", default=1)
        rows = sorted((numbers[source], numbers[target], weight) for source, target, weight in weighted)
        return cls(edges=tuple(row[:2] if row[2] == 1 else row for row in rows))

    def build(self, agents: int) -> Network:
        edges = np.array([edge[:2] for edge in self.edges], dtype=np.int64).reshape(-1, 2)
        weights = np.array([edge[2] if len(edge) == 3 else 1.0 for edge in self.edges], dtype=np.float64)
        return Network(agents, edges, weights)


GRAPHS: Registry[type[Graph]] = Registry(
    "graph",
    {
        "ring": Ring,
        "grid": Grid,
        "small-world": "games.networked._random_graphs:SmallWorld",
        "scale-free": "games.networked._random_graphs:ScaleFree",
        "random-geometric": "games.networked._random_graphs:RandomGeometric",
        "edges": EdgeList,
    },
)
"""Kinds of graphs by name, to which `GRAPHS.register` adds others."""
