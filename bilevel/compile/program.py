"""The packages of one problem: found, or traced, built and verified, when they are first needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from bilevel.compile import cache, packages
from bilevel.compile.forms import Form, Members
from bilevel.compile.functions import FlatFunction, NotCompilableError
from bilevel.compile.operations import TooManyOperationsError, operations_digest
from bilevel.compile.plans import LOG, Inputs, eagerly, make_plan, on_plain, traceable
from bilevel.compile.verify import difference


@dataclass(frozen=True)
class Package:
    """A compiled function, verified."""

    key: str
    """Its name in the cache."""
    run: packages.Run
    form: Form
    """How it takes and gives tensors."""
    shapes: tuple[torch.Size, ...]
    """The results' shapes, plain."""


class Wanted(NamedTuple):
    """A function of a problem that is to become a package."""

    kind: str
    """Which: "step", "pull", ..."""
    function: FlatFunction
    """What it computes, on plain leaves."""
    inputs: Inputs
    """An example."""
    out_axis: int
    """Which axis of every result counts members."""
    forms: tuple[Form, ...] = ("rows", "plain")
    """Those to try, in this order."""
    prepare: Callable[[], None] = lambda: None
    """Called before anything else is done with it."""


_loaded: dict[str, packages.Run] = {}


def loaded() -> int:
    """Count the packages that this process has loaded."""
    return len(_loaded)


def unload() -> None:
    """Forget every package that was loaded: those on disk are loaded again."""
    _loaded.clear()


@dataclass
class Program:
    """What is known of one problem (one step, one outer loss, inputs of one shape)."""

    name: str
    """What it is called where packages are listed."""
    members: Members
    found: dict[Any, Package | None] = field(default_factory=dict)
    """By what was asked; None is what cannot be compiled."""
    whole: dict[Any, Package | None] = field(default_factory=dict)
    """All steps and the way back in one package, by what was asked; None where it is not worth it."""
    warned: bool = False
    """Whether the user knows that something runs eagerly."""

    def package(self, wanted: Wanted) -> Package:
        """Give the package of a function: from the cache, or traced and built; compared with it either way.

        Raises:
            NotCompilableError: what it gives is not what the function gives (says how).
            Exception: it cannot be traced, built or kept: whatever torch or the file system raises; or what
                `wanted.prepare` raises.
        """
        wanted.prepare()
        expected = eagerly(wanted.function)
        shapes = tuple(result.shape for result in expected(wanted.inputs.leaves))
        keys = {form: package_key(form, wanted) for form in wanted.forms}
        reason = f"its {wanted.kind} has no form to be compiled in"
        # One that was built before, in any form; else the first form that can be built.
        kept = [form for form in wanted.forms if keys[form] is not None and _lies_there(keys[form])]
        for form in (*kept, *(form for form in wanted.forms if form not in kept)):
            key = keys[form]
            if key is None or (form not in kept and not self._build(form, key, wanted)):
                continue
            try:
                run = _load(key)
            except OSError:  # whole, and yet not to be loaded: built again, once
                cache.discard(key)
                if not self._build(form, key, wanted):
                    continue
                run = _load(key)
            found = on_plain(run, form, wanted.inputs, shapes, wanted.out_axis)
            wrong = difference(found, expected, wanted.inputs.leaves)
            if wrong is None:
                return Package(key, run, form, shapes)
            reason = f"its {wanted.kind} as a package does not give what it gives eagerly ({wrong})"
        raise NotCompilableError(reason)

    def _build(self, form: Form, key: str, wanted: Wanted) -> bool:
        """Build a function's package in this form, if it has one."""
        plan = make_plan(form, wanted.function, wanted.inputs, wanted.out_axis)
        if plan is None:
            return False
        LOG.info("Compiling the %s of %s, once for all: %s.", wanted.kind, self.name, cache.folder())
        packages.build(plan, key, f"{wanted.kind} of {self.name}")
        return True


def package_key(form: Form, wanted: Wanted, *, max_operations: int | None = None) -> str | None:
    """Name a function's package by all that its machine code depends on: its operations and its constants.

    Args:
        form: the package's form.
        wanted: the function, and an example of its inputs.
        max_operations: the most operations to look through; None: no limit.

    Returns:
        32 hexadecimal digits; None if the function cannot be called in this form.

    Raises:
        TooManyOperationsError: the function takes more operations than `max_operations`.
        Exception: as plain tensors, whatever the function raises.
    """
    function, leaves = traceable(form, wanted.function, wanted.inputs)
    try:
        operations = operations_digest(function, leaves, max_operations=max_operations)
    except TooManyOperationsError:
        raise
    except Exception:
        if form == "plain":
            raise
        return None  # one member alone may break any assumption of the function's
    inputs = wanted.inputs
    parts = (packages.environment(), operations, form, inputs.many, inputs.threads(form))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _lies_there(key: str | None) -> bool:
    return key is not None and (key in _loaded or cache.find(key) is not None)


def _load(key: str) -> packages.Run:
    if key not in _loaded:
        _loaded[key] = packages.load(key)
    return _loaded[key]
