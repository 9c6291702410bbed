"""From a function and its inputs to a graph that can be built: traced, and written out where it is small."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from bilevel.compile.expressions import NotScalarError
from bilevel.compile.forms import Form, Members
from bilevel.compile.functions import FlatFunction
from bilevel.compile.packages import Plan
from bilevel.compile.scalars import write_out
from bilevel.compile.verify import difference
from bilevel.tree import Tensors

LOG = logging.getLogger("bilevel.compiled")

MOST_SCALARS = 6_000
"""Operations that a graph may have, written out: about a minute of the C++ compiler's time."""
PARALLEL_MEMBERS = 2_048
"""Members from which on several threads win over one, in straight-line code."""
PARALLEL_ENTRIES = 1 << 14
"""The same for plain tensors: entries of all inputs together."""

ListFunction = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Plain leaves -> plain results."""


@dataclass(frozen=True)
class Inputs:
    """What a function is called with: plain leaves, and which axis of each counts members."""

    leaves: Tensors
    axes: tuple[int, ...]
    members: Members

    def rows(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """These leaves as rows."""
        return [self.members.rows(leaf, axis) for leaf, axis in zip(leaves, self.axes, strict=True)]

    def kind(self, form: Form) -> tuple[Any, ...]:
        """Their shapes and dtypes; as rows up to the number of members, where that is 2 or more."""

        def shape(leaf: Tensor, axis: int) -> tuple[int, ...]:
            if form == "plain" or leaf.ndim == 0 or not self.many:
                return tuple(leaf.shape)
            return (*leaf.shape[:axis], -1, *leaf.shape[axis + 1 :])

        return tuple(
            (shape(leaf, axis), leaf.dtype, leaf.device.type)
            for leaf, axis in zip(self.leaves, self.axes, strict=True)
        )

    def threads(self, form: Form) -> int:
        """How many threads serve inputs of this size best."""
        if form == "rows":
            few = (self.members.count or 1) < PARALLEL_MEMBERS
        else:
            few = sum(leaf.numel() for leaf in self.leaves) < PARALLEL_ENTRIES
        return 1 if few else torch.get_num_threads()

    @property
    def many(self) -> bool:
        """Whether there are two members or more."""
        return self.members.count is not None and self.members.count > 1


def make_plan(form: Form, function: FlatFunction, inputs: Inputs, out_axis: int) -> Plan | None:
    """Trace a function in one form.

    Args:
        form: the form.
        function: what is traced, on plain leaves.
        inputs: an example.
        out_axis: which axis of every result counts members.

    Returns:
        the plan; None if the function has no such form.

    Raises:
        Exception: as plain tensors, whatever torch raises on a function that it cannot trace.
    """
    if form == "plain":
        function, leaves = traceable(form, function, inputs)
        return Plan(_trace(function, leaves), leaves, members=False, threads=inputs.threads(form))
    try:
        return _plan_rows(function, inputs, out_axis)
    except NotScalarError as error:
        LOG.debug("Not written out entry by entry: %s.", error)
    except Exception as error:  # noqa: BLE001 - one member alone may break any assumption of the function's
        LOG.debug("Not written out entry by entry: %s: %s.", type(error).__name__, error)
    return None


def traceable(form: Form, function: FlatFunction, inputs: Inputs) -> tuple[FlatFunction, Tensors]:
    """The function to trace in this form, and its inputs: all members, or as rows one member alone."""
    if form == "plain":
        return function, tuple(_fresh(leaf) for leaf in inputs.leaves)
    members = inputs.members
    one = tuple(members.first(leaf, axis) for leaf, axis in zip(inputs.leaves, inputs.axes, strict=True))
    return _as_one_member(function, members), one


def on_plain(
    run: Callable[[list[Tensor]], Sequence[Tensor]],
    form: Form,
    inputs: Inputs,
    shapes: Sequence[torch.Size],
    out_axis: int,
) -> ListFunction:
    """Let what takes one form take and give plain leaves.

    Args:
        run: the package, or the graph that it is made of.
        form: what it takes and gives.
        inputs: where members lie in its inputs.
        shapes: of its results.
        out_axis: which axis of every result counts members.
    """

    def plainly(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        if form == "plain":
            return run([leaf.contiguous() for leaf in leaves])
        rows = run(inputs.rows(leaves))
        plain = inputs.members.plain
        return [plain(row, shape, out_axis) for row, shape in zip(rows, shapes, strict=True)]

    return plainly


def eagerly(function: FlatFunction) -> ListFunction:
    """The function as it is, on leaves in a sequence, without gradients."""

    def run(leaves: Sequence[Tensor]) -> Tensors:
        with torch.no_grad():
            return function(*leaves)

    return run


def _plan_rows(function: FlatFunction, inputs: Inputs, out_axis: int) -> Plan:
    members, threads = inputs.members, inputs.threads("rows")
    if sum(leaf.numel() for leaf in inputs.leaves) // (members.count or 1) > MOST_SCALARS:
        raise NotScalarError("one member has too many entries")
    alone, one = traceable("rows", function, inputs)
    graph = write_out(_trace(alone, one), one, most=MOST_SCALARS)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    _require_independent(graph, function, inputs, out_axis)
    length = 1 if not inputs.many else 64 if threads == 1 else 8192
    examples = tuple(_rows_example(leaf, length) for leaf in one)
    return Plan(graph, examples, members=inputs.many, threads=threads)


def _require_independent(
    graph: torch.fx.GraphModule, function: FlatFunction, inputs: Inputs, out_axis: int
) -> None:
    """Raise NotScalarError if one member's graph is wrong for all of them: before it is built, not after."""
    expected = eagerly(function)
    shapes = [result.shape for result in expected(inputs.leaves)]
    with torch.no_grad():
        written = on_plain(lambda rows: graph(*rows), "rows", inputs, shapes, out_axis)
        wrong = difference(written, expected, inputs.leaves)
    if wrong is not None:
        raise NotScalarError(f"members are not independent of each other ({wrong})")


def _as_one_member(function: FlatFunction, members: Members) -> FlatFunction:
    """Let a problem without members look like one of them: an axis of length 1 comes and goes."""
    if members.count is not None:
        return function

    def wrapped(*leaves: Tensor) -> Tensors:
        results = function(*(leaf.squeeze(0) if leaf.ndim else leaf for leaf in leaves))
        return tuple(result.unsqueeze(0) if result.ndim else result for result in results)

    return wrapped


def _rows_example(leaf: Tensor, length: int) -> Tensor:
    """Rows of so many copies of a member."""
    if leaf.ndim == 0:
        return leaf.clone()
    return _fresh(leaf.reshape(-1, 1).expand(-1, length))


@functools.cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    """To core operations, but for one of which `rules` knows better."""
    table = dict(core_aten_decompositions())
    del table[torch.ops.aten._softmax_backward_data.default]
    return table


def _trace(function: FlatFunction, leaves: Tensors) -> torch.fx.GraphModule:
    """Trace through `torch.func`: export alone would bake its inputs in as constants."""
    with torch.no_grad():
        traced = make_fx(function, decomposition_table=_decompositions())(*leaves)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _fresh(leaf: Tensor) -> Tensor:
    """A contiguous copy: tracing tells inputs apart by object, and strides of length-1 axes are canonical."""
    return torch.empty(leaf.shape, dtype=leaf.dtype, device=leaf.device).copy_(leaf)
