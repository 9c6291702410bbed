"""Learned factors on the weights of the terms of agents' losses."""

from __future__ import annotations

import math

from torch import Tensor

from bilevel.core import Constraint

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
