"""Estimators by name and in text form, `truncated(steps=5)`, as on the command line and in config.json."""

from __future__ import annotations

from typing import Any, get_type_hints

from bilevel.core import build_object, object_text, split_object_text
from bilevel.hypergradient._estimator import Estimator
from bilevel.hypergradient._evolution import Evolution
from bilevel.hypergradient._finite_difference import FiniteDifference
from bilevel.hypergradient._forward import Forward
from bilevel.hypergradient._implicit import Implicit
from bilevel.hypergradient._persistent_evolution import PersistentEvolution
from bilevel.hypergradient._truncated import OneStep, Truncated
from bilevel.hypergradient._unrolled import Unrolled
from games.core import Registry, require

ESTIMATORS: Registry[type[Estimator]] = Registry(
    "hypergradient",
    {
        "unrolled": Unrolled,
        "truncated": Truncated,
        "forward": Forward,
        "implicit": Implicit,
        "one-step": OneStep,
        "finite-difference": FiniteDifference,
        "evolution": Evolution,
        "persistent-evolution": PersistentEvolution,
    },
)
"""Every estimator by its name: a frozen dataclass of its settings."""

RENAMED = {
    "accept_distance": "max_distance",
    "chunk": "chunk_size",
    "limit": "max_entries",
    "memory": "memory_budget",
}
"""Names of settings in an earlier version -> their current names."""


def make_hypergradient(estimator: str | Estimator, **settings: Any) -> Estimator:
    """Build an estimator from its name or its text form; one that is built already is returned.

    In the text form settings are literals (numbers, strings, True, False, None, tuples of these), and
    strings that are words need no quotes; nothing is ever evaluated.

    Args:
        estimator: one of `ESTIMATORS`, with settings in parentheses if it is to have any; or an object.
        settings: further settings of the named estimator; none with an object.

    Returns:
        The estimator.

    Raises:
        ValueError: the text cannot be read; there is no such estimator or setting; one that it needs is
            missing; one is given twice, of another type or out of range; or an object comes with settings.

    >>> make_hypergradient("truncated(steps=5)")
    Truncated(steps=5)
    >>> make_hypergradient("truncated", steps=5)
    Truncated(steps=5)
    >>> make_hypergradient("implicit(solver=normal-cg)").solver
    'normal-cg'
    """
    if not isinstance(estimator, str):
        require(
            not settings, f"{estimator!r} has its settings already: give {', '.join(settings)} to its class."
        )
        return estimator
    name, written = split_object_text(estimator, ESTIMATORS, "truncated(steps=5)")
    for twice in written.keys() & settings.keys():
        raise ValueError(f"The setting {twice} is given twice, in {estimator!r} and beside it.")
    return _build(name, {**written, **settings})


def format_hypergradient(estimator: str | Estimator) -> str:
    """Write an estimator in the text form from which `make_hypergradient` builds an equal one.

    Args:
        estimator: an object; or a text form, which is brought into the usual one.

    Returns:
        Its name, and in parentheses the settings that differ from their defaults.

    Raises:
        ValueError: its class is not registered, or a setting is not a literal; or as for
            `make_hypergradient`.

    >>> import math
    >>> from bilevel.hypergradient import Implicit
    >>> format_hypergradient(Implicit(solver="neumann", max_distance=math.inf))
    'implicit(solver=neumann, max_distance=inf)'
    >>> format_hypergradient("one-step()")
    'one-step'
    """
    built = make_hypergradient(estimator)
    return object_text(built, ESTIMATORS, f"register_hypergradient(name, {type(built).__name__})")


def register_hypergradient(name: str, estimator: type[Estimator], *, replace: bool = False) -> None:
    """Register an estimator by a name, for the rest of the process.

    Args:
        name: its name on the command line; lower case, words joined by hyphens.
        estimator: an `Estimator` that is a frozen dataclass; its fields, the settings, are numbers,
            strings, None, or tuples of these. A field `members` or `batch_dims` means what it means in
            `Evolution` and `Forward`: methods whose seeds are a batch fill it in.
        replace: take the place of an estimator of this name.

    Raises:
        ValueError: the name is taken or is not a valid name, or this is no such class.

    >>> from bilevel.hypergradient import OneStep, make_hypergradient
    >>> register_hypergradient("last-step", OneStep)
    >>> make_hypergradient("last-step")
    OneStep()
    >>> register_hypergradient("one-step", OneStep)
    Traceback (most recent call last):
    ValueError: The hypergradient 'one-step' exists already: replace=True puts the new one in its place.
    """
    parameters = getattr(estimator, "__dataclass_params__", None)
    require(
        isinstance(estimator, type)
        and issubclass(estimator, Estimator)
        and parameters is not None
        and parameters.frozen,
        f"A hypergradient is an Estimator and a frozen dataclass, and {estimator!r} is not.",
    )
    get_type_hints(estimator)  # an unknown type is refused here, not when a setting is read
    ESTIMATORS.register(name, estimator, replace=replace)


def _build(name: str, settings: dict[str, Any]) -> Estimator:
    kind = ESTIMATORS[name]
    hints = get_type_hints(kind)
    require(
        "compile" not in settings or "compile" in hints,
        "An estimator has no setting compile: whether steps are compiled is a setting of a run (bilevel "
        f"train --compile always), or, in Python, Compiled({kind.__name__}(...)) of bilevel.compile.",
    )
    for setting in settings:
        now = RENAMED.get(setting)
        require(setting in hints or now not in hints, f"The setting {setting} of {name} is now called {now}.")
    return build_object(name, ESTIMATORS, settings)
