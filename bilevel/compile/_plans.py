"""C source of functions with their inputs, where they are small enough to be written out."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.compile._c_compiler import lanes, vectorized
from bilevel.compile._c_source import Function, Leaf, header, one_call
from bilevel.compile._expressions import NotScalarError
from bilevel.compile._functions import FlatFunction, Form, Members, copy
from bilevel.compile._scalars import write_out
from bilevel.core import Tensors

LOG = logging.getLogger("bilevel.compiled")

MAX_SCALARS = 6_000
"""Operations that a function may have, written out: some seconds of the C compiler's time."""
PARALLEL_MEMBERS = 2_048
"""Members from which on several threads win over one, in straight-line code."""
PARALLEL_ENTRIES = 1 << 14
"""The same for plain tensors: entries of all inputs together."""

ListFunction = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Plain leaves -> plain results."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of a function: plain leaves, and the axis of each that counts members."""

    leaves: Tensors
    axes: tuple[int, ...]
    members: Members

    def threads(self, form: Form) -> int:
        """The best number of threads for inputs of this size."""
        if form == "c":
            few = (self.members.count or 1) < PARALLEL_MEMBERS
        else:
            few = sum(leaf.numel() for leaf in self.leaves) < PARALLEL_ENTRIES
        return 1 if few else torch.get_num_threads()

    def leaf(self, leaf: Tensor, axis: int) -> Leaf:
        """The layout of an input or a result whose members are counted by this axis."""
        if self.members.many and leaf.ndim:
            if leaf.shape[axis] != self.members.count:
                raise NotScalarError("a result has no axis of members")
            return Leaf.of(leaf.shape, leaf.dtype, axis)
        return Leaf.of((leaf.numel(), 1) if leaf.ndim else (), leaf.dtype, 1)


class LibrarySource(NamedTuple):
    """The C source of a library."""

    text: str
    operations: int


def make_function(
    name: str, function: FlatFunction, inputs: Inputs, results: Sequence[Tensor], out_axis: int
) -> Function:
    """Write a function out entry by entry, with this name in C; NotScalarError if it has no such form."""
    alone, one = traceable("c", function, inputs)
    shared = [leaf.ndim == 0 for leaf in inputs.leaves]
    try:
        formulas = write_out(alone, one, shared=shared, max_size=MAX_SCALARS)
    except NotScalarError:
        raise
    except Exception as error:  # one member alone may break any assumption of the function's
        raise NotScalarError(f"{type(error).__name__}: {error}") from error
    written = []
    for result, ids in zip(results, formulas.results, strict=True):
        leaf = inputs.leaf(result, out_axis)
        if leaf.entries != ids.numel():
            raise NotScalarError("a result has another number of entries for one member alone")
        depends = not all(formulas.known.shared[number] for number in ids.flatten().tolist())
        written.append(dataclasses.replace(leaf, summed=leaf.shared and depends))
    return Function(name, formulas, tuple(map(inputs.leaf, inputs.leaves, inputs.axes)), tuple(written))


def make_source(
    function: FlatFunction, inputs: Inputs, results: Sequence[Tensor], out_axis: int
) -> LibrarySource:
    """Write a library of one function; see `make_function`."""
    written = make_function("function", function, inputs, results, out_axis)
    return make_library(one_call(written), (written,), many=inputs.members.many)


def make_library(text: str, functions: Sequence[Function], *, many: bool) -> LibrarySource:
    """A library of functions, whose C source is `text`; `many`: for two members or more."""
    leaves = (leaf for function in functions for leaf in (*function.inputs, *function.results))
    width = lanes([leaf.dtype for leaf in leaves]) if many else 1
    operations = sum(len(function.formulas.known.meanings) for function in functions)
    return LibrarySource(header(width, vectorized()) + "\n" + text, operations)


def traceable(form: Form, function: FlatFunction, inputs: Inputs) -> tuple[FlatFunction, Tensors]:
    """The function to trace in this form, and its inputs: all members, or for C one member alone."""
    if form == "graph":
        return function, tuple(map(copy, inputs.leaves))
    one = tuple(map(inputs.members.first, inputs.leaves, inputs.axes))
    if inputs.members.count is not None:
        return function, one

    def with_axis(*leaves: Tensor) -> Tensors:
        """The function of inputs with an axis of length 1 for its one member."""
        results = function(*(leaf.squeeze(0) if leaf.ndim else leaf for leaf in leaves))
        return tuple(result.unsqueeze(0) if result.ndim else result for result in results)

    return with_axis, one


def eagerly(function: FlatFunction) -> ListFunction:
    """The function itself, on a sequence of leaves, without gradients."""

    def run(leaves: Sequence[Tensor]) -> Tensors:
        with torch.no_grad():
            return function(*leaves)

    return run
