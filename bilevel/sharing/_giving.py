"""Encoded inputs of sharing and incentive networks, and transfers by shares that vary over time."""

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
    """Encoder of observations and actions as inputs of stacked networks, one network per agent.

    >>> ObservationEncoder(spaces.Box(0, 1, (4, 3)), agents=3, actions=2).features
    12
    """

    space: spaces.Box | spaces.Discrete
    """Observation space of one agent."""
    agents: int
    """Number of agents."""
    actions: int
    """Number of actions of each agent."""

    @property
    def features(self) -> int:
        """Number of features of one agent's observation."""
        return int(self.space.n) if isinstance(self.space, spaces.Discrete) else math.prod(self.space.shape)

    @property
    def other_action_features(self) -> int:
        """Number of features that encode the actions of all other agents."""
        return (self.agents - 1) * self.actions

    def encode_observations(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """Encode a trajectory's observations as [seed, agent, time, episode, feature] of `like`'s dtype."""
        return self.encode(trajectory.observations, like)

    def encode(self, observations: Tensor, like: Tensor) -> Tensor:
        """Flatten or one-hot encode observations: [..., *shape] -> [..., feature], in the dtype of `like`."""
        discrete = isinstance(self.space, spaces.Discrete)
        axes = len(self.space.shape or ())
        return as_vectors(observations, like, one_hot=self.features if discrete else 0, axes=axes)

    def encode_other_actions(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """One-hot actions of the other agents, in order: [seed, agent, time, episode, other * action]."""
        index = torch.arange(self.agents, device=trajectory.actions.device)
        others = index[:-1] + (index[:-1] >= index[:, None])  # row i: 0 .. N-1 without i
        return self.encode_actions(trajectory, like)[:, others].movedim(2, -2).flatten(-2)

    def encode_actions(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """One-hot actions, zeros once an agent has left: [seed, agent, time, episode, action]."""
        encoded = one_hot(trajectory.actions, self.actions).to(like.dtype)
        return encoded if trajectory.present is None else encoded * trajectory.present.unsqueeze(-1)


def first_parameters(network: Perceptron, seed: int, seeds: int, agents: int) -> Tensor:
    """Draw initial parameters of networks whose outputs are nearly 0: float64 [seed, agent, parameter].

    Those of repetition i depend on the random seed `seed` + i alone.
    """
    return first_draws(
        lambda generator: network.initial(generator, agents, last_layer_scale=0.1),
        range(seed, seed + seeds),
        Purpose.OUTER_VARIABLES,
    )


class VaryingShares(Transfer, abc.ABC):
    """A transfer by a sharing matrix per step: r~_j = sum_i T_ij r_i; rows of T sum to 1.

    The total of each step is conserved, whatever the shares depend on.
    """

    @property
    def reporting(self) -> Reporting:
        return Reporting("steps")

    @abc.abstractmethod
    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        """Shares of every step as if no agent had left, [seed, giver, receiver, time, episode]."""

    def shares(self, trajectory: Trajectory) -> Tensor:
        """T of every step, masked by the agents present in it: [seed, giver, receiver, time, episode]."""
        return among_present(self.unmasked_shares(trajectory), trajectory)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return self.gifts(trajectory).sum(1)

    def gifts(self, trajectory: Trajectory) -> Tensor:
        return self.shares(trajectory) * trajectory.rewards.unsqueeze(2)

    def report(self, trajectory: Trajectory | None) -> Report:
        assert trajectory is not None
        return matrix_report(per_step(self.shares(trajectory), trajectory))


@dataclass(frozen=True, eq=False)
class GivenShares(VaryingShares):
    """Sharing by given matrices, one for each step.

    >>> GivenShares(torch.full((1, 2, 2, 3, 4), 0.5)).matrix is None  # seed, giver, receiver, time, episode
    True
    """

    given: Tensor
    """[seed, giver, receiver, time, episode]; a giver's shares sum to 1."""

    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        return self.given
