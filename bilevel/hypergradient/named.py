"""Estimators by name and as text, `truncated(steps=5)`: for the command line and for config.json."""

from __future__ import annotations

import ast
import dataclasses
import keyword
import math
import re
from typing import Any, get_type_hints

from bilevel.errors import require, require_name
from bilevel.hypergradient.base import Hypergradient
from bilevel.hypergradient.evolution import Evolution
from bilevel.hypergradient.finite_difference import FiniteDifference
from bilevel.hypergradient.forward import Forward
from bilevel.hypergradient.implicit import Implicit
from bilevel.hypergradient.one_step import OneStep
from bilevel.hypergradient.persistent_evolution import PersistentEvolution
from bilevel.hypergradient.truncated import Truncated
from bilevel.hypergradient.unrolled import Unrolled
from bilevel.setting_types import fits, spelled

ESTIMATORS: dict[str, type[Hypergradient]] = {
    "unrolled": Unrolled,
    "truncated": Truncated,
    "forward": Forward,
    "implicit": Implicit,
    "one-step": OneStep,
    "finite-difference": FiniteDifference,
    "evolution": Evolution,
    "persistent-evolution": PersistentEvolution,
}
"""Every estimator by its name: a frozen dataclass whose fields are its settings."""

NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*"
WORD = re.compile(r"[a-z_]\w*(?:-[a-z_]\w*)*", re.ASCII | re.IGNORECASE)
"""A string that needs no quotes, which a shell would eat."""
NUMBERS = {"inf": math.inf, "nan": math.nan}
"""Words that are numbers."""


def make_hypergradient(estimator: str | Hypergradient, **settings: Any) -> Hypergradient:
    """Build an estimator by its name or from its text form, or give back one that is built already.

    In the text form settings are literals (numbers, strings, True, False, None, tuples of these), and
    strings that are words need no quotes; nothing is ever evaluated.

    Args:
        estimator: one of `ESTIMATORS`, with settings in parentheses if it is to have any; or an object.
        settings: further fields of the estimator that is named; none with an object.

    Raises:
        ValueError: the text cannot be read; there is no such estimator or setting; one that it needs is
            missing; one is given twice, of another type or out of range; or an object comes with settings.

    >>> make_hypergradient("truncated(steps=5)")
    Truncated(steps=5)
    >>> make_hypergradient("truncated", steps=5)
    Truncated(steps=5)
    >>> make_hypergradient("implicit(solver=normal-cg)").solver
    'normal-cg'
    >>> make_hypergradient(OneStep())
    OneStep()
    """
    if not isinstance(estimator, str):
        require(
            not settings, f"{estimator!r} has its settings already: give {', '.join(settings)} to its class."
        )
        return estimator
    name, written = _read(estimator)
    require_name(name, ESTIMATORS, "hypergradient")
    for twice in written.keys() & settings.keys():
        raise ValueError(f"The setting {twice} is given twice, in {estimator!r} and beside it.")
    return _build(name, {**written, **settings})


def format_hypergradient(estimator: str | Hypergradient) -> str:
    """Write an estimator in the text form from which `make_hypergradient` builds an equal one.

    Args:
        estimator: an object; or a text form, which is brought into the usual one.

    Returns:
        its name, and in parentheses the settings that differ from their defaults.

    Raises:
        ValueError: its class is not registered, or a setting is no literal; or as `make_hypergradient`.

    >>> format_hypergradient(Implicit(solver="neumann", accept_distance=math.inf))
    'implicit(solver=neumann, accept_distance=inf)'
    >>> format_hypergradient("one-step()")
    'one-step'
    """
    built = make_hypergradient(estimator)
    kind = type(built)
    names = [name for name, known in ESTIMATORS.items() if known is kind]
    require(
        bool(names),
        f"{kind.__name__} has no name by which text (config.json, say) could hold it: "
        f"register_hypergradient(name, {kind.__name__}) gives it one.",
    )
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    values = {field.name: (getattr(built, field.name), _default(field)) for field in fields}
    changed = [
        f"{setting}={_write(setting, value)}"
        for setting, (value, default) in values.items()
        if repr(value) != repr(default)
    ]
    return f"{names[0]}({', '.join(changed)})" if changed else names[0]


