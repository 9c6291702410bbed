"""Policies, stacked: one flat tensor [seed, agent, parameter] holds everybody's, no loop over either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bilevel.errors import require
from bilevel.networks import ActivationName, Perceptron

BLOCK = 32
"""Repetitions that `fresh_parameters` draws together."""


class Policy(Protocol):
    """What a policy is to the rest of the toolkit: a number of parameters and a function to logits."""

    @property
    def num_parameters(self) -> int:
        """Parameters of one agent."""

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """First parameters of as many agents as the batch has, or of one: float64 [*batch, parameter]."""

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Unnormalised log-probabilities of every action.

        Args:
            theta: [..., agent, parameter].
            observations: [..., agent, sample] of integers or [..., agent, sample, feature] of floats.

        Returns:
            [..., agent, sample, action].
        """


@dataclass(frozen=True)
class Tabular:
    """A table of logits, one row per observation; the last action's logit is 0.

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

    @property
    def num_parameters(self) -> int:
        """One logit per observation and action, but for the last action's."""
        return self.num_observations * (self.num_actions - 1)

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Independent normal logits, float64 [*batch, parameter]."""
        draw = torch.randn(*batch, self.num_parameters, generator=generator, dtype=torch.float64)
        return draw * self.initial_scale

    def table(self, theta: Tensor) -> Tensor:
        """Logits [..., observation, action] of theta [..., parameter]."""
        free = theta.unflatten(-1, (self.num_observations, self.num_actions - 1))
        return functional.pad(free, (0, 1))

    def probabilities(self, theta: Tensor) -> Tensor:
        """The whole policy, [..., observation, action], of theta [..., parameter]."""
        return self.table(theta).softmax(-1)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Look the rows up: theta [..., agent, parameter], observations integer [..., agent, sample]."""
        rows = observations.unsqueeze(-1).expand(*observations.shape, self.num_actions)
        return self.table(theta).gather(-2, rows)


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron per agent.

    Agents share no parameters. The last layer starts small, so that the first policies are close to uniform.

    Raises:
        ValueError: there is no hidden layer, or one without units.

    >>> policy = MLP(num_features=4, num_actions=3, hidden=(8,))
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> policy.logits(theta, torch.zeros(2, 10, 4)).shape  # agent, sample, action
    torch.Size([2, 10, 3])
    """

    num_features: int
    """Numbers of an observation."""
    num_actions: int
    """How many actions there are."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer, one layer or more."""
    one_hot: bool = False
    """Whether observations are integers below `num_features`, to be one-hot encoded."""
    observation_axes: int = 1
    """Axes of an observation that is no integer; more than one (planes of a grid) are taken as one vector."""
    last_layer_scale: float = 0.1
    """Factor on the last layer's first weights."""
    activation: ActivationName = "tanh"
    """Between layers."""

    def __post_init__(self) -> None:
        require(
            bool(self.hidden) and min(self.hidden) > 0,
            f"An MLP's hidden layers need 1 unit or more each, but hidden is {self.hidden}.",
        )

    @property
    def network(self) -> Perceptron:
        """The network that each agent has."""
        return Perceptron((self.num_features, *self.hidden, self.num_actions), self.activation)

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all layers."""
        return self.network.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Normal weights of standard deviation 1 / sqrt(fan in), zero biases: float64 [*batch, parameter]."""
        return self.network.initial(generator, *batch, last_layer_scale=self.last_layer_scale)

    def logits(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Run every agent's network on its own samples (see `Policy.logits`)."""
        if self.one_hot:
            return self.network(theta, functional.one_hot(observations, self.num_features).to(theta.dtype))
        return self.network(theta, observations.flatten(-self.observation_axes))


def initial_parameters(policy: Policy, *, seed: int, seeds: int, agents: int) -> Tensor:
    """Everybody's first parameters; those of one repetition depend on `seed` and its number alone.

    One generator for each repetition: for the start of a run. What is drawn again and again, draw with
    `fresh_parameters`.

    Args:
        policy: whose parameters.
        seed: the run's seed.
        seeds: how many independent repetitions.
        agents: how many agents.

    Returns:
        float64 [seed, agent, parameter], on the CPU.

    >>> policy = Tabular(num_observations=1, num_actions=2)
    >>> few, many = (initial_parameters(policy, seed=0, seeds=seeds, agents=2) for seeds in (2, 5))
    >>> torch.equal(few, many[:2])
    True
    """

    def one(index: int) -> Tensor:
        generator = _generator(seed, index)
        return torch.stack([policy.initial(generator) for _ in range(agents)])

    return torch.stack([one(index) for index in range(seeds)])


def fresh_parameters(policy: Policy, *, seed: int, seeds: int, agents: int) -> Tensor:
    """Draw parameters distributed as `initial_parameters`, for many repetitions at little cost.

    Repetitions are drawn in whole blocks, each with a generator of its own, and the surplus is dropped: here,
    too, those of one repetition depend on `seed` and its number alone. Other numbers than the first ones.

    Args:
        policy: whose parameters.
        seed: names the draws.
        seeds: how many independent repetitions.
        agents: how many agents.

    Returns:
        float64 [seed, agent, parameter], on the CPU.

    >>> policy = Tabular(num_observations=1, num_actions=2)
    >>> few, many = (fresh_parameters(policy, seed=0, seeds=seeds, agents=2) for seeds in (2, 50))
    >>> torch.equal(few, many[:2])
    True
    """
    blocks = range(-(-seeds // BLOCK))
    drawn = [policy.initial(_generator(seed, block), BLOCK, agents) for block in blocks]
    return torch.cat(drawn)[:seeds]


def _generator(seed: int, index: int) -> torch.Generator:
    """The stream of draws with this number."""
    state = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
