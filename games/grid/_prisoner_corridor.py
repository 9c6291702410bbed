"""The prisoner corridor: the near goal for one, or the far goals for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, computed, require
from games.grid._frame import AGENT_KEY, Figure, KeyEntry, draw_grid
from games.grid._moves import resolve_moves
from games.grid._open_ground import WALKS, walk
from games.grid._tables import mark

NAMES = ("left", "right", "stay")
LEFT, RIGHT, STAY = range(3)
KEY = (AGENT_KEY, KeyEntry("goal", "goal"))
FIRST_WALK = list(WALKS).index(NAMES[LEFT])


class CorridorState(NamedTuple):
    """The agents' positions."""

    places: Tensor  # the agents' cells, counted from the left end, integer [batch, 2]
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class PrisonerCorridor(DrawnGame):
    """A prisoner's dilemma of walking: two agents in a corridor, a goal in its middle and one at each end.

    Agent 0 starts `near` steps to the left of the middle, agent 1 as many to its right; each is `far` steps
    from the end on its own side. Reaching a goal gives `goal_reward`, every move costs `move_cost`, and the
    episode ends when an agent has reached a goal. If both want the middle in the same step, one drawn at
    random gets there; the other's move fails, at its cost. So the middle is the quick goal that leaves the
    other with nothing, and both gain only if both walk to their ends.

    An observation is two one-hot vectors, the agent's own cell and the other agent's, each as long as the
    corridor. The source does not give the lengths, the horizon and whether agents may stay; they are
    settings.

    Raises:
        ValueError: the middle is no nearer than the ends, the ends are out of reach, or a number is out of
            range.
    Source:
        LToS (Yi et al., arXiv 2112.08702).

    >>> game = PrisonerCorridor()
    >>> generator = torch.Generator().manual_seed(0)
    >>> state = game.reset(batch=1, generator=generator)
    >>> for _ in range(2):
    ...     state, rewards, done = game.step(state, torch.tensor([[LEFT, RIGHT]]), generator)
    >>> state.places, rewards, done
    (tensor([[0, 6]]), tensor([[0.9900, 0.9900]]), tensor([True]))
    """

    near: int = 1
    """Steps from an agent's start to the goal in the middle; at least 1."""
    far: int = 2
    """Steps from an agent's start to the goal at its end; more than `near`."""
    goal_reward: float = 1.0
    """Reward for reaching a goal; above 0."""
    move_cost: float = 0.01
    """Cost of a move, successful or not; 0 or more."""
    stay: bool = False
    """Add a third action, to stay, which costs nothing."""
    horizon: int = 20
    """Maximum number of steps of an episode; at least `far`."""

    num_agents = 2
    start_draws = 0  # the start is always the same
    step_draws = 2  # a priority for each agent
    action_names = computed(lambda self: NAMES[: 2 + self.stay])  # left, right, and stay if that is an action
    observation_space = computed(lambda self: spaces.Box(0.0, 1.0, (2 * self.length,), dtype=np.float32))
    # both walk to the middle, where one gets in
    defection_welfare = computed(lambda self: self.goal_reward - 2 * self.near * self.move_cost)

    def __post_init__(self) -> None:
        require(self.near >= 1, f"The middle is at least 1 step away; near is {self.near}.")
        require(
            self.far > self.near,
            f"The middle must be nearer than the ends: far must be above {self.near}, but is {self.far}.",
        )
        require(
            self.horizon >= self.far,
            f"An episode must last until the ends are reached, {self.far} steps; horizon is {self.horizon}.",
        )
        require(self.goal_reward > 0, f"goal_reward must be above 0, not {self.goal_reward}.")
        require(self.move_cost >= 0, f"move_cost must be 0 or more, not {self.move_cost}.")

    @property
    def length(self) -> int:
        return 2 * (self.near + self.far) + 1  # cells of the corridor

    @property
    def best_welfare(self) -> float:
        """Both ends, reached in the same step, if that pays; otherwise the middle for one agent.

        With `stay` an agent can also wait in front of the middle until the other is at its end, which saves
        moves.
        """
        if self.stay:
            one, two = self.near, self.near + self.far
            return max(
                0.0, self.goal_reward - one * self.move_cost, 2 * self.goal_reward - two * self.move_cost
            )
        one, two = 2 * self.near, 2 * self.far
        return max(self.goal_reward - one * self.move_cost, 2 * self.goal_reward - two * self.move_cost)

    def begin(self, draws: Tensor) -> CorridorState:
        places = torch.tensor([self.far, self.length - 1 - self.far], device=draws.device)
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return CorridorState(places.expand(len(draws), -1).clone(), time)

    def advance(self, state: CorridorState, actions: Tensor, draws: Tensor) -> Step:
        wanted = walk(state.places, FIRST_WALK + actions.long(), (1, self.length))
        after = CorridorState(resolve_moves(state.places, wanted, draws), state.time + 1)
        arrived = self._at_goal(after.places)
        rewards = self.goal_reward * arrived.float() - self.move_cost * (actions != STAY).float()
        return after, rewards, arrived.any(-1) | (after.time >= self.horizon)

    def observe(self, state: CorridorState) -> Tensor:
        cells = mark(state.places, self.length).float()
        return torch.cat((cells, cells.flip(1)), -1)

    def ended(self, state: CorridorState) -> Tensor:
        """Mask of the copies that ended because an agent is at a goal: boolean [batch]."""
        return self._at_goal(state.places).any(-1)

    def cooperates(self, state: CorridorState, actions: Tensor) -> Tensor:
        """Walking toward the agent's own end cooperates: boolean [batch, agent]."""
        return actions == self._outward(actions.device)

    def scripted(self, state: CorridorState, cooperative: Tensor) -> Tensor:
        """Cooperators walk to their own ends, defectors to the middle."""
        outward = self._outward(cooperative.device)
        return torch.where(cooperative, outward, outward.flip(0))

    def render(self, state: CorridorState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        goals = self._at_goal(torch.arange(self.length)).tolist()
        ground = [["goal" if goal else "ground" for goal in goals]]
        agents = [Figure(int(cell), number) for number, cell in enumerate(state.places[index].tolist())]
        return draw_grid(ground, (), agents, key=KEY, cell=48, scale=scale)

    def _at_goal(self, places: Tensor) -> Tensor:
        """True where a cell is the middle or an end, which are equally spaced."""
        return places % (self.near + self.far) == 0

    def _outward(self, device: torch.device) -> Tensor:
        return torch.tensor([LEFT, RIGHT], device=device)  # each agent's direction to its own end
