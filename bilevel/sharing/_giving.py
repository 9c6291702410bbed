"""Inputs of sharing and incentive networks: observations and the other agents' actions.

Sharing by shares that are not the same in every step.
"""

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
from bilevel.sharing._transfer import Report, Reporting, TrajectoryLike, among_present, matrix_report


@dataclass(frozen=True, eq=False)
class ObservationEncoder:
    """Turns what trajectory into the inputs of stacked networks, one for each agent.

    >>> ObservationEncoder(spaces.Box(0, 1, (4, 3)), agents=3, actions=2).features
    12
    """

    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    agents: int
    """How many there are."""
    actions: int
    """How many each of them has."""

    @property
    def features(self) -> int:
        """Numbers of one agent's observation."""
        return int(self.space.n) if isinstance(self.space, spaces.Discrete) else math.prod(self.space.shape)

    @property
    def acted(self) -> int:
        """Numbers that say what all the others did."""
        return (self.agents - 1) * self.actions

    def seen(self, trajectory: TrajectoryLike, like: Tensor) -> Tensor:
        """Observations as numbers, [seed, agent, time, episode, feature], in the dtype of `like`."""
        return self.numbers(trajectory.observations, like)

    def numbers(self, observations: Tensor, like: Tensor) -> Tensor:
        """Observations [..., *shape] as numbers, [..., feature], in the dtype of `like`."""
        discrete = isinstance(self.space, spaces.Discrete)
        axes = len(self.space.shape or ())
        return as_vectors(observations, like, one_hot=self.features if discrete else 0, axes=axes)

    def done_by_others(self, trajectory: TrajectoryLike, like: Tensor) -> Tensor:
        """What the others did, in order and one-hot: [seed, agent, time, episode, other * action]."""
        index = torch.arange(self.agents, device=trajectory.actions.device)
        others = index[:-1] + (index[:-1] >= index[:, None])  # row i: 0 .. N-1 without i
        return self.done(trajectory, like)[:, others].movedim(2, -2).flatten(-2)

    def done(self, trajectory: TrajectoryLike, like: Tensor) -> Tensor:
        """What each agent did, one-hot, zeros once it has left: [seed, agent, time, episode, action]."""
        acted = one_hot(trajectory.actions, self.actions).to(like.dtype)
        return acted if trajectory.present is None else acted * trajectory.present.unsqueeze(-1)


def first_parameters(network: Perceptron, seed: int, seeds: int, agents: int) -> Tensor:
    """Small outputs at first: float64 [seed, agent, parameter]; repetition i depends on `seed` + i alone."""
    return first_draws(
        lambda generator: network.initial(generator, agents, last_layer_scale=0.1),
        range(seed, seed + seeds),
        Purpose.OUTER_VARIABLES,
    )


def no_gifts(trajectory: TrajectoryLike) -> Tensor:
    """What agents give who give nothing: zeros, [seed, giver, receiver, time, episode]."""
    own = trajectory.rewards
    return torch.zeros_like(own).unsqueeze(2).expand(-1, -1, own.shape[1], -1, -1)


def per_episode(values: Tensor, trajectory: TrajectoryLike) -> Tensor:
    """Sum over an episode's steps, mean over episodes: [seed, ..., time, episode] -> [seed, ...]."""
    mask = trajectory.mask.flatten(0, 1).reshape(len(values), *[1] * (values.ndim - 3), *values.shape[-2:])
    return (values * mask).sum(-2).mean(-1)


def per_step(values: Tensor, trajectory: TrajectoryLike) -> Tensor:
    """Mean over all steps of all episodes, 0 of none: [seed, ..., time, episode] -> [seed, ...]."""
    steps = trajectory.mask.sum((-3, -2, -1)) / trajectory.mask.shape[-1]
    steps = steps.where(steps > 0, 1)
    return per_episode(values, trajectory) / steps.reshape(-1, *[1] * (values.ndim - 3))


class VaryingShares(abc.ABC):
    """A transfer that says its shares of every step: r~_j = sum_i T_ij r_i; rows sum to 1.

    So the total of each step is conserved, whatever the shares depend on.
    """

    @abc.abstractmethod
    def stated(self, trajectory: TrajectoryLike) -> Tensor:
        """The shares of every step as if nobody had left, [seed, giver, receiver, time, episode]."""

    def shares(self, trajectory: TrajectoryLike) -> Tensor:
        """T in every step, among the agents present in it: [seed, giver, receiver, time, episode]."""
        return among_present(self.stated(trajectory), trajectory)

    @property
    def matrix(self) -> Tensor | None:
        """None: there is not one for all steps."""
        return None

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.rewards`."""
        return self.gifts(trajectory).sum(1)

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.gifts`: what one keeps counts as given to oneself."""
        return self.shares(trajectory) * trajectory.rewards.unsqueeze(2)

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """The agents' mean share given away, and every share: means over all steps."""
        assert trajectory is not None
        return matrix_report(per_step(self.shares(trajectory), trajectory))

    @property
    def reporting(self) -> Reporting:
        """Shares are means over steps."""
        return Reporting("steps")


@dataclass(frozen=True, eq=False)
class GivenShares(VaryingShares):
    """Sharing by a matrix that is known for each step of what trajectory.

    >>> GivenShares(torch.full((1, 2, 2, 3, 4), 0.5)).matrix is None  # seed, giver, receiver, time, episode
    True
    """

    given: Tensor
    """[seed, giver, receiver, time, episode]; a giver's shares sum to 1."""

    def stated(self, trajectory: TrajectoryLike) -> Tensor:
        """As they were given."""
        return self.given
