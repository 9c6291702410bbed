"""Storage of the states between steps until the reverse sweep: as they are, rounded, or in host memory."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bilevel.core import Tree, is_floating, leaves, structure, tree_map
from bilevel.hypergradient._kernels import Kernels, State
from games.core import require

POOLED_BYTES = 1 << 20
"""States smaller than this are not copied into a pool: a copy would cost more than the memory is worth."""

LowPrecision = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in get_args(LowPrecision)}

UNITS = {"": 1} | {
    letter + binary: (1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGT", start=1)
    for binary in ("", "I")
}
"""Prefixes of B in a size, in capitals -> bytes."""


class BufferPool:
    """Reused buffers for a number of states of one form, all allocated at once.

    A reverse sweep keeps and releases states by the thousand. Left where their steps allocated them, between
    temporary tensors, they would take half as much memory again. Pages of unused buffers cost nothing.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free: list[State] | None = None

    def keep(self, state: State) -> State:
        """Copy a state into a free buffer, or a new one if none is left or of this form."""
        if self._free is None:
            self._free = [tree_map(_buffer, state) for _ in range(self.count)]
        fits = bool(self._free) and structure(self._free[-1]) == structure(state)
        buffer = self._free.pop() if fits else tree_map(_buffer, state)
        return tree_map(_written, buffer, state)

    def release(self, kept: State) -> None:
        """Take back a buffer that `keep` gave and that nothing refers to any more."""
        assert self._free is not None, "a state is released before any was kept"
        self._free.append(kept)


def _buffer(leaf: Any) -> Any:
    return torch.empty_like(leaf) if isinstance(leaf, Tensor) else leaf


def _written(buffer: Any, leaf: Any) -> Any:
    """The leaf in its buffer, or in a new tensor if it has another form; itself if it is no tensor."""
    if not isinstance(leaf, Tensor):
        return leaf
    if not isinstance(buffer, Tensor) or buffer.shape != leaf.shape or buffer.dtype != leaf.dtype:
        return leaf.clone()
    return buffer.copy_(leaf)


class Storage:
    """Kept states, of the form of `start`: floating tensors rounded to `dtype`, if they have more bits.

    With `offload` they lie in the host's memory, page-locked where they come from a CUDA device; copies are
    queued without waiting.
    """

    def __init__(
        self,
        kernels: Kernels,
        start: tuple[Tree, Tree],
        dtype: LowPrecision | None = None,
        *,
        offload: bool = False,
    ) -> None:
        self.kernels, self.start, self.offload = kernels, start, offload
        self.dtype = None if dtype is None else DTYPES[dtype]
        tensors = [leaf for leaf in leaves(start) if isinstance(leaf, Tensor)]
        self.state_bytes: int = sum(leaf.numel() * self._dtype_of(leaf).itemsize for leaf in tensors)
        self.exact = all(self._dtype_of(leaf) == leaf.dtype for leaf in tensors)
        """True if states come back unrounded."""
        self._plain = self.exact and not offload
        """True if states are kept in the kernels' form."""
        self._on_host = all(leaf.device.type == "cpu" for leaf in tensors)
        self._pool: BufferPool | None = None

    def reserve(self, count: int) -> None:
        """Use a pool of so many buffers, if states are large and lie in the host's memory."""
        if self._plain and self._on_host and self.state_bytes >= POOLED_BYTES:
            self._pool = BufferPool(count)

    def put(self, state: State) -> Any:
        """Keep a state, which must not be written to; ValueError if it is beyond the range of float16."""
        if self._plain:
            return state if self._pool is None else self._pool.keep(state)
        return tree_map(self._put, self.kernels.trees(state))

    def take(self, kept: Any) -> State:
        """Convert what `put` returned back to a state."""
        if self._plain:
            return kept
        return self.kernels.start(*tree_map(_restored, kept, self.start))

    def release(self, kept: Any) -> None:
        """Release what `put` returned: the state that `take` gave for it may change from now on."""
        if self._pool is not None:
            self._pool.release(kept)

    def _dtype_of(self, leaf: Tensor) -> torch.dtype:
        if self.dtype is None or not is_floating(leaf) or leaf.itemsize <= self.dtype.itemsize:
            return leaf.dtype
        return self.dtype

    def _put(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        rounded = leaf.to(self._dtype_of(leaf))
        if rounded.dtype == torch.float16 and leaf.dtype != torch.float16:
            require(
                not bool((rounded.isinf() & leaf.isfinite()).any()),
                "A state does not fit in float16, which ends at 65504: keep_dtype='bfloat16' has the range "
                "of float32.",
            )
        return to_host(rounded) if self.offload else rounded


def to_host(leaf: Tensor) -> Tensor:
    """Copy a tensor to the host's memory without waiting for it; one that is there already stays."""
    if leaf.device.type == "cpu":
        return leaf
    kept = torch.empty(leaf.shape, dtype=leaf.dtype, device="cpu", pin_memory=leaf.is_cuda)
    return kept.copy_(leaf, non_blocking=leaf.is_cuda)


def from_host(leaf: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device, before all operations queued there next."""
    return leaf.to(device, non_blocking=device.type == "cuda")


def _restored(leaf: Any, like: Any) -> Any:
    """A leaf in the dtype and on the device that it had."""
    if not isinstance(leaf, Tensor) or not isinstance(like, Tensor):
        return leaf
    return from_host(leaf, like.device).to(like.dtype)


def parse_bytes(size: str) -> int:
    """Read a size in bytes: KB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B\s*", size, re.IGNORECASE | re.ASCII)
    count = 0
    if found is not None and found[2].upper() in UNITS:
        count = int(float(found[1]) * UNITS[found[2].upper()])
    require(
        count >= 1, f"A size in bytes is a number above 0 and a unit, such as 512MB or 1.5GiB, not {size!r}."
    )
    return count


def format_bytes(count: int) -> str:
    """Write a size in the largest unit of which there is a whole one; rounded up, to three digits or so."""
    powers = [power for power in range(1, 5) if count >= 1000**power]
    if not powers:
        return f"{count}B"
    tenths = -(-count * 10 // 1000 ** powers[-1])
    return f"{tenths / 10:g}{'KMGT'[powers[-1] - 1]}B"
