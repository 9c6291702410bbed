"""Commons harvest: apples grow only near apples, so that an exhausted patch never recovers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from games.core import Step, cached_constants, computed, constant, require
from games.grid._social import SocialGrid
from games.grid._social_state import SocialState
from games.grid._tables import at, cell_indices, occupied, put

SSD = (
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
    "@ P   P      A    P AAAAA    P  A P  @",
    "@  P     A P AA    P    AAA    A  A  @",
    "@     A AAA  AAA    A    A AA AAAA   @",
    "@ A  AAA A    A  A AAA  A  A   A A   @",
    "@AAA  A A    A  AAA A  AAA        A P@",
    "@ A A  AAA  AAA  A A    A AA   AA AA @",
    "@  A A  AAA    A A  AAA    AAA  A    @",
    "@   AAA  A      AAA  A    AAAA       @",
    "@ P  A       A  A AAA    A  A      P @",
    "@A  AAA  A  A  AAA A    AAAA     P   @",
    "@    A A   AAA  A A      A AA   A  P @",
    "@     AAA   A A  AAA      AA   AAA P @",
    "@ A    A     AAA  A  P          A    @",
    "@       P     A         P  P P     P @",
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
)
OPEN = (
    "@@@@@@@@@@@@@@@@@@@@@@@@",
    "@AAA    A      A    AAA@",
    "@AA    AAA    AAA    AA@",
    "@A    AAAAA  AAAAA    A@",
    "@      AAA    AAA      @",
    "@       A      A       @",
    "@  A                A  @",
    "@ AAA  Q        Q  AAA @",
    "@AAAAA            AAAAA@",
    "@ AAA              AAA @",
    "@  A                A  @",
    "@                      @",
    "@                      @",
    "@                      @",
    "@  PPPPPPPPPPPPPPPPPP  @",
    "@ PPPPPPPPPPPPPPPPPPPP @",
    "@PPPPPPPPPPPPPPPPPPPPPP@",
    "@@@@@@@@@@@@@@@@@@@@@@@@",
)
"""Map of `harvest-open`: one field without inner walls."""
CLOSED = (
    "@@@@@@@@@@@@@@@@@@@@@@@@",
    "@AAA    A  @@  A    AAA@",
    "@AA    AAA @@ AAA    AA@",
    "@A    AAAAA@@AAAAA    A@",
    "@      AAA @@ AAA      @",
    "@       A  @@  A       @",
    "@  A       @@       A  @",
    "@ AAA  Q   @@   Q  AAA @",
    "@AAAAA     @@     AAAAA@",
    "@ AAA  @@@@@@@@@@  AAA @",
    "@  A       @@       A  @",
    "@@@@@@@@@@ @@ @@@@@@@@@@",
    "@          @@          @",
    "@  @@@@@@@@@@@@@@@@@@  @",
    "@  PPPPPPPPPPPPPPPPPP  @",
    "@ PPPPPPPPPPPPPPPPPPPP @",
    "@PPPPPPPPPPPPPPPPPPPPPP@",
    "@@@@@@@@@@@@@@@@@@@@@@@@",
)
"""Map of `harvest-closed`: two walled fields, each with one entrance."""


SPARED = 2  # cooperators leave an apple with fewer other apples than this beside it


@dataclass(frozen=True, kw_only=True)
class Harvest(SocialGrid):
    """Commons harvest: an eaten apple regrows with a probability that depends on the apples around it.

    In each step, after all agents moved, ate and fired, an apple grows in every cell of the orchard that has
    neither an apple nor an agent, with probability regrowth[min(n, 3)], where n is the number of apples
    within a squared distance of `radius` before any regrow. With `under_agents` apples also grow under
    agents, who eat them in the same step, except where an agent has just eaten.

    Differences from the sources: observations are planes, not pictures. In Melting Pot (`OPEN`, `CLOSED`) two
    of the agents start inside (Q; here all agents start anywhere), episodes end at random after step 1000
    (here at step 1000), and agents return from a time-out at a P (here at any free place).

    Raises:
        ValueError: the map is bad or has no orchard, or regrowth is not four probabilities.
    Source:
        Perolat et al., arXiv 1707.06600; Hughes et al., arXiv 1803.08884, in the numbers of the open
        reimplementation by Vinitsky et al. (sequential_social_dilemma_games); `OPEN` and `CLOSED` in those of
        Melting Pot, arXiv 2107.06857.

    >>> game = Harvest(map=("@@@@@", "@PA @", "@@@@@"), agents=1, horizon=5)
    >>> state = game.reset(batch=1, generator=torch.Generator().manual_seed(0))
    >>> state.apples.sum()
    tensor(1)
    """

    map: tuple[str, ...] = SSD
    """Rows of symbols: @ wall, A orchard with an apple, P and Q places to start from."""
    regrowth: tuple[float, float, float, float] = (0.0, 0.005, 0.02, 0.05)
    """Probability of an apple beside 0, 1, 2, and 3 or more apples; each in [0, 1]."""
    radius: int = 2
    """Squared distance within which apples count: 2 is the eight cells around; 4 also two straight on."""
    under_agents: bool = False
    """Let apples grow under agents, too, who eat them in the same step, as in Melting Pot."""

    SYMBOLS: ClassVar[dict[str, str]] = {"@": "wall", "P": "spawn", "Q": "spawn", "A": "apple"}

    map_draws = computed(lambda self: len(self.cells_of("apple")))  # one for each cell of the orchard

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.regrowth) == 4 and all(0 <= rate <= 1 for rate in self.regrowth),
            f"regrowth must be four probabilities (beside 0, 1, 2, 3 and more apples), not {self.regrowth}.",
        )
        require(self.radius >= 0, f"radius is a squared distance, 0 or more, not {self.radius}.")
        require(len(self.cells_of("apple")) > 0, "The map has no orchard: mark its cells with A.")

    def advance(self, state: SocialState, actions: Tensor, draws: Tensor) -> Step:
        after, rewards, done = super().advance(state, actions, draws)
        if self.under_agents:
            _, fresh = self.eat(after._replace(apples=after.apples & ~state.apples))
            after, rewards = self.eat(after)[0], rewards + fresh
        return after, rewards, done

    def change_map(self, state: SocialState, draws: Tensor) -> SocialState:
        orchard = cell_indices(self.cells_of("apple"), draws.device)
        apples = at(state.apples, orchard)
        rates = _rates(self.regrowth, draws.device)[self._near(apples).clamp_max(3)]
        grown = draws < rates
        if not self.under_agents:
            grown &= ~at(occupied(state.places, state.apples.shape[1]), orchard)
        return state._replace(apples=put(state.apples, orchard, apples | grown))

    def beside(self, state: SocialState) -> Tensor:
        """Number of other apples near each cell: integer [batch, cell]; 0 outside the orchard."""
        orchard = cell_indices(self.cells_of("apple"), state.apples.device)
        near = torch.zeros(state.apples.shape, dtype=torch.int64, device=state.apples.device)
        return put(near, orchard, self._near(at(state.apples, orchard)))

    def spared(self, state: SocialState) -> Tensor:
        return state.apples & (self.beside(state) < SPARED)

    def cooperates(self, state: SocialState, actions: Tensor) -> Tensor:
        """Not stepping onto a spared apple cooperates."""
        wanted, _ = self.targets_of(state, actions.long())
        greedy = self.spared(state).gather(1, wanted.clamp_min(0))
        return ~(greedy & (wanted != state.places))

    def scripted(self, state: SocialState, cooperative: Tensor) -> Tensor:
        """Walk to the nearest apple; cooperators avoid spared ones."""
        spared = self.spared(state)[:, None] & cooperative[..., None]
        return self.walk_to(state, state.apples[:, None] & ~spared, barred=spared)

    def _near(self, apples: Tensor) -> Tensor:
        """Number of other apples near each cell of the orchard: integer, shaped like `apples`."""
        near = _within(self.cells_of("apple"), self.size[1], self.radius, apples.device)
        return (apples.float() @ near).long()


@cached_constants
def _rates(regrowth: tuple[float, ...], device: torch.device) -> Tensor:
    return constant(list(regrowth), torch.float32, device)


@cached_constants
def _within(cells: tuple[int, ...], width: int, radius: int, device: torch.device) -> Tensor:
    """1 where two different cells are near each other: float32 [cell, cell]."""
    places = [divmod(cell, width) for cell in cells]
    table = [
        [float(0 < (r - row) ** 2 + (c - column) ** 2 <= radius) for r, c in places] for row, column in places
    ]
    return constant(table, torch.float32, device)
