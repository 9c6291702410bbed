"""Beams: straight ahead, a few rays side by side, each stopped by what it meets first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from games.constants import constant, kept


class Beams(NamedTuple):
    """The beams that were fired in a step, in all copies one after the other."""

    copy: Tensor
    """In which copy, integer [beam]."""
    cells: Tensor
    """Where it gets to, integer [beam, ray, cell from near to far]; the number of cells is nowhere."""

    def mark(self, ground: Tensor) -> Tensor:
        """Where any beam gets to: boolean, like the ground [batch, cell]."""
        rows, columns = len(ground), ground.shape[1] + 1
        marks = torch.zeros(rows * columns, dtype=torch.bool, device=ground.device)
        index = (self.cells.flatten(1) + columns * self.copy[:, None]).flatten()
        marks.scatter_(0, index, marks.new_ones(1).expand_as(index))
        return marks.view(rows, columns)[:, :-1]

    def marked(self, ground: Tensor) -> Tensor:
        """How many marked cells each beam gets to: integer [beam], of boolean marks [batch, cell]."""
        found: Tensor = pad(ground, (0, 1))[self.copy].gather(1, self.cells.flatten(1)).sum(1)
        return found

    def hits(self, places: Tensor) -> Tensor:
        """How many beams get to each agent: float32 [batch, agent]; places are cells, below 0 nowhere."""
        met = (self.cells.flatten(1)[..., None] == places[self.copy][:, None]).any(1).float()
        return torch.zeros(places.shape, device=places.device).index_add(0, self.copy, met)


def reached(cells: Tensor, stops: Tensor) -> Tensor:
    """Cut beams off behind the first thing that stops each ray; that thing's own cell is still reached.

    Args:
        cells: integer [beam, ray, cell from near to far], as `games.grid.tables.beam_table` has them;
            the number of cells is nowhere.
        stops: where rays stop, boolean [beam, cell].

    Returns:
        integer, like `cells`; the number of cells where a ray does not get to.

    >>> reached(torch.tensor([[[0, 1, 2]]]), torch.tensor([[False, True, False]]))
    tensor([[[0, 1, 3]]])
    """
    rays, length = cells.shape[-2:]
    hit = pad(stops, (0, 1)).gather(1, cells.flatten(1)).view(torch.uint8)
    # One product for all rays of a beam: it is quicker than a running sum over a few cells.
    behind = hit.float().reshape(-1, rays * length) @ _nearer(rays, length, cells.device)
    return torch.where(behind.reshape(cells.shape) == 0, cells, stops.shape[1])


@kept
def _nearer(rays: int, length: int, device: torch.device) -> Tensor:
    """Which cells of a beam lie before which (columns) on the same ray: float32 [ray * cell, ray * cell]."""
    return constant(np.kron(np.eye(rays), np.triu(np.ones((length, length)), 1)), torch.float32, device)