def register_hypergradient(name: str, estimator: type[Hypergradient]) -> None:
    """Add an estimator of one's own, for the rest of the process.

    Args:
        name: what to call it on the command line; lower case, words joined by hyphens.
        estimator: a frozen dataclass with the call of `Hypergradient`; its fields, the settings, are numbers,
            strings, None, or tuples of these. A field `members` or `batch_dims` means what it means in
            `Evolution` and `Forward`: methods whose seeds are a batch fill it in.

    Raises:
        ValueError: the name is taken or is no such name, or this is no frozen dataclass.

    >>> register_hypergradient("one-step", OneStep)
    Traceback (most recent call last):
    ValueError: There is a hypergradient 'one-step' already.
    """
    require(
        re.fullmatch(NAME, name) is not None,
        f"A hypergradient's name is lower case, its words joined by hyphens; {name!r} is not.",
    )
    require(name not in ESTIMATORS, f"There is a hypergradient {name!r} already.")
    parameters = getattr(estimator, "__dataclass_params__", None)
    require(
        isinstance(estimator, type) and parameters is not None and parameters.frozen,
        f"A hypergradient is a frozen dataclass, and {estimator!r} is none.",
    )
    get_type_hints(estimator)  # a type that nobody can look up is told here, not when a setting is read
    ESTIMATORS[name] = estimator


def _build(name: str, settings: dict[str, Any]) -> Hypergradient:
    kind = ESTIMATORS[name]
    fields, hints = dataclasses.fields(kind), get_type_hints(kind)  # type: ignore[arg-type]
    for setting, value in settings.items():
        require_name(setting, [field.name for field in fields], f"setting of {name}")
        hint = hints[setting]
        require(
            fits(value, hint),
            f"The setting {setting} of {name} must be of the type {spelled(hint)}, but it is {value!r}.",
        )
    for field in fields:
        given = field.name in settings or _default(field) is not dataclasses.MISSING
        require(given, f"The hypergradient {name!r} needs the setting {field.name!r}.")
    return kind(**settings)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _read(text: str) -> tuple[str, dict[str, Any]]:
    """Split a text form into its name and its settings, as literals."""
    found = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", text, re.DOTALL)
    if found is None:
        raise ValueError(
            f"{text!r} is not a hypergradient: write its name, or its name with settings, as in "
            "truncated(steps=5)."
        )
    source = f"f{found[2] or '()'}"
    try:
        call = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(
            f"The settings in {text!r} cannot be read: write them as in truncated(steps=5), and strings that "
            "are more than words in quotes."
        )
    settings: dict[str, Any] = {}
    for word in [*call.args, *call.keywords]:
        if not isinstance(word, ast.keyword) or word.arg is None:
            raise ValueError(
                f"Settings of a hypergradient have names, as in truncated(steps=5), but {text!r} has "
                f"{ast.get_source_segment(source, word)} without one."
            )
        require(word.arg not in settings, f"The setting {word.arg} is given twice in {text!r}.")
        settings[word.arg] = _literal(word.arg, word.value, source)
    return found[1], settings


def _literal(setting: str, node: ast.expr, source: str) -> Any:
    """Read a literal, or words joined by hyphens; nothing is looked up."""
    written = ast.get_source_segment(source, node) or ""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name() | ast.BinOp() if WORD.fullmatch(written):
            return NUMBERS.get(written, written)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.Name() as operand):
            value = _literal(setting, operand, source)
            if type(value) in (int, float):
                return -value
        case ast.Tuple(elts=elements):
            return tuple(_literal(setting, element, source) for element in elements)
    raise ValueError(
        f"The setting {setting} must be a literal (a number, a word, a quoted string, True, False, None or a "
        f"tuple of these), not {written}."
    )


def _write(setting: str, value: Any) -> str:
    """Write what `_literal` reads back."""
    if isinstance(value, tuple):
        parts = [_write(setting, part) for part in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, str):
        word = WORD.fullmatch(value) and not any(map(keyword.iskeyword, value.split("-")))
        return value if word and value not in NUMBERS else repr(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return repr(kind(value))
    require(value is None, f"The setting {setting} is {value!r}, which text cannot hold: it is no literal.")
    return "None"
