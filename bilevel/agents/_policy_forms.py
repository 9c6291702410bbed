"""Tables of logits: one row per observation.

A policy over continuous actions: a network's means beside standard deviations of its own.

A policy that is told which agent it is, so that agents with the same parameters need not act alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.agents._policy import FeedForward, Policy
from bilevel.nn import as_vectors


@dataclass(frozen=True)
class Tabular(FeedForward):
    """A table of logits, one row per observation; the last action's logit is 0, unless it has one of its own.

    With two actions the parameter is the log-odds of the first: P(cooperate) = sigmoid(theta), as in the
    literature on repeated dilemmas (Foerster et al., LOLA, arXiv 1709.04326).

    >>> policy = Tabular(num_observations=5, num_actions=2)
    >>> policy.probabilities(torch.zeros(2, 5)).shape  # agent, observation, action
    torch.Size([2, 5, 2])
    """

    num_observations: int
    """How many observations there are; they are the integers from 0."""
    num_actions: int
    """How many actions there are."""
    initial_scale: float = 1.0
    """Standard deviation of the first logits."""
    every_logit: bool = False
    """Whether the last action has a logit of its own, too. With three actions or more it is then no longer
    singled out: gradient steps treat all actions alike."""

    @property
    def num_parameters(self) -> int:
        """One logit per observation and action, but for the last action's if that is 0."""
        return self.num_observations * self._free

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Independent normal logits, float64 [*batch, parameter]."""
        draw = torch.randn(*batch, self.num_parameters, generator=generator, dtype=torch.float64)
        return draw * self.initial_scale

    def table(self, theta: Tensor) -> Tensor:
        """Logits [..., observation, action] of theta [..., parameter]."""
        free = theta.unflatten(-1, (self.num_observations, self._free))
        return free if self.every_logit else functional.pad(free, (0, 1))

    def probabilities(self, theta: Tensor) -> Tensor:
        """The whole policy, [..., observation, action], of theta [..., parameter]."""
        return self.table(theta).softmax(-1)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Look the rows up: theta [..., agent, parameter], observations integer [..., agent, sample]."""
        rows = observations.unsqueeze(-1).expand(*observations.shape, self.num_actions)
        return self.table(theta).gather(-2, rows)

    @property
    def _free(self) -> int:
        """Logits of a row that are learned."""
        return self.num_actions if self.every_logit else self.num_actions - 1


@dataclass(frozen=True)
class Gaussian:
    """Any network that puts out means, and a log standard deviation for each, end to end in one flat vector.

    The standard deviations are parameters that do not depend on what is seen, 1 at first, as is usual for
    policy gradients and PPO. What Gaussians are squashed to, `bilevel.agents._distributions` says.

    Source:
        Schulman et al., Trust region policy optimization, arXiv 1502.05477, for standard deviations beside
        the network.

    >>> from bilevel.agents import MLP
    >>> policy = Gaussian(MLP(num_features=4, num_actions=2), numbers=2)
    >>> theta = torch.zeros(3, policy.num_parameters)  # three agents
    >>> policy.unroll(theta, torch.zeros(3, 5, 10, 4)).shape  # agent, time, episode, mean | log std
    torch.Size([3, 5, 10, 4])
    """

    policy: Policy
    """Puts out the means."""
    numbers: int
    """How many numbers an action has."""

    @property
    def num_parameters(self) -> int:
        """Those of the network, then the log standard deviations."""
        return self.policy.num_parameters + self.numbers

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """The network's first parameters, and standard deviations of 1: float64 [*batch, parameter]."""
        network = self.policy.initial(generator, *batch)
        return torch.cat((network, network.new_zeros(*batch, self.numbers)), -1)

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        """The network's; see `Policy.memory`."""
        return self.policy.memory(self._split(theta)[0], samples)

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log standard deviations; see `Policy.step`."""
        network, log_std = self._split(theta)
        means, memory = self.policy.step(network, observations, memory)
        return _beside(means, log_std), memory

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Means and log standard deviations; see `Policy.unroll`."""
        network, log_std = self._split(theta)
        return _beside(self.policy.unroll(network, observations), log_std)

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        network, log_std = theta.split((self.policy.num_parameters, self.numbers), -1)
        return network, log_std


def _beside(means: Tensor, log_std: Tensor) -> Tensor:
    """[..., agent, *samples, number] and [..., agent, number] -> [..., agent, *samples, mean | log std]."""
    between = means.ndim - log_std.ndim
    spread = log_std.reshape(*log_std.shape[:-1], *[1] * between, log_std.shape[-1])
    return torch.cat((means, spread.expand_as(means)), -1)


@dataclass(frozen=True)
class Numbered:
    """Any policy, each agent's number one-hot appended to what it sees: features of a vector, or planes.

    >>> from bilevel.agents import MLP
    >>> policy = Numbered(MLP(num_features=4 + 2, num_actions=3))
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> policy.seen(theta, torch.full((2, 1, 4), 0.5))
    tensor([[[0.5000, 0.5000, 0.5000, 0.5000, 1.0000, 0.0000]],
            [[0.5000, 0.5000, 0.5000, 0.5000, 0.0000, 1.0000]]])
    """

    policy: Policy
    """Of so many more features, or planes, as there are agents."""
    one_hot: int = 0
    """How many integers observations can be, to be one-hot encoded; 0: they are no integers."""
    observation_axes: int = 1
    """Axes of an observation that is no integer."""
    planes: bool = False
    """Whether an observation stays planes [plane, row, column], each number one of 0s or of 1s; else it is
    laid end to end."""

    @property
    def num_parameters(self) -> int:
        """Parameters of one agent."""
        return self.policy.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """See `Policy.initial`."""
        return self.policy.initial(generator, *batch)

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        """See `Policy.memory`."""
        return self.policy.memory(theta, samples)

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See `Policy.step`."""
        return self.policy.step(theta, self.seen(theta, observations), memory)

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """See `Policy.unroll`."""
        return self.policy.unroll(theta, self.seen(theta, observations))

    def seen(self, theta: Tensor, observations: Tensor) -> Tensor:
        """What each agent sees, with its number.

        Args:
            theta: [..., agent, parameter].
            observations: [..., agent, *samples, *shape], integer, bytes or of theta's dtype.

        Returns:
            [..., agent, *samples, feature + agent], or [..., agent, *samples, plane + agent, row, column].
        """
        if self.planes:
            return self._with_number(theta, observations.movedim(-3, -1)).movedim(-1, -3)
        vectors = as_vectors(observations, theta, one_hot=self.one_hot, axes=self.observation_axes)
        return self._with_number(theta, vectors)

    def _with_number(self, theta: Tensor, features: Tensor) -> Tensor:
        """[..., agent, *rest, feature] -> [..., agent, *rest, feature + agent]."""
        agents = theta.shape[-2]
        numbers = torch.eye(agents, dtype=theta.dtype, device=theta.device)
        between = features.ndim - theta.ndim  # axes between the agents and the features
        numbers = numbers.reshape(agents, *[1] * between, agents)
        return torch.cat((features, numbers.expand(*features.shape[:-1], agents)), -1)
