"""How the command line reads settings of methods that are neither numbers nor names."""

from __future__ import annotations

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from bilevel.hypergradient import ESTIMATORS, Hypergradient
from bilevel.schedule import Scheduled


def method_rules() -> ConstructorRegistry:
    """How options of the toolkit's own types are read: estimators and schedules by their text forms."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def read_estimator(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[str] | None:
        if kind.type != str | Hypergradient:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{{{','.join(ESTIMATORS)}}}[(SETTING=VALUE,...)]",
            instance_from_str=lambda words: words[0],  # the dataclass refuses what is none, in one sentence
            is_instance=lambda value: isinstance(value, str),
            str_from_instance=lambda text: [text],
        )

    @registry.primitive_rule
    def read_schedule(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Scheduled] | None:
        if kind.type != Scheduled:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="NUMBER|STEP:NUMBER,...",
            instance_from_str=lambda words: _number(words[0]),
            is_instance=lambda value: isinstance(value, int | float | str),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _number(word: str) -> Scheduled:
    """A number, or the word for the dataclass to read, or to refuse in one sentence."""
    try:
        return float(word)
    except ValueError:
        return word
