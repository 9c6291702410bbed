"""Peak memory of a computation, in bytes of tensors."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import optree
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")


def measure_peak(run: Callable[[], Result], device: torch.device) -> tuple[Result, int]:
    """Call a function, and measure the peak memory of its tensors beyond the memory in use at the start.

    On CUDA the allocator measures it. Elsewhere every operation is recorded: a storage counts from the
    operation that creates it until the last tensor, view or graph that uses it is freed. The number is exact
    and reproducible, but excludes the workspace of operations and compiled code. Recording is slow: measure
    time in a separate run.

    Args:
        run: the function.
        device: the device of its tensors.

    Returns:
        The function's result, and the peak in bytes.

    >>> def run():
    ...     first = torch.zeros(1000, dtype=torch.float64)
    ...     second = first + 1  # two of 8000 bytes at once
    ...     del first
    ...     return second.view(10, 100)
    >>> measure_peak(run, torch.device("cpu"))[1]
    16000
    """
    gc.collect()  # else what was left in circles before is freed in the middle, or not
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = run()
        torch.cuda.synchronize(device)
        return result, torch.cuda.max_memory_allocated(device) - before
    with _Storages() as storages:
        result = run()
    return result, storages.peak


def measure_kept(run: Callable[[], object]) -> int:
    """Call a function and measure the bytes of new tensors that its result keeps alive.

    >>> measure_kept(lambda: (torch.zeros(10, dtype=torch.float64) + 1).exp())
    80
    """
    with _Storages() as storages:
        kept = run()
        size: int = storages.now
    del kept
    return size


class _Storages(TorchDispatchMode):
    """Weak references to every storage that an operation makes while this mode is on."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: that would import torch's compiler, one second, to keep it away."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.now = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: Any = None
    ) -> Any:
        result = operation(*arguments, **(keywords or {}))
        # torch.tensor(...) makes its storage unseen, and then shows it here as an input.
        fresh = operation is torch.ops.aten.lift_fresh.default
        given = set() if fresh else {_address(leaf) for leaf in _tensors((arguments, keywords))}
        for leaf in _tensors(result):
            if _address(leaf) not in given and _address(leaf) not in self._alive:
                self._follow(leaf.untyped_storage())
        self.peak = max(self.peak, self.now)
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()

        def forget(_: object) -> None:
            self.now -= size
            del self._alive[address]

        self.now += size
        self._alive[address] = weakref.ref(storage, forget)


def _tensors(tree: Any) -> list[Tensor]:
    leaves = optree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.layout == torch.strided]


def _address(leaf: Tensor) -> int:
    address: int = leaf.untyped_storage()._cdata
    return address
