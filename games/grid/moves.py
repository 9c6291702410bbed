"""Who gets where when all move at the same time.

The rule, for every grid game here where a cell holds one agent: an agent that stays keeps its cell. Where
several want the same cell, the one with the highest priority (drawn anew in each step, so all alike) gets it,
and the others stay. A cell whose owner moves on may be entered in the same step, also around a ring of three
or more; two agents do not swap places. Whoever stays because it was refused keeps its cell against all
others, so refusals can run back along a queue.
"""

from __future__ import annotations

import torch
from torch import Tensor


def resolve_moves(places: Tensor, wanted: Tensor, priority: Tensor) -> Tensor:
    """Move every agent to the cell it wants, or leave it where it is; see the rule above.

    Args:
        places: cells where agents are, integer [batch, agent], all different where an agent takes part; cells
            below 0 are nowhere and never contested.
        wanted: the cells they want to be in next, integer [batch, agent]; their own to stay.
        priority: float [batch, agent]; the highest wins a contested cell, the lower index a tie.

    Returns:
        the cells they are in next, integer [batch, agent].

    >>> places, wanted = torch.tensor([[0, 2, 1]]), torch.tensor([[1, 1, 3]])
    >>> resolve_moves(places, wanted, torch.tensor([[0.1, 0.9, 0.5]]))  # 2 leaves; 0 and 1 want its cell
    tensor([[0, 1, 3]])
    """
    # Agents come first and the batch last: the innermost loops are then long.
    here, goal, rank = (each.T.contiguous() for each in (places, wanted, priority))
    index = torch.arange(len(here), device=here.device)
    others = (index[:, None] != index)[..., None] & (goal >= 0)[:, None]
    rivals = (goal[:, None] == goal) & others
    into = (goal[:, None] == here) & others
    moves = (goal != here) & ~(rivals & outranked(rank)).any(1) & ~(into & into.transpose(0, 1)).any(1)
    # A refusal runs back by one agent in each round, and no queue is longer than all agents.
    for _ in range(len(here) - 1):
        moves = moves & ~(into & ~moves).any(1)
    return torch.where(moves, goal, here).T


def outranked(priority: Tensor) -> Tensor:
    """Say which others come first: the higher priority does, and of a tie the lower index.

    Args:
        priority: [agent, batch].

    Returns:
        boolean [agent, other, batch].

    >>> outranked(torch.tensor([[0.5], [0.5], [0.9]]))[..., 0].long()
    tensor([[0, 0, 1],
            [1, 0, 1],
            [0, 0, 0]])
    """
    index = torch.arange(len(priority), device=priority.device)
    level = (priority == priority[:, None]) & (index < index[:, None])[..., None]
    return (priority > priority[:, None]) | level
