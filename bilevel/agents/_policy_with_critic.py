"""Policies with critics, in one flat parameter vector: [policy's parameters | critic's]."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bilevel.agents._policy import FeedForward, Policy
from bilevel.agents._policy_forms import Gaussian, Numbered, Tabular


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


def critic_like(policy: Policy) -> Policy:
    """Build a critic of the policy's kind, with parameters of its own and one output, the value.

    A table for a table; for a network the same layers, also recurrent ones, with one output unit.

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
    network: Any = policy
    critic: Policy = dataclasses.replace(network, num_actions=1)
    return critic


@dataclass(frozen=True)
class PolicyWithCritic:
    """A policy and a critic; it acts as the policy alone.

    Theta is [..., agent, policy's parameters | critic's]; optimizers, hypergradients and checkpoints treat it
    as any policy's.

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

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        return self.policy.memory(self.split(theta)[0], samples)

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy.step(self.split(theta)[0], observations, memory)

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        return self.policy.unroll(self.split(theta)[0], observations)

    def values(self, theta: Tensor, observations: Tensor) -> Tensor:
        """The critic's values of whole episodes, [..., agent, time, episode], in units of its rewards."""
        return self.critic.unroll(self.split(theta)[1], observations).squeeze(-1)
