"""Fixed rules of sharing on a graph that changes: in each step, they apply to the neighbors in that step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.sharing._distances import MIN_WEIGHT, check_spatial_discount
from bilevel.sharing._network import VaryingShares
from bilevel.sharing._sharing import keep_and_split
from bilevel.sharing._trajectory import Trajectory
from bilevel.sharing._transfer import Report, Transfer
from games.core import Game, require

GraphRule = Callable[[Tensor], Tensor]
"""Graphs, floating [..., giver, receiver], 1 for neighbors and on the diagonal, else 0 -> weights of the
givers' rewards for the receivers, of the same shape."""


def check_changes(game: Game) -> None:
    """Check that a game's sharing graph changes from step to step (`Game.neighbors_now`).

    Raises:
        ValueError: it does not.

    >>> import games
    >>> check_changes(games.make("chicken"))
    Traceback (most recent call last):
    ValueError: The sharing graph of SymmetricTwoAgentGame does not change: leave follow_graph off.
    """
    require(
        game.neighbors_now(game.reset(1, torch.Generator())) is not None,
        f"The sharing graph of {type(game).__name__} does not change: leave follow_graph off.",
    )


def mean_of_neighbors(graphs: Tensor) -> Tensor:
    """Weights of `neighborhood_mean` on many graphs: a `GraphRule`.

    >>> mean_of_neighbors(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([[0.5000, 0.0000],
            [0.5000, 1.0000]])
    """
    return graphs / graphs.sum(-2, keepdim=True)


def discounted_by_distance(graphs: Tensor, discount: float, max_distance: int | None = None) -> Tensor:
    """Weights of `spatial_discount`, with its arguments, on many graphs: a `GraphRule`.

    >>> path = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    >>> discounted_by_distance(path, 0.5)
    tensor([[1.0000, 0.5000, 0.2500],
            [0.5000, 1.0000, 0.5000],
            [0.2500, 0.5000, 1.0000]])
    """
    check_spatial_discount(discount, max_distance)
    weights = torch.eye(graphs.shape[-1], dtype=graphs.dtype, device=graphs.device).expand(graphs.shape)
    reached, weight, distance = weights, discount, 1
    while weight >= MIN_WEIGHT * (1 - 1e-9) if max_distance is None else distance <= max_distance:
        within = (reached @ graphs > 0).to(graphs)
        if torch.equal(within, reached):
            break
        weights = weights + weight * (within - reached)
        reached, weight, distance = within, weight * discount, distance + 1
    return weights


@dataclass(frozen=True, eq=False)
class SplitAmongCurrent:
    """Reward transfer on the current graph: keep a share s, split the rest among the current neighbors.

    An outer variable that is not learned: s, [seed, 1].

    >>> variable = SplitAmongCurrent(agents=2, self_interest=0.75)
    >>> variable.initial(seed=0, seeds=3).flatten()
    tensor([0.7500, 0.7500, 0.7500], dtype=torch.float64)
    """

    agents: int
    """Number of agents."""
    self_interest: float
    """The share s that each agent keeps, from 0 to 1."""
    exact = False

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.full((seeds, 1), self.self_interest, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> KeptOnCurrent:
        return KeptOnCurrent(phi)


@dataclass(frozen=True, eq=False)
class KeptOnCurrent(VaryingShares):
    """Sharing by `SplitAmongCurrent`; conserves the total."""

    phi: Tensor
    """The share that each agent keeps, [seed, 1]."""

    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        shares = keep_and_split(_graphs(trajectory), self.phi[:, :, None, None, None].to(trajectory.rewards))
        return shares.permute(0, 3, 4, 1, 2)


@dataclass(frozen=True, eq=False)
class CurrentWeights:
    """Fixed weights of rewards by a rule of the current graph: r~_j = sum over i of w_ij r_i.

    An outer variable without parameters, [seed, 0]. Like `RewardWeights`, it does not conserve the total in
    general, and rewards of an agent that has left are 0.

    >>> CurrentWeights(agents=2, rule=mean_of_neighbors).initial(seed=0, seeds=3).shape
    torch.Size([3, 0])
    """

    agents: int
    """Number of agents."""
    rule: GraphRule
    """The weights of each step, of its graph."""
    exact = False

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> WeightedOnCurrent:
        return WeightedOnCurrent(self.rule)


@dataclass(frozen=True, eq=False)
class WeightedOnCurrent(Transfer):
    """Weights of the rewards in each step, by its graph."""

    rule: GraphRule

    def rewards(self, trajectory: Trajectory) -> Tensor:
        weights = self.rule(_graphs(trajectory))
        seen = torch.einsum("steij,site->sjte", weights, trajectory.rewards)
        return seen if trajectory.present is None else seen * trajectory.present

    def report(self, trajectory: Trajectory | None) -> Report:
        return {}


def _graphs(trajectory: Trajectory) -> Tensor:
    """Graph of each step, of the rewards' dtype: [seed, time, episode, giver, receiver]."""
    assert trajectory.neighbors is not None  # see `check_changes`
    return trajectory.neighbors.permute(0, 3, 4, 1, 2).to(trajectory.rewards)
