"""Choosing by a uniform number: a cell, all alike."""

from __future__ import annotations

from torch import Tensor


def pick(allowed: Tensor, draw: Tensor) -> Tensor:
    """Choose one of the allowed cells, all alike.

    Args:
        allowed: boolean [..., cells].
        draw: uniform in [0, 1), [...].

    Returns:
        the cell, integer [...]; -1 where none is allowed.

    >>> pick(torch.tensor([False, True, True]), torch.tensor(0.7))
    tensor(2)
    """
    upto = allowed.cumsum(-1)
    count = upto[..., -1]
    rank = (draw * count).long()
    # The count grows by one at each allowed cell: the chosen one is the first where it exceeds the rank.
    chosen = (upto <= rank[..., None]).sum(-1)
    return chosen.masked_fill(count == 0, -1)
