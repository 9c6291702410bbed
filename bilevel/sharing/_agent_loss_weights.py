"""Weights of the terms of agents' losses, learned above beside what passes between the agents."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.core import Constraint
from bilevel.sharing._objectives import Objective
from bilevel.sharing._transfer import Transfer
from bilevel.sharing._variables import OuterVariable

TERMS = ("policy", "value", "entropy")
"""The terms of a loss whose weights are learned, as `LossTerms` has them."""


@dataclass(frozen=True, eq=False)
class WithLossWeights:
    """An outer variable, and for each agent and each term of its loss a factor on the term's weight.

    A value is [seed, row, entry]: the rows of the variable itself, each with its agent's free numbers behind
    it (behind a single row, those of all agents). A free number x stands for the factor

        most^(2 sigmoid(x) - 1),

    which is above 1 / most and below most, and exactly 1 at x = 0, where it starts.

    >>> from bilevel.sharing._sharing import identity_sharing
    >>> from bilevel.sharing._variables import FixedMatrix
    >>> variable = WithLossWeights(FixedMatrix(identity_sharing(2)), most=10.0)
    >>> phi = variable.initial(seed=0, seeds=1)
    >>> phi.shape, variable.factors(phi)[0, 0]
    (torch.Size([1, 2, 5]), tensor([1., 1., 1.], dtype=torch.float64))
    """

    variable: OuterVariable
    """What passes between the agents."""
    most: float
    """What no factor comes up to, above 1; none comes down to 1 / most."""

    @property
    def agents(self) -> int:
        """As many as the variable is for."""
        return self.variable.agents

    @property
    def exact(self) -> bool:
        """Whether the variable does."""
        return self.variable.exact

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the variable's own value, without its seeds."""
        return tuple(self.variable.initial(0, 1).shape[1:])

    def initial(self, seed: int, seeds: int) -> Tensor:
        """The variable's own first value, and factors of 1; float64 [seed, row, entry]."""
        own = self.variable.initial(seed, seeds)
        return self.joined(own, own.new_zeros(seeds, self.agents, len(TERMS)))

    def transfer(self, phi: Tensor) -> Transfer:
        """The variable's; loss weights pass nothing between agents."""
        return self.variable.transfer(self.parts(phi)[0])

    def factors(self, phi: Tensor) -> Tensor:
        """What the weights of `TERMS` are multiplied by, [seed, agent, term]."""
        most = math.log(self.most)
        return Constraint("bounded", (-most, most)).values(self.parts(phi)[1]).exp()

    def parts(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take a value apart.

        Args:
            values: [..., row, entry].

        Returns:
            the variable's own, [..., *shape], and the free numbers of the factors, [..., agent, term].
        """
        entries = math.prod(self.shape) // self._rows
        own, free = values[..., :entries], values[..., entries:]
        lead = values.shape[:-2]
        return own.reshape(*lead, *self.shape), free.reshape(*lead, self.agents, len(TERMS))

    def joined(self, own: Tensor, free: Tensor) -> Tensor:
        """Put two parts together: what `parts` takes apart."""
        lead, rows = free.shape[:-2], self._rows
        entries = math.prod(self.shape) // rows
        return torch.cat((own.reshape(*lead, rows, entries), free.reshape(*lead, rows, -1)), -1)

    @property
    def _rows(self) -> int:
        """A variable that holds nothing gets a row for each agent."""
        return self.shape[0] if len(self.shape) > 1 else self.agents


@dataclass(frozen=True)
class PartedObjective(Objective):
    """One objective for what passes between agents, another for the weights of their losses.

    Both are sums of the same values and costs, so one meta-gradient for each agent serves them both.
    """

    variable: WithLossWeights
    between: Objective | None
    """Of what passes between agents; None: it does not move."""
    weights: Objective | None
    """Of the loss weights; None: they do not move."""

    @classmethod
    def of(
        cls, variable: WithLossWeights, between: Objective | None, weights: Objective | None
    ) -> PartedObjective:
        """Join the two; there are several objectives if there are in either."""
        given = [one for one in (between, weights) if one is not None]
        summary = " and ".join(dict.fromkeys(one.summary for one in given))
        return cls(summary, any(one.several for one in given), variable, between, weights)

    def own_gradient(self, gradient: Tensor) -> Tensor:
        """Let each part follow its own objective, and within it each giver or learner.

        Args:
            gradient: [seed, row, entry]; with `several`, the agents' objectives first.

        Returns:
            [seed, row, entry].
        """
        own, free = self.variable.parts(gradient)
        return self.variable.joined(self._of(self.between, own), self._of(self.weights, free))

    def _of(self, objective: Objective | None, gradient: Tensor) -> Tensor:
        if objective is None:
            return torch.zeros_like(gradient[0] if self.several else gradient)
        if self.several and not objective.several:
            return gradient.sum(0)
        return objective.own_gradient(gradient)
