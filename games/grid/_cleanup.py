"""Cleanup: apples grow only while agents clean the river, and an agent that cleans does not eat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from games.core import cached_constants, computed, constant, require
from games.grid._moves import choose_cell, on_duty
from games.grid._social import BEAM_BREADTH, SocialGrid, nobody
from games.grid._social_state import SocialState
from games.grid._tables import Size, at, beam_table, cell_indices, occupied, put

FULL = (
    "@@@@@@@@@@@@@@@@@@",
    "@RRRRRR     BBBBB@",
    "@HHHHHH      BBBB@",
    "@RRRRRR     BBBBB@",
    "@RRRRR  P    BBBB@",
    "@RRRRR    P BBBBB@",
    "@HHHHH       BBBB@",
    "@RRRRR      BBBBB@",
    "@HHHHHHSSSSSSBBBB@",
    "@HHHHHHSSSSSSBBBB@",
    "@RRRRR   P P BBBB@",
    "@HHHHH   P  BBBBB@",
    "@RRRRRR    P BBBB@",
    "@HHHHHH P   BBBBB@",
    "@RRRRR       BBBB@",
    "@HHHH    P  BBBBB@",
    "@RRRRR       BBBB@",
    "@HHHHH  P P BBBBB@",
    "@RRRRR       BBBB@",
    "@HHHH       BBBBB@",
    "@RRRRR       BBBB@",
    "@HHHHH      BBBBB@",
    "@RRRRR       BBBB@",
    "@HHHH       BBBBB@",
    "@@@@@@@@@@@@@@@@@@",
)
"""The map of the open reimplementation: waste in 56 of 119 cells of the river, apples once 9 are cleaned."""


def _exchanged(*rows: str) -> tuple[str, ...]:
    """Rows with waste and clean river cells exchanged."""
    return tuple(row.translate(str.maketrans("HR", "RH")) for row in rows)


FOULER = (
    *_exchanged(*FULL[:4]),
    FULL[4],
    *_exchanged(*FULL[5:8]),
    *["@SSSSSSHHHHHHBBBB@"] * 2,
    *_exchanged(*FULL[10:]),
)
"""The map of that project's pull request 203, unmerged: waste in 70 cells, apples once 23 are cleaned."""
LIO_10X10 = (
    "@@@@@@@@@@",
    "@HH   P B@",
    "@RR    BB@",
    "@HH     B@",
    "@RR    BB@",
    "@HH P   B@",
    "@RR    BB@",
    "@HH     B@",
    "@RRP   BB@",
    "@@@@@@@@@@",
)
"""The 10x10 map of Cleanup (Yang et al., LIO, arXiv 2006.06051)."""
LIO_7X7 = (
    "@@@@@@@",
    "@H  PB@",
    "@H   B@",
    "@    B@",
    "@    B@",
    "@ P  B@",
    "@@@@@@@",
)
"""The 7x7 map of Cleanup (Yang et al., LIO, arXiv 2006.06051)."""


