"""Simultaneous moves on a grid, and the paths of scripted agents."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from games.grid._tables import STILL, Size, distances, mark, occupied, paths, squares


def resolve_moves(places: Tensor, wanted: Tensor, priority: Tensor) -> Tensor:
    """Move agents, at `places`, to the cells they want, or leave them where they are: a cell holds one agent.

    Cells are integer [batch, agent]; below 0 is nowhere, never contested. An agent that stays keeps its cell.
    Of several that want a cell the one with the highest priority gets it (of a tie the lower index). A cell
    whose owner moves on may be entered in the same step, also around a ring of three or more; two agents do
    not swap places. Whoever is refused keeps its cell against all others, so refusals can run back along a
    queue.

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
    """Which others come first, by priority [agent, batch], then index: boolean [agent, other, batch]."""
    index = torch.arange(len(priority), device=priority.device)
    level = (priority == priority[:, None]) & (index < index[:, None])[..., None]
    return (priority > priority[:, None]) | level


SHIFT = 25  # steps after which agents on duty are relieved


class Walkers(Protocol):
    """The part of a state that paths depend on."""

    @property
    def places(self) -> Tensor: ...  # cells [batch, agent]
    @property
    def time(self) -> Tensor: ...  # steps played [batch]


def path_heading(
    state: Walkers, goals: Tensor, size: Size, walls: tuple[int, ...], barred: Tensor | None = None
) -> Tensor:
    """Choose the shortest path to the nearest free goal; of paths of equal length the straightest.

    Where another agent stands in the way, an agent waits behind it or goes around it, by turns (by the bits
    of its number), so that of two that meet sooner or later one makes way. Goals, and barred cells, which no
    agent enters, as it does no walls, are boolean [batch, agent or 1, cell]. The result is an orientation,
    integer [batch, agent]; `STILL` (4) where there is no goal, no path, or one is there.

    >>> from types import SimpleNamespace
    >>> state = SimpleNamespace(places=torch.tensor([[3]]), time=torch.tensor([0]))
    >>> path_heading(state, torch.tensor([[[True, False, False, False]]]), (2, 2), walls=(2,))  # north first
    tensor([[0]])
    """
    cells, device = size[0] * size[1], state.places.device
    here = state.places.clamp_min(0)
    taken = occupied(state.places, cells)[:, None] & ~mark(state.places, cells)
    shut = torch.zeros_like(taken) if barred is None else barred.expand_as(taken)
    apart = distances(size, walls, device)
    lengths = apart[here].masked_fill(~goals | taken | shut, cells)
    target = lengths.argmin(-1)[..., None]
    options = paths(size, walls, device)[:STILL, here].movedim(0, -1)
    around = shut | (taken & _impatient(state)[..., None])
    closed = around.gather(-1, options) | (options == here[..., None])
    crow = size[0] ** 2 + size[1] ** 2  # above every squared distance
    cost = apart[options, target] * crow + squares(size, device)[options, target]
    heading = cost.masked_fill(closed, torch.iinfo(torch.int64).max).argmin(-1)
    stays = (state.places < 0) | (lengths.amin(-1) == cells) | (target[..., 0] == here) | closed.all(-1)
    return torch.where(stays, STILL, heading)


def _impatient(state: Walkers) -> Tensor:
    """Agents that go around others in this step: boolean [batch, agent]. Any two soon differ."""
    agents = state.places.shape[1]
    bits = max(1, (agents - 1).bit_length())
    number = torch.arange(agents, device=state.time.device)
    bit = (number >> (state.time % bits)[:, None]) & 1
    return bit == (state.time // bits % 2)[:, None]


def on_duty(cooperative: Tensor, time: Tensor) -> Tensor:
    """Which cooperators do the common work: half of them, rounded up, in turns of `SHIFT` steps.

    >>> on_duty(torch.tensor([[True, False, True]]), torch.tensor([25]))
    tensor([[False, False,  True]])
    """
    count = cooperative.sum(1, keepdim=True)
    turn = (cooperative.cumsum(1) - 1 + time[:, None] // SHIFT) % count.clamp_min(1)
    return cooperative & (turn < (count + 1) // 2)


def choose_cell(allowed: Tensor, draw: Tensor) -> Tensor:
    """Choose one of the allowed cells, [..., cell], by a uniform draw, [...]; -1 where none is allowed.

    >>> choose_cell(torch.tensor([False, True, True]), torch.tensor(0.7))
    tensor(2)
    """
    upto = allowed.cumsum(-1)
    count = upto[..., -1]
    rank = (draw * count).long()
    # The count grows by one at each allowed cell: the chosen one is the first where it exceeds the rank.
    chosen = (upto <= rank[..., None]).sum(-1)
    return chosen.masked_fill(count == 0, -1)
