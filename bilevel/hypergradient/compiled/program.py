"""The packages of one problem: found, or traced, built and verified, when they are first needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from bilevel.hypergradient.compiled import background, cache, packages
from bilevel.hypergradient.compiled.fingerprint import Name, fingerprint, name_of
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
    """Called before it is traced, unless it was found right before."""


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
    made_of: tuple[Any, ...]
    """The functions it is made of, for its fingerprint."""
    members: Members
    found: dict[Any, Package | None] = field(default_factory=dict)
    """By what was asked; None is what cannot be compiled."""
    whole: dict[Any, Package | None] = field(default_factory=dict)
    """All steps and the way back in one package, by what was asked; None where it is not worth it."""
    warned: bool = False
    """Whether the user knows that something runs eagerly."""

    def package(self, wanted: Wanted) -> Package:
        """Give the package of a function: from the cache, or traced, built and verified.

        Raises:
            NotCompilableError: what it gives is not what the function gives (says how).
            Exception: it cannot be traced, built or kept: whatever torch or the file system raises; or what
                `wanted.prepare` raises.
        """
        kind, inputs, out_axis = wanted.kind, wanted.inputs, wanted.out_axis
        known = self.recalled(wanted)
        if known is not None:
            return known
        wanted.prepare()
        expected = eagerly(wanted.function)
        shapes = tuple(result.shape for result in expected(inputs.leaves))
        reason = f"its {kind} has no form to be compiled in"
        for form in wanted.forms:
            name = self._name(form, wanted)
            for key in self._keys(form, name, wanted):
                run = _load(key)
                wrong = difference(on_plain(run, form, inputs, shapes, out_axis), expected, inputs.leaves)
                if wrong is None:
                    cache.remember(name.text, key, _with_holes(shapes, form, inputs, out_axis))
                    return Package(key, run, form, shapes)
                reason = f"its {kind} as a package does not give what it gives eagerly ({wrong})"
        raise NotCompilableError(reason)

    def foresee(self, wanted: Wanted) -> None:
        """Begin to build, in another process, what will be asked for next; errors are told when it is."""
        if self.recalled(wanted) is not None:
            return
        try:
            plans = (
                make_plan(form, wanted.function, wanted.inputs, wanted.out_axis) for form in wanted.forms
            )
            plan = next((plan for plan in plans if plan is not None), None)
            if plan is not None:
                background.start(plan, f"{wanted.kind} of {self.name}")
        except Exception as error:  # noqa: BLE001 - as above
            LOG.debug("Not built in the background: %s: %s.", type(error).__name__, error)

    def recalled(self, wanted: Wanted) -> Package | None:
        """What was found right before, by this process or another, if there is no doubt what it is of."""
        for form in wanted.forms:
            name = self._name(form, wanted)
            found = cache.recall(name.text) if name.certain else None
            if found is not None:
                return Package(found[0], _load(found[0]), form, _filled(found[1], self.members))
        return None

    @functools.cached_property
    def name_of_all(self) -> Name:
        """What the functions are called together: what they hold is read once, as it is when first asked."""
        return name_of(self.made_of, packages.environment(), torch.get_default_dtype())

    def _name(self, form: Form, wanted: Wanted) -> Name:
        made, inputs = self.name_of_all, wanted.inputs
        text = fingerprint(made.text, wanted.kind, form, inputs.kind(form), inputs.threads(form))
        return Name(text, made.certain)

    def _keys(self, form: Form, name: Name, wanted: Wanted) -> Iterator[str]:
        """Give the package that the function's name leads to; if that will not do, the one of its graph."""
        recalled = cache.recall(name.text)
        if recalled is not None:
            yield recalled[0]
        plan = make_plan(form, wanted.function, wanted.inputs, wanted.out_axis)
        if plan is None or (recalled is not None and plan.key == recalled[0]):
            return
        if not cache.package_path(plan.key).exists():
            LOG.info("Compiling the %s of %s, once for all: %s.", wanted.kind, self.name, cache.folder())
        background.wait(plan.key)
        yield packages.build(plan, f"{wanted.kind} of {self.name}")


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
