"""Protocol of policies, whose parameters are one tensor [seed, agent, parameter], and their initial draws."""

from __future__ import annotations

import abc
from typing import Protocol

import torch
from torch import Tensor

from bilevel.core import Purpose, first_draws


class Policy(Protocol):
    """A policy of all agents: parameters, a recurrent state (`hidden_state`), and functions to logits.

    `step` is for acting, `unroll` for learning from whole episodes: the same logits, with derivatives through
    the recurrent state. Logits are unnormalized log-probabilities of every action.

    >>> from bilevel.agents import GRU
    >>> policy: Policy = GRU(num_features=4, num_actions=3)
    >>> theta = policy.initial(torch.Generator().manual_seed(0), 2)  # two agents
    >>> observed = torch.ones(2, 10, 4, dtype=theta.dtype)  # agent, sample, feature
    >>> logits, hidden_state = policy.step(theta, observed, policy.initial_hidden_state(theta, samples=10))
    >>> torch.allclose(logits, policy.unroll(theta, observed.unsqueeze(1)).squeeze(1))
    True
    """

    @property
    def num_parameters(self) -> int:
        """Number of parameters of one agent."""

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Draw initial parameters of a batch of agents, or of one: float64 [*batch, parameter]."""

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        """Initial recurrent state of `samples` episodes, [..., agent, unit, sample]."""

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits [..., agent, sample, action] of one step, and the next recurrent state.

        Observations are [..., agent, sample, *shape], integer, bytes or of theta's dtype.
        """

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Compute logits [..., agent, time, episode, action] of whole episodes, from their start.

        Observations are [..., agent, time, episode, *shape], integer, bytes or of theta's dtype.
        """


class FeedForward(abc.ABC):
    """A policy that is not recurrent, defined by `logits`; an episode's steps are independent samples.

    >>> class Blind(FeedForward):
    ...     num_parameters = 2
    ...     def initial(self, generator, *batch):
    ...         return torch.zeros(*batch, 2, dtype=torch.float64)
    ...     def logits(self, theta, observations):  # integers [..., agent, sample]
    ...         return theta.unsqueeze(-2).expand(*observations.shape, 2)
    >>> seen = torch.zeros(3, 5, 10, dtype=torch.int64)  # agent, time, episode
    >>> Blind().unroll(torch.zeros(3, 2), seen).shape  # agent, time, episode, action
    torch.Size([3, 5, 10, 2])
    """

    @abc.abstractmethod
    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Compute logits [..., agent, sample, action] of observations [..., agent, sample, *shape]."""

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        return theta.new_zeros(*theta.shape[:-1], 0, samples)

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits(theta, observations), hidden_state

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        time = theta.ndim - 1
        logits = self.logits(theta, observations.flatten(time, time + 1))
        episodes: Tensor = logits.unflatten(-2, observations.shape[time : time + 2])
        return episodes


def initial_parameters(
    policy: Policy, *, seed: int, seeds: int, agents: int, alike: bool = False, outer_step: int = 0
) -> Tensor:
    """Draw all agents' initial parameters, on the CPU.

    Those of repetition i depend on the random seed `seed` + i and the outer step alone.

    Args:
        policy: the policies, as functions of their parameters.
        seed: random seed of the first repetition.
        seeds: number of repetitions.
        agents: number of agents.
        alike: give all agents of a repetition the same parameters.
        outer_step: outer step that draws them, 0 at the beginning.

    Returns:
        Parameters, float64 [seed, agent, parameter].

    >>> from bilevel.agents import Tabular
    >>> policy = Tabular(num_observations=1, num_actions=2)
    >>> few, many = (initial_parameters(policy, seed=s, seeds=n, agents=2) for s, n in ((3, 2), (0, 5)))
    >>> bool((few == many[3:]).all())
    True
    """
    drawn = first_draws(
        lambda generator: policy.initial(generator, 1 if alike else agents),
        range(seed, seed + seeds),
        Purpose.POLICIES,
        outer_step,
    )
    return drawn.expand(-1, agents, -1).contiguous()
