"""What a stranger's constructor can be told: its settings, their types and defaults."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from games.core import require_name

RENDER_MODE = "render_mode"
"""The setting by which Gymnasium's and PettingZoo's constructors are told how to draw."""

SIMPLE = (int, float, bool, str, NoneType)


class Option(NamedTuple):
    """A setting that a command line and a run's folder can hold."""

    hint: Any
    """Its type: numbers, words, choices of these, None, and tuples."""
    default: Any


class Parameters(NamedTuple):
    """What a constructor takes."""

    hints: dict[str, Any]
    """Name -> its annotation; `inspect.Parameter.empty` where there is none."""
    defaults: dict[str, Any]
    """Name -> its default; `inspect.Parameter.empty` where there is none."""
    complete: bool
    """Whether nothing else is taken: no **kwargs whose names are nowhere written down."""

    def options(self, given: Mapping[str, Any], reserved: Collection[str]) -> dict[str, Option]:
        """Those that can be settings of a game.

        Args:
            given: settings with other values than the constructor's own.
            reserved: names that mean something else.

        >>> def make(size: int = 3, *, wind=0.5, model=object(), render_mode=None): ...
        >>> {name: option.default for name, option in parameters_of(make).options({"size": 4}, ()).items()}
        {'size': 4, 'wind': 0.5}
        """
        found = {}
        for name, default in (self.defaults | dict(given)).items():
            if name in reserved or name == RENDER_MODE or name.startswith("_"):
                continue
            default = tuple(default) if isinstance(default, list) else default
            hint = _hint(self.hints.get(name, inspect.Parameter.empty), default)
            if hint is not None:
                found[name] = Option(hint, default)
        return found

    def require(self, given: Mapping[str, Any], kind: str) -> None:
        """Raise ValueError, naming the nearest, if the constructor does not take one of these settings."""
        for name in given if self.complete else ():
            require_name(name, self.defaults, f"setting of {kind}")


def parameters_of(make: Callable[..., Any], example: Any = None) -> Parameters:
    """Read what a constructor takes from its signature.

    Args:
        make: a class, a function or a partial.
        example: what it made: where the signature ends in **kwargs, they are those of this object's class
            (of the innermost one, where it is wrapped). None: nobody knows.
    """
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # of something built in
        return Parameters({}, {}, complete=False)
    kinds = inspect.Parameter
    named = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY) and name != "self"
    }
    hints, defaults = _hints(make), {name: parameter.default for name, parameter in named.items()}
    complete = all(parameter.kind != kinds.VAR_KEYWORD for parameter in signature.parameters.values())
    inner = type(getattr(example, "unwrapped", example))
    if not complete and example is not None and inner is not make:
        further = parameters_of(inner)
        new = [name for name in further.defaults if name not in defaults]
        hints |= {name: further.hints[name] for name in new if name in further.hints}
        defaults |= {name: further.defaults[name] for name in new}
        complete = further.complete
    return Parameters(hints, defaults | _bound(make), complete)


def _bound(make: Any) -> dict[str, Any]:
    """What a partial passes by keyword, unless it is told otherwise."""
    bound: dict[str, Any] = {}
    while isinstance(make, functools.partial):
        bound, make = make.keywords | bound, make.func
    return bound


def _hints(make: Any) -> dict[str, Any]:
    """Annotations, evaluated where that can be done."""
    while isinstance(make, functools.partial):
        make = make.func
    function = vars(make).get("__init__", make) if isinstance(make, type) else make
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def _hint(hint: Any, default: Any) -> Any:
    """The type of a setting as a command line can read it; None where there is none."""
    if default is inspect.Parameter.empty:
        return None  # it must be given, or the constructor will say so
    if _simple(hint):
        return hint if _holds(hint, default) else None if not _plain(default) else hint | type(default)
    if default is None or not _plain(default):
        return None
    if isinstance(default, tuple):
        kinds = {type(entry) for entry in default}
        return types.GenericAlias(tuple, (kinds.pop(), ...)) if len(kinds) == 1 else None
    return type(default)


def _plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(type(entry) in (int, float, bool, str) for entry in value)
    return type(value) in SIMPLE


def _simple(hint: Any) -> bool:
    """Whether a type is one that settings have."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return all(type(choice) in SIMPLE for choice in inner)
    if origin in (typing.Union, UnionType):
        return all(map(_simple, inner))
    if origin is tuple:
        return all(one is ... or _simple(one) for one in inner)
    return hint in SIMPLE if isinstance(hint, type) else hint is None


def _holds(hint: Any, value: Any) -> bool:
    """Whether a type has room for a value."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (typing.Union, UnionType):
        return any(_holds(one, value) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple)
    return type(value) in ((int, float) if hint is float else (NoneType if hint is None else hint,))
