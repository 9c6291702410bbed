"""Sharing matrices: validation, and sharing among the agents that are present."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from games.core import require

SharingRows = tuple[tuple[float, ...], ...]  # shares [giver][receiver], each row summing to 1
SharingLike = Sequence[Sequence[float]] | np.ndarray | Tensor
"""A sharing matrix as nested numbers, an array or a tensor, [giver, receiver]."""

MATRICES_ALWAYS_PAY = "givers_pay is about incentives: by a sharing matrix givers pay in any case."
FLOAT32_ROUNDING = 1e-6  # tolerance of row sums of a setting, as shares may come in float32


def check_sharing(sharing: Tensor, *, agents: int | Sequence[object], tolerance: float | None = None) -> None:
    """Check a row-stochastic sharing matrix.

    Args:
        sharing: the matrix, of a floating dtype, [..., giver, receiver].
        agents: number of agents, or their names, in the order of the rows.
        tolerance: tolerance of the row sums; by default the square root of the dtype's rounding unit, 1.5e-8
            in float64.
    Raises:
        ValueError: an entry is negative, a row does not sum to 1, or the shape or dtype is wrong.

    >>> check_sharing(torch.tensor([[0.7, 0.3], [0.0, 0.9]]), agents=2)
    Traceback (most recent call last):
    ValueError: What agent 1 keeps and gives must sum to 1, but it sums to 0.9 and misses 1 by -0.1.
    """
    names = range(agents) if isinstance(agents, int) else agents
    count = len(names)
    require(sharing.is_floating_point(), f"A sharing matrix is floating, but this one is {sharing.dtype}.")
    require(
        sharing.ndim >= 2 and tuple(sharing.shape[-2:]) == (count, count),
        f"A sharing matrix of {count} agents has the shape [..., {count}, {count}] (giver, receiver); this "
        f"one has {list(sharing.shape)}.",
    )

    def first(bad: Tensor) -> tuple[tuple[int, ...], str]:
        """The first bad index, and words for the matrix that it is in."""
        index = tuple(bad.nonzero()[0].tolist())
        batch = ", ".join(map(str, index[: sharing.ndim - 2]))
        return index, f" (in matrix {batch})" if batch else ""

    negative = ~(sharing >= 0)
    if negative.any():
        index, where = first(negative)
        raise ValueError(
            f"Shares must be 0 or more, but agent {names[index[-2]]} gives agent {names[index[-1]]} "
            f"{float(sharing[index]):g}{where}."
        )
    total = sharing.sum(-1)
    tolerance = torch.finfo(sharing.dtype).eps ** 0.5 if tolerance is None else tolerance
    off = ~((total - 1).abs() <= tolerance)
    if off.any():
        index, where = first(off)
        raise ValueError(
            f"What agent {names[index[-1]]} keeps and gives must sum to 1, but it sums to "
            f"{float(total[index]):g} and misses 1 by {float(total[index] - 1):+.3g}{where}."
        )


def sharing_rows(sharing: SharingLike, agents: Sequence[object]) -> SharingRows:
    """Check a sharing matrix of these agents, as `check_sharing`, and turn it into nested tuples of numbers.

    ValueError: as for `check_sharing`, or a tensor requires a gradient, which would be lost.

    >>> sharing_rows([[0.5, 0.5], [0, 1]], agents=range(2))
    ((0.5, 0.5), (0.0, 1.0))
    """
    learned = isinstance(sharing, Tensor) and sharing.requires_grad
    require(not learned, "This sharing matrix requires a gradient, which a game's settings lose: detach it.")
    values = sharing.cpu().numpy() if isinstance(sharing, Tensor) else sharing
    try:
        shares = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "A sharing matrix must be rows of numbers, all equally long: [giver, receiver]."
        ) from error
    require(
        shares.ndim == 2,
        f"A sharing matrix has two axes, [giver, receiver]; this one has the shape {list(shares.shape)}.",
    )
    check_sharing(torch.from_numpy(shares), agents=agents, tolerance=FLOAT32_ROUNDING)
    return tuple(tuple(map(float, row)) for row in shares)


def share_among_present(shares: Tensor, present: Tensor | None) -> Tensor:
    """Keep the shares of agents that have left with their givers.

    An agent that has left neither gives nor receives, and each row keeps its sum: the total reward of the
    agents present is conserved. Where all are present the result equals the input bit-for-bit.

    Args:
        shares: shares or amounts, [..., giver, receiver].
        present: the agents that take part, boolean [..., agent] (`Game.present`); None: all.
    Returns:
        Shares or amounts of the same shape.

    >>> half = torch.full((3, 3), 1 / 4) + torch.eye(3) / 4
    >>> share_among_present(half, torch.tensor([True, True, False]))
    tensor([[0.7500, 0.2500, 0.0000],
            [0.2500, 0.7500, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    if present is None:
        return shares
    among_present = shares * both_present(present)
    return among_present + torch.diag_embed(shares.sum(-1) - among_present.sum(-1))


def both_present(present: Tensor) -> Tensor:
    """Mask of the pairs of agents that both take part.

    Args:
        present: the agents that take part, boolean [..., agent].
    Returns:
        Boolean [..., giver, receiver].

    >>> both_present(torch.tensor([True, False])).tolist()
    [[True, False], [False, False]]
    """
    return present.unsqueeze(-1) & present.unsqueeze(-2)
