"""Maps, their cached index tables, and lookups in them: windows, beams, masks.

Cells are numbered row by row. The number of cells itself stands for outside the map.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from games.core import cached_constants, constant, require

NORTH, EAST, SOUTH, WEST = range(4)  # orientations, clockwise
OFFSETS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # (rows, columns) of one step ahead in each orientation
STILL = len(OFFSETS)  # the row of `paths` without a step
Size = tuple[int, int]  # rows and columns
Reach = tuple[int, int, int, int]  # number of cells seen ahead, to the right, behind and to the left


@cached_constants
def cell_indices(cells: tuple[int, ...], device: torch.device) -> Tensor:
    """Some cells, as an index: integer [some]."""
    return constant(list(cells), torch.int64, device)


@cached_constants
def cell_mask(size: Size, cells: tuple[int, ...], device: torch.device) -> Tensor:
    """Some cells, as a mask over all: boolean [cell]."""
    return constant(_mask(size, cells)[:-1], torch.bool, device)


@cached_constants
def paths(size: Size, walls: tuple[int, ...], device: torch.device) -> Tensor:
    """Cells that a step in each orientation leads to, and, in row `STILL`, no step: integer [5, cell]."""
    return constant(_paths(size, walls), torch.int64, device)


@cached_constants
def window_table(size: Size, reach: Reach, device: torch.device) -> Tensor:
    """The cells of each window, its orientation up: integer [orientation, 1 + cell, row, column].

    Row 0, for absent agents, holds the number of cells plus one.
    """
    forward, right, back, left = reach
    ahead, side = np.arange(forward, -back - 1, -1)[:, None], np.arange(-left, right + 1)
    seen = _turned(size, ahead, side)
    return constant(_with_nowhere(seen, size[0] * size[1] + 1), torch.int32, device)


@cached_constants
def beam_table(size: Size, walls: tuple[int, ...], length: int, breadth: int, device: torch.device) -> Tensor:
    """The cells of each beam, stopped by walls only: integer [orientation, 1 + cell, ray, cell].

    The middle ray starts in front of its owner, the others beside it, as in the code of the sequential social
    dilemmas. Entries from the first wall on, and in row 0, for absent agents, are the number of cells.
    """
    side = np.arange(breadth)[:, None] - breadth // 2
    ahead = np.arange(length) + (side == 0)
    rays = _turned(size, ahead, side)
    outside = size[0] * size[1]
    rays[np.logical_or.accumulate(_mask(size, (*walls, outside))[rays], -1)] = outside
    return constant(_with_nowhere(rays, outside), torch.int64, device)


@cached_constants
def distances(size: Size, walls: tuple[int, ...], device: torch.device) -> Tensor:
    """Lengths of shortest paths, integer [from cell, to cell]; the number of cells where there is none."""
    cells = size[0] * size[1]
    steps = _paths(size, walls)[:STILL]
    reachable = np.eye(cells, dtype=bool)
    lengths = np.where(reachable, 0, cells)
    for count in itertools.count(1):
        wider = reachable | reachable[:, steps].any(1)
        if np.array_equal(wider, reachable):
            break
        lengths[wider & ~reachable] = count
        reachable = wider
    lengths[:, list(walls)] = cells
    return constant(lengths, torch.int64, device)


@cached_constants
def squares(size: Size, device: torch.device) -> Tensor:
    """Squared Euclidean distances, integer [cell, cell]."""
    rows, columns = np.divmod(np.arange(size[0] * size[1]), size[1])
    table = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    return constant(table, torch.int64, device)


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """Read a one-dimensional table at many places; the result has the index's shape."""
    return table.index_select(0, index.reshape(-1)).reshape(index.shape)  # indexing takes three times as long


def rows_at(table: Tensor, orientation: Tensor | None, places: Tensor) -> Tensor:
    """Look up places, below 0 for absent agents, in a table [orientation, 1 + cell, ...]: [*places, ...].

    Without orientations all agents face north.
    """
    row = (places + 1).clamp_min(0)
    if orientation is not None:
        row = row + orientation * table.shape[1]
    return table.flatten(0, 1).index_select(0, row.reshape(-1)).reshape(*places.shape, *table.shape[2:])


