"""Groups of settings: validation, and text forms of values."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from dataclasses import dataclass, field
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from bilevel.core import Range, Schedule, Scheduled, fits, spelled
from bilevel.hypergradient import Estimator, format_hypergradient, make_hypergradient
from bilevel.methods._phases import Phase, read_phases, write_phases
from bilevel.sharing import OBJECTIVES
from games.core import Registry, require, require_name

Whole = Annotated[int, Range(min=1)]


@dataclass(frozen=True, eq=False)
class Registered:
    """Annotation of a setting whose value is a name in a registry."""

    registry: Registry[Any] = field(repr=False)


ObjectiveName = Annotated[str, Registered(OBJECTIVES)]
OptimizerName = Literal["sgd", "momentum", "adam", "adamw", "rmsprop", "optimistic"]


@dataclass(frozen=True, kw_only=True)
class SettingsGroup:
    """Settings of one part of a method, validated by their types.

    `Annotated[int, Range(min=1)]` also sets the range of a number, and `Annotated[Scheduled, Range(...)]`
    allows a schedule. A group names its part and its variant in its class statement, as in
    `class PPO(CriticLoop, variant="ppo")`.

    Raises:
        ValueError: a setting is of another type, an unknown name, or out of range (names it).

    >>> from dataclasses import dataclass
    >>> from typing import Annotated
    >>> from bilevel.core import Range
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Warmup(SettingsGroup, part="warmup"):
    ...     steps: Annotated[int, Range(min=1)] = 10
    >>> Warmup(steps=0)
    Traceback (most recent call last):
    ValueError: warmup.steps must be a whole number, 1 or more, not 0.
    """

    prefix: ClassVar[str] = ""
    """Prefix of a setting's name in messages, as "inner."."""
    variant: ClassVar[str] = ""
    """Name by which the command line and config.json choose this group for its part."""

    def __init_subclass__(cls, *, part: str = "", variant: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.prefix, cls.variant = f"{part}." if part else cls.prefix, variant or cls.variant

    def __post_init__(self) -> None:
        check_fields(self, self.prefix)


def check_fields(settings: Any, prefix: str = "") -> None:
    """Raise ValueError unless the fields of a dataclass fit their types; simplify constant schedules."""
    for name, hint in hints_of(type(settings)).items():
        value, plain, within = getattr(settings, name), *_unpack(hint)
        full = f"{prefix}{name}"
        known = next((note.registry for note in get_args(hint)[1:] if isinstance(note, Registered)), None)
        if get_origin(plain) is Literal or known is not None:
            require_name(value, get_args(plain) if known is None else known, full)
        elif within is not None and plain is int:
            whole = type(value) is int and within.min <= value
            require(whole, f"{full} must be a whole number, {within.min:g} or more, not {value!r}.")
        elif _is_part(plain):
            kinds = _kinds(plain)
            names = " or ".join("None" if kind is NoneType else f"{kind.__name__}(...)" for kind in kinds)
            fitting = isinstance(value, SettingsGroup) or (value is None and NoneType in kinds)
            require(fitting, f"{full} must be {names}, not {value!r}; with_settings takes names of variants.")
        elif plain is not Estimator:
            require(fits(value, plain), f"{full} must be of the type {spelled(plain)}, but it is {value!r}.")
            if within is not None and value is not None:
                object.__setattr__(settings, name, within.require_schedule(full, value))


def hints_of(kind: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, in order.

    >>> from bilevel.methods import Staged
    >>> hints_of(Staged)
    {'outer_steps': typing.Annotated[int, Range(min=1, above=-inf, max=inf)]}
    """
    return _hints_of(kind)


@functools.cache
def _hints_of(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def parts_of(kind: Any) -> dict[str, dict[str, type[SettingsGroup] | None]]:
    """Parts of a method -> the variants of each, by name; "none" stands for None.

    >>> from bilevel.methods import LIO
    >>> list(parts_of(LIO)["cost"])
    ['separate', 'objective', 'charged']
    """
    return {
        name: {"none" if k is NoneType else k.variant: None if k is NoneType else k for k in _kinds(hint)}
        for name, hint in hints_of(kind).items()
        if _is_part(hint)
    }


def scheduled(settings: Any, prefix: str = "") -> dict[str, tuple[Scheduled, Range]]:
    """Settings that may change during a run: dotted name -> value and range."""
    values: dict[str, tuple[Scheduled, Range]] = {}
    for name, hint in hints_of(type(settings)).items():
        plain, within = _unpack(hint)
        value = getattr(settings, name)
        if isinstance(value, SettingsGroup):
            values |= scheduled(value, f"{name}.")
        elif plain == Scheduled and within is not None:
            values[f"{prefix}{name}"] = value, within
    return values


def read_value(name: str, hint: Any, value: Any) -> Any:
    """Parse a value from JSON or the command line.

    Args:
        name: name of the setting, for messages.
        hint: its type.
        value: text, or a list for a tuple; other values stay as they are.

    Raises:
        ValueError: the text cannot be read.

    >>> from bilevel.core import Scheduled
    >>> read_value("inner.learning_rate", Scheduled, "0:1, 200:0.1")(100)
    0.55
    """
    plain, _ = _unpack(hint)
    if isinstance(value, list):
        return tuple(read_value(name, Any, each) for each in value)
    if not isinstance(value, str):
        return value
    if plain == Scheduled:
        with contextlib.suppress(ValueError):
            return float(value)
        try:
            return Schedule.read(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if plain is Estimator:
        return make_hypergradient(value)
    return read_phases(value) if plain == tuple[Phase, ...] else value


def plain_settings(settings: Any) -> dict[str, Any]:
    """Convert settings for JSON: nested by parts, each with its variant's name where there is a choice.

    Args:
        settings: a method, or a group of settings.

    Raises:
        ValueError: an estimator has no name (says how to register one).

    >>> from bilevel.methods import Prosocial
    >>> plain_settings(Prosocial())["policy"]
    {'variant': 'auto'}
    """
    parts = parts_of(type(settings))

    def plain(name: str, hint: Any) -> Any:
        value = getattr(settings, name)
        if isinstance(value, SettingsGroup):
            chosen = {"variant": value.variant} if len(parts.get(name, ())) > 1 else {}
            return chosen | plain_settings(value)
        if hint is Estimator:
            return format_hypergradient(value)
        if hint == tuple[Phase, ...]:
            return write_phases(value)
        return str(value) if isinstance(value, Schedule) else value

    return {name: plain(name, _unpack(hint)[0]) for name, hint in hints_of(type(settings)).items()}


def _unpack(hint: Any) -> tuple[Any, Range | None]:
    """Split a type into its plain type and the range among its annotations."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        return kind, next((note for note in notes if isinstance(note, Range)), None)
    return hint, None


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Members of a union, or the type alone."""
    return get_args(hint) or (hint,)


def _is_part(hint: Any) -> bool:
    return any(isinstance(kind, type) and issubclass(kind, SettingsGroup) for kind in _kinds(hint))
