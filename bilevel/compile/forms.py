"""The two forms in which tensors go through a package: as they are, or as rows of entries over members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optree
import torch
from torch import Tensor

from bilevel.tree import NAMESPACE

Form = Literal["plain", "rows"]
"""plain: each leaf in its own shape, contiguous. rows: [entry, member], members last and contiguous, so that
straight-line code reads whole vectors; 0-dim leaves stay so."""


class Packed(tuple[Tensor, ...]):
    """Leaves in one of the forms."""

    form: Form

    def __new__(cls, leaves: Iterable[Tensor], form: Form) -> Packed:
        """Make them from leaves that have this form."""
        packed = super().__new__(cls, leaves)
        packed.form = form
        return packed


def _taken_apart(packed: Any) -> tuple[Iterable[Tensor], Form]:
    return packed, packed.form


def _put_together(form: Any, leaves: Iterable[Tensor]) -> Packed:
    return Packed(leaves, form)


optree.register_pytree_node(Packed, _taken_apart, _put_together, namespace=NAMESPACE)


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

    def rows(self, leaf: Tensor, axis: int) -> Tensor:
        """[entry, member] of a leaf whose members are counted by `axis`; 0-dim ones as they are."""
        if leaf.ndim == 0:
            return leaf
        if self.count is None or self.count == 1:
            return leaf.reshape(-1, 1)
        return leaf.movedim(axis, -1).reshape(-1, self.count).contiguous()

    def plain(self, rows: Tensor, shape: Sequence[int], axis: int) -> Tensor:
        """Undo `rows`: a contiguous leaf of this shape."""
        if len(shape) == 0:
            return rows
        if self.count is None or self.count == 1:
            return rows.reshape(tuple(shape))
        rest = (*shape[:axis], *shape[axis + 1 :])
        return rows.reshape(*rest, self.count).movedim(-1, axis).contiguous()

    def in_form(self, packed: Packed, form: Form, axis: int, shapes: Sequence[Sequence[int]]) -> Packed:
        """Leaves in a form: as they are if they have it, else brought into it.

        Args:
            packed: the leaves.
            form: the form that is wanted.
            axis: which axis of each counts members.
            shapes: their shapes when plain; unused otherwise.
        """
        if packed.form == form:
            return packed
        if form == "rows":
            return Packed((self.rows(leaf, axis) for leaf in packed), form)
        return Packed(
            (self.plain(leaf, shape, axis) for leaf, shape in zip(packed, shapes, strict=True)), form
        )
