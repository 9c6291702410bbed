"""State, observations and frames of sequential social dilemmas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.core import cached_constants, constant
from games.grid._frame import AGENT_KEY, HEADING_KEY, Figure, KeyEntry, Thing, draw_grid, fitting
from games.grid._tables import Size, occupied, rows_at, window_table

if TYPE_CHECKING:
    from games.grid._social import SocialGrid

GROUND = {
    "wall": "wall", "river": "river", "stream": "stream", "waste": "river",
    "orchard": "orchard", "apple": "orchard",
}  # fmt: skip
"""Colors of cells by their meaning on the map."""
NAMES = {"wall": "wall", "river": "water", "orchard": "ground where apples grow"}
"""Names of these colors in the key."""


class SocialState(NamedTuple):
    """Positions; cells are numbered row by row."""

    places: Tensor  # the agents' cells, integer [batch, agent]; -1 while an agent is away
    orientation: Tensor  # 0 north, 1 east, 2 south, 3 west, integer [batch, agent]
    away: Tensor  # steps until an agent returns, integer [batch, agent]; 0 for present agents
    cooling: Tensor  # steps until an agent may fine again, integer [batch, agent]
    apples: Tensor  # boolean [batch, cell]
    waste: Tensor  # boolean [batch, cell]; all False in games without waste
    beams: Tensor  # cells that beams reached in the last step, boolean [batch, cell]
    time: Tensor  # steps played, integer [batch]
    cleaned: Tensor  # cells of waste that each agent's beam cleaned in the last step, integer [batch, agent]


def observations(game: SocialGrid, state: SocialState) -> Tensor:
    """Observations: uint8 [batch, agent, plane, row, column], 0 or 1; zeros for agents that are away.

    All planes of a cell fit into the bits of one byte, so that a window is gathered only once and then
    unpacked. "oneself" and "others" are the first planes; then any of walls, apples, waste, water, beams.
    """
    size, planes, device = game.size, game.PLANES, state.places.device
    walls, water = game.cells_of("wall"), game.cells_of("river", "stream", "waste")
    fixed = _fixed(size, walls, water, planes, device)
    sources = {"others": occupied(state.places, size[0] * size[1]), **state._asdict()}
    codes = fixed[:-2].expand(len(state.places), -1)
    for bit, name in enumerate(planes):
        if name in sources:
            # No two planes share a bit, so that one addition sets it.
            codes = torch.add(codes, sources[name].view(torch.uint8), alpha=1 << bit)
    codes = torch.cat((codes, fixed[-2:].expand(len(codes), -1)), 1)
    faces = state.orientation if game.turning else None
    window = rows_at(window_table(size, game.view, device), faces, state.places)
    window_codes = codes.gather(1, window.flatten(1)).reshape(window.shape)
    # One agent to a cell: the agent in the middle of a window is oneself, not another.
    window_codes[..., game.view[0], game.view[3]] ^= 3 * (state.places >= 0).view(torch.uint8)
    return (window_codes.unsqueeze(2) & _bits(len(planes), device)).clamp_max_(1)


def draw(game: SocialGrid, state: SocialState, index: int, scale: float) -> np.ndarray:
    """Draw the whole map of copy `index`: uint8 [height, width, 3]."""
    rows, columns = game.size
    colors = ["ground"] * (rows * columns)
    for meaning, color in GROUND.items():
        for cell in game.cells_of(meaning):
            colors[cell] = color
    for cell in _cells(state.beams[index]):
        colors[cell] = "beam"
    things = [Thing(cell, "waste", "square") for cell in _cells(state.waste[index])]
    things += [Thing(cell, "apple") for cell in _cells(state.apples[index])]
    faces = state.orientation[index].tolist() if game.turning else [None] * game.agents
    figures = [
        Figure(cell, number, face)
        for number, (cell, face) in enumerate(zip(state.places[index].tolist(), faces, strict=True))
    ]
    ground: Sequence[Sequence[str]] = [colors[row * columns : (row + 1) * columns] for row in range(rows)]
    return draw_grid(ground, things, figures, key=_key(game), cell=fitting(game.size), scale=scale)


def _key(game: SocialGrid) -> list[KeyEntry]:
    """The key of a game's map."""
    shown = {color for meaning, color in GROUND.items() if game.cells_of(meaning)}
    key = [HEADING_KEY if game.turning else AGENT_KEY, KeyEntry(Thing(0, "apple"), "apple")]
    if "waste" in game.PLANES:
        key.append(KeyEntry(Thing(0, "waste", "square"), "waste"))
    key += [KeyEntry(color, name) for color, name in NAMES.items() if color in shown]
    return [*key, KeyEntry("beam", "beam of the last step")] if game.beams_of_game else key


def _cells(mask: Tensor) -> list[int]:
    cells: list[int] = mask.nonzero().flatten().tolist()
    return cells


@cached_constants
def _fixed(
    size: Size, walls: tuple[int, ...], water: tuple[int, ...], planes: tuple[str, ...], device: torch.device
) -> Tensor:
    """The bits of static planes by cell, then outside (wall) and for absent agents: uint8 [cell + 2]."""
    codes = np.zeros(size[0] * size[1] + 2, dtype=np.uint8)
    codes[[*walls, -2]] |= 1 << planes.index("walls")
    if "water" in planes:
        codes[list(water)] |= 1 << planes.index("water")
    return constant(codes, torch.uint8, device)


@cached_constants
def _bits(count: int, device: torch.device) -> Tensor:
    """The bit of each plane: uint8 [plane, 1, 1]."""
    return constant([[[1 << bit]] for bit in range(count)], torch.uint8, device)
