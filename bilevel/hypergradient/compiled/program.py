"""The packages of one problem: found, or traced, built and verified, when they are first needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from bilevel.hypergradient.compiled import cache, packages
from bilevel.hypergradient.compiled.fingerprint import fingerprint
from bilevel.hypergradient.compiled.forms import Form, Members
from bilevel.hypergradient.compiled.functions import FlatFunction, NotCompilableError
from bilevel.hypergradient.compiled.plans import LOG, Inputs, eagerly, make_plan, on_plain
from bilevel.hypergradient.compiled.verify import difference


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


_loaded: dict[str, packages.Run] = {}


@dataclass
class Program:
    """What is known of one problem (one step, one outer loss, inputs of one shape)."""

    name: str
    """What it is called where packages are listed."""
    made_of: tuple[Any, ...]
    """The functions it is made of, for its fingerprint."""
    members: Members
    found: dict[Any, Package | None] = field(default_factory=dict)
    """By what was asked; None is what cannot be compiled."""
    whole: dict[Any, Package | None] = field(default_factory=dict)
    """All steps and the way back in one package, by what was asked; None where it is not worth it."""
    warned: bool = False
    """Whether the user knows that something runs eagerly."""

    def package(
        self,
        kind: str,
        function: FlatFunction,
        inputs: Inputs,
        out_axis: int,
        forms: tuple[Form, ...] = ("rows", "plain"),
    ) -> Package:
        """Give the package of a function: from the cache, or traced, built and verified.

        Args:
            kind: which function of the problem: "step", "pull", ...
            function: what it computes, on plain leaves.
            inputs: an example.
            out_axis: which axis of every result counts members.
            forms: those to try, in this order.

        Raises:
            NotCompilableError: what it gives is not what the function gives (says how).
            Exception: it cannot be traced, built or kept: whatever torch or the file system raises.
        """
        expected = eagerly(function)
        shapes = tuple(result.shape for result in expected(inputs.leaves))
        reason = f"its {kind} has no form to be compiled in"
        for form in forms:
            for key in self._keys(form, kind, function, inputs, out_axis):
                run = _load(key)
                wrong = difference(on_plain(run, form, inputs, shapes, out_axis), expected, inputs.leaves)
                if wrong is None:
                    return Package(key, run, form, shapes)
                reason = f"its {kind} as a package does not give what it gives eagerly ({wrong})"
        raise NotCompilableError(reason)

    def _keys(
        self, form: Form, kind: str, function: FlatFunction, inputs: Inputs, out_axis: int
    ) -> Iterator[str]:
        """Give the package that the function's name leads to; if that will not do, the one of its graph."""
        threads = inputs.threads(form)
        name = fingerprint(kind, form, self.made_of, inputs.kind(form), threads, packages.environment())
        recalled = cache.recall(name)
        if recalled is not None:
            yield recalled
        plan = make_plan(form, function, inputs, out_axis)
        if plan is None or plan.key == recalled:
            return
        if not cache.package_path(plan.key).exists():
            LOG.info("Compiling the %s of %s, once for all: %s.", kind, self.name, cache.folder())
        key = packages.build(plan, f"{kind} of {self.name}")
        cache.remember(name, key)
        yield key


def _load(key: str) -> packages.Run:
    if key not in _loaded:
        _loaded[key] = packages.load(key)
    return _loaded[key]
