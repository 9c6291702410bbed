"""Policies that also take random actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents._policy import Policy
from bilevel.core import Range


@dataclass(frozen=True)
class Exploring:
    """A softmax policy that takes a uniformly random action with a probability epsilon.

    Its logits are those of the mixture, (1 - epsilon) pi + epsilon / actions, so that likelihoods are exact.

    Raises:
        ValueError: epsilon is not from 0 to 1.

    >>> from bilevel.agents import Tabular
    >>> policy = Exploring(Tabular(num_observations=1, num_actions=2), epsilon=0.2)
    >>> theta, seen = torch.tensor([[50.0]]), torch.zeros(1, 1, 1, dtype=torch.int64)  # agent, time, episode
    >>> policy.unroll(theta, seen).exp().flatten()  # 0.8 x (1, 0) + 0.1
    tensor([0.9000, 0.1000])
    """

    policy: Policy
    epsilon: float

    def __post_init__(self) -> None:
        Range(min=0, max=1).require("epsilon", self.epsilon)

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        return self.policy.initial(generator, *batch)

    def initial_hidden_state(self, theta: Tensor, samples: int) -> Tensor:
        return self.policy.initial_hidden_state(theta, samples)

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        logits, hidden_state = self.policy.step(theta, observations, hidden_state)
        return self._mixed(logits), hidden_state

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        return self._mixed(self.policy.unroll(theta, observations))

    def _mixed(self, logits: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        uniform = torch.full_like(probabilities, 1 / logits.shape[-1])
        return torch.lerp(probabilities, uniform, self.epsilon).log()
