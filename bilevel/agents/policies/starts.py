"""The parameters that policies start with: those of a repetition depend on the seed and its number alone."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.agents.policies.protocol import Policy
from bilevel.streams import stream

BLOCK = 32
"""Repetitions that `fresh_parameters` draws together."""


def initial_parameters(policy: Policy, *, seed: int, seeds: int, agents: int, alike: bool = False) -> Tensor:
    """Everybody's first parameters; those of one repetition depend on `seed` and its number alone.

    One generator for each repetition: for the start of a run. What is drawn again and again, draw with
    `fresh_parameters`.

    Args:
        policy: whose parameters.
        seed: the run's seed.
        seeds: how many independent repetitions.
        agents: how many agents.
        alike: whether the agents of a repetition all start with the same ones.

    Returns:
        float64 [seed, agent, parameter], on the CPU.

    >>> from bilevel.agents.policies import Tabular
    >>> policy = Tabular(num_observations=1, num_actions=2)
    >>> few, many = (initial_parameters(policy, seed=0, seeds=seeds, agents=2) for seeds in (2, 5))
    >>> torch.equal(few, many[:2])
    True
    """

    def one(index: int) -> Tensor:
        generator = stream(seed, index)
        return torch.stack([policy.initial(generator) for _ in range(1 if alike else agents)])

    return _for_all(torch.stack([one(index) for index in range(seeds)]), agents)


def fresh_parameters(policy: Policy, *, seed: int, seeds: int, agents: int, alike: bool = False) -> Tensor:
    """Draw parameters distributed as `initial_parameters`, for many repetitions at little cost.

    Repetitions are drawn in whole blocks, each with a generator of its own, and the surplus is dropped: here,
    too, those of one repetition depend on `seed` and its number alone. Other numbers than the first ones.

    Args:
        policy: whose parameters.
        seed: names the draws.
        seeds: how many independent repetitions.
        agents: how many agents.
        alike: whether the agents of a repetition all start with the same ones.

    Returns:
        float64 [seed, agent, parameter], on the CPU.

    >>> from bilevel.agents.policies import Tabular
    >>> policy = Tabular(num_observations=1, num_actions=2)
    >>> few, many = (fresh_parameters(policy, seed=0, seeds=seeds, agents=2) for seeds in (2, 50))
    >>> torch.equal(few, many[:2])
    True
    """
    blocks = range(-(-seeds // BLOCK))
    drawn = [policy.initial(stream(seed, block), BLOCK, 1 if alike else agents) for block in blocks]
    return _for_all(torch.cat(drawn)[:seeds], agents)


def _for_all(drawn: Tensor, agents: int) -> Tensor:
    """[seed, agent or 1, parameter] -> [seed, agent, parameter]."""
    return drawn.expand(-1, agents, -1).contiguous()
