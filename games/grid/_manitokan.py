"""Manitokan, the task of hidden gifts: one key for the doors of all agents, and nobody sees who leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, alias, computed, require
from games.grid import _tables as tables
from games.grid._frame import HEADING_KEY, Figure, KeyEntry, Thing, draw_grid
from games.grid._moves import detour, outranked
from games.grid._open_ground import draw_distinct
from games.grid._tables import STILL, mark
from games.matrix import require_finite
from games.render import AGENTS

NAMES = ("turn left", "turn right", "forward", "pick up", "drop", "open")
LEFT, RIGHT, FORWARD, PICK_UP, DROP, OPEN = range(len(NAMES))
THE_KEY = Thing(0, "#F0E442", "diamond")


class ManitokanState(NamedTuple):
    """Positions; cells are numbered row by row."""

    places: Tensor  # the agents' cells, int64 [batch, agent]; several may share one
    orientation: Tensor  # 0 north, 1 east, 2 south, 3 west, int64 [batch, agent]
    doors: Tensor  # the cell of each agent's door, int64 [batch, agent]; -1 once it is open
    key: Tensor  # the key's cell, int64 [batch]; -1 while an agent holds it
    holds: Tensor  # the agent that holds the key, boolean [batch, agent]
    time: Tensor  # steps played, int64 [batch]


@dataclass(frozen=True, kw_only=True)
class Manitokan(DrawnGame):
    """The task of hidden gifts: a door for each agent, one key for all, and a reward for all if all open.

    Agents turn, walk ahead, pick up the key in the cell ahead, drop it into the cell ahead if that is free,
    and open their own door in the cell ahead if they hold the key. Opening pays the agent `door_reward`, and
    the door is gone. When the last door is open, each agent gets `collective_reward` and the episode ends. As
    an agent gains nothing by keeping the key once its door is open, dropping it is a gift, which is free but
    which nobody else sees.

    Doors and the key cannot be walked over; agents do not block each other. All start in different random
    cells. Of several agents that pick up the key in the same step one is drawn.

    An observation is a stack of planes in a square window with the agent in the middle of its last row,
    looking up: ground; the agent's own door; the other doors; the key on the ground. Further planes are 1 or
    0 in every cell: the agent holds the key; and, with `observe_door`, its door is open. Other agents are not
    observed.

    Scripted agents take the key to their door; then cooperators drop it, and defectors keep it. An agent
    that keeps the key although its door is open does not cooperate; in all other cases agents do. Dropping
    costs nothing, so this is no dilemma: what is hard is to learn what a gift is worth.

    Raises:
        ValueError: there is too little room, the window has an even width, or a number is out of range.
    Source:
        Malenfant and Richards, The challenge of hidden gifts in multi-agent reinforcement learning, arXiv
        2505.20579. The paper's text was not compared; the defaults are those of the authors' code: rewards
        of 0.5 and, as the sum of those of the doors, 1, 4 x 4 cells for 2 agents, a window of 3 x 3, 300
        steps. There the legal actions show an agent that it holds the key, doors hide what is behind them,
        the other doors have different colors, agents act one after the other, and with more than two agents
        two open doors are enough. In a few starts an agent is blocked in by doors.

    >>> game = Manitokan()
    >>> state = game.reset(1, torch.Generator().manual_seed(0))
    >>> game.observe(state).shape, game.best_welfare, game.defection_welfare
    (torch.Size([1, 2, 5, 3, 3]), 3.0, 0.5)
    """

    agents: int = 2
    """Number of agents, 2 or more."""
    size: int = 4
    """Cells of a side."""
    door_reward: float = 0.5
    """Reward of an agent for opening its door; 0 or more."""
    collective_reward: float = 1.0
    """Reward of each agent when all doors are open; 0 or more."""
    view: int = 3
    """Side of the window; an odd number."""
    observe_door: bool = False
    """Let an agent observe whether its door is open."""
    horizon: int = 300
    """Maximum number of steps of an episode; at least 1."""

    num_agents = alias("agents")
    action_names = NAMES
    symmetric = True
    fully_symmetric = True
    # a rank of each cell, and an orientation of each agent
    start_draws = computed(lambda self: self.size**2 + self.agents)
    step_draws = computed(lambda self: self.agents)  # priorities for picking up the key
    # the best start, in which all reach their doors in time
    best_welfare = computed(lambda self: self.agents * (self.door_reward + self.collective_reward))
    best_cooperation = 1.0
    defection_welfare = computed(lambda self: self.door_reward)  # of the agent that finds the key
    planes = computed(lambda self: 5 + self.observe_door)

    def __post_init__(self) -> None:
        require(
            isinstance(self.agents, int) and self.agents >= 2,
            f"agents must be a whole number, 2 or more; it is {self.agents}.",
        )
        needed = 2 * self.agents + 1
        require(
            isinstance(self.size, int) and self.size**2 >= needed,
            f"{self.agents} agents, their doors and the key need {needed} cells; {self.size} x {self.size} "
            "are too few.",
        )
        rewards = {"door_reward": self.door_reward, "collective_reward": self.collective_reward}
        require_finite(**rewards)
        for name, value in rewards.items():
            require(value >= 0, f"{name} must be 0 or more, not {value}.")
        require(
            self.view >= 1 and self.view % 2 == 1,
            f"view is the side of the window, an odd number of 1 or more; it is {self.view}.",
        )
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (self.planes, self.view, self.view), dtype=np.float32)

    def begin(self, draws: Tensor) -> ManitokanState:
        cells, agents = self.size**2, self.agents
        drawn = draw_distinct(draws[:, :cells], 2 * agents + 1)
        places, doors, key = (part.clone() for part in drawn.split((agents, agents, 1), 1))
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        faces = (draws[:, cells:] * STILL).long()
        return ManitokanState(
            places, faces, doors, key[:, 0].clone(), torch.zeros_like(places, dtype=torch.bool), time
        )

    def advance(self, state: ManitokanState, actions: Tensor, draws: Tensor) -> Step:
        actions = actions.long()
        turns = (actions == RIGHT).long() - (actions == LEFT).long()
        ahead, free = self._ahead(state)
        opens = (actions == OPEN) & state.holds & (ahead == state.doors)
        doors = state.doors.masked_fill(opens, -1)
        drops = (actions == DROP) & state.holds & free
        wants = (actions == PICK_UP) & (ahead == state.key.unsqueeze(-1))
        rank = draws.T
        beaten = (outranked(rank) & wants.T).any(1).T
        takes = wants & ~beaten
        laid = torch.where(drops, ahead, -1).amax(1)
        after = ManitokanState(
            torch.where((actions == FORWARD) & free, ahead, state.places),
            (state.orientation + turns) % STILL,
            doors,
            torch.where(takes.any(1), -1, torch.maximum(state.key, laid)),
            (state.holds & ~drops) | takes,
            state.time + 1,
        )
        done = self.ended(after)
        rewards = self.door_reward * opens.float() + self.collective_reward * done.float().unsqueeze(-1)
        return after, rewards, done | (after.time >= self.horizon)

    def observe(self, state: ManitokanState) -> Tensor:
        batch, cells = len(state.time), self.size**2
        doors = mark(state.doors, cells)
        shared = torch.stack((torch.ones_like(doors[:, 0]), mark(state.key, cells)), 1)
        planes = torch.cat((doors, shared), 1).float().unflatten(-1, (self.size, self.size))
        reach = (self.view - 1, self.view // 2, 0, self.view // 2)
        seen = tables.windows(planes, state.places, state.orientation, width=self.size, reach=reach)
        all_doors = seen[:, :, : self.agents]
        own = all_doors.diagonal(dim1=1, dim2=2).movedim(-1, 1).unsqueeze(2)
        others = all_doors.sum(2, keepdim=True) - own
        signals = [state.holds, state.doors < 0] if self.observe_door else [state.holds]
        same = torch.stack(signals, -1).float().view(batch, self.agents, -1, 1, 1)
        signs = same.expand(-1, -1, -1, self.view, self.view)
        return torch.cat((seen[:, :, -2:-1], own, others, seen[:, :, -1:], signs), 2)

    def ended(self, state: ManitokanState) -> Tensor:
        return (state.doors < 0).all(-1)  # copies in which all doors are open: boolean [batch]

    def cooperates(self, state: ManitokanState, actions: Tensor) -> Tensor:
        keeps = state.holds & (state.doors < 0)
        return ~keeps | (actions == DROP)

    def scripted(self, state: ManitokanState, cooperative: Tensor) -> Tensor:
        """Take the key to the own door and open it; then cooperators drop the key, and others turn around."""
        size, cells = (self.size, self.size), self.size**2
        table = tables.paths(size, (), state.places.device)
        opened = state.doors < 0
        goal = torch.where(state.holds, state.doors, state.key.unsqueeze(-1)).masked_fill(opened, -1)
        beside = mark(table[:STILL, goal.clamp_min(0)].movedim(0, -1), cells).any(2)
        closed = (mark(state.doors, cells).any(1) | mark(state.key, cells)).unsqueeze(1)
        goals = beside & (goal >= 0).unsqueeze(-1) & ~closed
        heading = detour(state.places, goals, closed.expand_as(goals), size)
        toward = table[:STILL, state.places] == goal
        there = toward.any(0) & (goal >= 0)
        heading = torch.where(there, toward.long().argmax(0), heading)
        turn = (heading - state.orientation) % STILL
        acts = torch.where(there, torch.where(state.holds, OPEN, PICK_UP), FORWARD)
        moves = torch.where(turn == 0, acts, torch.where(turn == STILL - 1, LEFT, RIGHT))
        _, free = self._ahead(state)
        leaves = cooperative & state.holds & opened & free
        return torch.where(leaves, DROP, torch.where(heading == STILL, LEFT, moves))

    def render(self, state: ManitokanState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        doors = [
            self._door(cell, agent) for agent, cell in enumerate(state.doors[index].tolist()) if cell >= 0
        ]
        key = int(state.key[index])
        holders = state.holds[index].nonzero().flatten().tolist()
        agents = zip(state.places[index].tolist(), state.orientation[index].tolist(), strict=True)
        where = f"agent {holders[0]} has the key" if holders else "the key is on the ground"
        named = [KeyEntry(self._door(0, agent), f"door of agent {agent}") for agent in range(self.agents)]
        return draw_grid(
            [["ground"] * self.size] * self.size,
            [*doors, *([THE_KEY._replace(cell=key)] if key >= 0 else [])],
            [Figure(cell, number, face) for number, (cell, face) in enumerate(agents)],
            caption=f"{where}, step {int(state.time[index])}",
            key=[HEADING_KEY, *named, KeyEntry(THE_KEY, "key")],
            cell=60,
            scale=scale,
        )

    def _door(self, cell: int, agent: int) -> Thing:
        return Thing(cell, AGENTS[agent % len(AGENTS)][0], "square", str(agent))

    def _ahead(self, state: ManitokanState) -> tuple[Tensor, Tensor]:
        """The cell ahead of each agent, its own at the border, and whether it is free: [batch, agent]."""
        table = tables.paths((self.size, self.size), (), state.places.device)
        ahead = tables.look_up(table.flatten(), state.orientation * table.shape[1] + state.places)
        door = (ahead.unsqueeze(-1) == state.doors.unsqueeze(1)).any(-1)
        return ahead, ~door & (ahead != state.key.unsqueeze(-1)) & (ahead != state.places)
