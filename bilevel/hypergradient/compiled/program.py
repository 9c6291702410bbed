"""The packages of one problem: found, or traced, built and verified, when they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bilevel.hypergradient.compiled import cache, packages
from bilevel.hypergradient.compiled.fingerprint import Name, name_of
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
        check: Callable[[], None] = lambda: None,
    ) -> Package:
        """Give the package of a function: from the cache, or traced, built and verified.

        Args:
            kind: which function of the problem: "step", "pull", ...
            function: what it computes, on plain leaves.
            inputs: an example.
            out_axis: which axis of every result counts members.
            forms: those to try, in this order.
            check: what must hold of the function besides; called unless all was found in order before, in
                this process or another.

        Raises:
            NotCompilableError: what it gives is not what the function gives (says how).
            Exception: it cannot be traced, built or kept: whatever torch or the file system raises.
        """
        names = {form: self._name(kind, form, inputs) for form in forms}
        for form, name in names.items():
            known = cache.recall(name.text) if name.certain else None
            if known is not None:
                return Package(known[0], _load(known[0]), form, _filled(known[1], self.members))
        check()
        expected = eagerly(function)
        shapes = tuple(result.shape for result in expected(inputs.leaves))
        reason = f"its {kind} has no form to be compiled in"
        for form, name in names.items():
            for key in self._keys(form, name, kind, function, inputs, out_axis):
                run = _load(key)
                wrong = difference(on_plain(run, form, inputs, shapes, out_axis), expected, inputs.leaves)
                if wrong is None:
                    cache.remember(name.text, key, _with_holes(shapes, form, inputs, out_axis))
                    return Package(key, run, form, shapes)
                reason = f"its {kind} as a package does not give what it gives eagerly ({wrong})"
        raise NotCompilableError(reason)

    def _name(self, kind: str, form: Form, inputs: Inputs) -> Name:
        about = inputs.kind(form), inputs.threads(form), packages.environment(), torch.get_default_dtype()
        return name_of(kind, form, self.made_of, *about)

    def _keys(
        self, form: Form, name: Name, kind: str, function: FlatFunction, inputs: Inputs, out_axis: int
    ) -> Iterator[str]:
        """Give the package that the function's name leads to; if that will not do, the one of its graph."""
        recalled = cache.recall(name.text)
        if recalled is not None:
            yield recalled[0]
        plan = make_plan(form, function, inputs, out_axis)
        if plan is None or (recalled is not None and plan.key == recalled[0]):
            return
        if not cache.package_path(plan.key).exists():
            LOG.info("Compiling the %s of %s, once for all: %s.", kind, self.name, cache.folder())
        yield packages.build(plan, f"{kind} of {self.name}")


def _with_holes(shapes: Sequence[torch.Size], form: Form, inputs: Inputs, out_axis: int) -> list[list[int]]:
    """Shapes with -1 for the number of members, where a package serves any."""
    if form == "plain" or not inputs.many:
        return [list(shape) for shape in shapes]
    return [[*shape[:out_axis], -1, *shape[out_axis + 1 :]] if shape else [] for shape in shapes]


def _filled(shapes: Sequence[Sequence[int]], members: Members) -> tuple[torch.Size, ...]:
    count = members.count or 1
    return tuple(torch.Size([count if size == -1 else size for size in shape]) for shape in shapes)


def _load(key: str) -> packages.Run:
    if key not in _loaded:
        _loaded[key] = packages.load(key)
    return _loaded[key]
