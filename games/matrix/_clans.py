"""Clans: sharing that makes partners help each other also makes them raid their neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, alias, computed, require
from games.render import draw_table

SEASONS = ("peace", "feud")
PEACE, FEUD = range(len(SEASONS))
NAMES = ("help", "rest")
HELP, REST = range(len(NAMES))
SIZE = 2
"""Agents of a clan."""


class ClansState(NamedTuple):
    """The season, and the time."""

    season: Tensor  # index into `SEASONS`, integer [batch]
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class Clans(DrawnGame):
    """Clans of two: helping a partner benefits all in peace, and raids the next clan in a feud.

    Agents 0 and 1 are the first clan, 2 and 3 the next, and so on. In each step everybody sees the season (an
    observation is its number), peace or feud, and helps its partner or rests; helping costs `cost`. In peace
    the partner gains `benefit`. In a feud it gains `spoils`, which an agent of the next clan loses: agent i
    raids agent i + 2, and the last clan the first, so two clans raid each other. The season of each step is
    drawn independently. Agents share within their clan only.

    Helping changes welfare by `benefit` - `cost` in peace and by -`cost` in a feud, and selfish agents never
    help. Under a sharing matrix T helping changes agent i's shared reward by `benefit` T_ji - `cost` T_ii in
    peace, j being its partner, and by `spoils` T_ji - `cost` T_ii in a feud, whatever the others do. So it
    helps in peace if T_ji / T_ii is above cost / benefit, and raids if it is above cost / spoils. With spoils
    above benefit no static matrix makes an agent help without also making it raid. The best welfare per step
    is N (1 - feud_chance) (benefit - cost) with N agents. Static sharing reaches `best_static_welfare`;
    sharing that depends on the season reaches the best, with half the reward in peace and nothing in a feud.
    Equal sharing among all agents would reach it, too, but clans cannot share with each other.

    Raises:
        ValueError: the number of agents is odd or below 4, `cost` is not above 0, a gain is negative,
            `feud_chance` is not a probability, or `horizon` is below 1.
    Source:
        Designed for this toolkit, after what Choi and Bowles (Science 318, 2007) call parochial altruism.

    >>> feud, generator = Clans(feud_chance=1.0), torch.Generator()
    >>> actions = torch.tensor([[0, 1, 1, 1]])  # agent 0 helps agent 1, and so raids agent 2; the others rest
    >>> feud.step(feud.reset(1, generator), actions, generator)[1]
    tensor([[-1.,  5., -5.,  0.]])
    >>> Clans().best_welfare, Clans().best_static_welfare
    (4.0, 2.0)
    """

    agents: int = 4
    """Number of agents, two for each clan; even, 4 or more."""
    cost: float = 1.0
    """Cost of helping; above 0."""
    benefit: float = 3.0
    """Gain of the partner in peace; 0 or more."""
    spoils: float = 5.0
    """Gain of the partner, and loss of the raided agent, in a feud; 0 or more."""
    feud_chance: float = 0.5
    """Probability that a step is a feud; from 0 to 1."""
    horizon: int = 1
    """Steps of an episode; at least 1."""

    num_agents = alias("agents")
    action_names = NAMES
    symmetric = True  # partners may change places, and clans may move along
    defection_welfare = 0.0  # nobody ever helps
    start_draws = 1  # the first season
    step_draws = 1  # the next season
    observation_space = computed(lambda self: spaces.Discrete(len(SEASONS)))

    def __post_init__(self) -> None:
        require(
            self.agents >= 2 * SIZE and self.agents % SIZE == 0,
            f"Clans have two agents each, so there must be an even number, 4 or more, not {self.agents}.",
        )
        require(self.cost > 0, f"Helping costs something: cost must be above 0, not {self.cost}.")
        for name in ("benefit", "spoils"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be 0 or more, not {value}.")
        require(0 <= self.feud_chance <= 1, f"feud_chance must be from 0 to 1, but it is {self.feud_chance}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def neighbors(self) -> Tensor:
        """The agent's clan."""
        clan = torch.arange(self.agents) // SIZE
        return clan[:, None] == clan

    @property
    def best_welfare(self) -> float:
        return self._in_peace(max(0.0, self.benefit - self.cost))  # help in peace, rest in a feud

    @property
    def best_static_welfare(self) -> float:
        """Maximum welfare when agents follow the incentives of one sharing matrix in every season.

        Either all rest, or all help, and also raid if the spoils are at least the benefit (if they are equal,
        helping and raiding pay from the same share on). Ties, where an agent is indifferent, are ignored.
        """
        if self.spoils < self.benefit:
            return self.best_welfare
        raids = self.horizon * self.agents * self.feud_chance * self.cost
        return max(0.0, self._in_peace(self.benefit - self.cost) - raids)

    def begin(self, draws: Tensor) -> ClansState:
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return ClansState(self._season(draws), time)

    def advance(self, state: ClansState, actions: Tensor, draws: Tensor) -> Step:
        helps = (actions == HELP).float()
        feud = (state.season == FEUD)[:, None]
        raided = helps.roll(SIZE, 1)
        helped = helps.unflatten(1, (-1, SIZE)).flip(2).flatten(1)
        gains = torch.where(feud, self.spoils * (helped - raided), self.benefit * helped)
        after = ClansState(self._season(draws), state.time + 1)
        return after, gains - self.cost * helps, after.time >= self.horizon

    def observe(self, state: ClansState) -> Tensor:
        return state.season[:, None].expand(-1, self.agents)

    def cooperates(self, state: ClansState, actions: Tensor) -> Tensor:
        """Helping in peace and resting in a feud cooperates: boolean [batch, agent]."""
        return (actions == HELP) == (state.season == PEACE)[:, None]

    def scripted(self, state: ClansState, cooperative: Tensor) -> Tensor:
        """Cooperators help in peace; otherwise, as defectors always, they rest."""
        return torch.where(cooperative & (state.season == PEACE)[:, None], HELP, REST)

    def render(self, state: ClansState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        season, steps = int(state.season[index]), int(state.time[index])
        rows = [
            ["who helps", *SEASONS],
            ["oneself", f"{-self.cost:g}", f"{-self.cost:g}"],
            ["the partner", f"{self.benefit:g}", f"{self.spoils:g}"],
            ["a rival", "0", f"{-self.spoils:g}"],
        ]
        marked = {(row, season + 1) for row in range(len(rows))}
        title = f"step {steps}: {SEASONS[season]}"
        return draw_table(title, rows, marked, key="season of the step", scale=scale)

    def _season(self, draws: Tensor) -> Tensor:
        return torch.where(draws[:, 0] < self.feud_chance, FEUD, PEACE)

    def _in_peace(self, each: float) -> float:
        """Mean welfare of an episode in which each agent earns this in each step of peace."""
        return self.horizon * self.agents * (1 - self.feud_chance) * each
