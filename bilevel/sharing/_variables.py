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
    """Anything between the agents that can be learned, or held fixed: a matrix, networks that give."""

    @property
    def agents(self) -> int:
        """Between how many agents it stands."""

    @property
    def exact(self) -> bool:
        """Whether it applies where values are exact: only sharing matrices do."""

    def initial(self, seed: int, seeds: int) -> Tensor:
        """The first value, float64 [seed, ...], on the CPU; that of repetition i depends on `seed` and i."""

    def transfer(self, phi: Tensor) -> Transfer:
        """The transfer that a value [seed, ...] stands for, differentiable in it."""


@dataclass(frozen=True, eq=False)
class FixedMatrix:
    """A sharing matrix as it is: nothing is learned.

    Raises:
        ValueError: it is no sharing matrix.
    """

    sharing: Tensor
    """float64 [giver, receiver]."""

    def __post_init__(self) -> None:
        check_sharing(self.sharing, agents=len(self.sharing))

    @property
    def agents(self) -> int:
        """As many as the matrix has rows."""
        return len(self.sharing)

    @property
    def exact(self) -> bool:
        """It does."""
        return True

    def initial(self, seed: int, seeds: int) -> Tensor:
        """The matrix itself, [seed, giver, receiver]."""
        return self.sharing.expand(seeds, -1, -1)

    def transfer(self, phi: Tensor) -> SharedBy:
        """Sharing by this matrix."""
        return SharedBy(phi)


@dataclass(frozen=True, eq=False)
class LearnedMatrix:
    """A static sharing matrix that is learned: free logits [seed, giver, receiver]."""

    sharing: Sharing

    @property
    def agents(self) -> int:
        """As many as the graph has."""
        return len(self.sharing.neighbours)

    @property
    def exact(self) -> bool:
        """It does."""
        return True

    def initial(self, seed: int, seeds: int) -> Tensor:
        """The same logits for all repetitions."""
        return self.sharing.initial().expand(seeds, -1, -1)

    def transfer(self, phi: Tensor) -> SharedBy:
        """Sharing by the softmax of the logits."""
        return SharedBy(self.sharing.matrix(phi))


TERMS = ("policy", "value", "entropy")
"""The terms of a loss whose weights are learned, as `LossTerms` has them."""


def loss_weight_factors(free: Tensor, max_factor: float) -> Tensor:
    """Factors on the weights of `TERMS`: max_factor^(2 sigmoid(x) - 1), which is exactly 1 at x = 0.

    Args:
        free: free numbers x, [..., term].
        max_factor: the factors lie between 1 / max_factor and max_factor, above 1.

    >>> loss_weight_factors(torch.zeros(3), 10.0)
    tensor([1., 1., 1.])
    """
    bound = math.log(max_factor)
    return Constraint("bounded", (-bound, bound)).values(free).exp()
