"""Memory for kept states that is used again and again: one that is let go makes room for the next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bilevel.hypergradient.kernels import State
from bilevel.tree import leaves, structure, tree_map

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
