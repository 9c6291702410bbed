"""The stag hunt on a grid: a stag takes two who trust each other, a hare takes nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.core import Step, computed, require
from games.grid import _open_ground as ground
from games.grid._frame import Thing
from games.grid._open_ground import STAY, WALKS
from games.grid._tables import mark

HUNT = STAY + 1
STAG_LOOK, HARE_LOOK = ("#C9A66B", "square", "S"), ("#C9C9C9", "diamond", "H")


class StagHuntState(NamedTuple):
    """Positions; cells are numbered row by row."""

    places: Tensor  # agents' cells, which several may share, integer [batch, agent]; -1: hunted and left
    prey: Tensor  # cells of the stags, then of the hares, integer [batch, stags + hares]; -1: hunted
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class StagHuntGrid(ground.SquareGame):
    """A sequential stag hunt: meet at a stag and hunt it together, or take a hare alone and leave.

    Prey lies on cells of its own, drawn anew for each episode, and does not move; agents start anywhere, and
    may share cells with prey and with each other. In a step everybody walks or hunts. Those who hunt on the
    cell of a hare take it; those who hunt on the cell of a stag take it if there are at least `hunters` of
    them in that step. They share its reward equally, and leave the game. A hunt that takes nothing costs
    nothing. The episode ends when all agents or all prey are gone. The stag pays best, but only in company:
    hunting it is right if enough others do, and wrong if not.

    An observation is a window of planes: ground, stags, hares, and each other agent, in increasing order; who
    has left sees zeros. The source leaves open whether hunting is an action of its own (`hunt_action`),
    whether prey stands still, and whether a failed hunt is free.

    Raises:
        ValueError: there are too few agents for a stag, too few cells for the prey, or a number is negative.
    Source:
        LASE (Kong et al., arXiv 2410.07863).

    >>> game = StagHuntGrid()
    >>> places, prey = torch.tensor([[7, 7, 0, 3]]), torch.tensor([[7, 8, 0, 1, 2, 4]])
    >>> state = StagHuntState(places, prey, time=torch.tensor([0]))
    >>> state, rewards, done = game.step(state, torch.full((1, 4), HUNT), torch.Generator())
    >>> rewards, state.places
    (tensor([[5., 5., 1., 0.]]), tensor([[-1, -1, -1,  3]]))
    """

    agents: int = 4
    """Number of agents; at least `hunters`."""
    stags: int = 2
    """Number of stags; at least 1."""
    hares: int = 4
    """Number of hares; 0 or more."""
    hunters: int = 2
    """Number of agents that it takes to hunt a stag; at least 2."""
    stag_reward: float = 10.0
    """Reward of a stag, shared by its hunters; 0 or more."""
    hare_reward: float = 1.0
    """Reward of a hare, shared by its hunters; 0 or more."""
    hunt_action: bool = True
    """Whether hunting is an action of its own; otherwise whoever is on a cell after walking hunts there."""
    size: int = 5
    horizon: int = 30

    step_draws = 0  # only the start is drawn
    action_names = computed(lambda self: (*WALKS, "hunt") if self.hunt_action else tuple(WALKS))
    planes = computed(lambda self: 3 + self.agents - 1)  # ground, stags, hares, each other agent
    # a rank for each cell, to lay the prey, and a place for each agent
    start_draws = computed(lambda self: self.size**2 + self.agents)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hunters >= 2, f"A stag takes at least 2 hunters; hunters is {self.hunters}.")
        require(
            self.agents >= self.hunters,
            f"There must be enough agents to hunt a stag: at least {self.hunters}; agents is {self.agents}.",
        )
        require(self.stags >= 1, f"A stag hunt needs at least 1 stag; stags is {self.stags}.")
        for name in ("hares", "stag_reward", "hare_reward"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be 0 or more, not {value}.")
        prey = self.stags + self.hares
        require(
            prey <= self.size**2,
            f"Prey lies on cells of its own: {prey} stags and hares do not fit on {self.size**2} cells.",
        )

    @property
    def best_welfare(self) -> float | None:
        """As many stags as pay, hunted by as few as it takes, and hares for the rest.

        None where it depends on the start: with too few steps to cross the ground and hunt, or where whoever
        comes by a hare must hunt it.
        """
        if not self._free:
            return None
        parties = range(min(self.stags, self.agents // self.hunters) + 1)
        return max(
            self.stag_reward * n + self.hare_reward * min(self.hares, self.agents - self.hunters * n)
            for n in parties
        )

    @property
    def defection_welfare(self) -> float | None:
        """Everybody takes a hare of its own, as far as there are enough; None where `best_welfare` is."""
        return self.hare_reward * min(self.agents, self.hares) if self._free else None

    def begin(self, draws: Tensor) -> StagHuntState:
        cells = self.size**2
        prey = ground.draw_distinct(draws[:, :cells], self.stags + self.hares)
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return StagHuntState(ground.draw_cells(draws[:, cells:], cells), prey, time)

    def advance(self, state: StagHuntState, actions: Tensor, draws: Tensor) -> Step:
        places, hunts = self._hunts(state, actions)
        count = hunts.sum(1)
        stag = self._stag(places.device)
        taken = count >= torch.where(stag, self.hunters, 1)
        share = torch.where(stag, self.stag_reward, self.hare_reward) / count.clamp_min(1)
        catches = hunts & taken[:, None, :]
        rewards = (catches * share[:, None, :]).sum(-1)
        left = places.masked_fill(catches.any(-1), -1)
        after = StagHuntState(left, state.prey.masked_fill(taken, -1), state.time + 1)
        return after, rewards, self.ended(after) | (after.time >= self.horizon)

    def observe(self, state: StagHuntState) -> Tensor:
        lying = mark(state.prey, self.size**2)
        things = torch.stack((lying[:, : self.stags].any(1), lying[:, self.stags :].any(1)), 1)
        return ground.windowed_agents(things, state.places, self.extent, self.view)

    def present(self, state: StagHuntState) -> Tensor:
        return state.places >= 0  # agents that have not hunted yet: boolean [batch, agent]

    def ended(self, state: StagHuntState) -> Tensor:
        """Which copies ended because all agents, or all prey, are gone: boolean [batch]."""
        return (state.places < 0).all(-1) | (state.prey < 0).all(-1)

    def cooperates(self, state: StagHuntState, actions: Tensor) -> Tensor:
        """Hunting where a stag is, alone or not, cooperates: boolean [batch, agent]."""
        return self._hunts(state, actions)[1][:, :, : self.stags].any(-1)

    def scripted(self, state: StagHuntState, cooperative: Tensor) -> Tensor:
        """Go and hunt: cooperators a stag, in parties of `hunters`, defectors a hare, each its own.

        A party waits until all of it have arrived; cooperators too few for another join the last one. Where
        no stag is left cooperators take hares; where no hare is left defectors stay.
        """
        here, left, stag = state.places >= 0, state.prey >= 0, self._stag(state.prey.device)
        stags, hares = left & stag, left & ~stag
        brave = cooperative & stags.any(-1, keepdim=True)
        goal = torch.where(brave, _allot(here & brave, stags, self.hunters), _allot(here & ~brave, hares, 1))
        cells = state.prey.gather(1, goal).masked_fill(~brave & ~hares.any(-1, keepdim=True), -1)
        if not self.hunt_action:
            others = mark(state.prey, self.size**2).any(1)[:, None] & ~mark(cells, self.size**2)
            keep_off = others | mark(state.places, self.size**2)
            return ground.toward(state.places, cells, self.extent, avoid=keep_off)
        arrived = here & (state.places == cells)
        missing = (cells[:, :, None] == cells[:, None, :]) & (here & ~arrived)[:, None, :]
        walks = ground.toward(state.places, cells, self.extent)
        return torch.where(arrived & ~missing.any(-1), HUNT, walks)

    def render(self, state: StagHuntState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        prey = [
            Thing(int(cell), *(STAG_LOOK if number < self.stags else HARE_LOOK))
            for number, cell in enumerate(state.prey[index].tolist())
            if cell >= 0
        ]
        return self.draw(prey, state.places[index].tolist(), scale)

    @property
    def _free(self) -> bool:
        """Whether everybody can hunt what it wants in time, wherever it starts."""
        return self.hunt_action and self.horizon >= 2 * (self.size - 1) + 1

    def _stag(self, device: torch.device) -> Tensor:
        """Which prey is a stag: boolean [prey]."""
        return torch.arange(self.stags + self.hares, device=device) < self.stags

    def _hunts(self, state: StagHuntState, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions after walking, and which agents hunt which prey there, boolean [batch, agent, prey]."""
        places = ground.walk(state.places, actions.long(), self.extent)
        there = (places[:, :, None] == state.prey[:, None, :]) & (state.prey >= 0)[:, None, :]
        if self.hunt_action:
            there = there & (actions == HUNT)[..., None]
        return places, there


def _allot(joining: Tensor, left: Tensor, party: int) -> Tensor:
    """The index of each joining agent's prey: integer [batch, agent].

    The first `party` of them get the first prey that is left, boolean [batch, prey], and so on; others join
    the last party.
    """
    parties = torch.minimum(joining.sum(-1) // party, left.sum(-1)).clamp_min(1)
    rank = torch.minimum((joining.cumsum(-1) - 1) // party, parties[:, None] - 1)
    return (left.long().cumsum(-1)[:, None, :] > rank[..., None]).int().argmax(-1)
