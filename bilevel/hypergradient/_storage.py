"""Where the states between steps wait for the walk back: as they are, rounded, or in the host's memory.

Memory for kept states that is used again and again: one that is let go makes room for the next.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import torch
from torch import Tensor

from bilevel.core import Tree, is_floating, leaves, structure, tree_map
from bilevel.hypergradient._checkpoint_schedule import Plan, most_kept
from bilevel.hypergradient._kernels import Kernels, State
from games.core import require

LEAST_BYTES = 1 << 20
"""States smaller than this are not copied: a copy would cost more than the memory is worth."""


class Slots:
    """Room for so many states at once, all of one form.

    A walk that takes steps again lets go and keeps states by the thousand. Were each of them left where its
    step allocated it, what the steps need in passing would be laid between them, and the process would come
    to hold half as much again as is in use. The room is taken at once, before that; pages that no state was
    written to cost nothing.

    Args:
        count: how many states.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free: list[State] | None = None

    def keep(self, state: State) -> State:
        """Copy a state to where there is room; with none left (or none of this form) a new place is made."""
        if self._free is None:
            self._free = [tree_map(_room, state) for _ in range(self.count)]
        fits = bool(self._free) and structure(self._free[-1]) == structure(state)
        slot = self._free.pop() if fits else tree_map(_room, state)
        return tree_map(_written, slot, state)

    def release(self, kept: State) -> None:
        """Take back a state that `keep` gave, and that nobody will look at again."""
        assert self._free is not None, "a state is released before any was kept"
        self._free.append(kept)


def worth_it(start: State, state_bytes: int) -> bool:
    """Whether states are large, and lie in the host's memory: a GPU's allocator sees to its own."""
    tensors = [leaf for leaf in leaves(start) if isinstance(leaf, Tensor)]
    return state_bytes >= LEAST_BYTES and all(leaf.device.type == "cpu" for leaf in tensors)


def _room(leaf: Any) -> Any:
    return torch.empty_like(leaf) if isinstance(leaf, Tensor) else leaf


def _written(slot: Any, leaf: Any) -> Any:
    """The slot, holding the leaf; what is no tensor is kept itself, and a leaf of another form anew."""
    if not isinstance(leaf, Tensor):
        return leaf
    if not isinstance(slot, Tensor) or slot.shape != leaf.shape or slot.dtype != leaf.dtype:
        return leaf.clone()
    return slot.copy_(leaf)


LowPrecision = Literal["float32", "bfloat16", "float16"]
"""What kept states may be rounded to."""

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

UNITS = {"": 1} | {
    letter + binary: (1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGT", start=1)
    for binary in ("", "I")
}
"""What stands before B in a size, in capitals -> bytes."""

HOST = torch.device("cpu")


class Storage:
    """Keeps states and gives them back.

    Args:
        kernels: what the states belong to.
        start: (theta, opt_state) at the start; every other state has its form.
        dtype: what floating tensors of more bits are rounded to; None: they stay as they are.
        offload: whether kept states lie in the host's memory, page-locked where they come from a CUDA device.
            Copies are queued without waiting, on the stream that computes.
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
        """What one kept state takes."""
        self.exact = all(self._dtype_of(leaf) == leaf.dtype for leaf in tensors)
        """Whether states come back as they were put."""
        self._slots: Slots | None = None

    def make_room(self, plan: Plan) -> None:
        """Let large states be written over those that a plan lets go, if it takes steps again."""
        cut = len(plan.starts) < plan.length
        if cut and self._plain and worth_it(self.start, self.state_bytes):
            self._slots = Slots(most_kept(plan) - 1)

    def put(self, state: State) -> Any:
        """Keep a state that nobody will write to.

        Raises:
            ValueError: a finite entry is beyond the range of float16.
        """
        if self._plain:
            return state if self._slots is None else self._slots.keep(state)
        return tree_map(self._put, self.kernels.trees(state))

    def take(self, kept: Any) -> State:
        """Give back what `put` kept, in the form of the kernels."""
        if self._plain:
            return kept
        return self.kernels.start(*tree_map(_restored, kept, self.start))

    def release(self, kept: Any) -> None:
        """Let go what `put` gave: what `take` gave for it may change from now on."""
        if self._slots is not None:
            self._slots.release(kept)

    @property
    def _plain(self) -> bool:
        """Whether states are kept in their own form."""
        return self.exact and not self.offload

    def _dtype_of(self, leaf: Tensor) -> torch.dtype:
        """The dtype in which a leaf is kept."""
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
    if leaf.device == HOST:
        return leaf
    kept = torch.empty(leaf.shape, dtype=leaf.dtype, device=HOST, pin_memory=leaf.is_cuda)
    return kept.copy_(leaf, non_blocking=leaf.is_cuda)


def from_host(leaf: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to where it came from, before whatever is queued there next."""
    return leaf.to(device, non_blocking=device.type == "cuda")


def parse_bytes(size: str) -> int:
    """Read a size in bytes: KB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024.

    Raises:
        ValueError: it cannot be read, or is below one byte.

    >>> parse_bytes("512MB"), parse_bytes("1.5 GiB")
    (512000000, 1610612736)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B\s*", size, re.IGNORECASE | re.ASCII)
    count = 0
    if found is not None and found[2].upper() in UNITS:
        count = int(float(found[1]) * UNITS[found[2].upper()])
    require(
        count >= 1, f"A size in bytes is a number above 0 and a unit, such as 512MB or 1.5GiB, not {size!r}."
    )
    return count


def format_bytes(count: int) -> str:
    """Write a size in the largest unit of which there is a whole one; rounded up, to three digits or so.

    >>> format_bytes(999), format_bytes(40_010_000)
    ('999B', '40.1MB')
    """
    powers = [power for power in range(1, 5) if count >= 1000**power]
    if not powers:
        return f"{count}B"
    tenths = -(-count * 10 // 1000 ** powers[-1])
    return f"{tenths / 10:g}{'KMGT'[powers[-1] - 1]}B"


def _restored(leaf: Any, like: Any) -> Any:
    """A leaf in the dtype and on the device that it had."""
    if not isinstance(leaf, Tensor) or not isinstance(like, Tensor):
        return leaf
    return from_host(leaf, like.device).to(like.dtype)
