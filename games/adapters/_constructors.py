"""Parameters of a foreign constructor: names, types and defaults."""

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
"""The argument by which constructors of Gymnasium and PettingZoo choose the render mode."""

SIMPLE = (int, float, bool, str, NoneType)
EMPTY = inspect.Parameter.empty
UNIONS = (typing.Union, UnionType)


class Option(NamedTuple):
    """A setting that a command line and a run's folder can represent."""

    hint: Any  # its type: numbers, strings, choices of these, None, and tuples
    default: Any


class Parameters(NamedTuple):
    """Parameters of a constructor."""

    hints: dict[str, Any]
    defaults: dict[str, Any]  # name -> default; `inspect.Parameter.empty` where there is none
    complete: bool  # no further parameters: no **kwargs of unknown names

    def options(self, changed: Mapping[str, Any], reserved: Collection[str]) -> dict[str, Option]:
        """Parameters that can be settings of a game, with some defaults changed and some names reserved.

        >>> def make(size: int = 3, *, wind=0.5, model=object(), render_mode=None): ...
        >>> {name: option.default for name, option in parameters_of(make).options({"size": 4}, ()).items()}
        {'size': 4, 'wind': 0.5}
        """
        options = {}
        for name, default in (self.defaults | dict(changed)).items():
            default = tuple(default) if isinstance(default, list) else default
            hint = _setting_type(self.hints.get(name, EMPTY), default)
            if not (hint is None or name in reserved or name == RENDER_MODE or name.startswith("_")):
                options[name] = Option(hint, default)
        return options

    def require(self, settings: Mapping[str, Any], kind: str) -> None:
        """Raise ValueError, suggesting the nearest, if the constructor has no such setting."""
        for name in settings if self.complete else ():
            require_name(name, self.defaults, f"setting of {kind}")


def parameters_of(make: Callable[..., Any], example: Any = None) -> Parameters:
    """Read the parameters of a class, function or partial from its signature.

    **kwargs at its end are resolved, if possible, by the class of `example`, an object that it made (the
    innermost one, if wrapped).
    """
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # of something built in
        return Parameters({}, {}, complete=False)
    kinds = inspect.Parameter
    named = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    defaults = {each.name: each.default for each in parameters if each.kind in named and each.name != "self"}
    complete = all(each.kind != kinds.VAR_KEYWORD for each in parameters)
    bound: dict[str, Any] = {}  # keywords bound by partials, unless overridden
    function: Any = make
    while isinstance(function, functools.partial):
        bound, function = function.keywords | bound, function.func
    hints = _type_hints(function)
    inner = type(getattr(example, "unwrapped", example))
    if not complete and example is not None and inner is not make:
        further = parameters_of(inner)
        new = [name for name in further.defaults if name not in defaults]
        hints |= {name: further.hints[name] for name in new if name in further.hints}
        defaults |= {name: further.defaults[name] for name in new}
        complete = further.complete
    return Parameters(hints, defaults | bound, complete)


def _type_hints(make: Any) -> dict[str, Any]:
    """Annotations, where they can be evaluated."""
    function = vars(make).get("__init__", make) if isinstance(make, type) else make
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def _setting_type(hint: Any, default: Any) -> Any:
    """The type of a setting that a command line can parse; None where there is none."""
    if default is EMPTY:
        return None  # a required argument: the constructor complains if it is missing
    if _is_simple(hint):
        return hint if _admits(hint, default) else hint | type(default) if _is_plain(default) else None
    if default is None or not _is_plain(default):
        return None
    if isinstance(default, tuple):
        kinds = {type(entry) for entry in default}
        return types.GenericAlias(tuple, (kinds.pop(), ...)) if len(kinds) == 1 else None
    return type(default)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(type(entry) in (int, float, bool, str) for entry in value)
    return type(value) in SIMPLE


def _is_simple(hint: Any) -> bool:
    """True for types that settings can have."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return all(type(choice) in SIMPLE for choice in inner)
    if origin in UNIONS:
        return all(map(_is_simple, inner))
    if origin is tuple:
        return all(part is ... or _is_simple(part) for part in inner)
    return hint in SIMPLE if isinstance(hint, type) else hint is None


def _admits(hint: Any, value: Any) -> bool:
    """True if a value is of a type that settings can have."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in UNIONS:
        return any(_admits(part, value) for part in inner)
    if origin is tuple:
        return isinstance(value, tuple)
    return type(value) in ((int, float) if hint is float else (NoneType if hint is None else hint,))
