"""Simultaneous moves on a grid, and the paths of scripted agents."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from games.grid._tables import STILL, Size, distances, mark, occupied, paths, squares


def resolve_moves(places: Tensor, wanted: Tensor, priority: Tensor) -> Tensor:
    """Move agents, at `places`, to the cells they want, or leave them where they are: a cell holds one agent.

    Cells are integer [batch, agent]; below 0 is off the map, never contested. An agent that stays keeps its
    cell. Of several that want a cell the one with the highest priority gets it (of a tie the lower index). A
    cell whose occupant moves on may be entered in the same step, also around a ring of three or more; two
    agents do not swap places. A refused agent keeps its cell against all others, so that refusals propagate
    back along a queue.

    >>> places, wanted = torch.tensor([[0, 2, 1]]), torch.tensor([[1, 1, 3]])
    >>> resolve_moves(places, wanted, torch.tensor([[0.1, 0.9, 0.5]]))  # 2 leaves; 0 and 1 want its cell
    tensor([[0, 1, 3]])
    """
    # The batch is the last axis, so that the innermost loops are long.
    here, goal, rank = (each.T.contiguous() for each in (places, wanted, priority))
    index = torch.arange(len(here), device=here.device)
    others = (index[:, None] != index)[..., None] & (goal >= 0)[:, None]
    rivals = (goal[:, None] == goal) & others
    into = (goal[:, None] == here) & others
    moves = (goal != here) & ~(rivals & outranked(rank)).any(1) & ~(into & into.transpose(0, 1)).any(1)
    # A refusal propagates by one agent in each round, and no queue is longer than all agents.
    for _ in range(len(here) - 1):
        moves = moves & ~(into & ~moves).any(1)
    return torch.where(moves, goal, here).T


def outranked(priority: Tensor) -> Tensor:
    """Mask of the others ranked higher, by priority [agent, batch], then index: [agent, other, batch]."""
    index = torch.arange(len(priority), device=priority.device)
    tied = (priority == priority[:, None]) & (index < index[:, None])[..., None]
    return (priority > priority[:, None]) | tied


SHIFT = 25  # steps after which agents on duty change


class Walkers(Protocol):
    """The part of a state that paths depend on."""

    @property
    def places(self) -> Tensor: ...  # cells [batch, agent]
    @property
    def time(self) -> Tensor: ...  # steps played [batch]


def path_heading(
    state: Walkers, goals: Tensor, size: Size, walls: tuple[int, ...], barred: Tensor | None = None
) -> Tensor:
    """First step of the shortest path to the nearest free goal; of paths of equal length the straightest.

    Behind another agent, an agent alternates between waiting and going around (by the bits of its index), so
    that of two that meet one eventually makes way. Goals, and barred cells, which are not entered, like
    walls, are boolean [batch, agent or 1, cell]. The result is an orientation, integer [batch, agent];
    `STILL` (4) where there is no goal, no path, or the agent is at a goal.

    >>> from types import SimpleNamespace
    >>> state = SimpleNamespace(places=torch.tensor([[3]]), time=torch.tensor([0]))
    >>> path_heading(state, torch.tensor([[[True, False, False, False]]]), (2, 2), walls=(2,))  # north first
    tensor([[0]])
    """
    cells, device = size[0] * size[1], state.places.device
    here = state.places.clamp_min(0)
    taken = occupied(state.places, cells)[:, None] & ~mark(state.places, cells)
    blocked = torch.zeros_like(taken) if barred is None else barred.expand_as(taken)
    steps = distances(size, walls, device)
    lengths = steps[here].masked_fill(~goals | taken | blocked, cells)
    target = lengths.argmin(-1)[..., None]
    options = paths(size, walls, device)[:STILL, here].movedim(0, -1)
    around = blocked | (taken & _goes_around(state)[..., None])
    closed = around.gather(-1, options) | (options == here[..., None])
    scale = size[0] ** 2 + size[1] ** 2  # above every squared distance
    cost = steps[options, target] * scale + squares(size, device)[options, target]
    heading = cost.masked_fill(closed, torch.iinfo(torch.int64).max).argmin(-1)
    stays = (state.places < 0) | (lengths.amin(-1) == cells) | (target[..., 0] == here) | closed.all(-1)
    return torch.where(stays, STILL, heading)


def detour(places: Tensor, goals: Tensor, closed: Tensor, size: Size) -> Tensor:
    """First step of a shortest path to a goal around closed cells: an orientation, integer [batch, agent].

    `STILL` (4) where there is no path, or the agent is at a goal. Other agents are not in the way. Goals and
    closed cells, walls included, are boolean [batch, agent, cell]; no goal is closed.

    >>> goals, closed = torch.zeros(2, 1, 1, 6, dtype=torch.bool)
    >>> goals[..., 2], closed[..., 1] = True, True  # in a row of three above another
    >>> detour(torch.tensor([[0]]), goals, closed, (2, 3))  # south
    tensor([[2]])
    """
    cells = goals.shape[-1]
    steps = torch.where(goals, 0, cells).short().unflatten(-1, size)
    barred = closed.unflatten(-1, size)
    for _ in range(cells):
        wide = pad(steps, (1, 1, 1, 1), value=cells)
        rows = torch.minimum(wide[..., :-2, 1:-1], wide[..., 2:, 1:-1])
        nearer = torch.minimum(rows, torch.minimum(wide[..., 1:-1, :-2], wide[..., 1:-1, 2:])) + 1
        shorter = torch.minimum(steps, nearer).masked_fill(barred, cells)
        if torch.equal(shorter, steps):
            break
        steps = shorter
    table = paths(size, (), places.device)
    options = steps.flatten(-2).gather(-1, table[:, places].movedim(0, -1))
    here, around = options[..., STILL], options[..., :STILL]
    return torch.where((here == 0) | (around.amin(-1) >= cells), STILL, around.argmin(-1))


def _goes_around(state: Walkers) -> Tensor:
    """Agents that go around others in this step: boolean [batch, agent]. Any two differ before long."""
    agents = state.places.shape[1]
    bits = max(1, (agents - 1).bit_length())
    number = torch.arange(agents, device=state.time.device)
    bit = (number >> (state.time % bits)[:, None]) & 1
    return bit == (state.time // bits % 2)[:, None]


def on_duty(cooperative: Tensor, time: Tensor) -> Tensor:
    """Mask of the cooperators on duty: half of them, rounded up, in turns of `SHIFT` steps.

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
    running_count = allowed.cumsum(-1)
    count = running_count[..., -1]
    rank = (draw * count).long()
    # The count grows by one at each allowed cell: the chosen one is the first where it exceeds the rank.
    chosen = (running_count <= rank[..., None]).sum(-1)
    return chosen.masked_fill(count == 0, -1)
