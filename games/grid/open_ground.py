"""Open ground: a rectangle without walls inside it, where agents walk in four directions."""

from __future__ import annotations

import torch
from torch import Tensor

from games.constants import constant, kept
from games.grid.views import mark, windows

WALKS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1), "stay": (0, 0)}
"""(rows, columns) of the first actions, in the order of their numbers."""

STAY = list(WALKS).index("stay")


def walk(places: Tensor, actions: Tensor, size: tuple[int, int]) -> Tensor:
    """Give the cells that actions lead to; at the border, and nowhere, one stays.

    Args:
        places: cells, numbered row by row, integer [...]; below 0 is nowhere.
        actions: integer, broadcast against `places`, numbered as in `WALKS`; whatever comes
            after does not walk.
        size: rows and columns.

    >>> walk(torch.tensor([4, 0, -1]), torch.tensor([0, 0, 3]), (3, 3))
    tensor([ 1,  0, -1])
    """
    led = _walks(size, places.device)[places, actions.clamp_max(STAY)]
    return torch.where(places < 0, places, led)


def beside(places: Tensor, size: tuple[int, int]) -> Tensor:
    """Give the cells above, below, left and right: integer [..., 4]; one's own cell where the ground ends.

    >>> beside(torch.tensor([4, 0]), (3, 3))
    tensor([[1, 7, 3, 5],
            [0, 3, 0, 1]])
    """
    return walk(places[..., None], torch.arange(STAY, device=places.device), size)


def distance(here: Tensor, there: Tensor, width: int) -> Tensor:
    """Count the steps between cells, which are broadcast against each other.

    >>> distance(torch.tensor(0), torch.tensor([0, 5]), width=3)
    tensor([0, 3])
    """
    return (here // width - there // width).abs() + (here % width - there % width).abs()


def toward(places: Tensor, targets: Tensor, size: tuple[int, int], avoid: Tensor | None = None) -> Tensor:
    """Choose the walk that brings each agent nearest to a cell as the crow flies; `STAY` once it is there.

    Args:
        places: cells, integer [batch, agent].
        targets: where to go, like `places`; below 0 is nowhere: stay.
        size: rows and columns.
        avoid: cells not to step into, boolean [batch, agent, cell]; with one's own among them, an
            agent whose way is barred goes round rather than wait.

    Returns:
        actions, integer [batch, agent].

    >>> toward(torch.tensor([[4, 4, 4]]), torch.tensor([[1, 5, 4]]), (3, 3))
    tensor([[0, 3, 4]])
    """
    options = torch.cat((places[..., None], beside(places, size)), -1)  # staying first: it wins a tie
    height, width = size
    rows = options // width - targets[..., None] // width
    columns = options % width - targets[..., None] % width
    apart = rows**2 + columns**2
    if avoid is not None:
        apart = apart + (height**2 + width**2) * avoid.gather(-1, options.clamp_min(0))
    best = (apart.argmin(-1) - 1) % len(WALKS)
    return torch.where((places < 0) | (targets < 0) | (targets == places), STAY, best)


def scatter(draws: Tensor, count: int) -> Tensor:
    """Draw different cells, all equally likely.

    Args:
        draws: uniform in [0, 1), [batch, cell].
        count: how many cells.

    Returns:
        integer [batch, count].

    >>> scatter(torch.tensor([[0.9, 0.1, 0.5]]), count=2)
    tensor([[1, 2]])
    """
    order = draws.argsort(dim=-1, stable=True)
    return order[:, :count].contiguous()  # not a view that keeps all of the order alive


def anywhere(draws: Tensor, cells: int) -> Tensor:
    """Draw cells that may be the same: integer, like `draws`, which are uniform in [0, 1).

    >>> anywhere(torch.tensor([0.0, 0.5]), cells=4)
    tensor([0, 2])
    """
    return (draws * cells).long().clamp_max(cells - 1)


def look(planes: Tensor, places: Tensor, size: tuple[int, int], view: int) -> Tensor:
    """Cut a window out of planes around each agent, behind one more plane that says where the ground is.

    Args:
        planes: [batch, plane, cell].
        places: cells, integer [batch, agent]; who is nowhere sees zeros.
        size: rows and columns.
        view: how many cells one sees in each direction.

    Returns:
        float32 [batch, agent, 1 + plane, 2 view + 1, 2 view + 1].

    >>> look(torch.tensor([[[0, 1]]]), torch.tensor([[0]]), (1, 2), view=1)[0, 0, :, 1]
    tensor([[0., 1., 1.],
            [0., 0., 1.]])
    """
    ground = torch.ones_like(planes[:, :1], dtype=torch.float32)
    stacked = torch.cat((ground, planes.float()), 1).unflatten(-1, size)
    return windows(stacked, places, None, width=size[1], reach=(view, view, view, view))


def survey(planes: Tensor, places: Tensor, size: tuple[int, int], view: int) -> Tensor:
    """Add to `look` a plane for each other agent, in increasing order.

    Args:
        planes: [batch, plane, cell].
        places: cells, integer [batch, agent]; who is nowhere sees zeros, and is not seen.
        size: rows and columns.
        view: how many cells one sees in each direction.

    Returns:
        float32 [batch, agent, 1 + plane + (agents - 1), 2 view + 1, 2 view + 1].

    >>> survey(torch.tensor([[[0, 0]]]), torch.tensor([[0, 1]]), (1, 2), view=1)[0, 0, -1, 1]
    tensor([0., 0., 1.])
    """
    agents = torch.arange(places.shape[1], device=places.device)
    others = agents[:-1] + (agents[:-1] >= agents[:, None])  # row i: 0 .. N-1 without i
    seen = look(torch.cat((planes.bool(), mark(places, planes.shape[-1])), 1), places, size, view)
    things = 1 + planes.shape[1]
    return torch.cat((seen[:, :, :things], seen[:, agents[:, None], things + others]), 2)


@kept
def _walks(size: tuple[int, int], device: torch.device) -> Tensor:
    """Where each walk leads from each cell: [cell, walk]."""
    height, width = size
    table = [
        [
            (row + down) * width + column + right
            if 0 <= row + down < height and 0 <= column + right < width
            else row * width + column
            for down, right in WALKS.values()
        ]
        for row in range(height)
        for column in range(width)
    ]
    return constant(table, torch.int64, device)
