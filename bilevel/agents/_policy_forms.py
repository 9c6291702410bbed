"""Tabular and Gaussian policies, policies that observe their agent's index, and policies with critics.

With a critic, the flat parameter vector is [policy's parameters | critic's].
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.agents._mixture import Mixture
from bilevel.agents._policy import FeedForward, Policy
from bilevel.nn import as_vectors


@dataclass(frozen=True)
class Tabular(FeedForward):
    """A table of logits, one row per observation; the last action's logit is 0, unless `every_logit`.

    With two actions the parameter is the log-odds of the first: P(cooperate) = sigmoid(theta), as in the
    literature on repeated dilemmas (Foerster et al., LOLA, arXiv 1709.04326).

    >>> policy = Tabular(num_observations=5, num_actions=2)
    >>> policy.probabilities(torch.zeros(2, 5)).shape  # agent, observation, action
    torch.Size([2, 5, 2])
    """

    num_observations: int
    """Number of observations, the integers from 0."""
    num_actions: int
    """Number of actions."""
    initial_scale: float = 1.0
    """Standard deviation of the initial logits."""
    every_logit: bool = False
    """Parametrize the last action's logit, too, so that gradient steps treat three actions or more alike."""

    @property
    def num_parameters(self) -> int:
        return self.num_observations * self._free

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        draw = torch.randn(*batch, self.num_parameters, generator=generator, dtype=torch.float64)
        return draw * self.initial_scale

    def table(self, theta: Tensor) -> Tensor:
        """Logits [..., observation, action] of theta [..., parameter]."""
        free = theta.unflatten(-1, (self.num_observations, self._free))
        return free if self.every_logit else functional.pad(free, (0, 1))

    def probabilities(self, theta: Tensor) -> Tensor:
        """Action probabilities [..., observation, action] of theta [..., parameter]."""
        return self.table(theta).softmax(-1)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Look up rows of logits: theta [..., agent, parameter], integers [..., agent, sample]."""
        rows = observations.unsqueeze(-1).expand(*observations.shape, self.num_actions)
        return self.table(theta).gather(-2, rows)

    @property
    def _free(self) -> int:
        return self.num_actions if self.every_logit else self.num_actions - 1


@dataclass(frozen=True)
class Gaussian:
    """A network of means, and a log standard deviation for each, in one flat vector.

    The standard deviations are parameters that do not depend on observations, initially 1, as is usual for
    policy gradients and PPO. `SquashedGaussian` squashes the Gaussian into the action space.

    Source:
        Schulman et al., Trust region policy optimization, arXiv 1502.05477, for standard deviations that
        are separate from the network.

    >>> from bilevel.agents import MLP
    >>> policy = Gaussian(MLP(num_features=4, num_actions=2), numbers=2)
    >>> theta = torch.zeros(3, policy.num_parameters)  # three agents
    >>> policy.unroll(theta, torch.zeros(3, 5, 10, 4)).shape  # agent, time, episode, mean | log std
    torch.Size([3, 5, 10, 4])
    """

    policy: Policy
    """The network of means."""
    numbers: int
    """Dimension of an action."""

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters + self.numbers

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        network = self.policy.initial(generator, *batch)
        return torch.cat((network, network.new_zeros(*batch, self.numbers)), -1)

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        return self.policy.initial_hidden_state(self._split(theta)[0], samples)

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        network, log_std = self._split(theta)
        means, hidden_state = self.policy.step(network, observations, hidden_state)
        return _append_log_std(means, log_std), hidden_state

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        network, log_std = self._split(theta)
        return _append_log_std(self.policy.unroll(network, observations), log_std)

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        network, log_std = theta.split((self.policy.num_parameters, self.numbers), -1)
        return network, log_std


def _append_log_std(means: Tensor, log_std: Tensor) -> Tensor:
    """[..., agent, *samples, number] and [..., agent, number] -> [..., agent, *samples, mean | log std]."""
    between = means.ndim - log_std.ndim
    spread = log_std.reshape(*log_std.shape[:-1], *[1] * between, log_std.shape[-1])
    return torch.cat((means, spread.expand_as(means)), -1)


@dataclass(frozen=True)
class Numbered:
    """A policy with the agent's one-hot index appended to its observation, as features or as planes.

    >>> from bilevel.agents import MLP
    >>> policy = Numbered(MLP(num_features=4 + 2, num_actions=3))
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> policy.with_index(theta, torch.full((2, 1, 4), 0.5))
    tensor([[[0.5000, 0.5000, 0.5000, 0.5000, 1.0000, 0.0000]],
            [[0.5000, 0.5000, 0.5000, 0.5000, 0.0000, 1.0000]]])
    """

    policy: Policy
    """Policy whose inputs have one more feature, or plane, per agent."""
    one_hot: int = 0
    """Number of integer observations, to be one-hot encoded; 0: observations are not integers."""
    observation_axes: int = 1
    """Number of axes of an observation that is not an integer."""
    planes: bool = False
    """Keep observations as planes [plane, row, column], with an index plane of 0s or 1s per agent; else
    flatten them."""

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        return self.policy.initial(generator, *batch)

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        return self.policy.initial_hidden_state(theta, samples)

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy.step(theta, self.with_index(theta, observations), hidden_state)

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        return self.policy.unroll(theta, self.with_index(theta, observations))

    def with_index(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Append each agent's index to observations [..., agent, *samples, *shape]."""
        if self.planes:
            return self._append_index(theta, observations.movedim(-3, -1)).movedim(-1, -3)
        vectors = as_vectors(observations, theta, one_hot=self.one_hot, axes=self.observation_axes)
        return self._append_index(theta, vectors)

    def _append_index(self, theta: Tensor, features: Tensor) -> Tensor:
        agents = theta.shape[-2]
        numbers = torch.eye(agents, dtype=theta.dtype, device=theta.device)
        between = features.ndim - theta.ndim  # axes between the agents and the features
        numbers = numbers.reshape(agents, *[1] * between, agents)
        return torch.cat((features, numbers.expand(*features.shape[:-1], agents)), -1)


