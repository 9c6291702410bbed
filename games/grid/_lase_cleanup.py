"""LASE's cleanup: a small open field with a river and an orchard, without beams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.core import Step, computed, require
from games.grid import _open_ground as ground
from games.grid._frame import AGENT_KEY, Figure, KeyEntry, Thing, draw_grid
from games.grid._moves import choose_cell, on_duty, outranked
from games.grid._open_ground import WALKS
from games.grid._tables import cell_mask, occupied

SIZE = (8, 8)
CELLS = SIZE[0] * SIZE[1]
BANK = 2 * SIZE[1]  # cells of the river, the first ones, and as many of the orchard, the last ones
FULL = 8  # waste cells at the start, and maximally; no apple grows then
NAMES = (*WALKS, "clean", "pick")
CLEAN, PICK = NAMES.index("clean"), NAMES.index("pick")
KEY = (
    AGENT_KEY,
    KeyEntry(Thing(0, "apple"), "apple"),
    KeyEntry(Thing(0, "waste", "square"), "waste"),
    KeyEntry("river", "water"),
    KeyEntry("orchard", "ground where apples grow"),
)
APPLE_REWARD = 1.0
RIVER, ORCHARD = tuple(range(BANK)), tuple(range(CELLS - BANK, CELLS))


class LaseCleanupState(NamedTuple):
    """Positions; cells are numbered row by row."""

    places: Tensor  # the agents' cells, integer [batch, agent]; several may share one
    apples: Tensor  # boolean [batch, cell]; in the orchard only
    waste: Tensor  # boolean [batch, cell]; in the river only
    time: Tensor  # steps played, integer [batch]
    cleaned: Tensor  # number of cells of waste each agent cleaned in the last step, integer [batch, agent]


@dataclass(frozen=True, kw_only=True)
class LaseCleanup(ground.OpenGroundGame):
    """LASE's cleanup on 8x8 cells: the two top rows are a river, the two bottom rows an orchard.

    In a step agents walk, clean the waste in their own cell, or pick the apple there: +1; cleaning gives
    nothing. Of several agents that pick the same apple one, drawn at random, gets it. Then, with w the waste
    cells that are left: while w < 8, waste appears with probability `waste_probability` in one clean cell of
    the river; and with probability 1 - w/8 one apple appears in an empty cell of the orchard. Agents may
    share a cell. An observation is a stack of planes in the window around the agent: ground (0 outside),
    apples, waste, river, orchard, and one plane for each other agent.

    Choices where the source is silent: the random winner of a contested apple; agents may share a cell and
    start anywhere; the first waste is anywhere in the river; apples may appear under agents; both draws of a
    step use the same w.

    Raises:
        ValueError: there is no agent or no step, or a probability or the view is out of range.
    Source:
        LASE, arXiv 2410.07863.

    >>> game = LaseCleanup()
    >>> state = game.reset(batch=1, generator=torch.Generator().manual_seed(0))
    >>> state.waste.sum(), state.apples.sum()
    (tensor(8), tensor(0))
    """

    waste_probability: float = 0.1
    """Probability of waste in a step, while there is less than at the start; in [0, 1]."""

    action_names = NAMES
    extent = SIZE
    defection_welfare = 0.0  # no agent cleans: no apple ever grows
    # ground, apples, waste, river, orchard, each other agent
    planes = computed(lambda self: 5 + self.agents - 1)
    # a place for each agent, and a rank for each cell of the river
    start_draws = computed(lambda self: self.agents + BANK)
    # a rank for each agent, and the appearance and cell of waste and of an apple
    step_draws = computed(lambda self: self.agents + 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 <= self.waste_probability <= 1,
            f"waste_probability must lie between 0 and 1, but it is {self.waste_probability}.",
        )

    def begin(self, draws: Tensor) -> LaseCleanupState:
        places = ground.draw_cells(draws[:, : self.agents], CELLS)
        waste = occupied(ground.draw_distinct(draws[:, self.agents :], FULL), CELLS)
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return LaseCleanupState(places, torch.zeros_like(waste), waste, time, torch.zeros_like(places))

    def advance(self, state: LaseCleanupState, actions: Tensor, draws: Tensor) -> Step:
        rank, rest = draws[:, : self.agents], draws[:, self.agents :]
        places = ground.walk(state.places, actions, SIZE)
        cleaned = (actions == CLEAN) & state.waste.gather(1, places)
        waste = state.waste & ~occupied(torch.where(actions == CLEAN, places, -1), CELLS)
        wants = (actions == PICK) & state.apples.gather(1, places)
        rivals = wants[:, None] & (places[:, None] == places[..., None])
        picks = wants & ~(rivals & outranked(rank.T).movedim(-1, 0)).any(-1)
        apples = state.apples & ~occupied(torch.where(picks, places, -1), CELLS)
        left = waste.sum(1)
        fouls = (rest[:, 0] < self.waste_probability) & (left < FULL)
        waste = _add(waste, ~waste & cell_mask(SIZE, RIVER, places.device), fouls, rest[:, 1])
        grows = rest[:, 2] < 1 - left / FULL
        apples = _add(apples, ~apples & cell_mask(SIZE, ORCHARD, places.device), grows, rest[:, 3])
        after = LaseCleanupState(places, apples, waste, state.time + 1, cleaned.long())
        return after, APPLE_REWARD * picks.float(), after.time >= self.horizon

    def measures(self, state: LaseCleanupState) -> dict[str, Tensor]:
        return {"cleaned": state.cleaned}

    def observe(self, state: LaseCleanupState) -> Tensor:
        banks = [
            cell_mask(SIZE, bank, state.places.device).expand_as(state.waste) for bank in (RIVER, ORCHARD)
        ]
        planes = torch.stack((state.apples, state.waste, *banks), 1)
        return ground.windowed_agents(planes, state.places, SIZE, self.view)

    def cooperates(self, state: LaseCleanupState, actions: Tensor) -> Tensor:
        return actions == CLEAN  # cleaning cooperates: boolean [batch, agent]

    def scripted(self, state: LaseCleanupState, cooperative: Tensor) -> Tensor:
        """Pick the nearest apple; cooperators on duty (`on_duty`) clean the nearest waste."""
        clean, pick = _use(state.places, state.waste, CLEAN), _use(state.places, state.apples, PICK)
        return torch.where(on_duty(cooperative, state.time), clean, pick)

    def render(self, state: LaseCleanupState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        rows = ["river"] * 2 + ["ground"] * (SIZE[0] - 4) + ["orchard"] * 2
        things = [
            Thing(cell, name, shape)
            for name, shape, cells in (("waste", "square", state.waste), ("apple", "disc", state.apples))
            for cell in cells[index].nonzero().flatten().tolist()
        ]
        agents = [Figure(cell, number) for number, cell in enumerate(state.places[index].tolist())]
        return draw_grid([[row] * SIZE[1] for row in rows], things, agents, key=KEY, cell=40, scale=scale)


def _add(things: Tensor, allowed: Tensor, appears: Tensor, draw: Tensor) -> Tensor:
    """Add one more thing, if it appears, in one of the allowed cells: boolean [batch, cell]."""
    cell = choose_cell(allowed, draw).masked_fill(~appears, -1)
    return things | occupied(cell[:, None], CELLS)


def _use(places: Tensor, things: Tensor, action: int) -> Tensor:
    """Walk to the nearest of these things, then act on it: integer [batch, agent]."""
    cells = torch.arange(CELLS, device=places.device)
    steps = ground.distance(places[..., None], cells, SIZE[1]).masked_fill(~things[:, None], CELLS)
    nearest = torch.where(things.any(1, keepdim=True), steps.argmin(-1), -1)
    return torch.where(places == nearest, action, ground.toward(places, nearest, SIZE))
