"""Rewards of agents within a distance on the sharing graph: spatial discount, means over neighborhoods."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bilevel.sharing._edges import Edges
from bilevel.sharing._trajectory import Trajectory
from bilevel.sharing._transfer import Report, Transfer
from games.core import require

MIN_WEIGHT = 1e-3
"""Weights below it are 0 unless a maximum distance is set."""
MAX_PAIRS = 20_000_000
"""Maximum number of pairs of agents that a weighted sum of rewards joins."""
CHUNK = 2**14
"""Number of pairs whose rewards are summed at a time."""


def pairs_within(edges: Edges, max_distance: int | None) -> tuple[Tensor, Tensor]:
    """Pairs of agents within a distance on the sharing graph, by breadth-first search from all agents.

    Args:
        edges: the graph; a distance is the number of edges of the shortest path from giver to receiver.
        max_distance: largest distance, 0 or more; None: all connected pairs.
    Returns:
        The pairs, int64 [2, pair], sorted by giver and then receiver, and their distances, int64 [pair].
    Raises:
        ValueError: there are more than 20 million pairs.

    >>> ring = Edges(torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 0, 2]]), agents=3)
    >>> pairs_within(ring, max_distance=None)
    (tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2],
            [0, 1, 2, 0, 1, 2, 0, 1, 2]]), tensor([0, 1, 2, 2, 0, 1, 1, 2, 0]))
    """
    import scipy  # noqa: PLC0415 - most training runs do not need it

    agents, ends = edges.agents, edges.pairs.numpy()
    graph = scipy.sparse.csr_array((np.ones(ends.shape[1], dtype=bool), ends), shape=(agents, agents))
    reached = frontier = scipy.sparse.eye_array(agents, dtype=bool, format="csr")
    rings = [frontier]
    while max_distance is None or len(rings) <= max_distance:
        farther = frontier @ graph
        frontier = farther > farther.multiply(reached)
        if frontier.nnz == 0:
            break
        reached = reached + frontier
        require(
            reached.nnz <= MAX_PAIRS,
            f"More than {MAX_PAIRS} pairs of agents are {len(rings)} or fewer edges apart: choose a smaller "
            "discount or a smaller max_distance, or, for the sum over all agents, prosocial with "
            "common_reward sum.",
        )
        rings.append(frontier)
    givers, receivers = (
        np.concatenate(ends) for ends in zip(*(ring.nonzero() for ring in rings), strict=True)
    )
    distances = np.repeat(np.arange(len(rings)), [ring.nnz for ring in rings])
    order = np.lexsort((receivers, givers))
    pairs = np.stack((givers[order], receivers[order])).astype(np.int64)
    return torch.from_numpy(pairs), torch.from_numpy(distances[order])


@dataclass(frozen=True, eq=False)
class RewardWeights:
    """Fixed weights of other agents' rewards: r~_j = sum over pairs (i, j) of w_ij r_i.

    An outer variable without parameters, [seed, 0]. Unlike shares, the weights of a giver need not sum to 1,
    so the total is not conserved in general. Rewards of an agent that has left are 0.

    >>> swap = RewardWeights(torch.tensor([[0, 1], [1, 0]]), torch.tensor([1.0, 0.5]), agents=2)
    >>> swap.transfer(swap.initial(seed=0, seeds=1)).matrix
    tensor([[[0.0000, 1.0000],
             [0.5000, 0.0000]]], dtype=torch.float64)
    """

    pairs: Tensor
    """Giver and receiver, int64 [2, pair]."""
    weights: Tensor
    """w, floating [pair]."""
    agents: int
    """Number of agents."""
    exact = True

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> WeightedRewards:
        return WeightedRewards(self, phi)


@dataclass(frozen=True, eq=False)
class WeightedRewards(Transfer):
    """Weighted rewards, computed without a tensor of the size pairs x samples."""

    variable: RewardWeights
    phi: Tensor
    """[seed, 0]: the number of seeds, the dtype and the device."""

    @property
    def matrix(self) -> Tensor:
        variable = self.variable
        dense = self.phi.new_zeros(len(self.phi), variable.agents, variable.agents)
        dense[:, variable.pairs[0], variable.pairs[1]] = variable.weights.to(dense)
        return dense

    def rewards(self, trajectory: Trajectory) -> Tensor:
        own, variable = trajectory.rewards, self.variable
        giver, receiver = variable.pairs.to(own.device)
        weights, seen = variable.weights.to(own).reshape(-1, 1, 1), torch.zeros_like(own)
        for pairs in zip(giver.split(CHUNK), receiver.split(CHUNK), weights.split(CHUNK), strict=True):
            seen = seen.index_add(1, pairs[1], own[:, pairs[0]] * pairs[2])
        return seen if trajectory.present is None else seen * trajectory.present

    def report(self, trajectory: Trajectory | None) -> Report:
        return {}


def spatial_discount(edges: Edges, discount: float, max_distance: int | None = None) -> RewardWeights:
    """Spatially discounted rewards: r~_i = sum_j alpha^d(i, j) r_j, with the distance d on the sharing graph.

    alpha = 0 is selfish, and alpha = 1 the sum over all connected agents. The total is not conserved: a
    reward counts in full for its agent, and again, discounted, for each agent within the largest distance.

    Args:
        edges: the sharing graph; a distance is the number of edges on the shortest path from j to i.
        discount: alpha, from 0 to 1.
        max_distance: largest distance d, 0 or more; None: the largest with alpha^d of at least 0.001.
    Returns:
        The weights alpha^d of all pairs within the largest distance.
    Raises:
        ValueError: the discount or the distance is out of range, or there are more than 20 million pairs.
    Source:
        Chu, Chinchali and Katti, Multi-agent reinforcement learning for networked system control, ICLR 2020,
        arXiv 2004.01339.

    >>> ring = Edges(torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 0, 2]]), agents=3)
    >>> spatial_discount(ring, 0.5).weights
    tensor([1.0000, 0.5000, 0.2500, 0.2500, 1.0000, 0.5000, 0.5000, 0.2500, 1.0000],
           dtype=torch.float64)
    """
    check_spatial_discount(discount, max_distance)
    if max_distance is None and discount < 1:
        max_distance = 0 if discount == 0 else math.floor(math.log(MIN_WEIGHT) / math.log(discount) + 1e-9)
    pairs, distances = pairs_within(edges, max_distance)
    return RewardWeights(pairs, torch.tensor(discount, dtype=torch.float64) ** distances, edges.agents)


def check_spatial_discount(discount: float, max_distance: int | None) -> None:
    """Check the settings of `spatial_discount`; ValueError if one is out of range.

    >>> check_spatial_discount(1.5, None)
    Traceback (most recent call last):
    ValueError: The spatial discount is from 0 to 1, not 1.5.
    """
    require(0 <= discount <= 1, f"The spatial discount is from 0 to 1, not {discount:g}.")
    require(max_distance is None or max_distance >= 0, f"max_distance is 0 or more, not {max_distance}.")


def neighborhood_mean(edges: Edges) -> RewardWeights:
    """Mean reward of a neighborhood: r~_j = mean of r_i over the agents i that may give to j, j included.

    Conserves the total if all neighborhoods have the same size, as on rings and periodic grids. On other
    graphs, the weights of an agent's reward sum to more than 1 if its neighbors have small neighborhoods, and
    to less than 1 if they have large ones. An agent that has left counts as a reward of 0.

    >>> path = Edges(torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0, 1, 0, 1, 2, 1, 2]]), agents=3)
    >>> neighborhood_mean(path).transfer(torch.zeros(1, 0)).matrix[0]
    tensor([[0.5000, 0.3333, 0.0000],
            [0.5000, 0.3333, 0.5000],
            [0.0000, 0.3333, 0.5000]])
    """
    receivers = edges.pairs[1]
    sizes = torch.bincount(receivers, minlength=edges.agents)
    return RewardWeights(edges.pairs, 1 / sizes.double()[receivers], edges.agents)
