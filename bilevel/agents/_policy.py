"""Protocol of policies; one flat tensor [seed, agent, parameter] holds everybody's, no loop over either.

The parameters that policies start with: those of a random seed depend on it alone.
"""

from __future__ import annotations

import abc
from typing import Protocol

import torch
from torch import Tensor

from bilevel.core import Purpose, first_draws


class Policy(Protocol):
    """What a policy is to the rest of the toolkit: parameters, a memory, and functions to logits.

    `step` is how episodes are played, `unroll` how they are learned from: the same logits, with derivatives
    through all that was remembered. Logits are unnormalized log-probabilities of every action.
    """

    @property
    def num_parameters(self) -> int:
        """Parameters of one agent."""

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """First parameters of as many agents as the batch has, or of one: float64 [*batch, parameter]."""

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        """What is remembered at the start of an episode.

        Args:
            theta: [..., agent, parameter].
            samples: how many episodes each agent plays at once.

        Returns:
            [..., agent, unit, sample], in theta's dtype; without units where nothing is remembered.
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
    """A policy that remembers nothing: it says its `logits`, and an episode's steps are samples to it."""

    @abc.abstractmethod
    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Unnormalized log-probabilities of every action.

        Args:
            theta: [..., agent, parameter].
            observations: [..., agent, sample] of integers or [..., agent, sample, *shape] of floats or bytes.

        Returns:
            [..., agent, sample, action].
        """

    def memory(self, theta: Tensor, samples: int) -> Tensor:
        """Nothing: [..., agent, 0, sample]."""
        return theta.new_zeros(*theta.shape[:-1], 0, samples)

    def step(self, theta: Tensor, observations: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """See `Policy.step`."""
        return self.logits(theta, observations), memory

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """See `Policy.unroll`."""
        time = theta.ndim - 1
        logits = self.logits(theta, observations.flatten(time, time + 1))
        episodes: Tensor = logits.unflatten(-2, observations.shape[time : time + 2])
        return episodes


def initial_parameters(
    policy: Policy, *, seed: int, seeds: int, agents: int, alike: bool = False, outer_step: int = 0
) -> Tensor:
    """Draw everybody's new parameters; those of repetition i depend on the random seed `seed` + i alone.

    Args:
        policy: whose parameters.
        seed: the random seed of repetition 0.
        seeds: how many independent repetitions.
        agents: how many agents.
        alike: whether the agents of a repetition all start with the same ones.
        outer_step: in which they are new: other numbers in each.

    Returns:
        float64 [seed, agent, parameter], on the CPU.

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
