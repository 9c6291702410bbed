"""Numbered expressions of scalar entries, with common subexpressions shared and simple algebra applied.

Constants are folded. Products and sums have their terms in one order, and signs move out of products into the
sums around them, where they cost nothing and let more expressions be equal. Times zero is zero, even for an
infinity: what a mask removes is gone. Apart from that results change by rounding at most.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch


class NotScalarError(Exception):
    """A function that cannot be written out entry by entry; says why."""


class Ref(NamedTuple):
    number: int


class Constant(NamedTuple):
    value: bool | int | float


class InputEntry(NamedTuple):
    leaf: int
    """Number of the input."""
    place: int
    """Number of the entry, in row-major order."""


class Operation(NamedTuple):
    """A pointwise aten operation on expressions and plain values."""

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]


class Expressions:
    """Expressions by number; equal ones share a number, what is constant is computed at once.

    Args:
        max_size: how many there may be; beyond that `NotScalarError` is raised.
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.meanings: list[Constant | InputEntry | Operation] = []
        self.dtypes: list[torch.dtype] = []
        self.shared: list[bool] = []
        """True for expressions with the same value for all members of the batch."""
        self._numbers: dict[Hashable, int] = {}
        self._result_dtypes: dict[Hashable, torch.dtype] = {}

    def constant(self, value: bool | int | float, dtype: torch.dtype) -> int:
        """Number a constant; 0.0 and -0.0 are two."""
        return self._number(("constant", repr(value), dtype), Constant(value), dtype, shared=True)

    def entry(self, leaf: int, place: int, dtype: torch.dtype, *, shared: bool) -> int:
        return self._number(("entry", leaf, place), InputEntry(leaf, place), dtype, shared=shared)

    def value(self, argument: Any) -> Any:
        """The value of an argument; None if it depends on the input."""
        if not isinstance(argument, Ref):
            return argument
        meaning = self.meanings[argument.number]
        return meaning.value if isinstance(meaning, Constant) else None

    def operation(
        self,
        target: Callable[..., Any],
        args: Sequence[Any],
        dtype: torch.dtype,
        kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        """Number an operation as it is, with a result of this dtype."""
        operation = Operation(target, tuple(args), tuple(sorted((kwargs or {}).items())))
        shared = all(self.shared[argument.number] for argument in args if isinstance(argument, Ref))
        # By text, since 1, 1.0 and True are equal, as are 0.0 and -0.0, but do not give the same.
        return self._number(repr(operation), operation, dtype, shared=shared)

    def used(self, numbers: Sequence[int]) -> list[int]:
        """All expressions that these depend on, in topological order."""
        needed = set(numbers)
        for number in reversed(range(len(self.meanings))):  # arguments have lower numbers
            meaning = self.meanings[number]
            if number in needed and isinstance(meaning, Operation):
                needed.update(argument.number for argument in meaning.args if isinstance(argument, Ref))
        return sorted(needed)

    def as_tensor(self, argument: Any) -> Any:
        """A constant argument as a tensor."""
        if not isinstance(argument, Ref):
            return argument
        return torch.tensor(self.value(argument), dtype=self.dtypes[argument.number])

    def result_dtype(
        self, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> torch.dtype:
        """The dtype of torch's result; members have an axis, and shared values have none."""

        def kind(argument: Any) -> Any:
            if not isinstance(argument, Ref):
                return argument
            shape = () if self.shared[argument.number] else (1,)
            return shape, self.dtypes[argument.number]

        kinds = tuple(map(kind, args))
        kwargs = dict(kwargs or {})
        key = (target, repr(kinds), repr(sorted(kwargs.items())))
        if key not in self._result_dtypes:
            examples = (
                torch.ones(kind[0], dtype=kind[1]) if isinstance(argument, Ref) else argument
                for argument, kind in zip(args, kinds, strict=True)
            )
            self._result_dtypes[key] = target(*examples, **kwargs).dtype
        return self._result_dtypes[key]

    def _number(
        self, key: Hashable, meaning: Constant | InputEntry | Operation, dtype: torch.dtype, *, shared: bool
    ) -> int:
        if key not in self._numbers:
            if len(self.meanings) >= self.max_size:
                raise NotScalarError(f"written out it would be more than {self.max_size} operations")
            self._numbers[key] = len(self.meanings)
            self.meanings.append(meaning)
            self.dtypes.append(dtype)
            self.shared.append(shared)
        return self._numbers[key]


aten = torch.ops.aten


def apply(
    known: Expressions,
    target: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
) -> int:
    """Number a pointwise operation, an aten overload on `Ref`s and Python values, in its simplest form."""
    refs = [argument for argument in args if isinstance(argument, Ref)]
    if all(known.value(ref) is not None for ref in refs):
        result = target(*map(known.as_tensor, args), **(kwargs or {}))
        return known.constant(result.item(), result.dtype)
    dtype = known.result_dtype(target, args, kwargs)
    rule = None if kwargs or dtype == torch.bool else RULES.get(target)
    simpler = None if rule is None else rule(known, dtype, *args)
    return known.operation(target, args, dtype, kwargs) if simpler is None else simpler


class Term(NamedTuple):
    """A factor times an expression; None stands for 1."""

    factor: float
    number: int | None


def _term(known: Expressions, dtype: torch.dtype, argument: Any) -> Term | None:
    """Read an argument as a signed or scaled expression of the result's dtype; None if it has another."""
    value = known.value(argument)
    if value is not None:
        return Term(value, None)
    number = argument.number
    if known.dtypes[number] != dtype:
        return None
    meaning = known.meanings[number]
    if isinstance(meaning, Operation) and meaning.target is aten.neg.default:
        return Term(-1, meaning.args[0].number)
    if isinstance(meaning, Operation) and meaning.target is aten.mul.Tensor:
        base, by = meaning.args
        scale = known.value(by)
        if scale is not None and known.dtypes[base.number] == dtype:
            return Term(scale, base.number)
    return Term(1, number)


def _scaled(known: Expressions, dtype: torch.dtype, factor: float, number: int | None) -> int:
    """Number a term; a product has its factor last, so that `_term` can read it."""
    if number is None:
        return known.constant(float(factor) if dtype.is_floating_point else factor, dtype)
    if factor == 1:
        return number
    if factor == -1:
        return known.operation(aten.neg.default, (Ref(number),), dtype)
    return known.operation(aten.mul.Tensor, (Ref(number), Ref(_scaled(known, dtype, factor, None))), dtype)


def _ordered(known: Expressions, dtype: torch.dtype, target: Any, first: int, second: int) -> int:
    """Number an operation whose arguments may change places."""
    return known.operation(target, tuple(map(Ref, sorted((first, second)))), dtype)


def _multiply(known: Expressions, dtype: torch.dtype, first: Any, second: Any) -> int | None:
    if 0 in (known.value(first), known.value(second)):
        return known.constant(0.0 if dtype.is_floating_point else 0, dtype)
    one, other = _term(known, dtype, first), _term(known, dtype, second)
    if one is None or other is None:
        return None
    if one.number is None:
        one, other = other, one
    assert one.number is not None
    if other.number is None:
        factor = one.factor * other.factor
        plain = abs(one.factor) == 1 or 1e-30 < abs(factor) < 1e30
        return _scaled(known, dtype, factor, one.number) if plain else None
    # A scaled argument stays as it is, since others may use it too: only its sign goes out.
    left = _scaled(known, dtype, abs(one.factor), one.number)
    right = _scaled(known, dtype, abs(other.factor), other.number)
    product = _ordered(known, dtype, aten.mul.Tensor, left, right)
    return _scaled(known, dtype, 1 if (one.factor < 0) == (other.factor < 0) else -1, product)


def _add(known: Expressions, dtype: torch.dtype, first: Any, second: Any, sign: int = 1) -> int | None:
    one, other = _term(known, dtype, first), _term(known, dtype, second)
    if one is None or other is None:
        return None
    return _sum(known, dtype, one, Term(sign * other.factor, other.number))


def _sum(known: Expressions, dtype: torch.dtype, one: Term, other: Term) -> int:
    if one.factor < other.factor:
        one, other = other, one
    for here, there in ((one, other), (other, one)):
        if here.number is None and here.factor == 0:
            return _scaled(known, dtype, *there)
    if one.number is not None and other.number is not None:
        if one.factor == other.factor:
            both = _ordered(known, dtype, aten.add.Tensor, one.number, other.number)
            return _scaled(known, dtype, one.factor, both)
        if one.factor == -other.factor:
            between = known.operation(aten.sub.Tensor, (Ref(one.number), Ref(other.number)), dtype)
            return _scaled(known, dtype, one.factor, between)
    more = _scaled(known, dtype, *one)
    if other.factor < 0:
        less = _scaled(known, dtype, -other.factor, other.number)
        return known.operation(aten.sub.Tensor, (Ref(more), Ref(less)), dtype)
    return _ordered(known, dtype, aten.add.Tensor, more, _scaled(known, dtype, *other))


def _negate(known: Expressions, dtype: torch.dtype, argument: Any) -> int | None:
    term = _term(known, dtype, argument)
    return None if term is None or term.number is None else _scaled(known, dtype, -term.factor, term.number)


def _divide(known: Expressions, dtype: torch.dtype, first: Any, second: Any) -> int | None:
    return _same(known, dtype, first) if known.value(second) == 1 else None


def _choose(known: Expressions, dtype: torch.dtype, condition: Any, first: Any, second: Any) -> int | None:
    chosen = known.value(condition)
    return None if chosen is None else _same(known, dtype, first if chosen else second)


def _same(known: Expressions, dtype: torch.dtype, argument: Any) -> int | None:
    """The argument itself, if it has the result's dtype."""
    fits = isinstance(argument, Ref) and known.dtypes[argument.number] == dtype
    return int(argument.number) if fits else None


RULES: dict[Any, Callable[..., int | None]] = {
    aten.add.Tensor: _add,
    aten.div.Tensor: _divide,
    aten.mul.Tensor: _multiply,
    aten.neg.default: _negate,
    aten.sub.Tensor: functools.partial(_add, sign=-1),
    aten.where.self: _choose,
}
"""Operation -> its simplified expression, or None."""
