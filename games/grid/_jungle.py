"""The jungle: there is food for all agents, but attacking a neighbor gives more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.core import Step, computed, require
from games.grid import _open_ground as ground
from games.grid._frame import KeyEntry, Thing
from games.grid._moves import resolve_moves
from games.grid._open_ground import STAY, WALKS
from games.grid._tables import mark

ATTACK = STAY + 1  # the first attack, upwards; the others follow in the order of the walks


class JungleState(NamedTuple):
    """Positions; cells are numbered row by row."""

    places: Tensor  # the agents' cells, integer [batch, agent], all different
    foods: Tensor  # the foods' cells, integer [batch, food]; they stay for the whole episode
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class Jungle(ground.SquareGame):
    """The jungle: agents may eat foods, or attack each other for a larger reward.

    Agents and foods start on different cells, drawn for each episode; foods are not used up. In a step each
    agent walks, stays, or attacks one of the four adjacent cells. Attacks come first, on the agents' cells
    before they move; then agents move, one to a cell and not onto food. Agents that stay keep their cells; if
    several agents want a cell, one drawn at random gets it, and two agents do not swap. Attacking a food
    gives `food_reward`, attacking an agent `agent_reward`; each attack on an agent costs it `harm`; every
    attack, also on an empty cell, costs `attack_cost`. Nobody dies, and the episode lasts until the horizon.
    An observation is a window of planes: ground, foods, other agents.

    Rewards are shared with the nearest agents, who change as agents move: `neighbors_now` gives them, while
    `neighbors`, which does not depend on the state, contains all agents. The best welfare is not known, and
    neither is that of full defection. The source leaves open the order of attacks and moves, whether foods
    block movement, and the exact observation.

    Raises:
        ValueError: there is no food, there are too few cells, or a number is out of range.
    Source:
        LToS (Yi et al., arXiv 2112.08702).

    >>> game = Jungle(agents=2, foods=1, nearest=1, size=2)
    >>> state = JungleState(torch.tensor([[1, 2]]), torch.tensor([[0]]), torch.tensor([0]))
    >>> left, stay = game.action_names.index("attack left"), game.action_names.index("stay")
    >>> state, rewards, done = game.step(state, torch.tensor([[left, stay]]), torch.Generator())
    >>> rewards
    tensor([[0.9900, 0.0000]])
    """

    agents: int = 20
    """Number of agents; at least 2."""
    foods: int = 12
    """Number of foods; at least 1."""
    size: int = 30
    food_reward: float = 1.0
    """Reward for attacking a food."""
    agent_reward: float = 2.0
    """Reward for attacking an agent."""
    harm: float = 4.0
    """Loss of an agent from each attack on it; 0 or more."""
    attack_cost: float = 0.01
    """Cost of an attack; 0 or more."""
    nearest: int = 3
    """Number of nearest agents that are neighbors; from 1 to all others."""
    horizon: int = 120
    """Steps of an episode; at least 1."""
    view: int = 5

    planes = 3  # ground, foods, other agents
    start_draws = computed(lambda self: self.size**2)  # a rank for each cell, to place agents and foods
    step_draws = computed(lambda self: self.agents)  # a priority for each agent

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.agents >= 2, f"The jungle needs at least 2 agents; agents is {self.agents}.")
        require(self.foods >= 1, f"There must be at least 1 food; foods is {self.foods}.")
        for name in ("harm", "attack_cost"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be 0 or more, not {value}.")
        require(
            1 <= self.nearest < self.agents,
            f"nearest must be from 1 to {self.agents - 1}, as {self.agents} agents play, not {self.nearest}.",
        )
        require(
            self.agents + self.foods <= self.size**2,
            f"Everybody and every food needs a cell: {self.agents} agents and {self.foods} foods do not fit "
            f"on {self.size**2} cells.",
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        return (*WALKS, *(f"attack {direction}" for direction in list(WALKS)[:STAY]))

    def begin(self, draws: Tensor) -> JungleState:
        cells = ground.draw_distinct(draws, self.agents + self.foods)
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return JungleState(cells[:, : self.agents], cells[:, self.agents :], time)

    def advance(self, state: JungleState, actions: Tensor, draws: Tensor) -> Step:
        eaten, hits = self._attacks(state, actions)
        rewards = (
            self.food_reward * eaten.float()
            + self.agent_reward * hits.any(2).float()
            - self.harm * hits.sum(1)
            - self.attack_cost * (actions >= ATTACK).float()
        )
        wanted = ground.walk(state.places, actions.long(), self.extent)
        barred = (wanted[:, :, None] == state.foods[:, None, :]).any(-1)
        places = resolve_moves(state.places, torch.where(barred, state.places, wanted), draws)
        after = JungleState(places, state.foods, state.time + 1)
        return after, rewards, after.time >= self.horizon

    def observe(self, state: JungleState) -> Tensor:
        cells = self.size**2
        things = torch.stack((mark(state.foods, cells).any(1), mark(state.places, cells).any(1)), 1)
        seen = ground.windowed(things, state.places, self.extent, self.view)
        seen[:, :, 2, self.view, self.view] = 0  # oneself is no other
        return seen

    def neighbors_now(self, state: JungleState) -> Tensor:
        """The agent and its `nearest` others by steps: boolean [batch, giver, receiver], not symmetric.

        Ties are broken by the lower index.
        """
        order = self._sort_key(state.places)
        order.diagonal(dim1=1, dim2=2).fill_(-1)
        near = order.argsort(-1)[..., : 1 + self.nearest]
        return torch.zeros_like(order, dtype=torch.bool).scatter(-1, near, True)

    def cooperates(self, state: JungleState, actions: Tensor) -> Tensor:
        return ~self._attacks(state, actions)[1].any(2)  # attacking nobody cooperates: boolean [batch, agent]

    def scripted(self, state: JungleState, cooperative: Tensor) -> Tensor:
        """Cooperators eat at the nearest free cell beside a food; defectors hunt the nearest agent."""
        cells = self.size**2
        foods = mark(state.foods, cells).any(1)
        taken = foods | mark(state.places, cells).any(1)
        sides = ground.beside(state.foods, self.extent).flatten(1)
        steps = ground.distance(state.places[..., None], sides[:, None, :], self.size)
        closest = steps.masked_fill(taken.gather(1, sides)[:, None, :], 2 * self.size).argmin(-1)
        victim = state.places.gather(1, self._sort_key(state.places).argmin(-1))
        target = torch.where(cooperative, sides.gather(1, closest), victim)
        around = ground.beside(state.places, self.extent)
        edible = foods.gather(1, around.flatten(1)).unflatten(1, around.shape[1:])
        within = torch.where(cooperative[..., None], edible, around == victim[..., None])
        walks = ground.toward(
            state.places, target, self.extent, taken[:, None, :].expand(-1, self.agents, -1)
        )
        return torch.where(within.any(-1), ATTACK + within.int().argmax(-1), walks)

    def render(self, state: JungleState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        foods = [Thing(int(cell), "apple", "diamond") for cell in state.foods[index].tolist()]
        key = (KeyEntry(Thing(0, "apple", "diamond"), "food"),)
        return self.draw(foods, state.places[index].tolist(), key, scale)

    def _sort_key(self, places: Tensor) -> Tensor:
        """Sort key by distance, then index, largest for the agent itself: [batch, agent, other]."""
        index = torch.arange(self.agents, device=places.device)
        steps = ground.distance(places[:, :, None], places[:, None, :], self.size)
        return (steps * self.agents + index).masked_fill(index == index[:, None], 2 * self.size * self.agents)

    def _attacks(self, state: JungleState, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Attacks on foods, [batch, agent], and on agents, [batch, attacker, target]: boolean."""
        attacking = actions >= ATTACK
        aimed = ground.walk(state.places, torch.where(attacking, actions.long() - ATTACK, STAY), self.extent)
        aimed = aimed.masked_fill(aimed == state.places, -1)  # beyond the border, or no attack
        eaten = (aimed[:, :, None] == state.foods[:, None, :]).any(-1)
        return eaten, aimed[:, :, None] == state.places[:, None, :]
