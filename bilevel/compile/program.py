"""The packages of one problem: found, or traced, built and verified, when they are first needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.compile import cache, packages
from bilevel.compile.c_compiler import CFunction
from bilevel.compile.expressions import NotScalarError
from bilevel.compile.forms import Form, Members
from bilevel.compile.functions import FlatFunction, NotCompilableError
from bilevel.compile.operations import operations_digest
from bilevel.compile.plans import LOG, Inputs, ListFunction, Source, eagerly, make_source, traceable
from bilevel.compile.verify import difference


@dataclass(frozen=True)
class Package:
    """A compiled function, verified."""

    key: str
    """Its name in the cache."""
    run: packages.Run
    """Plain leaves -> plain results."""
    shapes: tuple[torch.Size, ...]
    """The results' shapes."""


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
    write: Callable[[Sequence[Tensor]], Source] | None = None
    """Its results -> how it is written in C, if that is not simply the function entry by entry."""
    sizes: tuple[int, ...] = ()
    """What else its package is called with."""


_loaded: dict[str, Any] = {}


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
        results = expected(wanted.inputs.leaves)
        keys = {form: package_key(form, wanted) for form in wanted.forms}
        reason = f"its {wanted.kind} has no form to be compiled in"
        # One that was built before, in any form; else the first form that can be built.
        kept = [form for form in wanted.forms if _lies_there(keys[form])]
        for form in (*kept, *(form for form in wanted.forms if form not in kept)):
            key = keys[form]
            if key is None or (form not in kept and not self._build(form, key, wanted, results)):
                continue
            try:
                run = _load(form, key, wanted, results)
            except OSError:  # whole, and yet not to be loaded: built again, once
                cache.discard(key)
                if not self._build(form, key, wanted, results):
                    continue
                run = _load(form, key, wanted, results)
            wrong = difference(_on_any(run, wanted.sizes), expected, wanted.inputs.leaves)
            if wrong is None:
                return Package(key, run, tuple(result.shape for result in results))
            reason = f"its {wanted.kind} as a package does not give what it gives eagerly ({wrong})"
        raise NotCompilableError(reason)

    def _build(self, form: Form, key: str, wanted: Wanted, results: Sequence[Tensor]) -> bool:
        """Build a function's package in this form, if it has one."""
        about = f"{wanted.kind} of {self.name}"
        if form == "rows":
            LOG.info("Compiling the %s, once for all: %s.", about, cache.folder())
            try:
                source = (
                    make_source(wanted.function, wanted.inputs, results, wanted.out_axis)
                    if wanted.write is None
                    else wanted.write(results)
                )
            except NotScalarError as error:
                LOG.debug("Not written out entry by entry: %s.", error)
                return False
            packages.build_library(source.text, key, about, source.operations)
            return True
        LOG.info("Compiling the %s, once for all, which may take a minute: %s.", about, cache.folder())
        from bilevel.compile.aoti import make_plan  # noqa: PLC0415  # seconds of imports

        plan = make_plan(wanted.function, wanted.inputs)
        packages.build_graph(plan, key, about)
        return True


def package_key(form: Form, wanted: Wanted) -> str | None:
    """Name a function's package by all that its machine code depends on: its operations and its constants.

    Args:
        form: the package's form.
        wanted: the function, and an example of its inputs.

    Returns:
        32 hexadecimal digits and a suffix; None if the function cannot be called in this form.

    Raises:
        Exception: as plain tensors, whatever the function raises.
    """
    function, leaves = traceable(form, wanted.function, wanted.inputs)
    try:
        operations = operations_digest(function, leaves)
    except Exception:
        if form == "plain":
            raise
        return None  # one member alone may break any assumption of the function's
    inputs = wanted.inputs
    parts = (packages.environment(), operations, form, inputs.many, form == "plain" and inputs.threads(form))
    name = hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
    return f"{name}.{'so' if form == 'rows' else 'pt2'}"


def _lies_there(key: str | None) -> bool:
    return key is not None and (key in _loaded or cache.find(key) is not None)


def _load(form: Form, key: str, wanted: Wanted, results: Sequence[Tensor]) -> packages.Run:
    load: Callable[[str], Any] = packages.load_library if form == "rows" else packages.load_graph
    if key not in _loaded:
        _loaded[key] = load(key)
    if form == "plain":
        run: packages.Run = _loaded[key]
        return run
    inputs, kinds = wanted.inputs, [(result.shape, result.dtype) for result in results]
    return CFunction(_loaded[key], kinds, inputs.members.count or 1, inputs.threads(form))


def _on_any(run: packages.Run, sizes: tuple[int, ...]) -> ListFunction:
    """A package for leaves that need not be contiguous."""
    return lambda leaves: run([leaf.contiguous() for leaf in leaves], *sizes)
