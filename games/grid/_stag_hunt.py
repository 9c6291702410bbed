"""The stag hunt on a grid: hunting a stag takes several agents, hunting a hare only one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.core import Step, computed, require
from games.grid import _open_ground as ground
from games.grid._frame import KeyEntry, Thing
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

    Prey is on different cells, drawn for each episode, and does not move; agents start anywhere, and may
    share cells with prey and with each other. In a step each agent walks or hunts. Agents that hunt in the
    cell of a hare take it; agents that hunt in the cell of a stag take it if there are at least `hunters` of
    them in that step. They share its reward equally, and leave the game. A failed hunt costs nothing. The
    episode ends when all agents or all prey are gone. A stag pays most, but only with partners: hunting it is
    the best response only if enough other agents do.

    An observation is a window of planes: ground, stags, hares, and each other agent, in increasing order;
    zeros for agents that have left. The source leaves open whether hunting is an action of its own
    (`hunt_action`), whether prey stands still, and whether a failed hunt is free.

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
    """Number of agents needed to hunt a stag; at least 2."""
    stag_reward: float = 10.0
    """Reward of a stag, shared by its hunters; 0 or more."""
    hare_reward: float = 1.0
    """Reward of a hare, shared by its hunters; 0 or more."""
    hunt_action: bool = True
    """Make hunting an action of its own; otherwise every agent hunts in its cell after walking."""
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
        """The best number of stags, with the fewest hunters, and hares for the other agents.

        None where it depends on the start: with too few steps to cross the ground and hunt, or where agents
        that pass a hare must hunt it.
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
        """Each agent takes a hare of its own, as long as there are enough; None where `best_welfare` is."""
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
        """Mask of the copies that ended because all agents, or all prey, are gone: boolean [batch]."""
        return (state.places < 0).all(-1) | (state.prey < 0).all(-1)

    def cooperates(self, state: StagHuntState, actions: Tensor) -> Tensor:
        """Hunting in a stag's cell, alone or not, cooperates: boolean [batch, agent]."""
        return self._hunts(state, actions)[1][:, :, : self.stags].any(-1)

    def scripted(self, state: StagHuntState, cooperative: Tensor) -> Tensor:
        """Go and hunt: cooperators a stag, in parties of `hunters`, defectors a hare, each its own.

        A party waits until all its members have arrived; cooperators too few for another party join the last
        one. When no stag is remaining cooperators take hares; when no hare is remaining defectors stay.
        """
        present, remaining, stag = state.places >= 0, state.prey >= 0, self._stag(state.prey.device)
        stags, hares = remaining & stag, remaining & ~stag
        hunts_stag = cooperative & stags.any(-1, keepdim=True)
        goal = torch.where(
            hunts_stag,
            _allot(present & hunts_stag, stags, self.hunters),
            _allot(present & ~hunts_stag, hares, 1),
        )
        cells = state.prey.gather(1, goal).masked_fill(~hunts_stag & ~hares.any(-1, keepdim=True), -1)
        if not self.hunt_action:
            others = mark(state.prey, self.size**2).any(1)[:, None] & ~mark(cells, self.size**2)
            avoid_cells = others | mark(state.places, self.size**2)
            return ground.toward(state.places, cells, self.extent, avoid=avoid_cells)
        arrived = present & (state.places == cells)
        missing = (cells[:, :, None] == cells[:, None, :]) & (present & ~arrived)[:, None, :]
        walks = ground.toward(state.places, cells, self.extent)
        return torch.where(arrived & ~missing.any(-1), HUNT, walks)

    def render(self, state: StagHuntState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        prey = [
            Thing(int(cell), *(STAG_LOOK if number < self.stags else HARE_LOOK))
            for number, cell in enumerate(state.prey[index].tolist())
            if cell >= 0
        ]
        key = (KeyEntry(Thing(0, *STAG_LOOK), "stag"), KeyEntry(Thing(0, *HARE_LOOK), "hare"))
        return self.draw(prey, state.places[index].tolist(), key, scale)

    @property
    def _free(self) -> bool:
        """True if every agent can reach and hunt its prey in time from any start."""
        return self.hunt_action and self.horizon >= 2 * (self.size - 1) + 1

    def _stag(self, device: torch.device) -> Tensor:
        """Mask of the stags: boolean [prey]."""
        return torch.arange(self.stags + self.hares, device=device) < self.stags

    def _hunts(self, state: StagHuntState, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions after walking, and the mask of the prey that agents hunt there: [batch, agent, prey]."""
        places = ground.walk(state.places, actions.long(), self.extent)
        on_prey = (places[:, :, None] == state.prey[:, None, :]) & (state.prey >= 0)[:, None, :]
        if self.hunt_action:
            on_prey = on_prey & (actions == HUNT)[..., None]
        return places, on_prey


def _allot(joining: Tensor, remaining: Tensor, party: int) -> Tensor:
    """The index of each joining agent's prey: integer [batch, agent].

    The first `party` of them get the first remaining prey, boolean [batch, prey], and so on; others join the
    last party.
    """
    parties = torch.minimum(joining.sum(-1) // party, remaining.sum(-1)).clamp_min(1)
    rank = torch.minimum((joining.cumsum(-1) - 1) // party, parties[:, None] - 1)
    return (remaining.long().cumsum(-1)[:, None, :] > rank[..., None]).int().argmax(-1)
