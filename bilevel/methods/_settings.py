"""Groups of settings, of which methods are composed: their checks and the text forms of their values."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from bilevel.core import Range, Schedule, Scheduled, fits, spelled
from bilevel.hypergradient import Estimator, format_hypergradient, make_hypergradient
from bilevel.methods._phases import Phase, read_phases, write_phases
from bilevel.sharing import OBJECTIVES
from games.core import Registry, require, require_name

Whole = Annotated[int, Range(least=1)]


@dataclass(frozen=True, eq=False)
class Registered:
    """An annotation of names in a registry."""

    registry: Registry[Any]


ObjectiveName = Annotated[str, Registered(OBJECTIVES)]
OptimizerName = Literal["sgd", "momentum", "adam", "adamw", "rmsprop"]


@dataclass(frozen=True, kw_only=True)
class SettingsGroup:
    """Settings of one part of a method, checked against their types.

    `Annotated[int, Range(least=1)]` also says where a number lies, and `Annotated[Scheduled, Range(...)]`
    that it may change during the run.

    Raises:
        ValueError: a setting is of another type, an unknown name, or out of range (names it).
    """

    prefix: ClassVar[str] = ""
    """The part, before the setting's name in messages: "inner.", say."""
    variant: ClassVar[str] = ""
    """The name by which the command line and config.json choose this group for its part."""

    def __post_init__(self) -> None:
        check_fields(self, self.prefix)


def check_fields(settings: Any, prefix: str = "") -> None:
    """Raise ValueError unless the fields of a dataclass fit their types; simplify constant schedules.

    >>> from bilevel.methods import PPO
    >>> PPO(gae_lambda=1.5)
    Traceback (most recent call last):
    ValueError: inner.gae_lambda must be a finite number from 0 to 1, not 1.5.
    """
    for name, hint in hints_of(type(settings)).items():
        value, plain, within = getattr(settings, name), *_unpack(hint)
        known = next((note.registry for note in get_args(hint)[1:] if isinstance(note, Registered)), None)
        if get_origin(plain) is Literal:
            require_name(value, get_args(plain), f"{prefix}{name}")
        elif known is not None:
            require_name(value, known, f"{prefix}{name}")
        elif within is not None and plain is int:
            least = within.least
            whole = type(value) is int and within.least <= value
            require(whole, f"{prefix}{name} must be a whole number, {least:g} or more, not {value!r}.")
        elif not _is_part(plain) and plain is not Estimator:
            require(
                fits(value, plain),
                f"{prefix}{name} must be of the type {spelled(plain)}, but it is {value!r}.",
            )
            if within is not None and value is not None:
                object.__setattr__(settings, name, within.require_schedule(f"{prefix}{name}", value))


def hints_of(kind: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, in order."""
    return _hints_of(kind)


@functools.cache
def _hints_of(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def parts_of(kind: Any) -> dict[str, dict[str, type[SettingsGroup] | None]]:
    """Parts that a method is composed of -> the variants of each, by name; "none" stands for None."""
    parts: dict[str, dict[str, type[SettingsGroup] | None]] = {}
    for name, hint in hints_of(kind).items():
        if _is_part(hint):
            kinds = get_args(hint) or (hint,)
            parts[name] = {
                "none" if k is NoneType else k.variant: None if k is NoneType else k for k in kinds
            }
    return parts


def scheduled(settings: Any, prefix: str = "") -> dict[str, tuple[Scheduled, Range]]:
    """Settings that may change during a run: dotted name -> value and range."""
    found: dict[str, tuple[Scheduled, Range]] = {}
    for name, hint in hints_of(type(settings)).items():
        plain, within = _unpack(hint)
        value = getattr(settings, name)
        if isinstance(value, SettingsGroup):
            found |= scheduled(value, f"{name}.")
        elif plain == Scheduled and within is not None:
            found[f"{prefix}{name}"] = value, within
    return found


def read_value(name: str, hint: Any, value: Any) -> Any:
    """Read a value that JSON or a user wrote as text, or as a list for a tuple.

    Raises:
        ValueError: the text cannot be read.
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
    """Settings as JSON can hold them: nested by parts, each with its variant's name where there is a choice.

    Raises:
        ValueError: an estimator has no name (says how to give it one).

    >>> from bilevel.methods import Prosocial
    >>> plain_settings(Prosocial())["policy"]
    {'variant': 'auto'}
    """
    parts = parts_of(type(settings))
    plain: dict[str, Any] = {}
    for name, hint in hints_of(type(settings)).items():
        value = getattr(settings, name)
        if isinstance(value, SettingsGroup):
            chosen = {"variant": value.variant} if len(parts.get(name, ())) > 1 else {}
            plain[name] = chosen | plain_settings(value)
        elif _unpack(hint)[0] is Estimator:
            plain[name] = format_hypergradient(value)
        elif isinstance(value, Schedule):
            plain[name] = str(value)
        else:
            plain[name] = write_phases(value) if _unpack(hint)[0] == tuple[Phase, ...] else value
    return plain


def _unpack(hint: Any) -> tuple[Any, Range | None]:
    """A type without its annotations, and the range among them."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        return kind, next((note for note in notes if isinstance(note, Range)), None)
    return hint, None


def _is_part(hint: Any) -> bool:
    kinds = get_args(hint) or (hint,)
    return any(isinstance(kind, type) and issubclass(kind, SettingsGroup) for kind in kinds)
