"""Escape Room: somebody has to pull the lever, at a cost, so that others can leave by the door."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import Game, Step, alias, cached_constants, computed, constant, require, uniform
from games.render import AGENTS, INK, Pen

WIDTH, HEIGHT = 150, 180  # of one place's picture
TITLE, PROP = 26, 52  # heights of the place's name and of the lever or the door
FLOOR, OPEN, SHUT = "#F2F2F2", "#FFFFFF", "#8C6D46"


def draw_places(
    names: Sequence[str], places: Sequence[int], *, door_open: bool, scale: float = 1.0
) -> np.ndarray:
    """Draw all places, the lever in the first and the door in the last, with each agent in its place."""
    pen = Pen(WIDTH * len(names), HEIGHT, scale=scale)
    for index, name in enumerate(names):
        left = index * WIDTH
        pen.rectangle((left + 3, 3, left + WIDTH - 4, HEIGHT - 4), fill=FLOOR, line=2)
        pen.text((left + WIDTH / 2, TITLE / 2 + 5), name, size=16)
        agents = [agent for agent, place in enumerate(places) if place == index]
        _discs(pen, left, agents)
    _lever(pen, WIDTH / 2, down=door_open)
    _door(pen, (len(names) - 0.5) * WIDTH, door_open=door_open)
    return pen.picture()


def _lever(pen: Pen, middle: float, *, down: bool) -> None:
    """Draw a pivot and a handle that leans to the left (up) or the right (pulled)."""
    pivot = (middle, TITLE + PROP - 8)
    handle = (middle + (26 if down else -26), pivot[1] - 24)
    pen.line((pivot, handle), line=5)
    pen.circle(handle, 6, fill=SHUT, line=2)
    pen.rectangle((middle - 16, pivot[1] - 4, middle + 16, pivot[1] + 6), fill=INK)


def _door(pen: Pen, middle: float, *, door_open: bool) -> None:
    """Draw a doorway, filled by the leaf if shut, with the leaf beside it if open."""
    left, top, right, bottom = middle - 15, TITLE + 4, middle + 15, TITLE + PROP
    pen.rectangle((left, top, right, bottom), fill=OPEN if door_open else SHUT, line=3)
    if door_open:
        leaf = ((left, top), (left - 16, top + 6), (left - 16, bottom + 6), (left, bottom))
        pen.polygon(leaf, fill=SHUT, outline=INK, line=2)
    else:
        pen.circle((right - 8, (top + bottom) / 2 + 2), 3, fill=INK)


def _discs(pen: Pen, left: float, agents: Sequence[int]) -> None:
    """Draw numbered discs in the smallest square grid that holds them, below the lever or the door."""
    if not agents:
        return
    columns = math.ceil(math.sqrt(len(agents)))
    top, width = TITLE + PROP + 10, WIDTH - 20
    cell = min(width / columns, (HEIGHT - 8 - top) / math.ceil(len(agents) / columns), 44)
    inset = (WIDTH - cell * columns) / 2
    for k, agent in enumerate(agents):
        row, column = divmod(k, columns)
        center = (left + inset + (column + 0.5) * cell, top + (row + 0.5) * cell)
        color, ink = AGENTS[agent % len(AGENTS)]
        pen.circle(center, 0.45 * cell, fill=color, line=2)
        pen.text(center, str(agent), size=0.45 * cell, color=ink)


PLACES = ("lever", "start", "door")
"""The places, in order; an action is the place to go to, so actions have the same numbers."""

LEVER, START, DOOR = range(len(PLACES))
ESCAPE_REWARD, MOVE_REWARD = 10.0, -1.0


class EscapeRoomState(NamedTuple):
    """Positions, and gifts so far."""

    places: Tensor  # index into `PLACES`, integer [batch, agent]; after a step each agent's choice
    given: Tensor  # sum of all gifts so far in this episode, float32 [batch, giver, receiver]
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class EscapeRoom(Game):
    """Escape Room ER(N, M): the door is open in a step if at least M of N agents choose the lever then.

    Each agent chooses a place, all at the same time. An agent that chooses the door while it is open gets +10
    and the episode ends; otherwise staying costs nothing and moving gives -1. An agent that pulls the lever
    pays for the other agents' escape, so the return of selfish learners stays near 0 or below.

    An observation is a vector: the agent's own place (one-hot, 3), the places of the other agents in the
    order of their indices (one-hot each, 3(N-1)), and, with `observe_gifts`, the sum of its gifts to each of
    them so far in the episode (N-1), as recorded by `give`.

    Raises:
        ValueError: there are fewer than two agents, no lever to pull, or nobody left to go to the door.
    Source:
        Yang et al., Learning to Incentivize Other Learning Agents, arXiv 2006.06051.

    >>> game = EscapeRoom(agents=2, levers=1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> state = game.reset(batch=1, generator=generator)
    >>> state, rewards, done = game.step(state, torch.tensor([[0, 2]]), generator)
    >>> rewards, done
    (tensor([[-1., 10.]]), tensor([True]))
    """

    agents: int = 2
    """Number of agents, N; at least 2."""
    levers: int = 1
    """Number of agents that must choose the lever in the same step to open the door, M; from 1 to N - 1."""
    horizon: int = 5
    """Maximum number of steps of an episode; at least 1."""
    random_start: bool = False
    """Draw each agent's first place uniformly; otherwise all agents begin at the start."""
    observe_gifts: bool = True
    """End an observation with the agent's gifts so far to each other agent."""

    num_agents = alias("agents")
    action_names = PLACES
    draws_by_rows = True
    pure = True
    symmetric = True  # all agents have the same actions and rewards
    fully_symmetric = True
    action_space = computed(lambda self: spaces.Discrete(len(PLACES)))

    def __post_init__(self) -> None:
        require(self.agents >= 2, f"Escape Room needs at least 2 agents; agents is {self.agents}.")
        require(self.levers >= 1, f"The lever needs at least 1 agent; levers is {self.levers}.")
        require(
            self.levers < self.agents,
            f"Somebody must be free to go to the door: levers must be below agents = {self.agents}, "
            f"but it is {self.levers}.",
        )
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def observation_space(self) -> spaces.Box:
        one_hots = len(PLACES) * self.agents
        gifts = self.agents - 1 if self.observe_gifts else 0
        low, high = [0.0] * one_hots + [-np.inf] * gifts, [1.0] * one_hots + [np.inf] * gifts
        return spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)

    @property
    def best_welfare(self) -> float:
        """Open the door in the first step: 10(N - M) less 1 for each agent that must walk to the lever.

        With random starts this is the expectation over them: agents that start at the lever need not walk.
        """
        walkers = float(self.levers)
        if self.random_start:
            walkers = sum(
                math.comb(self.agents, count) * 2 ** (self.agents - count) * (self.levers - count)
                for count in range(self.levers)  # of agents that start at the lever
            ) / float(3**self.agents)
        return ESCAPE_REWARD * (self.agents - self.levers) + MOVE_REWARD * walkers

    @property
    def best_cooperation(self) -> float | None:
        """The share of agents that pull the lever in the only step; None with random starts."""
        return None if self.random_start else self.levers / self.agents

    @property
    def defection_welfare(self) -> float:
        """0: no agent chooses the lever or moves without need.

        With random starts the agents that start at the lever step off it once: -N/3 in expectation.
        """
        return MOVE_REWARD * self.agents / len(PLACES) if self.random_start else 0.0

    def reset(self, batch: int, generator: torch.Generator) -> EscapeRoomState:
        device = generator.device
        shape = (batch, self.agents)
        if self.random_start:
            places = (len(PLACES) * uniform(shape, generator)).long()
        else:
            places = torch.full(shape, START, device=device)
        given = torch.zeros(*shape, self.agents, dtype=torch.float32, device=device)
        return EscapeRoomState(places, given, torch.zeros(batch, dtype=torch.int64, device=device))

    def observe(self, state: EscapeRoomState) -> Tensor:
        device, batch = state.places.device, len(state.places)
        shown = state.places.gather(1, own_first(self.agents, device).flatten().expand(batch, -1)).flatten()
        seen = _one_hot(device).index_select(0, shown).view(batch, self.agents, -1)
        if not self.observe_gifts:
            return seen
        pairs = _others(self.agents, device).expand(batch, -1)
        given = state.given.flatten(1).gather(1, pairs).view(batch, self.agents, -1)
        return torch.cat((seen, given), -1)

    def step(self, state: EscapeRoomState, actions: Tensor, generator: torch.Generator) -> Step:
        after = EscapeRoomState(actions.to(state.places), state.given, state.time + 1)
        escapes = self._enough(actions)[:, None] & (actions == DOOR)
        stays = (actions == state.places).to(torch.get_default_dtype())
        rewards = (stays + MOVE_REWARD).masked_fill(escapes, ESCAPE_REWARD)
        return after, rewards, escapes.any(-1) | (after.time >= self.horizon)

    def door_open(self, state: EscapeRoomState) -> Tensor:
        """True where the door was open in the last step, boolean [batch]; closed before the first."""
        return self._enough(state.places) & (state.time > 0)

    def ended(self, state: EscapeRoomState) -> Tensor:
        """Mask of the copies that ended because an agent left by the open door: boolean [batch]."""
        return self.door_open(state) & (state.places == DOOR).any(-1)

    def cooperates(self, state: EscapeRoomState, actions: Tensor) -> Tensor:
        return actions == LEVER  # choosing the lever cooperates: boolean [batch, agent]

    def scripted(self, state: EscapeRoomState, cooperative: Tensor) -> Tensor:
        """Open the door with as few agents as possible, or wait.

        The first `levers` cooperators go to the lever, the others to the door; defectors go to the door if
        there are enough cooperators to open it, and otherwise stay, but off the lever.
        """
        pulls = cooperative & (cooperative.cumsum(-1) <= self.levers)
        opens = cooperative.sum(-1, keepdim=True) >= self.levers
        waits = torch.where(state.places == LEVER, START, state.places)
        leaves = torch.where(opens | cooperative, DOOR, waits)
        return torch.where(pulls, LEVER, leaves)

    def give(self, state: EscapeRoomState, gifts: Tensor) -> EscapeRoomState:
        """Add the last step's gifts to the sums in the state; no gradient flows from observations to gifts.

        Raises:
            ValueError: the gifts do not have one entry for each giver and receiver of each copy.
        """
        expected = tuple(state.given.shape)
        require(
            tuple(gifts.shape) == expected,
            f"Gifts must have the shape [batch, giver, receiver] = {expected}, not {tuple(gifts.shape)}.",
        )
        return state._replace(given=state.given + gifts.detach().to(state.given))

    def render(self, state: EscapeRoomState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        places, door_open = state.places[index].tolist(), bool(self.door_open(state)[index])
        return draw_places(PLACES, places, door_open=door_open, scale=scale)

    def _enough(self, places: Tensor) -> Tensor:
        """True where enough agents are at the lever: boolean [batch], from places [batch, agent]."""
        return (places == LEVER).sum(-1) >= self.levers


@cached_constants
def own_first(agents: int, device: torch.device) -> Tensor:
    """Each observer, then the other agents in increasing order: integer [observer, agent]."""
    order = [[me, *(other for other in range(agents) if other != me)] for me in range(agents)]
    return constant(order, torch.int64, device)


@cached_constants
def _others(agents: int, device: torch.device) -> Tensor:
    """Flat indices of the off-diagonal entries of a [giver, receiver] matrix: [giver * (agents - 1)]."""
    first = torch.arange(agents, device=device).unsqueeze(-1) * agents
    return (first + own_first(agents, device)[:, 1:]).flatten()


@cached_constants
def _one_hot(device: torch.device) -> Tensor:
    """A row for each place: float32 [place, place]."""
    return constant(np.eye(len(PLACES)), torch.float32, device)
