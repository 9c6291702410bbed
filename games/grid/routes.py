"""Ways over a map with walls, for scripted agents."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from games.grid.tables import STILL, Size, distances, paths, squares
from games.grid.views import mark, occupied

SHIFT = 25
"""Steps after which agents on duty are relieved."""


class Walkers(Protocol):
    """The part of a state that ways depend on."""

    @property
    def places(self) -> Tensor:
        """The agents' cells, integer [batch, agent]; below 0 is nowhere."""

    @property
    def time(self) -> Tensor:
        """Steps played, integer [batch]."""


def head_for(
    state: Walkers, goals: Tensor, size: Size, walls: tuple[int, ...], barred: Tensor | None = None
) -> Tensor:
    """Choose the way to the nearest goal that is free; of ways of equal length the straightest.

    Where another agent stands in the way, one waits behind it or goes around it, by turns (the bits of one's
    number say when), so that of two who meet sooner or later one makes way.

    Args:
        state: says where agents are, and which step it is.
        goals: boolean [batch, agent or 1, cell].
        size: rows and columns.
        walls: the cells nobody enters.
        barred: more such cells, boolean [batch, agent or 1, cell].

    Returns:
        an orientation, integer [batch, agent]; `STILL` (4) where there is no goal, no way, or one is there.

    >>> from types import SimpleNamespace
    >>> state = SimpleNamespace(places=torch.tensor([[3]]), time=torch.tensor([0]))
    >>> head_for(state, torch.tensor([[[True, False, False, False]]]), (2, 2), walls=(2,))  # north first
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
    """Who goes around others in this step: boolean [batch, agent]. Any two soon differ."""
    agents = state.places.shape[1]
    bits = max(1, (agents - 1).bit_length())
    number = torch.arange(agents, device=state.time.device)
    bit = (number >> (state.time % bits)[:, None]) & 1
    return bit == (state.time // bits % 2)[:, None]


def on_duty(cooperative: Tensor, time: Tensor) -> Tensor:
    """Who of those that cooperate does the common work: half of them, rounded up, by turns of `SHIFT` steps.

    Args:
        cooperative: boolean [batch, agent].
        time: steps played, integer [batch].

    Returns:
        boolean [batch, agent].

    >>> on_duty(torch.tensor([[True, False, True]]), torch.tensor([0]))
    tensor([[ True, False, False]])
    >>> on_duty(torch.tensor([[True, False, True]]), torch.tensor([25]))
    tensor([[False, False,  True]])
    """
    count = cooperative.sum(1, keepdim=True)
    turn = (cooperative.cumsum(1) - 1 + time[:, None] // SHIFT) % count.clamp_min(1)
    return cooperative & (turn < (count + 1) // 2)
