"""The snowdrift game on a grid: all agents gain from a clear road, one pays for clearing it."""

from __future__ import annotations

import math
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

REMOVE = STAY + 1


class SnowdriftState(NamedTuple):
    """Positions; cells are numbered row by row."""

    places: Tensor  # the agents' cells, integer [batch, agent]; several may share one
    drifts: Tensor  # the drifts' cells, integer [batch, drift]; -1 for removed ones
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class Snowdrift(ground.SquareGame):
    """A sequential snowdrift game: the agent that removes a drift pays for it, and all agents gain.

    Drifts are on different cells, drawn for each episode, and do not reappear; agents start anywhere, and may
    share cells with drifts and with each other. In a step each agent walks or removes. Removing the drift in
    the agent's cell gives `benefit` to every agent and costs the remover `cost`; the source leaves open the
    cost if several agents remove a drift in the same step (`shared_cost`). Removing in an empty cell is free.
    The episode ends with the last drift. With the source's numbers even a lone remover gains (6 - 4), and
    gains more (6) if another removes.

    An observation is a window of planes: ground, drifts, and each other agent, in increasing order.

    Raises:
        ValueError: there is no agent, no drift, or more drifts than cells, or a number is negative.
    Source:
        LASE (Kong et al., arXiv 2410.07863).

    >>> game = Snowdrift(agents=2, drifts=1, size=2)
    >>> state = SnowdriftState(torch.tensor([[3, 0]]), torch.tensor([[3]]), torch.tensor([0]))
    >>> state, rewards, done = game.step(state, torch.tensor([[REMOVE, STAY]]), torch.Generator())
    >>> rewards, done
    (tensor([[2., 6.]]), tensor([True]))
    """

    drifts: int = 6
    """Number of drifts; at least 1."""
    benefit: float = 6.0
    """Gain of each agent from each drift that is removed; 0 or more."""
    cost: float = 4.0
    """Cost of removing a drift; 0 or more."""
    shared_cost: bool = True
    """Share a drift's cost among the agents that remove it in the same step; otherwise each pays in full."""
    horizon: int = 50

    defection_welfare = 0.0  # no drift is removed
    step_draws = 0  # only the start is drawn
    action_names = computed(lambda self: (*WALKS, "remove"))
    planes = computed(lambda self: 2 + self.agents - 1)  # ground, drifts, each other agent
    # a rank for each cell, to lay the drifts, and a place for each agent
    start_draws = computed(lambda self: self.size**2 + self.agents)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.drifts >= 1, f"There must be at least 1 drift; drifts is {self.drifts}.")
        for name in ("benefit", "cost"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be 0 or more, not {value}.")
        require(
            self.drifts <= self.size**2,
            f"Drifts lie on cells of their own: {self.drifts} do not fit on {self.size**2} cells.",
        )

    @property
    def best_welfare(self) -> float | None:
        """Every drift removed by one agent, if that pays; None where the horizon may be too short."""
        crossing = 2 * (self.size - 1) + 1
        if math.ceil(self.drifts / self.agents) * crossing > self.horizon:
            return None
        return self.drifts * max(0.0, self.agents * self.benefit - self.cost)

    def begin(self, draws: Tensor) -> SnowdriftState:
        cells = self.size**2
        drifts = ground.draw_distinct(draws[:, :cells], self.drifts)
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return SnowdriftState(ground.draw_cells(draws[:, cells:], cells), drifts, time)

    def advance(self, state: SnowdriftState, actions: Tensor, draws: Tensor) -> Step:
        removes = self._removes(state, actions)
        count = removes.sum(1)
        removed = count > 0
        price = self.cost / (count.clamp_min(1) if self.shared_cost else torch.ones_like(count))
        paid = (removes * price[:, None, :]).sum(-1)
        rewards = self.benefit * removed.sum(-1, keepdim=True) - paid
        places = ground.walk(state.places, actions.long(), self.extent)
        after = SnowdriftState(places, state.drifts.masked_fill(removed, -1), state.time + 1)
        return after, rewards, self.ended(after) | (after.time >= self.horizon)

    def observe(self, state: SnowdriftState) -> Tensor:
        lying = mark(state.drifts, self.size**2).any(1, keepdim=True)
        return ground.windowed_agents(lying, state.places, self.extent, self.view)

    def ended(self, state: SnowdriftState) -> Tensor:
        return (state.drifts < 0).all(-1)  # copies that ended because no drift is left: boolean [batch]

    def cooperates(self, state: SnowdriftState, actions: Tensor) -> Tensor:
        return self._removes(state, actions).any(-1)  # removing a drift cooperates: boolean [batch, agent]

    def scripted(self, state: SnowdriftState, cooperative: Tensor) -> Tensor:
        """Cooperators divide the drifts by index, and each removes its nearest one; defectors stay."""
        team = cooperative.sum(-1).clamp_min(1)[:, None, None]
        rank = (cooperative.cumsum(-1) - 1)[..., None]
        number = torch.arange(self.drifts, device=rank.device)
        steps = ground.distance(state.places[..., None], state.drifts[:, None, :], self.size)
        own = (number % team == rank) & (state.drifts >= 0)[:, None, :]
        nearest = steps.masked_fill(~own, 2 * self.size).argmin(-1)
        cells = state.drifts.gather(1, nearest).masked_fill(~own.any(-1), -1)
        works = torch.where(state.places == cells, REMOVE, ground.toward(state.places, cells, self.extent))
        return torch.where(cooperative, works, STAY)

    def render(self, state: SnowdriftState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        drifts = [Thing(int(cell), "drift", "square") for cell in state.drifts[index].tolist() if cell >= 0]
        key = (KeyEntry(Thing(0, "drift", "square"), "snowdrift"),)
        return self.draw(drifts, state.places[index].tolist(), key, scale)

    def _removes(self, state: SnowdriftState, actions: Tensor) -> Tensor:
        """Mask of the drifts that each agent removes: boolean [batch, agent, drift]."""
        on_drift = (state.places[:, :, None] == state.drifts[:, None, :]) & (state.drifts >= 0)[:, None, :]
        return on_drift & (actions == REMOVE)[..., None]
