"""Learning rules by name and in text form, `magnetic-mirror-descent(temperature=0.2)`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_type_hints

from bilevel.core import fits, read_settings, spelled
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
from games.core import Registry, require_name

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
        text: one of `RULES`, with settings in parentheses if it is to have any.
    Returns:
        The rule.
    Raises:
        ValueError: the text cannot be read; there is no such rule or setting, or one is of another type or
            out of range.

    >>> make_rule("multiplicative-weights(learning_rate=0.5)")
    MultiplicativeWeights(learning_rate=0.5)
    """
    rule: Rule = _make(text, RULES)
    return rule


def make_sequential_rule(text: str) -> SequentialRule:
    """Build a learning rule of sequential games from its name or its text form, which is never evaluated.

    Args:
        text: one of `SEQUENTIAL_RULES`, with settings in parentheses if it is to have any.
    Returns:
        The rule.
    Raises:
        ValueError: as for `make_rule`.

    >>> make_sequential_rule("cfr")
    CounterfactualRegretMinimization()
    """
    rule: SequentialRule = _make(text, SEQUENTIAL_RULES)
    return rule


def _make(text: str, registry: Registry[Any]) -> Any:
    found = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", text, re.DOTALL)
    if found is None:
        raise ValueError(
            f"{text!r} is not a learning rule: write its name, or its name with settings, as in {EXAMPLE}."
        )
    kind = registry.find(found[1])
    settings = read_settings(found[2] or "()", of="a learning rule", within=text, example=EXAMPLE)
    hints = get_type_hints(kind)
    for name, value in settings.items():
        require_name(name, [field.name for field in dataclasses.fields(kind)], f"setting of {found[1]}")
        if not fits(value, hints[name]):
            raise ValueError(
                f"The setting {name} of {found[1]} must be of the type {spelled(hints[name])}, but it is "
                f"{value!r}."
            )
    return kind(**settings)
