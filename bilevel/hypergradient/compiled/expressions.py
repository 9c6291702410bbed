"""Numbered expressions: what a graph says about every entry of its tensors, each thing said once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

aten = torch.ops.aten


class NotScalarError(Exception):
    """A graph that cannot be written out entry by entry; says why."""


class Ref(NamedTuple):
    """An expression as an argument of another."""

    number: int


class Constant(NamedTuple):
    """A number that is known."""

    value: bool | int | float


class Entry(NamedTuple):
    """One entry of an input."""

    leaf: int
    """Which input."""
    place: int
    """Which of its entries, in row-major order."""


class Operation(NamedTuple):
    """A pointwise aten operation on expressions and plain values."""

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]


class Expressions:
    """Expressions by number; equal ones share a number, what is constant is computed at once.

    Args:
        most: how many there may be; beyond that `NotScalarError` is raised.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.meanings: list[Constant | Entry | Operation] = []
        self.dtypes: list[torch.dtype] = []
        self.shared: list[bool] = []
        """Whether all members of the batch have the same value."""
        self._numbers: dict[Hashable, int] = {}
        self._result_dtypes: dict[Hashable, torch.dtype] = {}

    def constant(self, value: bool | int | float, dtype: torch.dtype) -> int:
        """Number a constant; 0.0 and -0.0 are two."""
        return self._number(("constant", repr(value), dtype), Constant(value), dtype, shared=True)

    def entry(self, leaf: int, place: int, dtype: torch.dtype, *, shared: bool) -> int:
        """Number an entry of an input."""
        return self._number(("entry", leaf, place), Entry(leaf, place), dtype, shared=shared)

    def value(self, argument: Any) -> Any:
        """What an argument is known to be; None if that depends on the input."""
        if not isinstance(argument, Ref):
            return argument
        meaning = self.meanings[argument.number]
        return meaning.value if isinstance(meaning, Constant) else None

    def apply(
        self, target: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> int:
        """Number a pointwise operation on `Ref`s and plain values, simplified where that is exact.

        Times zero is zero, even for an infinity: what a mask removes is gone.
        """
        args, kwargs = tuple(args), dict(kwargs or {})
        refs = [argument for argument in args if isinstance(argument, Ref)]
        if all(self.value(ref) is not None for ref in refs):
            result = target(*(self._as_tensor(argument) for argument in args), **kwargs)
            return self.constant(result.item(), result.dtype)
        dtype = self._dtype(target, args, kwargs)
        simpler = None if kwargs else self._simplify(target, args, dtype)
        if simpler is not None:
            return simpler
        operation = Operation(target, args, tuple(sorted(kwargs.items())))
        # By text, since 1, 1.0 and True are equal, as are 0.0 and -0.0, but do not give the same.
        return self._number(
            repr(operation), operation, dtype, shared=all(self.shared[ref.number] for ref in refs)
        )

    def used(self, numbers: Sequence[int]) -> list[int]:
        """List all that these expressions rest on, each after what it needs."""
        seen: set[int] = set()
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            meaning = self.meanings[number]
            if isinstance(meaning, Operation):
                waiting.extend(argument.number for argument in meaning.args if isinstance(argument, Ref))
        return sorted(seen)

    def _simplify(self, target: Any, args: tuple[Any, ...], dtype: torch.dtype) -> int | None:
        """Name what x + 0, x * 1, x * 0, -(-x) and the like come to; None where nothing simpler is known."""
        values = [self.value(argument) for argument in args]

        def same(place: int) -> int | None:
            """The argument itself, if it has the result's dtype."""
            argument = args[place]
            fits = isinstance(argument, Ref) and self.dtypes[argument.number] == dtype
            return int(argument.number) if fits else None

        if target is aten.mul.Tensor:
            for here, there in ((0, 1), (1, 0)):
                if values[here] == 0:
                    return self.constant(0.0 if dtype.is_floating_point else 0, dtype)
                if values[here] == 1:
                    return same(there)
                if values[here] == -1 and same(there) is not None:
                    return self.apply(aten.neg.default, (args[there],))
        if target is aten.add.Tensor and len(args) == 2:
            for here, there in ((0, 1), (1, 0)):
                if values[here] == 0:
                    return same(there)
        if target is aten.sub.Tensor and len(args) == 2:
            if values[1] == 0:
                return same(0)
            if values[0] == 0 and same(1) is not None:
                return self.apply(aten.neg.default, (args[1],))
        if target is aten.div.Tensor and len(args) == 2 and values[1] == 1:
            return same(0)
        if target is aten.neg.default:
            inner = self.meanings[args[0].number]
            if isinstance(inner, Operation) and inner.target is aten.neg.default:
                return int(inner.args[0].number)
        if target is aten.where.self and values[0] is not None:
            return same(1 if values[0] else 2)
        return None

    def _as_tensor(self, argument: Any) -> Any:
        if not isinstance(argument, Ref):
            return argument
        return torch.tensor(self.value(argument), dtype=self.dtypes[argument.number])

    def _dtype(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.dtype:
        """Ask torch which dtype the result has; members have an axis, and what they share has none."""

        def kind(argument: Any) -> Any:
            if not isinstance(argument, Ref):
                return argument
            shape = () if self.shared[argument.number] else (1,)
            return shape, self.dtypes[argument.number]

        kinds = tuple(map(kind, args))
        key = (target, repr(kinds), repr(sorted(kwargs.items())))
        if key not in self._result_dtypes:
            examples = (
                torch.ones(kind[0], dtype=kind[1]) if isinstance(argument, Ref) else argument
                for argument, kind in zip(args, kinds, strict=True)
            )
            self._result_dtypes[key] = target(*examples, **kwargs).dtype
        return self._result_dtypes[key]

    def _number(
        self, key: Hashable, meaning: Constant | Entry | Operation, dtype: torch.dtype, *, shared: bool
    ) -> int:
        if key not in self._numbers:
            if len(self.meanings) >= self.most:
                raise NotScalarError(f"written out it would be more than {self.most} operations")
            self._numbers[key] = len(self.meanings)
            self.meanings.append(meaning)
            self.dtypes.append(dtype)
            self.shared.append(shared)
        return self._numbers[key]
