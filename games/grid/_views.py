"""Observations of a grid: a window around each agent; and masks of cells."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn.functional import pad

from games.grid._tables import rows_at, window_table


def windows(
    planes: Tensor,
    places: Tensor,
    orientation: Tensor | None,
    *,
    width: int,
    reach: tuple[int, int, int, int],
) -> Tensor:
    """Cut a window out of planes around each agent.

    Args:
        planes: [batch, plane, row, column]; what lies outside is 0 in every plane.
        places: cells, integer [batch, agent]; below 0 is nowhere, and sees zeros only.
        orientation: where agents face, integer [batch, agent], 0 north and on clockwise; that direction is up
            in the window. None: nobody turns, and up is north.
        width: of the map, in cells.
        reach: cells that are seen ahead, to the right, behind and to the left.

    Returns:
        [batch, agent, plane, ahead + behind + 1, left + right + 1].

    >>> planes = torch.arange(6.0).reshape(1, 1, 2, 3)
    >>> windows(planes, torch.tensor([[4]]), None, width=3, reach=(1, 0, 0, 1))
    tensor([[[[[0., 1.],
               [3., 4.]]]]])
    """
    cells = rows_at(window_table((planes.shape[-2], width), reach, planes.device), orientation, places)
    index = cells.flatten(1)[:, None].expand(-1, planes.shape[1], -1)
    cut = pad(planes.flatten(-2), (0, 2)).gather(-1, index)  # outside, and nowhere
    batch, agents, rows, columns = cells.shape
    return cut.reshape(batch, -1, agents, rows, columns).movedim(2, 1)


@functools.cache
def window_shape(reach: tuple[int, int, int, int]) -> tuple[int, int]:
    """Rows and columns of a window."""
    forward, right, back, left = reach
    return forward + back + 1, left + right + 1


def mark(places: Tensor, cells: int) -> Tensor:
    """Where agents are, each on a plane of its own: boolean [batch, agent, cells]; below 0 is nowhere."""
    return places[..., None] == torch.arange(cells, device=places.device)


def occupied(places: Tensor, cells: int) -> Tensor:
    """Where any agent is: boolean [batch, cells]; below 0 is nowhere."""
    marks = torch.zeros(len(places), 1 + cells, dtype=torch.bool, device=places.device)
    index = places + 1
    # A tensor of ones, as scattering one number takes three times as long.
    return marks.scatter_(1, index, marks.new_ones(1, 1).expand_as(index))[:, 1:]


def at(values: Tensor, cells: Tensor) -> Tensor:
    """Values [batch, cell] in some cells, integer [some], the same in every copy: [batch, some]."""
    return values.gather(1, cells.expand(len(values), -1))  # index_select takes three times as long


def put(values: Tensor, cells: Tensor, new: Tensor) -> Tensor:
    """Values [batch, cell] with new ones, [batch, some], in some cells, the same in every copy."""
    return values.scatter(1, cells.expand(len(values), -1), new)
