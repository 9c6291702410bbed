"""Protocol of policies, whose parameters are one tensor [seed, agent, parameter], and their initial draws."""

from __future__ import annotations

import abc
from typing import Protocol

import torch
from torch import Tensor

from bilevel.core import Purpose, first_draws


class Policy(Protocol):
    """A policy of all agents: parameters, a recurrent state (`memory`), and functions to logits.

    `step` plays episodes, `unroll` learns from them: the same logits, with derivatives through the recurrent
    state. Logits are unnormalized log-probabilities of every action.
    """

    @property
    def num_parameters(self) -> int:
        """Parameters of one agent."""

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Draw the first parameters of a batch of agents, or of one: float64 [*batch, parameter]."""

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        """The recurrent state at the start of an episode, [..., agent, unit, sample], in theta's dtype.

        A policy that is not recurrent has no units.

        Args:
            theta: [..., agent, parameter].
            samples: episodes that each agent plays at once.
        """

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every episode.

        Args:
            theta: [..., agent, parameter].
            observations: [..., agent, sample, *shape], integer, bytes or of theta's dtype.
            memory: from `memory` or the step before.

        Returns:
            logits [..., agent, sample, action]; the memory for the next step.
        """

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Whole episodes, from their start.

        Args:
            theta: [..., agent, parameter].
            observations: [..., agent, time, episode, *shape], the same leading axes, integer, bytes or of
                theta's dtype.

        Returns:
            logits [..., agent, time, episode, action].
        """


class FeedForward(abc.ABC):
    """A policy that is not recurrent, by its `logits`: an episode's steps are samples to it."""

    @abc.abstractmethod
    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Unnormalized log-probabilities, [..., agent, sample, action].

        Args:
            theta: [..., agent, parameter].
            observations: [..., agent, sample] of integers or [..., agent, sample, *shape] of floats or bytes.
        """

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        return theta.new_zeros(*theta.shape[:-1], 0, samples)

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits(theta, observations), memory

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        time = theta.ndim - 1
        logits = self.logits(theta, observations.flatten(time, time + 1))
        episodes: Tensor = logits.unflatten(-2, observations.shape[time : time + 2])
        return episodes


def initial_parameters(
    policy: Policy, *, seed: int, seeds: int, agents: int, alike: bool = False, outer_step: int = 0
) -> Tensor:
    """Draw all agents' first parameters, float64 [seed, agent, parameter], on the CPU.

    Those of repetition i depend on the random seed `seed` + i alone.

    Args:
        policy: the policy.
        seed: the random seed of repetition 0.
        seeds: number of independent repetitions.
        agents: number of agents.
        alike: whether all agents of a repetition start with the same ones.
        outer_step: each has draws of its own.

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
