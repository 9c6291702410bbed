"""Sharing among the agents that still take part: what would go to the others stays with its giver."""

from __future__ import annotations

import torch
from torch import Tensor


def share_among_present(shares: Tensor, present: Tensor | None) -> Tensor:
    """Keep the shares of agents that have left with their givers.

    An agent that has left neither gives nor receives, and each row keeps its sum: the total reward of the
    agents present is conserved. `games.shared` follows this rule for games and for PettingZoo environments,
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
