"""Soccer on a small grid: a zero-sum game in which any deterministic policy can be blocked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, cached_constants, computed, constant, require
from games.grid._frame import AGENT_KEY, Figure, KeyEntry, Thing, draw_grid
from games.grid._tables import OFFSETS
from games.render import AGENTS

ROWS, COLUMNS = 4, 5
GOAL_ROWS = (1, 2)
STARTS = (13, 6)  # agent 0 in row 2, column 3; agent 1 in row 1, column 1
NAMES = ("north", "east", "south", "west", "stand")
STAND = NAMES.index("stand")
GOALS = (-1, -2)  # numbers of the cell behind the goal that each agent scores in: the left one for agent 0
PAPER_DISCOUNT = 0.9
KEY = (
    AGENT_KEY,
    *(
        KeyEntry(Thing(0, AGENTS[side][0], "square", str(side)), f"goal that agent {side} scores in")
        for side in range(2)
    ),
    KeyEntry(Thing(0, "#FFFFFF", "square"), "ball, under its owner"),
    KeyEntry("wall", "wall"),
)


class SoccerState(NamedTuple):
    """Positions, and the owner of the ball; cells are numbered row by row."""

    places: Tensor  # the agents' cells, int64 [batch, agent]; never the same
    ball: Tensor  # the agent that has it, int64 [batch]
    over: Tensor  # an agent scored or a draw was declared, boolean [batch]
    time: Tensor  # steps played, int64 [batch]


@dataclass(frozen=True, kw_only=True)
class Soccer(DrawnGame):
    """Littman's soccer: two agents and a ball on 4 x 5 cells, a goal of two cells behind each short side.

    Both choose simultaneously: north, east, south, west or stand. The moves are then made one after the
    other, in random order. A move into the other agent's cell fails, and the other gets the ball. The only
    move off the board is that of the agent with the ball into its goal, the left one for agent 0 and the
    right one for agent 1: +1, -1 for the other agent, and the end of the episode. Every episode starts from
    the same cells, those of later implementations (not compared with the paper's figure), with the ball given
    to a random agent.

    An observation is three planes of 4 x 5: the agent itself, the other agent, the agent with the ball. The
    board is not mirrored: the two agents play to opposite sides.

    Raises:
        ValueError: the chance of a draw is out of range, or there is no step.
    Source:
        Littman, Markov Games as a Framework for Multi-Agent Reinforcement Learning, ICML 1994. There the
        board is reset after a goal, which here is the next episode.

    >>> game = Soccer()
    >>> generator = torch.Generator().manual_seed(0)
    >>> game.observe(game.reset(2, generator)).shape
    torch.Size([2, 2, 3, 4, 5])
    """

    draw: float = 0.1
    """Probability that a step ends the game in a draw, in [0, 1); at 0 the discount is the paper's, 0.9."""
    horizon: int = 100
    """Maximum number of steps of an episode; at least 1."""

    num_agents = 2
    action_names = NAMES
    best_welfare = 0.0  # zero-sum
    start_draws = 1  # the owner of the ball
    step_draws = 2  # the first mover, and the declaration of a draw
    # the paper's 0.9; 1 where draws end games instead, as they do in its evaluation
    discount = computed(lambda self: 1.0 if self.draw else PAPER_DISCOUNT)
    observation_space = computed(lambda self: spaces.Box(0.0, 1.0, (3, ROWS, COLUMNS), dtype=np.float32))

    def __post_init__(self) -> None:
        require(0 <= self.draw < 1, f"The chance of a draw must lie in [0, 1); it is {self.draw}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    def begin(self, draws: Tensor) -> SoccerState:
        ball = (draws[:, 0] >= 0.5).long()
        places = _starts(draws.device).expand(len(ball), -1)
        return SoccerState(places, ball, torch.zeros_like(ball, dtype=torch.bool), torch.zeros_like(ball))

    def advance(self, state: SoccerState, actions: Tensor, draws: Tensor) -> Step:
        actions = actions.long()
        first = (draws[:, 0] >= 0.5).long()
        places, ball, first_scores = _move(state.places, state.ball, first, actions)
        actions = torch.where(first_scores[:, None], STAND, actions)
        places, ball, second_scores = _move(places, ball, 1 - first, actions)
        side = 1 - 2 * first  # +1 where agent 0 moved first
        points = side * (first_scores.long() - second_scores.long())
        over = first_scores | second_scores | (draws[:, 1] < self.draw)
        after = SoccerState(places, ball, over, state.time + 1)
        rewards = torch.stack((points, -points), -1).to(draws.dtype)
        return after, rewards, over | (after.time >= self.horizon)

    def observe(self, state: SoccerState) -> Tensor:
        holder = state.places.gather(1, state.ball[:, None]).expand(-1, 2)
        cells = torch.stack((state.places, state.places.flip(1), holder), -1)
        planes = cells[..., None] == torch.arange(ROWS * COLUMNS, device=cells.device)
        return planes.float().reshape(*cells.shape, ROWS, COLUMNS)

    def ended(self, state: SoccerState) -> Tensor:
        return state.over

    def render(self, state: SoccerState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        goals = [
            [AGENTS[side][0] if row in GOAL_ROWS else "wall" for side in range(2)] for row in range(ROWS)
        ]
        ground = [[left, *["ground"] * COLUMNS, right] for left, right in goals]
        cells = [divmod(cell, COLUMNS) for cell in state.places[index].tolist()]
        drawn = [row * (COLUMNS + 2) + column + 1 for row, column in cells]
        marks = [
            Thing(row * (COLUMNS + 2) + side * (COLUMNS + 1), AGENTS[side][0], "square", str(side))
            for row in GOAL_ROWS
            for side in range(2)
        ]
        ball, steps = int(state.ball[index]), int(state.time[index])
        return draw_grid(
            ground,
            [*marks, Thing(drawn[ball], "#FFFFFF", "square")],
            [Figure(cell, agent) for agent, cell in enumerate(drawn)],
            caption=f"agent {ball} has the ball, step {steps}",
            key=KEY,
            scale=scale,
        )


def _move(places: Tensor, ball: Tensor, mover: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move one agent: next places, owner of the ball, and the mask of copies where it scored."""
    column = mover[:, None]
    own, other = places.gather(1, column)[:, 0], places.gather(1, 1 - column)[:, 0]
    target = _targets(places.device)[own, actions.gather(1, column)[:, 0]]
    scores = (target == -1 - mover) & (ball == mover)
    bumps = target == other
    target = torch.where(bumps | (target < 0), own, target)
    return places.scatter(1, column, target[:, None]), torch.where(bumps, 1 - mover, ball), scores


@cached_constants
def _starts(device: torch.device) -> Tensor:
    return constant([STARTS], torch.int64, device)


@cached_constants
def _targets(device: torch.device) -> Tensor:
    """Target of each action from each cell, [cell, action]: a cell, one of `GOALS`, or the same cell."""

    def target(row: int, column: int, down: int, right: int) -> int:
        if 0 <= row + down < ROWS and 0 <= column + right < COLUMNS:
            return (row + down) * COLUMNS + column + right
        if right and row in GOAL_ROWS:
            return GOALS[right > 0]
        return row * COLUMNS + column

    steps = (*OFFSETS, (0, 0))
    cells = [divmod(cell, COLUMNS) for cell in range(ROWS * COLUMNS)]
    return constant([[target(*cell, *step) for step in steps] for cell in cells], torch.int64, device)
