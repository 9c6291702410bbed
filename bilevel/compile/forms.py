"""The two forms of packages, and which axis of a problem's tensors counts members."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Form = Literal["plain", "rows"]
"""rows: in C, entry by entry, a loop over the members. plain: a graph of whole tensors. Both take and give
contiguous leaves in their own shapes."""


@dataclass(frozen=True)
class Members:
    """Where a problem's members (seeds) lie: in the first axis that all its leaves share, if they do."""

    count: int | None
    """How many; None: there is no such axis, and the whole problem is one member."""

    @classmethod
    def of(cls, leaves: Iterable[Tensor]) -> Members:
        """Find the axis that all leaves but 0-dim ones share.

        >>> Members.of([torch.zeros(7, 2), torch.zeros(7), torch.zeros(())]).count
        7
        """
        sizes = {leaf.shape[0] for leaf in leaves if leaf.ndim}
        return cls(sizes.pop() if len(sizes) == 1 else None)

    def first(self, leaf: Tensor, axis: int) -> Tensor:
        """A copy of the first member alone, its axis kept at length 1 (made, if there is none)."""
        if leaf.ndim == 0:
            return leaf.clone()
        one = leaf.unsqueeze(0) if self.count is None else leaf.narrow(axis, 0, 1)
        return torch.empty(one.shape, dtype=one.dtype, device=one.device).copy_(one)
