"""Tables of logits: one row per observation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.agents.policies.protocol import FeedForward


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
