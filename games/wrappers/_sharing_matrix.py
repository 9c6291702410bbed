"""A sharing matrix as a setting: checked once, where it is given, and kept as plain numbers.

Sharing among the agents that still take part: what would go to the others stays with its giver.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from games.core import require

SharingRows = tuple[tuple[float, ...], ...]
"""Shares [giver][receiver], each row summing to 1."""

SharingLike = Sequence[Sequence[float]] | np.ndarray | Tensor
"""What may be given as a sharing matrix: nested numbers, an array or a tensor, [giver, receiver]."""

MATRICES_ALWAYS_PAY = "givers_pay is about incentives: by a sharing matrix givers pay in any case."

TOLERANCE = 1e-6
"""How far a row may miss 1: the rounding of shares that come in float32."""


def sharing_rows(sharing: SharingLike, agents: Sequence[object]) -> SharingRows:
    """Check a sharing matrix and turn it into nested tuples of numbers.

    Args:
        sharing: shares, [giver, receiver]; a tensor must not require a gradient, which would be lost.
        agents: the agents' names or numbers, in the order of the rows.

    Raises:
        ValueError: the shape is wrong, a share is negative or not a number, or a row misses 1 by more than
            1e-6 (says which, and by how much).

    >>> sharing_rows([[0.5, 0.5], [0, 1]], agents=range(2))
    ((0.5, 0.5), (0.0, 1.0))
    >>> sharing_rows([[0.5, 0.4], [0, 1]], agents=range(2))
    Traceback (most recent call last):
    ValueError: What agent 0 keeps and gives must sum to 1, but it sums to 0.9 and misses 1 by -0.1.
    """
    learned = isinstance(sharing, Tensor) and sharing.requires_grad
    require(not learned, "This sharing matrix requires a gradient, which a game's settings lose: detach it.")
    shares = _array(sharing)
    count = len(agents)
    require(
        shares.shape == (count, count),
        f"A sharing matrix of {count} agents has the shape {count} x {count} (giver, receiver); this one has "
        f"{' x '.join(map(str, shares.shape)) or 'none'}.",
    )
    for giver, row in zip(agents, shares, strict=True):
        for receiver, share in zip(agents, row, strict=True):
            require(
                bool(share >= 0),
                f"Shares must be 0 or more, but agent {giver} gives agent {receiver} {share:g}.",
            )
        total = row.sum()
        require(
            bool(abs(total - 1) <= TOLERANCE),
            f"What agent {giver} keeps and gives must sum to 1, but it sums to {total:g} and misses 1 by "
            f"{total - 1:+.3g}.",
        )
    return tuple(tuple(map(float, row)) for row in shares)


def _array(sharing: SharingLike) -> np.ndarray:
    values = sharing.detach().cpu().numpy() if isinstance(sharing, torch.Tensor) else sharing
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "A sharing matrix must be rows of numbers, all equally long: [giver, receiver]."
        ) from error


def share_among_present(shares: Tensor, present: Tensor | None) -> Tensor:
    """Keep the shares of agents that have left with their givers.

    An agent that has left neither gives nor receives, and each row keeps its sum: the total reward of the
    agents present is conserved. `SharedRewards` follows this rule for games and for PettingZoo environments,
    and so does every transfer of `bilevel`.

    Args:
        shares: shares or amounts, [..., giver, receiver].
        present: which agents take part, boolean [..., agent] (`Game.present`); None: all of them.

    Returns:
        [..., giver, receiver]; the shares as they are, bit-for-bit, where everybody is present.

    >>> half = torch.full((3, 3), 1 / 4) + torch.eye(3) / 4
    >>> share_among_present(half, torch.tensor([True, True, False]))
    tensor([[0.7500, 0.2500, 0.0000],
            [0.2500, 0.7500, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    if present is None:
        return shares
    kept = shares * both_present(present)
    return kept + torch.diag_embed(shares.sum(-1) - kept.sum(-1))


def both_present(present: Tensor) -> Tensor:
    """Which pairs of agents take part, boolean: [..., agent] -> [..., giver, receiver]."""
    return present.unsqueeze(-1) & present.unsqueeze(-2)
