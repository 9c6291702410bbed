"""Constraints of learned weights: maps from free numbers, which an optimizer moves, to allowed values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from games.core import require, require_name

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Constraint:
    """A map from free numbers to allowed values, and back.

    Raises:
        ValueError: there is no such constraint; or bounds are missing, not wanted, or not in order.

    >>> softplus = Constraint("softplus")
    >>> softplus.values(softplus.free(torch.tensor([0.5, 2.0])))
    tensor([0.5000, 2.0000])
    """

    name: str
    """softplus, projected, simplex, bounded or free; see `CONSTRAINTS`."""
    bounds: Bounds | None = None
    """Of bounded: the least and the greatest value."""

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
        """The allowed values of free numbers, [..., weight]."""
        return CONSTRAINTS[self.name].values(free, self.bounds)

    def free(self, values: Tensor) -> Tensor:
        """The free numbers of values, [..., weight].

        Raises:
            ValueError: a value is not allowed, or lies on a bound that no free number reaches.
        """
        require(bool(values.isfinite().all()), f"Weights must be finite numbers, not {values.tolist()}.")
        rule = CONSTRAINTS[self.name]
        sentence = rule.refused(values, self.bounds)
        require(sentence is None, f"{sentence}, but they are {values.tolist()}.")
        return rule.free(values, self.bounds)

    @torch.no_grad()
    def project_(self, free: Tensor) -> None:
        """Project free numbers onto the allowed ones, in place; only those of `projected` ever leave them."""
        if self.name == "projected":
            free.clamp_(min=0)


@dataclass(frozen=True)
class _Rule:
    values: Callable[[Tensor, Bounds | None], Tensor]
    free: Callable[[Tensor, Bounds | None], Tensor]
    refused: Callable[[Tensor, Bounds | None], str | None]
    """The reason why values are not allowed, as the first half of a sentence; None: they are."""


def _between(values: Tensor, bounds: Bounds | None) -> str | None:
    assert bounds is not None
    inside = bool(((values > bounds[0]) & (values < bounds[1])).all())
    return None if inside else f"Bounded weights start strictly between {bounds[0]:g} and {bounds[1]:g}"


def _bounded(free: Tensor, bounds: Bounds | None) -> Tensor:
    assert bounds is not None
    return bounds[0] + (bounds[1] - bounds[0]) * free.sigmoid()


def _from_bounded(values: Tensor, bounds: Bounds | None) -> Tensor:
    assert bounds is not None
    return ((values - bounds[0]) / (bounds[1] - bounds[0])).logit()


def _sums_to_one(values: Tensor, _: Bounds | None) -> str | None:
    fine = bool((values > 0).all()) and bool(((values.sum(-1) - 1).abs() < 1e-4).all())
    return None if fine else "Weights on the simplex start above 0 and sum to 1"


CONSTRAINTS: dict[str, _Rule] = {
    "softplus": _Rule(
        lambda free, _: functional.softplus(free),
        lambda values, _: values + torch.log(-torch.expm1(-values)),
        lambda values, _: None if bool((values > 0).all()) else "Softplus weights start above 0",
    ),
    "projected": _Rule(
        lambda free, _: free,
        lambda values, _: values.clone(),
        lambda values, _: None if bool((values >= 0).all()) else "Projected weights are 0 or more",
    ),
    "simplex": _Rule(lambda free, _: free.softmax(-1), lambda values, _: values.log(), _sums_to_one),
    "bounded": _Rule(_bounded, _from_bounded, _between),
    "free": _Rule(lambda free, _: free, lambda values, _: values.clone(), lambda values, _: None),
}
"""Name -> rule. softplus: above 0, log(1 + e^x). projected: 0 or more, cut off at 0 after each outer step, so
that a weight can be 0. simplex: above 0 with the sum 1, the softmax. bounded: between two numbers, by the
logistic function. free: any number."""
