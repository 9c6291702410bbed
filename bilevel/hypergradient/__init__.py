"""Estimators of an outer gradient through inner learning; this room knows nothing of games or agents."""

from bilevel.hypergradient.base import BilevelProblem, Estimate, Hypergradient
from bilevel.hypergradient.check import HypergradientCheck, check_hypergradient
from bilevel.hypergradient.unrolled import Unrolled

__all__ = [
    "BilevelProblem",
    "Estimate",
    "Hypergradient",
    "HypergradientCheck",
    "Unrolled",
    "check_hypergradient",
]
