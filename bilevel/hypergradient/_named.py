"""Estimators by name and as text, `truncated(steps=5)`: for the command line and for config.json."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_type_hints

from bilevel.core import fits, read_settings, spelled, write_literal
from bilevel.hypergradient._estimator import Estimator
from bilevel.hypergradient._evolution import Evolution
from bilevel.hypergradient._finite_difference import FiniteDifference
from bilevel.hypergradient._forward import Forward
from bilevel.hypergradient._implicit import Implicit
from bilevel.hypergradient._persistent_evolution import PersistentEvolution
from bilevel.hypergradient._truncated import OneStep, Truncated
from bilevel.hypergradient._unrolled import Unrolled
from games.core import require, require_name

ESTIMATORS: dict[str, type[Estimator]] = {
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
EXAMPLE = "truncated(steps=5)"


def make_hypergradient(estimator: str | Estimator, **settings: Any) -> Estimator:
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


def format_hypergradient(estimator: str | Estimator) -> str:
    """Write an estimator in the text form from which `make_hypergradient` builds an equal one.

    Args:
        estimator: an object; or a text form, which is brought into the usual one.

    Returns:
        its name, and in parentheses the settings that differ from their defaults.

    Raises:
        ValueError: its class is not registered, or a setting is no literal; or as `make_hypergradient`.

    >>> import math
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
    fields = dataclasses.fields(kind)
    values = {field.name: (getattr(built, field.name), _default(field)) for field in fields}
    changed = [
        f"{setting}={write_literal(setting, value)}"
        for setting, (value, default) in values.items()
        if repr(value) != repr(default)
    ]
    return f"{names[0]}({', '.join(changed)})" if changed else names[0]


def register_hypergradient(name: str, estimator: type[Estimator]) -> None:
    """Add an estimator of one's own, for the rest of the process.

    Args:
        name: what to call it on the command line; lower case, words joined by hyphens.
        estimator: an `Estimator` that is a frozen dataclass; its fields, the settings, are numbers,
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


def _build(name: str, settings: dict[str, Any]) -> Estimator:
    kind = ESTIMATORS[name]
    fields, hints = dataclasses.fields(kind), get_type_hints(kind)
    require(
        "compile" not in settings or "compile" in hints,
        "An estimator has no setting compile: whether steps are compiled is a setting of a run (bilevel "
        f"train --compile always), or, in Python, Compiled({kind.__name__}(...)) of bilevel.compile.",
    )
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
    return found[1], read_settings(found[2] or "()", of="a hypergradient", within=text, example=EXAMPLE)
