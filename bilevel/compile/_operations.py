"""Digest of a function's graph of operations, which names its compiled package."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bilevel.core import Tensors


class TooManyOperationsError(Exception):
    """A function of more operations than the maximum."""


def operations_digest(
    function: Callable[..., Tensors], inputs: Sequence[Tensor], *, max_operations: int | None = None
) -> str:
    """Run a function once, without gradients, and digest its graph: operations, inputs and constants.

    The function's own inputs count by position, dtype and shape. All else that an operation reads is a
    constant (from a closure, a global, an attribute) and counts by value: functions with one digest compute
    the same. The digest is 32 hexadecimal digits, the same in every process. TooManyOperationsError if there
    are more operations than `max_operations`.
    """
    record = _Record(inputs, max_operations)
    with torch.no_grad(), record:
        results = function(*inputs)
    return record.digest(results)


def count_operations(run: Callable[[], object]) -> int:
    record = _Record((), None)
    with torch.no_grad(), record:
        run()
    return len(record.operations)


class DispatchMode(TorchDispatchMode):
    """A mode that does not import torch's compiler, one second, to keep it away."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Record(DispatchMode):
    """The operations that run inside, tensors numbered in order of appearance."""

    def __init__(self, inputs: Sequence[Tensor], max_operations: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Any] = [_form(tensor) for tensor in inputs]
        self._max_length = math.inf if max_operations is None else len(inputs) + max_operations
        self._tensors: list[Tensor] = list(inputs)  # kept alive, so that no id is used twice
        self._numbers = {id(tensor): number for number, tensor in enumerate(inputs)}
        self._constants: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        read = self._described(args), self._described(sorted(named.items()))
        results = func(*args, **named)
        for result in results if isinstance(results, tuple | list) else (results,):
            if isinstance(result, Tensor) and id(result) not in self._numbers:
                self._number(result)
        self.operations.append((str(func), *read))
        if len(self.operations) > self._max_length:
            raise TooManyOperationsError
        return results

    def digest(self, results: Tensors) -> str:
        """Digest all that was recorded, and which tensors are the results."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.operations, self._described(results))).encode())
        for constant in self._constants:
            digest.update(repr(_form(constant)).encode())
            flat = constant.detach().cpu().contiguous().view(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _number(self, tensor: Tensor) -> int:
        number = self._numbers[id(tensor)] = len(self._tensors)
        self._tensors.append(tensor)
        return number

    def _described(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            number = self._numbers.get(id(value))
            if number is None:
                number = self._number(value)
                self._constants.append(value)
            return ("tensor", number)
        if isinstance(value, tuple | list):
            return tuple(map(self._described, value))
        return type(value).__name__, repr(value)


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), str(tensor.dtype), tensor.device.type
