"""Estimators of an outer gradient through inner learning; this room knows nothing of games or agents."""

from __future__ import annotations

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
