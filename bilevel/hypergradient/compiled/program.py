"""The packages of one problem: found, or traced, built and verified, when they are first needed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from bilevel.hypergradient.compiled import cache, packages
from bilevel.hypergradient.compiled.expressions import NotScalarError
from bilevel.hypergradient.compiled.fingerprint import fingerprint
from bilevel.hypergradient.compiled.forms import Form, Members
from bilevel.hypergradient.compiled.functions import FlatFunction, NotCompilableError
from bilevel.hypergradient.compiled.scalars import write_out
from bilevel.hypergradient.compiled.verify import difference
from bilevel.tree import Tensors

LOG = logging.getLogger("bilevel.compiled")

MOST_SCALARS = 6_000
"""Operations that a graph may have, written out: about a minute of the C++ compiler's time."""
PARALLEL_MEMBERS = 2_048
"""Members from which on several threads win over one, in straight-line code."""
PARALLEL_ENTRIES = 1 << 14
"""The same for plain tensors: entries of all inputs together."""


@dataclass(frozen=True)
class Inputs:
    """What a function is called with: plain leaves, and which axis of each counts members."""

    leaves: Tensors
    axes: tuple[int, ...]
    members: Members

    def rows(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """These leaves as rows."""
        return [self.members.rows(leaf, axis) for leaf, axis in zip(leaves, self.axes, strict=True)]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Their shapes and dtypes, up to the number of members beyond 1."""

        def shape(leaf: Tensor, axis: int) -> tuple[int, ...]:
            if leaf.ndim == 0 or not self.many:
                return tuple(leaf.shape)
            return (*leaf.shape[:axis], -1, *leaf.shape[axis + 1 :])

        shapes = [shape(leaf, axis) for leaf, axis in zip(self.leaves, self.axes, strict=True)]
        return tuple(
            (shape, leaf.dtype, leaf.device.type) for shape, leaf in zip(shapes, self.leaves, strict=True)
        )

    @property
    def many(self) -> bool:
        """Whether there are two members or more."""
        return self.members.count is not None and self.members.count > 1


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
            NotCompilableError: it cannot be traced, built or used (says why).
        """
        expected = [result.detach() for result in _eager(function)(inputs.leaves)]
        shapes = tuple(result.shape for result in expected)
        reason = f"its {kind} has no form to be compiled in"
        for form in forms:
            found = self._in_form(form, kind, function, inputs)
            if found is None:
                continue
            key, run = found

            def through(leaves: Sequence[Tensor], form: Form = form, run: packages.Run = run) -> list[Tensor]:
                if form == "plain":
                    return run([leaf.contiguous() for leaf in leaves])
                rows = run(inputs.rows(leaves))
                return [
                    self.members.plain(row, shape, out_axis) for row, shape in zip(rows, shapes, strict=True)
                ]

            wrong = difference(through, _eager(function), inputs.leaves)
            if wrong is None:
                return Package(key, run, form, shapes)
            reason = f"its {kind} as a package does not give what it gives eagerly ({wrong})"
        raise NotCompilableError(reason)

    def _in_form(
        self, form: Form, kind: str, function: FlatFunction, inputs: Inputs
    ) -> tuple[str, packages.Run] | None:
        """The loaded package in one form, unverified; None if the function has no such form."""
        threads = _threads(form, inputs)
        name = fingerprint(
            kind, form, self.made_of, inputs.kind, inputs.many, threads, packages.environment()
        )
        key = cache.recall(name)
        if key is None:
            plan = _plan(form, function, inputs, threads)
            if plan is None:
                return None
            key = plan.key
            if not cache.package_path(key).exists():
                LOG.info("Compiling the %s of %s; it is kept in %s.", kind, self.name, cache.folder())
            packages.build(plan, f"{kind} of {self.name}")
            cache.remember(name, key)
        if key not in _loaded:
            _loaded[key] = packages.load(key)
        return key, _loaded[key]


def _plan(form: Form, function: FlatFunction, inputs: Inputs, threads: int) -> packages.Plan | None:
    if form == "plain":
        leaves = tuple(_fresh(leaf) for leaf in inputs.leaves)
        return packages.Plan(_trace(function, leaves), leaves, members=False, threads=threads)
    if sum(leaf.numel() for leaf in inputs.leaves) // (inputs.members.count or 1) > MOST_SCALARS:
        return None
    one = tuple(
        inputs.members.first(leaf, axis) for leaf, axis in zip(inputs.leaves, inputs.axes, strict=True)
    )
    try:
        traced = _trace(_as_one_member(function, inputs.members), one)
        graph = write_out(traced, one, most=MOST_SCALARS)
    except NotScalarError as reason:
        LOG.debug("Not written out entry by entry: %s.", reason)
        return None
    graph.graph.eliminate_dead_code()
    graph.recompile()
    length = 1 if not inputs.many else 64 if threads == 1 else 8192
    examples = tuple(_rows_example(leaf, length) for leaf in one)
    return packages.Plan(graph, examples, members=inputs.many, threads=threads)


def _as_one_member(function: FlatFunction, members: Members) -> FlatFunction:
    """Let a problem without members look like one of them: an axis of length 1 comes and goes."""
    if members.count is not None:
        return function

    def wrapped(*leaves: Tensor) -> Tensors:
        results = function(*(leaf.squeeze(0) if leaf.ndim else leaf for leaf in leaves))
        return tuple(result.unsqueeze(0) if result.ndim else result for result in results)

    return wrapped


def _rows_example(leaf: Tensor, length: int) -> Tensor:
    """Rows like those of many copies of a member, each a little different."""
    if leaf.ndim == 0:
        return leaf.clone()
    return _fresh(leaf.reshape(-1, 1).expand(-1, length))


def _trace(function: FlatFunction, leaves: Tensors) -> torch.fx.GraphModule:
    """Trace through `torch.func`: export alone would bake its inputs in as constants."""
    with torch.no_grad():
        traced = make_fx(function, decomposition_table=dict(core_aten_decompositions()))(*leaves)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _fresh(leaf: Tensor) -> Tensor:
    """A contiguous copy: tracing tells inputs apart by object, and strides of length-1 axes are canonical."""
    return torch.empty(leaf.shape, dtype=leaf.dtype, device=leaf.device).copy_(leaf)


def _threads(form: Form, inputs: Inputs) -> int:
    if form == "rows":
        few = (inputs.members.count or 1) < PARALLEL_MEMBERS
    else:
        few = sum(leaf.numel() for leaf in inputs.leaves) < PARALLEL_ENTRIES
    return 1 if few else torch.get_num_threads()


def _eager(function: FlatFunction) -> Any:
    def run(leaves: Sequence[Tensor]) -> Tensors:
        with torch.no_grad():
            return function(*leaves)

    return run
