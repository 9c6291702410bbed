"""Numbered expressions: what a graph says about every entry of its tensors, each thing said once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch


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

    def as_tensor(self, argument: Any) -> Any:
        """An argument whose value is known, as torch takes it."""
        if not isinstance(argument, Ref):
            return argument
        return torch.tensor(self.value(argument), dtype=self.dtypes[argument.number])

    def result_dtype(
        self, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> torch.dtype:
        """Ask torch which dtype the result has; members have an axis, and what they share has none."""

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
