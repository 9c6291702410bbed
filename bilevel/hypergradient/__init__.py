"""Estimators of an outer gradient through inner learning; this room knows nothing of games or agents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from bilevel.errors import require, require_name
from bilevel.hypergradient.base import BilevelProblem, Estimate, Hypergradient
from bilevel.hypergradient.check import HypergradientCheck, check_hypergradient
from bilevel.hypergradient.evolution import Evolution
from bilevel.hypergradient.finite_difference import FiniteDifference
from bilevel.hypergradient.forward import Forward
from bilevel.hypergradient.implicit import Implicit
from bilevel.hypergradient.one_step import OneStep
from bilevel.hypergradient.persistent_evolution import Particles, PersistentEvolution
from bilevel.hypergradient.truncated import Truncated
from bilevel.hypergradient.unrolled import Unrolled

ESTIMATORS: dict[str, Callable[..., Hypergradient]] = {
    "unrolled": Unrolled,
    "truncated": Truncated,
    "forward": Forward,
    "implicit": Implicit,
    "one-step": OneStep,
    "finite-difference": FiniteDifference,
    "evolution": Evolution,
}
"""Every estimator by its name: a frozen dataclass whose fields are its settings."""


def make_hypergradient(estimator: str | Hypergradient, **settings: Any) -> Hypergradient:
    """Build an estimator by its name, or give back one that is built already.

    Args:
        estimator: one of `ESTIMATORS`, or an object.
        settings: the fields of the estimator that is named; none with an object.

    Raises:
        ValueError: there is no such estimator or setting, one that it needs is missing or out of range, or
            an object comes with settings.

    >>> make_hypergradient("truncated", steps=5)
    Truncated(steps=5)
    >>> make_hypergradient(OneStep())
    OneStep()
    """
    if not isinstance(estimator, str):
        require(
            not settings, f"{estimator!r} has its settings already: give {', '.join(settings)} to its class."
        )
        return estimator
    require_name(estimator, ESTIMATORS, "hypergradient")
    make = ESTIMATORS[estimator]
    fields = dataclasses.fields(make)  # type: ignore[arg-type]
    for name in settings:
        require_name(name, [field.name for field in fields], f"setting of {estimator}")
    for field in fields:
        given = field.name in settings or field.default is not dataclasses.MISSING
        require(given, f"The hypergradient {estimator!r} needs the setting {field.name!r}.")
    return make(**settings)


__all__ = [
    "ESTIMATORS",
    "BilevelProblem",
    "Estimate",
    "Evolution",
    "FiniteDifference",
    "Forward",
    "Hypergradient",
    "HypergradientCheck",
    "Implicit",
    "OneStep",
    "Particles",
    "PersistentEvolution",
    "Truncated",
    "Unrolled",
    "check_hypergradient",
    "make_hypergradient",
]
