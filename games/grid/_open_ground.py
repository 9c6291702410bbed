"""Games on open ground: a rectangle without inner walls, where agents walk in four directions."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, alias, cached_constants, computed, constant, require
from games.grid._frame import AGENT_KEY, Figure, KeyEntry, Thing, draw_grid, fitting
from games.grid._tables import mark, window_shape, windows

WALKS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1), "stay": (0, 0)}
"""(rows, columns) of the first actions, in the order of their numbers."""

STAY = list(WALKS).index("stay")


def walk(places: Tensor, actions: Tensor, size: tuple[int, int]) -> Tensor:
    """The cells that walks lead to; at the border, and off the ground (below 0), an agent stays.

    Places and actions broadcast; actions beyond `WALKS` stay.

    >>> walk(torch.tensor([4, 0, -1]), torch.tensor([0, 0, 3]), (3, 3))
    tensor([ 1,  0, -1])
    """
    targets = _walks(size, places.device)[places, actions.clamp_max(STAY)]
    return torch.where(places < 0, places, targets)


def beside(places: Tensor, size: tuple[int, int]) -> Tensor:
    """The cells above, below, left and right, integer [..., 4]; the cell itself beyond the border."""
    return walk(places[..., None], torch.arange(STAY, device=places.device), size)


def distance(places: Tensor, targets: Tensor, width: int) -> Tensor:
    """Number of steps between cells, which broadcast."""
    return (places // width - targets // width).abs() + (places % width - targets % width).abs()


def toward(places: Tensor, targets: Tensor, size: tuple[int, int], avoid: Tensor | None = None) -> Tensor:
    """The walk that minimizes the straight-line distance to each agent's target; `STAY` once it is there.

    Places and targets are integer [batch, agent]; for a target below 0, stay. Cells to avoid, boolean
    [batch, agent, cell], make agents go around obstacles; with their own cell among them they do not wait.

    >>> toward(torch.tensor([[4, 4, 4]]), torch.tensor([[1, 5, 4]]), (3, 3))
    tensor([[0, 3, 4]])
    """
    options = torch.cat((places[..., None], beside(places, size)), -1)  # staying first: it wins a tie
    height, width = size
    rows = options // width - targets[..., None] // width
    columns = options % width - targets[..., None] % width
    distances = rows**2 + columns**2
    if avoid is not None:
        distances = distances + (height**2 + width**2) * avoid.gather(-1, options.clamp_min(0))
    best = (distances.argmin(-1) - 1) % len(WALKS)
    return torch.where((places < 0) | (targets < 0) | (targets == places), STAY, best)


def draw_distinct(draws: Tensor, count: int) -> Tensor:
    """Draw different cells, all equally likely: uniform [batch, cell] -> integer [batch, count]."""
    order = draws.argsort(dim=-1, stable=True)
    return order[:, :count].contiguous()  # not a view that keeps all of the order alive


def draw_cells(draws: Tensor, cells: int) -> Tensor:
    """Draw cells with replacement: integer, shaped like `draws`, which are uniform in [0, 1)."""
    return (draws * cells).long().clamp_max(cells - 1)


def windowed(planes: Tensor, places: Tensor, size: tuple[int, int], view: int) -> Tensor:
    """Windows that reach `view` cells around each agent, after one more plane that marks the ground.

    Planes are [batch, plane, cell]; the result is float32 [batch, agent, 1 + plane, 2 view + 1, 2 view + 1],
    zeros for agents that have left.
    """
    ground = torch.ones_like(planes[:, :1], dtype=torch.float32)
    stacked = torch.cat((ground, planes.float()), 1).unflatten(-1, size)
    return windows(stacked, places, None, width=size[1], reach=(view, view, view, view))


def windowed_agents(planes: Tensor, places: Tensor, size: tuple[int, int], view: int) -> Tensor:
    """`windowed` with a plane for each other agent, in order; empty for one that has left."""
    agents = torch.arange(places.shape[1], device=places.device)
    others = agents[:-1] + (agents[:-1] >= agents[:, None])  # row i: 0 .. N-1 without i
    planes_seen = windowed(torch.cat((planes.bool(), mark(places, planes.shape[-1])), 1), places, size, view)
    things = 1 + planes.shape[1]
    return torch.cat((planes_seen[:, :, :things], planes_seen[:, agents[:, None], things + others]), 2)


@cached_constants
def _walks(size: tuple[int, int], device: torch.device) -> Tensor:
    """Next cell of each walk from each cell: [cell, walk]."""
    height, width = size

    def target(row: int, column: int, down: int, right: int) -> int:
        inside = 0 <= row + down < height and 0 <= column + right < width
        return (row + down) * width + column + right if inside else row * width + column

    cells = itertools.product(range(height), range(width))
    table = [[target(*cell, *step) for step in WALKS.values()] for cell in cells]
    return constant(table, torch.int64, device)


@dataclass(frozen=True, kw_only=True)
class OpenGroundGame(DrawnGame, abc.ABC):
    """A game of agents that walk on open ground and observe planes in a window around them."""

    agents: int = 4
    """Number of agents; at least 1."""
    horizon: int = 100
    """Maximum number of steps of an episode; at least 1."""
    view: int = 2
    """Cells that an agent sees in each direction; 0 or more."""

    num_agents = alias("agents")
    symmetric = True  # starting places and priorities for contested cells are random
    fully_symmetric = True

    def __post_init__(self) -> None:
        require(self.agents >= 1, f"Somebody has to play: agents is {self.agents}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")
        require(self.view >= 0, f"view must be 0 or more, not {self.view}.")

    @property
    @abc.abstractmethod
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the ground."""

    @property
    @abc.abstractmethod
    def planes(self) -> int:
        """Number of planes of an observation; the class names them."""

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (self.planes, *window_shape((self.view,) * 4)), dtype=np.float32)

    def draw(
        self, things: list[Thing], places: list[int], key: Sequence[KeyEntry], scale: float
    ) -> np.ndarray:
        """Draw things and their key, and agents in their cells, on plain ground: uint8 [height, width, 3]."""
        ground = [["ground"] * self.extent[1]] * self.extent[0]
        agents = [Figure(cell, number) for number, cell in enumerate(places)]
        side = fitting(self.extent)
        return draw_grid(ground, things, agents, key=(AGENT_KEY, *key), cell=side, scale=scale)


@dataclass(frozen=True, kw_only=True)
class SquareGame(OpenGroundGame, abc.ABC):
    """A game on open ground that is a square."""

    size: int = 8
    """Cells of a side; at least 2."""

    extent = computed(lambda self: (self.size, self.size))

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.size >= 2, f"The ground needs at least 2 cells a side; size is {self.size}.")
