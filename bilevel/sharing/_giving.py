"""Inputs of sharing and incentive networks, and sharing by shares that differ from step to step."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import one_hot

from bilevel.core import Purpose, first_draws
from bilevel.nn import Perceptron, as_vectors
from bilevel.sharing._trajectory import Trajectory, per_step
from bilevel.sharing._transfer import Report, Reporting, Transfer, among_present, matrix_report


@dataclass(frozen=True, eq=False)
class ObservationEncoder:
    """Encodes observations and actions as inputs of stacked networks, one network for each agent.

    >>> ObservationEncoder(spaces.Box(0, 1, (4, 3)), agents=3, actions=2).features
    12
    """

    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    agents: int
    """Number of agents."""
    actions: int
    """Number of actions of each."""

    @property
    def features(self) -> int:
        """Numbers of one agent's observation."""
        return int(self.space.n) if isinstance(self.space, spaces.Discrete) else math.prod(self.space.shape)

    @property
    def acted(self) -> int:
        """Numbers that encode the actions of all other agents."""
        return (self.agents - 1) * self.actions

    def seen(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """Observations as numbers, [seed, agent, time, episode, feature], in the dtype of `like`."""
        return self.numbers(trajectory.observations, like)

    def numbers(self, observations: Tensor, like: Tensor) -> Tensor:
        """Observations [..., *shape] as numbers, [..., feature], in the dtype of `like`."""
        discrete = isinstance(self.space, spaces.Discrete)
        axes = len(self.space.shape or ())
        return as_vectors(observations, like, one_hot=self.features if discrete else 0, axes=axes)

    def done_by_others(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """The other agents' actions, in order and one-hot: [seed, agent, time, episode, other * action]."""
        index = torch.arange(self.agents, device=trajectory.actions.device)
        others = index[:-1] + (index[:-1] >= index[:, None])  # row i: 0 .. N-1 without i
        return self.done(trajectory, like)[:, others].movedim(2, -2).flatten(-2)

    def done(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """Actions, one-hot, zeros once an agent has left: [seed, agent, time, episode, action]."""
        acted = one_hot(trajectory.actions, self.actions).to(like.dtype)
        return acted if trajectory.present is None else acted * trajectory.present.unsqueeze(-1)


def first_parameters(network: Perceptron, seed: int, seeds: int, agents: int) -> Tensor:
    """Draw networks of small outputs: float64 [seed, agent, parameter]; each random seed's by itself."""
    return first_draws(
        lambda generator: network.initial(generator, agents, last_layer_scale=0.1),
        range(seed, seed + seeds),
        Purpose.OUTER_VARIABLES,
    )


class VaryingShares(Transfer, abc.ABC):
    """A transfer by shares of every step: r~_j = sum_i T_ij r_i; rows sum to 1.

    So the total of each step is conserved, whatever the shares depend on.
    """

    @property
    def reporting(self) -> Reporting:
        return Reporting("steps")

    @abc.abstractmethod
    def stated(self, trajectory: Trajectory) -> Tensor:
        """The shares of every step as if no agent had left, [seed, giver, receiver, time, episode]."""

    def shares(self, trajectory: Trajectory) -> Tensor:
        """T in every step, among the agents present in it: [seed, giver, receiver, time, episode]."""
        return among_present(self.stated(trajectory), trajectory)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return self.gifts(trajectory).sum(1)

    def gifts(self, trajectory: Trajectory) -> Tensor:
        return self.shares(trajectory) * trajectory.rewards.unsqueeze(2)

    def report(self, trajectory: Trajectory | None) -> Report:
        assert trajectory is not None
        return matrix_report(per_step(self.shares(trajectory), trajectory))


@dataclass(frozen=True, eq=False)
class GivenShares(VaryingShares):
    """Sharing by known matrices, one for each step.

    >>> GivenShares(torch.full((1, 2, 2, 3, 4), 0.5)).matrix is None  # seed, giver, receiver, time, episode
    True
    """

    given: Tensor
    """[seed, giver, receiver, time, episode]; a giver's shares sum to 1."""

    def stated(self, trajectory: Trajectory) -> Tensor:
        return self.given
