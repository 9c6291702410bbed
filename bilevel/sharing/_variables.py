"""Outer variables: values of some shape, and the transfer that they parametrize."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from bilevel.core import Constraint
from bilevel.sharing._sharing import Sharing
from bilevel.sharing._transfer import SharedBy, Transfer
from games.wrappers import check_sharing


class OuterVariable(Protocol):
    """What passes between the agents, learned or fixed: a sharing matrix, networks of incentives, ..."""

    @property
    def agents(self) -> int:
        """Number of agents."""

    @property
    def exact(self) -> bool:
        """Whether it applies where values are exact: only sharing matrices do."""

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw the first value, float64 [seed, ...], on the CPU; repetition i's by `seed` + i alone."""

    def transfer(self, phi: Tensor) -> Transfer:
        """The transfer that a value [seed, ...] stands for, differentiable in it."""


@dataclass(frozen=True, eq=False)
class FixedMatrix:
    """A fixed sharing matrix.

    Raises:
        ValueError: it is no sharing matrix.
    """

    sharing: Tensor
    """float64 [giver, receiver]."""
    exact = True

    def __post_init__(self) -> None:
        check_sharing(self.sharing, agents=len(self.sharing))

    @property
    def agents(self) -> int:
        return len(self.sharing)

    def initial(self, seed: int, seeds: int) -> Tensor:
        return self.sharing.expand(seeds, -1, -1)

    def transfer(self, phi: Tensor) -> SharedBy:
        return SharedBy(phi)


@dataclass(frozen=True, eq=False)
class LearnedMatrix:
    """A learned static sharing matrix: free logits [seed, giver, receiver], at first the same."""

    sharing: Sharing
    exact = True

    @property
    def agents(self) -> int:
        return len(self.sharing.neighbours)

    def initial(self, seed: int, seeds: int) -> Tensor:
        return self.sharing.initial().expand(seeds, -1, -1)

    def transfer(self, phi: Tensor) -> SharedBy:
        return SharedBy(self.sharing.matrix(phi))


TERMS = ("policy", "value", "entropy")
"""The terms of a loss whose weights are learned, as `LossTerms` has them."""


def loss_weight_factors(free: Tensor, max_factor: float) -> Tensor:
    """Factors on the weights of `TERMS`: max_factor^(2 sigmoid(x) - 1), which is exactly 1 at x = 0.

    They lie between 1 / max_factor and max_factor.

    >>> loss_weight_factors(torch.zeros(3), 10.0)
    tensor([1., 1., 1.])
    """
    bound = math.log(max_factor)
    return Constraint("bounded", (-bound, bound)).values(free).exp()
