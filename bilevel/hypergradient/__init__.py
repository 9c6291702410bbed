"""Estimators of an outer gradient through inner learning; this package knows nothing of games or agents.

The names below load when they are first used: an estimator needs none of the tools that compare estimators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from games.lazy import lazy_names

if TYPE_CHECKING:
    from bilevel.hypergradient.base import Always, BilevelProblem, Estimate, Hypergradient, Recorded
    from bilevel.hypergradient.check import HypergradientCheck, check_hypergradient
    from bilevel.hypergradient.compare import compare_hypergradients
    from bilevel.hypergradient.comparison import HypergradientComparison
    from bilevel.hypergradient.evolution import Evolution
    from bilevel.hypergradient.finite_difference import FiniteDifference
    from bilevel.hypergradient.forward import Forward
    from bilevel.hypergradient.implicit import Implicit
    from bilevel.hypergradient.named import (
        ESTIMATORS,
        format_hypergradient,
        make_hypergradient,
        register_hypergradient,
    )
    from bilevel.hypergradient.one_step import OneStep
    from bilevel.hypergradient.online import OnlineHypergradient
    from bilevel.hypergradient.persistent_evolution import PersistentEvolution
    from bilevel.hypergradient.truncated import Truncated
    from bilevel.hypergradient.unrolled import Unrolled

__all__ = [
    "ESTIMATORS",
    "Always",
    "BilevelProblem",
    "Estimate",
    "Evolution",
    "FiniteDifference",
    "Forward",
    "Hypergradient",
    "HypergradientCheck",
    "HypergradientComparison",
    "Implicit",
    "OneStep",
    "OnlineHypergradient",
    "PersistentEvolution",
    "Recorded",
    "Truncated",
    "Unrolled",
    "check_hypergradient",
    "compare_hypergradients",
    "format_hypergradient",
    "make_hypergradient",
    "register_hypergradient",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bilevel.hypergradient.base": (
            "Always",
            "BilevelProblem",
            "Estimate",
            "Hypergradient",
            "Recorded",
        ),
        "bilevel.hypergradient.check": (
            "HypergradientCheck",
            "check_hypergradient",
        ),
        "bilevel.hypergradient.compare": ("compare_hypergradients",),
        "bilevel.hypergradient.comparison": ("HypergradientComparison",),
        "bilevel.hypergradient.evolution": ("Evolution",),
        "bilevel.hypergradient.finite_difference": ("FiniteDifference",),
        "bilevel.hypergradient.forward": ("Forward",),
        "bilevel.hypergradient.implicit": ("Implicit",),
        "bilevel.hypergradient.named": (
            "ESTIMATORS",
            "format_hypergradient",
            "make_hypergradient",
            "register_hypergradient",
        ),
        "bilevel.hypergradient.one_step": ("OneStep",),
        "bilevel.hypergradient.online": ("OnlineHypergradient",),
        "bilevel.hypergradient.persistent_evolution": ("PersistentEvolution",),
        "bilevel.hypergradient.truncated": ("Truncated",),
        "bilevel.hypergradient.unrolled": ("Unrolled",),
    },
)
