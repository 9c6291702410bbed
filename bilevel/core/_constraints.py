"""Constraints of learned weights: maps from unconstrained parameters to allowed values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from games.core import require, require_name

Bounds = tuple[float, float]
"""Lower and upper bound of a value."""


CONSTRAINTS = ("softplus", "projected", "simplex", "bounded", "free")
"""Names of all constraints; see `Constraint`."""


@dataclass(frozen=True)
class Constraint:
    """A constraint of learned weights: a map from unconstrained parameters to allowed values.

    The names: `softplus`, above 0 by log(1 + e^x); `projected`, 0 or more, cut off at 0 after each outer
    step, so that a weight can be 0; `simplex`, above 0 with the sum 1, by the softmax; `bounded`, between two
    numbers, by the logistic function; `free`, any number.

    Raises:
        ValueError: there is no such constraint; or bounds are missing, not wanted, or not in order.

    >>> softplus = Constraint("softplus")
    >>> softplus.values(softplus.free(torch.tensor([0.5, 2.0])))
    tensor([0.5000, 2.0000])
    """

    name: str
    """softplus, projected, simplex, bounded or free."""
    bounds: Bounds | None = None
    """Of bounded: the minimum and maximum value."""

    def __post_init__(self) -> None:
        require_name(self.name, CONSTRAINTS, "constraint")
        if self.name == "bounded":
            require(
                self.bounds is not None
                and all(map(math.isfinite, self.bounds))
                and self.bounds[0] < self.bounds[1],
                f"A bounded weight needs bounds (least, greatest), two numbers in order, not {self.bounds}.",
            )
        else:
            require(self.bounds is None, f"Only bounded weights have bounds, and these are {self.name}.")

    def values(self, free: Tensor) -> Tensor:
        """Map free numbers to allowed values, both [..., weight]."""
        if self.name == "softplus":
            return functional.softplus(free)
        if self.name == "simplex":
            return free.softmax(-1)
        if self.bounds is not None:
            low, high = self.bounds
            return low + (high - low) * free.sigmoid()
        return free

    def free(self, values: Tensor) -> Tensor:
        """Map values to the free numbers behind them, both [..., weight].

        Raises:
            ValueError: a value is not allowed, or lies on a bound that no free number reaches.
        """
        require(bool(values.isfinite().all()), f"Weights must be finite numbers, not {values.tolist()}.")
        low, high = self.bounds or (-math.inf, math.inf)
        sums_to_one = (values.sum(-1, keepdim=True) - 1).abs() < 1e-4
        allowed, sentence = {
            "softplus": (values > 0, "Softplus weights start above 0"),
            "projected": (values >= 0, "Projected weights are 0 or more"),
            "simplex": (sums_to_one & (values > 0), "Weights on the simplex start above 0 and sum to 1"),
            "bounded": (
                (values > low) & (values < high),
                f"Bounded weights start strictly between {low:g} and {high:g}",
            ),
            "free": (values.isfinite(), ""),
        }[self.name]
        require(bool(allowed.all()), f"{sentence}, but they are {values.tolist()}.")
        if self.name == "softplus":
            return values + torch.log(-torch.expm1(-values))
        if self.name == "simplex":
            return values.log()
        if self.name == "bounded":
            return ((values - low) / (high - low)).logit()
        return values.clone()

    @torch.no_grad()
    def project_(self, free: Tensor) -> None:
        """Project free numbers onto the allowed ones, in place; only those of `projected` ever leave them."""
        if self.name == "projected":
            free.clamp_(min=0)