@dataclass(frozen=True)
class ValueTable(FeedForward):
    """A table of values: one number per observation, initially 0.

    >>> table = ValueTable(num_observations=3)
    >>> table.logits(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2, 0]]))  # agent, sample, 1
    tensor([[[3.],
             [1.]]])
    """

    num_observations: int
    """Number of observations, the integers from 0."""

    @property
    def num_parameters(self) -> int:
        return self.num_observations

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        return torch.zeros(*batch, self.num_parameters, dtype=torch.float64)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Look up values: theta [..., agent, parameter], integers [..., agent, sample] -> the same, 1."""
        return theta.gather(-1, observations).unsqueeze(-1)


def mixture_in(policy: Policy) -> Mixture | None:
    """Find the mixture of experts in a policy; None: it has none.

    >>> from bilevel.agents import MLP
    >>> mixture_in(PolicyWithCritic.of(Mixture(num_features=4, num_actions=3))).experts
    4
    >>> mixture_in(MLP(num_features=4, num_actions=3)) is None
    True
    """
    if isinstance(policy, Gaussian | Numbered | PolicyWithCritic):
        return mixture_in(policy.policy)
    return policy if isinstance(policy, Mixture) else None


def critic_like(policy: Policy) -> Policy:
    """Build a critic of the policy's kind, with separate parameters and one output, the value.

    A table for a table; for a network the same layers, also recurrent ones, with one output unit; for a
    mixture of experts, a perceptron with the router's hidden layers.

    >>> from bilevel.agents import MLP
    >>> critic_like(MLP(num_features=4, num_actions=3, hidden=(8,))).num_actions
    1
    """
    if isinstance(policy, Tabular):
        return ValueTable(policy.num_observations)
    if isinstance(policy, Gaussian):
        return critic_like(policy.policy)
    if isinstance(policy, Numbered):
        return dataclasses.replace(policy, policy=critic_like(policy.policy))
    if isinstance(policy, Mixture):
        return policy.critic()
    network: Any = policy
    critic: Policy = dataclasses.replace(network, num_actions=1)
    return critic


@dataclass(frozen=True)
class PolicyWithCritic:
    """A policy and a critic; it acts as the policy alone.

    Theta is [..., agent, policy's parameters | critic's]; optimizers, hypergradients and checkpoints treat it
    like that of any policy.

    >>> from bilevel.agents import Tabular
    >>> both = PolicyWithCritic.of(Tabular(num_observations=5, num_actions=2))
    >>> theta = torch.zeros(2, both.num_parameters)  # two agents
    >>> policy, critic = both.split(theta)
    >>> policy.shape, critic.shape
    (torch.Size([2, 5]), torch.Size([2, 5]))
    >>> seen = torch.zeros(2, 7, 10, dtype=torch.int64)  # agent, time, episode
    >>> both.unroll(theta, seen).shape, both.values(theta, seen).shape
    (torch.Size([2, 7, 10, 2]), torch.Size([2, 7, 10]))
    """

    policy: Policy
    critic: Policy
    """Critic of one output, the value of the observations so far."""

    @classmethod
    def of(cls, policy: Policy) -> PolicyWithCritic:
        """Add a critic of its kind to a policy (`critic_like`)."""
        return cls(policy, critic_like(policy))

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters + self.critic.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        return torch.cat([part.initial(generator, *batch) for part in (self.policy, self.critic)], -1)

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Split [..., parameter] into the policy's and the critic's."""
        policy, critic = theta.split((self.policy.num_parameters, self.critic.num_parameters), -1)
        return policy, critic

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        return self.policy.initial_hidden_state(self.split(theta)[0], samples)

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy.step(self.split(theta)[0], observations, hidden_state)

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        return self.policy.unroll(self.split(theta)[0], observations)

    def values(self, theta: Tensor, observations: Tensor) -> Tensor:
        """The critic's values of whole episodes, [..., agent, time, episode], in units of its rewards."""
        return self.critic.unroll(self.split(theta)[1], observations).squeeze(-1)