def _mask(size: Size, cells: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mask of some cells, which may include outside: boolean [cell + 1]."""
    mask = np.zeros(size[0] * size[1] + 1, dtype=bool)
    mask[list(cells)] = True
    return mask


def _numbers(size: Size, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cells in these rows and columns; the number of cells outside the map."""
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    return np.where(inside, rows * size[1] + columns, size[0] * size[1])


def _turned(size: Size, ahead: NDArray[np.int64], side: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cells at offsets ahead and to the right, by orientation and cell: [orientation, cell, ...]."""
    here = np.arange(size[0] * size[1])[:, None, None]
    rows, columns = here // size[1], here % size[1]
    right = OFFSETS[1:] + OFFSETS[:1]
    turned = [
        _numbers(size, rows + ahead * f[0] + side * r[0], columns + ahead * f[1] + side * r[1])
        for f, r in zip(OFFSETS, right, strict=True)
    ]
    return np.stack(turned)


def _paths(size: Size, walls: tuple[int, ...]) -> NDArray[np.int64]:
    outside = size[0] * size[1]
    here = np.arange(outside)
    blocked = _mask(size, (*walls, outside))
    targets = [_numbers(size, here // size[1] + down, here % size[1] + right) for down, right in OFFSETS]
    return np.stack([*(np.where(blocked[there], here, there) for there in targets), here])


def _with_nowhere(table: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Prepend a row filled with this number."""
    return np.concatenate((np.full_like(table[:, :1], number), table), 1)


def read_map(rows: Sequence[str], symbols: Mapping[str, str], *, agents: int) -> dict[str, tuple[int, ...]]:
    """Parse a map: cells by the meaning of their symbol, in increasing order. A space is empty ground.

    >>> read_map(["@P", "P "], {"@": "wall", "P": "spawn"}, agents=2)
    {'wall': (0,), 'spawn': (1, 2)}
    """
    require(bool(rows) and bool(rows[0]), "The map is empty: give rows of symbols.")
    width = len(rows[0])
    cells_of: dict[str, list[int]] = {meaning: [] for meaning in dict.fromkeys(symbols.values())}
    for number, row in enumerate(rows):
        require(
            len(row) == width,
            f"The map's rows must be equally long: row 0 has {width} symbols, row {number} has {len(row)}.",
        )
        for column, symbol in enumerate(row):
            if symbol == " ":
                continue
            known = ", ".join(f"{key!r} {meaning}" for key, meaning in symbols.items())
            require(
                symbol in symbols,
                f"The map has {symbol!r} in row {number}, column {column}; "
                f"known symbols are ' ' empty, {known}.",
            )
            cells_of[symbols[symbol]].append(number * width + column)
    places = len(cells_of.get("spawn", []))
    spawn = next((key for key, meaning in symbols.items() if meaning == "spawn"), "?")
    require(
        places >= agents,
        f"The map has {places} places to start from (symbol {spawn!r}), but {agents} agents need one each.",
    )
    return {meaning: tuple(cells) for meaning, cells in cells_of.items()}


def windows(
    planes: Tensor, places: Tensor, orientation: Tensor | None, *, width: int, reach: Reach
) -> Tensor:
    """Windows of planes around each agent: [batch, agent, plane, ahead + behind + 1, left + right + 1].

    Planes are [batch, plane, row, column]; 0 outside the map. Places are cells [batch, agent]; below 0 for
    absent agents, whose windows are 0. Orientations, 0 north and clockwise, are up; None: all face north. The
    width is that of the map; `reach` is the number of cells ahead, right, behind and left.

    >>> planes = torch.arange(6.0).reshape(1, 1, 2, 3)
    >>> windows(planes, torch.tensor([[4]]), None, width=3, reach=(1, 0, 0, 1))
    tensor([[[[[0., 1.],
               [3., 4.]]]]])
    """
    cells = rows_at(window_table((planes.shape[-2], width), reach, planes.device), orientation, places)
    index = cells.flatten(1)[:, None].expand(-1, planes.shape[1], -1)
    gathered = pad(planes.flatten(-2), (0, 2)).gather(-1, index)  # outside, and nowhere
    batch, agents, rows, columns = cells.shape
    return gathered.reshape(batch, -1, agents, rows, columns).movedim(2, 1)


@functools.cache
def window_shape(reach: Reach) -> tuple[int, int]:
    """Rows and columns of a window."""
    forward, right, back, left = reach
    return forward + back + 1, left + right + 1


def mark(places: Tensor, cells: int) -> Tensor:
    """Agents' positions, each on a plane of its own: boolean [batch, agent, cells]; none below 0."""
    return places[..., None] == torch.arange(cells, device=places.device)


def occupied(places: Tensor, cells: int) -> Tensor:
    """Cells that hold an agent: boolean [batch, cells]; places below 0 are skipped."""
    marks = torch.zeros(len(places), 1 + cells, dtype=torch.bool, device=places.device)
    index = places + 1
    # A tensor of ones, as scattering a scalar takes three times as long.
    return marks.scatter_(1, index, marks.new_ones(1, 1).expand_as(index))[:, 1:]


def at(values: Tensor, cells: Tensor) -> Tensor:
    """Values [batch, cell] at some cells, integer [some], the same in every copy: [batch, some]."""
    return values.gather(1, cells.expand(len(values), -1))  # index_select takes three times as long


def put(values: Tensor, cells: Tensor, new: Tensor) -> Tensor:
    """Values [batch, cell] with new ones, [batch, some], at some cells, the same in every copy."""
    return values.scatter(1, cells.expand(len(values), -1), new)
