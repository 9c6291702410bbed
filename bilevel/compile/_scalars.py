"""Straight-line form of a small function: every entry of every tensor becomes a scalar expression.

A repeated game between two agents, say, is hundreds of operations on tensors of a few entries. Written out
for one member of the batch, it is one program without memory traffic, in which masks fold away, for any
number of members.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bilevel.compile._c_operations import has_c_form
from bilevel.compile._expressions import Expressions, NotScalarError
from bilevel.compile._operations import DispatchMode
from bilevel.compile._rules import MOVES, RULES, Numbers, constants, rewrite
from bilevel.core import Tensors


class Formulas(NamedTuple):
    """A function written out entry by entry."""

    known: Expressions
    """Numbered expressions of the entries of its inputs."""
    results: tuple[Tensor, ...]
    """The expressions' numbers, int64, in the shape of each result."""


def write_out(
    function: Callable[..., Tensors], examples: Sequence[Tensor], *, shared: Sequence[bool], max_size: int
) -> Formulas:
    """Run a function on inputs of ONE member, no two the same object, and record operations on every entry.

    `shared` tells which inputs are the same for all members; that members are independent of each other is
    for the caller to verify. NotScalarError beyond `max_size` expressions, or where there is no such form.
    """
    if sum(example.numel() for example in examples) > max_size:
        raise NotScalarError(f"written out it would be more than {max_size} operations")
    known = Expressions(max_size)
    writer = _Writer(known)
    for leaf, (example, same) in enumerate(zip(examples, shared, strict=True)):
        places = range(example.numel())
        numbers = [known.entry(leaf, place, example.dtype, shared=same) for place in places]
        writer.bind(example, Numbers(torch.tensor(numbers, dtype=torch.int64).reshape(example.shape)))
    # Functions that have another form for compilers ask whether one is at work.
    with torch.no_grad(), torch.compiler._compile_session_context(), writer:
        results = function(*examples)
    return Formulas(known, tuple(writer.numbers(result).ids for result in results))


class _Writer(DispatchMode):
    """Records every operation that depends on an input; the results of others are constants."""

    def __init__(self, known: Expressions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = known
        self._numbers: dict[int, Numbers] = {}
        self._kept: list[Tensor] = []  # alive, so that no id is used twice
        self._storages: Counter[int] = Counter()
        """Number of tensors in each storage."""

    def bind(self, tensor: Tensor, numbers: Numbers) -> None:
        self._numbers[id(tensor)] = numbers
        self._kept.append(tensor)
        self._storages[_storage(tensor)] += 1

    def numbers(self, tensor: Tensor) -> Numbers:
        """The expressions of a tensor: constants, if it depends on no input."""
        found = self._numbers.get(id(tensor))
        return constants(self.known, tensor) if found is None else found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = pytree.tree_leaves((args, kwargs))
        if not any(isinstance(leaf, Tensor) and id(leaf) in self._numbers for leaf in leaves):
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            return self._change(func, args, kwargs)
        pointwise = torch.Tag.pointwise in func.tags and has_c_form(func)
        if not (func in MOVES or func in RULES or pointwise):
            with self:
                results = _decompositions().get(func, func.decompose)(*args, **kwargs)
            if results is not NotImplemented:
                return results
        read_args, read_kwargs = pytree.tree_map(
            lambda leaf: self.numbers(leaf) if isinstance(leaf, Tensor) else leaf, (args, kwargs)
        )
        written = rewrite(self.known, func, read_args, read_kwargs)
        results = func(*args, **kwargs)
        if isinstance(results, Tensor):
            self.bind(results, written)
        else:
            for result, numbers in zip(results, written, strict=True):
                self.bind(result, numbers)
        return results

    def _change(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an in-place operation; refused if another tensor shares the storage."""
        name, overload = func._schema.name.partition("::")[2], func._overloadname
        whole = getattr(getattr(torch.ops.aten, name.removesuffix("_"), None), overload, None)
        changed = args[0]
        seen = self._storages[_storage(changed)] if id(changed) in self._numbers else None
        if whole is None or not name.endswith("_") or seen != 1:
            raise NotScalarError(f"{func} changes a tensor in place")
        before = changed.clone()
        self.bind(before, self.numbers(changed))
        with self:
            after = whole(before, *args[1:], **kwargs).to(changed.dtype).expand_as(changed)
        self._numbers[id(changed)] = self.numbers(after)
        return func(*args, **kwargs)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@functools.cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Decompositions to core operations, and of what else is pointwise."""
    from torch._decomp import (  # noqa: PLC0415  # half a second of imports
        core_aten_decompositions,
        decomposition_table,
    )

    table = {
        func: how
        for func, how in decomposition_table.items()
        if isinstance(func, torch._ops.OpOverload) and torch.Tag.pointwise in func.tags
    }
    return {**table, **core_aten_decompositions()}
