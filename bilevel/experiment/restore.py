"""Dataclasses again from the JSON that was made of them; whatever does not fit is refused."""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from bilevel.errors import require


def restore(default: Any, saved: Any, name: str = "") -> Any:
    """Build a dataclass of the type of `default` from what `json` kept of `dataclasses.asdict`.

    Dataclasses inside it take their types from `default`, too; lists become tuples.

    Args:
        default: an instance, whose settings are all replaced.
        saved: setting -> value.
        name: what to call the whole in a refusal; "" at the top.

    Raises:
        ValueError: a setting is missing, unknown, of another type, or refused by the dataclass itself.

    >>> from bilevel.experiment.presets import preset
    >>> game, method = preset("escape-room", "selfish")
    >>> restore(game, {**dataclasses.asdict(game), "agents": 3}).agents
    3
    >>> restore(game, {**dataclasses.asdict(game), "agents": "three"}, "game")
    Traceback (most recent call last):
    ValueError: game.agents must be of the type int, but it is 'three'.
    """
    require(isinstance(saved, dict), f"{name} must be an object with settings, but it is {saved!r}.")
    known = {field.name for field in dataclasses.fields(default)}
    for setting in sorted(known - saved.keys()):
        raise ValueError(f"The setting {_join(name, setting)} is missing.")
    for setting in sorted(saved.keys() - known):
        raise ValueError(f"There is no setting {_join(name, setting)}.")
    hints = get_type_hints(type(default), include_extras=True)

    def value_of(setting: str) -> Any:
        before, value = getattr(default, setting), _tuples(saved[setting])
        if dataclasses.is_dataclass(before):
            return restore(before, value, _join(name, setting))
        hint = hints[setting]
        require(
            fits(value, hint),
            f"{_join(name, setting)} must be of the type {_spelled(hint)}, but it is {value!r}.",
        )
        return value

    return dataclasses.replace(default, **{setting: value_of(setting) for setting in saved})


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, for the types that settings have: numbers, names and tuples of them.

    >>> fits((1, 2), tuple[int, ...]), fits(1, float), fits(True, int), fits(None, float | None)
    (True, True, False, True)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return fits(value, inner[0])
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(each) == len(value) and all(map(fits, value, each))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is (NoneType if hint is None else hint)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _join(name: str, setting: str) -> str:
    return f"{name}.{setting}" if name else setting


def _spelled(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        return _spelled(get_args(hint)[0])
    return (
        hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
    )