@dataclass(frozen=True, kw_only=True)
class Cleanup(SocialGrid):
    """Cleanup: waste in the river keeps the orchard from growing.

    With waste density rho = waste cells / cells where waste can be, in each step, after all agents moved, ate
    and fired: if rho >= `depletion`, neither apples nor waste grow. Otherwise an apple grows in every cell of
    the orchard that has neither an apple nor an agent, with probability p (`apple_probability` if rho <=
    `restoration`, decreasing linearly to 0 at `depletion`), and at most one clean cell of the river is
    polluted: the clean cells are tried in random order, each with `waste_probability`, until one is polluted.
    The cleaning beam has three rays; each cleans the first waste it meets, and stops there or at the first
    agent.

    Differences from the sources: observations are planes, not pictures. Beams fired in the same step do not
    affect each other (in the sources' code, agents fire one after the other). The agents of LIO's 10x10 map
    start at the two lower of its three places, as its released code picks them.

    Raises:
        ValueError: the map is bad or has no river, or a probability or a threshold lies outside [0, 1].
    Source:
        Hughes et al., arXiv 1803.08884; map, rates and the order of events from the master branch of the open
        reimplementation by Vinitsky et al. (sequential_social_dilemma_games), and `games.grid.FOULER` from
        one of its pull requests. LIO's small maps and rates, without turning or fining, arXiv 2006.06051 and
        its released code.

    >>> game = Cleanup(map=LIO_7X7, agents=2, turning=False, fining=False, view=(4, 4, 4, 4), horizon=50)
    >>> game.action_names
    ('left', 'right', 'up', 'down', 'stay', 'clean')
    >>> generator = torch.Generator().manual_seed(0)
    >>> state = game.reset(batch=2, generator=generator)
    >>> game.waste_density(state)
    tensor([1., 1.])
    """

    map: tuple[str, ...] = FULL
    """Rows of symbols: @ wall, H river with waste, R river, S stream, B orchard, P a place to start from."""
    depletion: float = 0.4
    """Waste density from which nothing grows; in (restoration, 1]."""
    restoration: float = 0.0
    """Waste density up to which apples grow at full rate; in [0, depletion)."""
    waste_probability: float = 0.5
    """Probability of waste, for each clean cell that is tried; in [0, 1]."""
    apple_probability: float = 0.05
    """Probability of an apple, in each free cell of the orchard, at full rate; in [0, 1]."""

    SYMBOLS: ClassVar[dict[str, str]] = {
        "@": "wall", "P": "spawn", "H": "waste", "R": "river", "S": "stream", "B": "orchard",
    }  # fmt: skip
    PLANES: ClassVar[tuple[str, ...]] = ("oneself", "others", "walls", "apples", "waste", "water", "beams")

    # one for each cell of the orchard, one for the appearance of waste, one for its cell
    map_draws = computed(lambda self: len(self.cells_of("orchard")) + 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("depletion", "restoration", "waste_probability", "apple_probability"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must lie between 0 and 1, but it is {value}.")
        require(
            self.restoration < self.depletion,
            f"restoration must be below depletion = {self.depletion}, but it is {self.restoration}.",
        )
        require(len(self.river) > 0, "The map has no river: mark its cells with H (waste at the start) or R.")

    @property
    def river(self) -> tuple[int, ...]:
        return self.cells_of("waste", "river")  # the cells where waste can be

    @property
    def beams_of_game(self) -> tuple[str, ...]:
        return ("clean", *super().beams_of_game)  # the cleaning beam, and the fining beam if there is one

    @property
    def defection_welfare(self) -> float | None:
        """0: no agent cleans, and nothing ever grows. None where the map starts below `depletion`."""
        return 0.0 if len(self.cells_of("waste")) / len(self.river) >= self.depletion else None

    def waste_density(self, state: SocialState) -> Tensor:
        return state.waste.sum(1) / len(self.river)  # waste cells / cells where waste can be, float32 [batch]

    def change_map(self, state: SocialState, draws: Tensor) -> SocialState:
        """Grow apples and waste, both at rates from the density before."""
        orchard = cell_indices(self.cells_of("orchard"), draws.device)
        river = cell_indices(self.river, draws.device)
        waste = at(state.waste, river)
        apple, dirt = _rates(
            len(self.river), self.depletion, self.restoration, self.waste_probability, self.apple_probability,
            draws.device,
        )[:, waste.sum(1)]  # fmt: skip
        taken = at(occupied(state.places, state.apples.shape[1]) | state.apples, orchard)
        grown = (draws[:, :-2] < apple[:, None]) & ~taken
        cell = choose_cell(~waste, draws[:, -1]).masked_fill(draws[:, -2] >= dirt, -1)
        fouled = torch.arange(len(river), device=draws.device) == cell[:, None]
        return state._replace(
            apples=put(state.apples, orchard, grown | at(state.apples, orchard)),
            waste=put(state.waste, river, waste | fouled),
        )

    def fire(self, state: SocialState, name: str, firing: Tensor) -> tuple[SocialState, Tensor]:
        if name == "fine":
            return super().fire(state, name, firing)
        rewards = torch.zeros(firing.shape, dtype=torch.float32, device=firing.device)
        if nobody(firing):
            return state, rewards
        stops = state.waste | occupied(state.places, state.waste.shape[1])
        beams = self.beams(state, firing, stops)
        hit = beams.mark(state.waste)
        marked = state.cleaned.index_put((beams.copy, beams.agent), beams.marked(state.waste))
        cleaned = torch.where(firing, marked, state.cleaned)
        return state._replace(waste=state.waste & ~hit, beams=state.beams | hit, cleaned=cleaned), rewards

    def measures(self, state: SocialState) -> dict[str, Tensor]:
        return {"cleaned": state.cleaned}

    def cooperates(self, state: SocialState, actions: Tensor) -> Tensor:
        return actions == self.action_names.index("clean")  # cleaning cooperates: boolean [batch, agent]

    def scripted(self, state: SocialState, cooperative: Tensor) -> Tensor:
        """Go for the nearest apple; cooperators on duty (`on_duty`) clean from where a beam meets waste."""
        walls, device = self.cells_of("wall"), cooperative.device
        crossing = _crossing(self.size, walls, self.river, self.beam_length, device)
        waste = state.waste[:, cell_indices(self.river, device)].float()
        stands = (waste @ crossing.flatten(1)).unflatten(-1, crossing.shape[1:]) > 0
        stands = stands[torch.arange(len(stands), device=stands.device)[:, None], state.orientation]
        at_stand = stands.gather(-1, state.places.clamp_min(0)[..., None])[..., 0] & (state.places >= 0)
        clean = torch.where(at_stand, self.action_names.index("clean"), self.walk_to(state, stands))
        eat = self.walk_to(state, state.apples[:, None])
        return torch.where(on_duty(cooperative, state.time), clean, eat)


@cached_constants
def _rates(
    river: int,
    depletion: float,
    restoration: float,
    waste_probability: float,
    apple_probability: float,
    device: torch.device,
) -> Tensor:
    """Probability of an apple in a free cell, and of waste anywhere: float32 [2, waste cells]."""
    table: list[list[float]] = [[], []]
    for waste in range(river + 1):
        excess = (waste / river - restoration) / (depletion - restoration)
        grows = waste / river < depletion
        table[0].append(apple_probability * (1 - max(excess, 0.0)) if grows else 0.0)
        table[1].append(1 - (1 - waste_probability) ** (river - waste) if grows else 0.0)
    return constant(table, torch.float32, device)


@cached_constants
def _crossing(
    size: Size, walls: tuple[int, ...], river: tuple[int, ...], length: int, device: torch.device
) -> Tensor:
    """1 where a beam fired from a cell passes over a river cell: float [river cell, orientation, cell]."""
    beams = beam_table(size, walls, length, BEAM_BREADTH, device)[:, 1:].flatten(2)
    crossed = [(beams == cell).any(-1) for cell in river]
    return constant(torch.stack(crossed).cpu().numpy(), torch.float32, device)
