"""Learning rules by name and in text form, `magnetic-mirror-descent(temperature=0.2)`."""

from __future__ import annotations

from bilevel.core import build_object, split_object_text
from bilevel.zero_sum._fictitious_play import FictitiousPlay
from bilevel.zero_sum._magnetic import MagneticMirrorDescent, RegularizedNashDynamics
from bilevel.zero_sum._multiplicative_weights import MultiplicativeWeights, OptimisticMultiplicativeWeights
from bilevel.zero_sum._regret_matching import RegretMatching, RegretMatchingPlus
from bilevel.zero_sum._response_oracles import PolicySpaceResponseOracles
from bilevel.zero_sum._rule import Rule
from bilevel.zero_sum._sequential import (
    CounterfactualRegretMinimization,
    CounterfactualRegretMinimizationPlus,
    SequentialRule,
)
from games.core import Registry

EXAMPLE = "magnetic-mirror-descent(temperature=0.2)"

RULES: Registry[type[Rule]] = Registry(
    "learning rule",
    {
        "multiplicative-weights": MultiplicativeWeights,
        "optimistic-multiplicative-weights": OptimisticMultiplicativeWeights,
        "fictitious-play": FictitiousPlay,
        "regret-matching": RegretMatching,
        "regret-matching-plus": RegretMatchingPlus,
        "magnetic-mirror-descent": MagneticMirrorDescent,
        "r-nad": RegularizedNashDynamics,
        "psro": PolicySpaceResponseOracles,
    },
)
"""Learning rules of one-shot games by their names: frozen dataclasses of their settings."""

SEQUENTIAL_RULES: Registry[type[SequentialRule]] = Registry(
    "learning rule of sequential games",
    {
        "cfr": CounterfactualRegretMinimization,
        "cfr-plus": CounterfactualRegretMinimizationPlus,
        "magnetic-mirror-descent": MagneticMirrorDescent,
    },
)
"""Learning rules of sequential games by their names: frozen dataclasses of their settings."""


def make_rule(text: str) -> Rule:
    """Build a learning rule of one-shot games from its name or its text form, which is never evaluated.

    Args:
        text: one of `RULES`; settings go in parentheses.
    Returns:
        The rule.
    Raises:
        ValueError: the text cannot be read; there is no such rule or setting, or one is of another type or
            out of range.

    >>> make_rule("multiplicative-weights(learning_rate=0.5)")
    MultiplicativeWeights(learning_rate=0.5)
    """
    name, settings = split_object_text(text, RULES, EXAMPLE)
    return build_object(name, RULES, settings)


def make_sequential_rule(text: str) -> SequentialRule:
    """Build a learning rule of sequential games from its name or its text form, which is never evaluated.

    Args:
        text: one of `SEQUENTIAL_RULES`; settings go in parentheses.
    Returns:
        The rule.
    Raises:
        ValueError: as for `make_rule`.

    >>> make_sequential_rule("cfr")
    CounterfactualRegretMinimization()
    """
    name, settings = split_object_text(text, SEQUENTIAL_RULES, EXAMPLE)
    return build_object(name, SEQUENTIAL_RULES, settings)
