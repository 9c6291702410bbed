"""Networks: directed, weighted graphs of agents, stored as lists of edges."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from games.core import cached_constants, constant, require


@dataclass(frozen=True, eq=False)
class Network:
    """Directed, weighted graph of agents: source agents affect target agents in proportion to weights.

    Memory grows with the number of edges. Parallel edges add up.

    Raises:
        ValueError: an edge leads to an unknown agent or back to its source, or a weight is negative or not
            finite.

    >>> network = Network(3, np.array([[0, 1], [0, 2], [2, 0]]), np.array([1.0, 0.5, 2.0]))
    >>> network.out_weights
    array([1.5, 0. , 2. ])
    >>> network.influence(torch.tensor([1.0, 1.0, 1.0]))
    tensor([2.0000, 1.0000, 0.5000])
    """

    agents: int
    """Number of agents."""
    edges: NDArray[np.int64]
    """Source and target of each edge, [edge, 2]."""
    weights: NDArray[np.float64]
    """Weight of each edge, [edge]; 0 or more."""
    places: NDArray[np.float64] | None = None
    """Positions of the agents in pictures, in the unit square, [agent, 2]; None: on a circle."""

    def __post_init__(self) -> None:
        count = len(self.edges)
        require(
            self.edges.shape == (count, 2) and self.weights.shape == (count,),
            f"Edges are [edge, 2] and their weights [edge], not {list(self.edges.shape)} and "
            f"{list(self.weights.shape)}.",
        )
        known = (self.edges >= 0).all() and (self.edges < self.agents).all()
        require(bool(known), f"Edges join the agents 0 to {self.agents - 1}; some edge has another end.")
        loops = self.edges[:, 0] == self.edges[:, 1]
        require(not loops.any(), "An edge joins two agents; some edge leads back to its source.")
        require(
            bool(np.isfinite(self.weights).all() and (self.weights >= 0).all()),
            "Weights of edges are finite numbers, 0 or more; some weight is not.",
        )

    @functools.cached_property
    def out_degrees(self) -> NDArray[np.int64]:
        """Number of edges that leave each agent, [agent]."""
        return np.bincount(self.edges[:, 0], minlength=self.agents).astype(np.int64)

    @functools.cached_property
    def out_weights(self) -> NDArray[np.float64]:
        """Total weight of the edges that leave each agent, [agent]."""
        return np.bincount(self.edges[:, 0], self.weights, minlength=self.agents).astype(np.float64)

    def normalized(self) -> Network:
        """Divide weights by their sums over the edges that leave an agent.

        >>> Network(3, np.array([[0, 1], [0, 2], [1, 0]]), np.ones(3)).normalized().weights
        array([0.5, 0.5, 1. ])
        """
        totals = self.out_weights[self.edges[:, 0]]
        return Network(self.agents, self.edges, self.weights / np.where(totals > 0, totals, 1), self.places)

    def sharing_edges(self) -> Tensor:
        """List the edges of the sharing graph: those of the network, in both directions, and own edges.

        Returns:
            giver and receiver, int64 [2, edge], sorted by giver: the form of `Game.edges`.

        >>> Network(3, np.array([[0, 1]]), np.ones(1)).sharing_edges()
        tensor([[0, 0, 1, 1, 2],
                [0, 1, 0, 1, 2]])
        """
        own = np.arange(self.agents)[:, None].repeat(2, 1)
        pairs = np.concatenate((self.edges, self.edges[:, ::-1], own))
        return torch.from_numpy(np.unique(pairs, axis=0).T.copy())

    def influence(self, values: Tensor, targets: Tensor | None = None) -> Tensor:
        """Sum the weighted values at the sources of each agent's incoming edges: y_j = sum_i w_ij x_i.

        Args:
            values: x, floating [..., agent].
            targets: targets of the edges, if the graph changes, integer [..., edge]; None: the network's.
        Returns:
            y, [..., agent]; differentiable in the values. A member of a batch equals that member alone.
        """
        sources, fixed, weights = edge_tensors(self, values.dtype, values.device)
        sent = values[..., sources] * weights
        arriving = fixed if targets is None else targets
        return torch.zeros_like(values).scatter_add(-1, arriving.expand(sent.shape), sent)


@cached_constants
def edge_tensors(network: Network, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Sources, targets (integer) and weights (floating) of a network's edges, each [edge]; cached."""
    sources, targets = (constant(ends, torch.int64, device) for ends in network.edges.T)
    return sources, targets, constant(network.weights, dtype, device)


@cached_constants
def out_weight_tensor(network: Network, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Total weight of the edges that leave each agent, floating [agent]; cached."""
    return constant(network.out_weights, dtype, device)


def both_directions(pairs: ArrayLike) -> NDArray[np.int64]:
    """Edges from pairs of agents, one in each direction, sorted: [pair, 2] -> [2 pair, 2].

    >>> both_directions([(0, 2), (0, 1)]).tolist()
    [[0, 1], [0, 2], [1, 0], [2, 0]]
    """
    one_way = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    edges = np.concatenate((one_way, one_way[:, ::-1]))
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))]


def circle(agents: int) -> NDArray[np.float64]:
    """Positions on a circle in the unit square, clockwise from the top: [agent, 2]."""
    angles = 2 * np.pi * np.arange(agents) / agents
    return 0.5 + 0.5 * np.stack((np.sin(angles), -np.cos(angles)), -1)


def in_unit_square(points: Sequence[Sequence[float]] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale points, [agent, 2], so that they fill the unit square, each axis on its own."""
    array = np.asarray(points, dtype=np.float64)
    low, high = array.min(0), array.max(0)
    return np.where(high > low, (array - low) / np.where(high > low, high - low, 1), 0.5)
