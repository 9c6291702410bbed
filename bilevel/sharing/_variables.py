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
    """Parametrization of a transfer between agents, learned or fixed: a matrix, incentive networks, ..."""

    @property
    def agents(self) -> int:
        """Number of agents."""

    @property
    def exact(self) -> bool:
        """True if it applies to exact values, as sharing matrices do."""

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw the initial value, float64 [seed, ...], on the CPU; a repetition depends on its seed alone."""

    def transfer(self, phi: Tensor) -> Transfer:
        """Build the transfer at a value [seed, ...], differentiable in it."""


@dataclass(frozen=True, eq=False)
class FixedMatrix:
    """A fixed sharing matrix.

    Raises:
        ValueError: it is not square, a row does not sum to 1, or an entry is negative.
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
    """A learned static sharing matrix: logits [seed, giver, receiver], initially equal for all seeds."""

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
"""Terms of a loss whose weights can be learned, in the order of `LossTerms`."""


def loss_weight_factors(free: Tensor, max_factor: float) -> Tensor:
    """Factors on the weights of `TERMS`: max_factor^(2 sigmoid(x) - 1), exactly 1 at x = 0.

    They lie between 1 / max_factor and max_factor.

    >>> loss_weight_factors(torch.zeros(3), 10.0)
    tensor([1., 1., 1.])
    """
    bound = math.log(max_factor)
    return Constraint("bounded", (-bound, bound)).values(free).exp()
