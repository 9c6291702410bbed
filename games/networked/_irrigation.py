"""Irrigation: farmers along a canal, each of which takes a part of the water that reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games.core import ExactGame, Step, alias, cached_constants, computed, constant, require
from games.matrix import require_finite
from games.networked._network import Network
from games.networked._picture import blend
from games.render import INK, Pen, draw_key, key_size

ALL = 0
"""Action that takes all of the water."""
MAX_AGENTS = 1000
WATER, DRY = "#0072B2", "#F0E6D2"
Box = tuple[float, float, float, float]
WIDTH, HEIGHT, TOP = 66.0, 120.0, 34.0


class IrrigationState(NamedTuple):
    """Steps played, and the water of the last step."""

    time: Tensor  # steps played, integer [batch]
    arrived: Tensor  # water that reached each farmer, [batch, agent]; 0 before the first step
    taken: Tensor  # water that each farmer took, [batch, agent]; 0 before the first step


@dataclass(frozen=True, kw_only=True)
class Irrigation(ExactGame):
    """Irrigation along a canal: farmers take water in turn, and leave the rest to those further down.

    `water` reaches agent 0. Each agent takes all of the water that reaches it, or a half, a third, ..., one
    Nth. The rest flows on to the next agent, except for a fraction `loss` that seeps away. The harvest is the
    water taken to the power of `exponent`, so the same water yields more in several fields than in one. An
    agent's own harvest is largest if it takes everything; if all agents do, agent 0 has all the water. Agents
    choose simultaneously in each step, and observe nothing.

    Without loss the optimum divides the water equally: agent i takes 1 / (N - i) of what reaches it, and the
    welfare is N (water / N)^exponent. With loss it is found by dynamic programming from the last agent
    upwards, over the fractions that can be taken. Values are exact: a harvest is a power of a product of
    independent factors, so its expectation is a product of expectations.

    Neighbors are adjacent along the canal; with `observe_graph` off all agents are neighbors. Agents are not
    interchangeable.

    Raises:
        ValueError: there are too few or too many agents, or a number is out of range.
    Source:
        Designed for this toolkit, after Ostrom and Gardner, Coping with Asymmetries in the Commons:
        Self-Governing Irrigation Systems Can Work, Journal of Economic Perspectives 7(4), 1993, and Ambec and
        Sprumont, Sharing a river, Journal of Economic Theory 107(2), 2002.

    >>> game = Irrigation(agents=2, water=4.0)
    >>> game.action_names
    ('all', '1/2')
    >>> policies = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])  # a half, and all of the rest
    >>> game.values(policies), game.best_welfare == 2 * 2**0.5
    (tensor([1.4142, 1.4142]), True)
    """

    agents: int = 4
    """Number of farmers, from 2 to 1000; agent 0 is the first along the canal."""
    water: float = 4.0
    """Water that reaches agent 0 in each step; above 0."""
    exponent: float = 0.5
    """Exponent of the harvest as a function of the water; above 0 and below 1."""
    loss: float = 0.0
    """Part of the water that is lost between one agent and the next; from 0 to less than 1."""
    observe_graph: bool = True
    """Let rewards be shared along the canal only; otherwise all agents are neighbors."""
    horizon: int = 1
    """Steps of an episode; at least 1."""

    num_agents = alias("agents")
    num_observations = 1
    draws_by_rows = True
    pure = True
    action_names = computed(lambda self: ("all", *(f"1/{part}" for part in range(2, self.agents + 1))))
    action_space = computed(lambda self: spaces.Discrete(self.agents))
    observation_space = computed(lambda self: spaces.Discrete(1))
    # agent 0 takes everything
    defection_welfare = computed(lambda self: self.horizon * self.water**self.exponent)

    def __post_init__(self) -> None:
        require(
            isinstance(self.agents, int) and 2 <= self.agents <= MAX_AGENTS,
            f"agents must be a whole number between 2 and {MAX_AGENTS}; it is {self.agents}.",
        )
        require_finite(water=self.water)
        require(self.water > 0, f"water must be above 0, not {self.water}.")
        require(0 < self.exponent < 1, f"exponent must be above 0 and below 1, not {self.exponent}.")
        require(0 <= self.loss < 1, f"loss must be from 0 to less than 1, not {self.loss}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def network(self) -> Network:
        """The canal, whose edges have the part of the water that gets to the next agent as their weights."""
        return _canal(self.agents, self.loss)

    @property
    def edges(self) -> Tensor | None:
        return self.network.sharing_edges() if self.observe_graph else None

    @property
    def best_welfare(self) -> float:
        return self.horizon * float(self.water**self.exponent) * _optimum(self)[1]

    @property
    def optimum(self) -> Tensor:
        """The action of each agent in the optimum, integer [agent]."""
        return torch.from_numpy(_optimum(self)[0].copy())

    def reset(self, batch: int, generator: torch.Generator) -> IrrigationState:
        dry = torch.zeros(batch, self.agents, device=generator.device)
        return IrrigationState(torch.zeros_like(dry[:, 0], dtype=torch.int64), dry, dry.clone())

    def observe(self, state: IrrigationState) -> Tensor:
        return torch.zeros_like(state.taken, dtype=torch.int64)

    def step(self, state: IrrigationState, actions: Tensor, generator: torch.Generator) -> Step:
        parts = (1 + actions).to(torch.get_default_dtype()).reciprocal()
        passed = ((1 - self.loss) * (1 - parts)).cumprod(-1)
        arrived = self.water * torch.cat((torch.ones_like(passed[:, :1]), passed[:, :-1]), -1)
        taken, time = parts * arrived, state.time + 1
        return IrrigationState(time, arrived, taken), taken**self.exponent, time >= self.horizon

    def values(self, policies: Tensor) -> Tensor:
        taken, left = _powers(self, policies.dtype, policies.device)
        harvest = (policies.squeeze(-2) * taken).sum(-1)
        passed = (policies.squeeze(-2) * left).sum(-1).cumprod(-1)
        arrived = torch.cat((torch.ones_like(passed[..., :1]), passed[..., :-1]), -1)
        return self.horizon * float(self.water**self.exponent) * harvest * arrived

    def cooperation(self, policies: Tensor) -> Tensor:
        """Probability of leaving at least as much as in the optimum: [..., agent]."""
        enough = torch.arange(self.agents) >= self.optimum[:, None]
        return (policies.squeeze(-2) * enough.to(policies)).sum(-1)

    def cooperates(self, state: IrrigationState, actions: Tensor) -> Tensor:
        return actions >= self.optimum.to(actions.device)

    def scripted(self, state: IrrigationState, cooperative: Tensor) -> Tensor:
        """Cooperators take their part in the optimum, defectors all."""
        return torch.where(cooperative, self.optimum.to(cooperative.device), ALL)

    def render(self, state: IrrigationState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        width = max(WIDTH * self.agents, 4 * WIDTH)
        across, down = key_size([meaning for _, meaning in KEY], width)
        pen = Pen(max(width, across), HEIGHT + TOP + down, scale=scale)
        title = f"step {int(state.time[index])}" if state.time[index] else "not yet played"
        pen.text((10, TOP / 2), title, size=16, anchor="lm")
        flows = zip(state.arrived[index].tolist(), state.taken[index].tolist(), strict=True)
        for agent, (arrived, taken) in enumerate(flows):
            left = agent * WIDTH
            _draw_canal(pen, (left, TOP + 4, left + WIDTH, TOP + 26), arrived / self.water)
            field = (left + 8, TOP + 42, left + WIDTH - 8, TOP + HEIGHT - 22)
            _draw_field(pen, field, f"{taken:.3g}", taken / self.water, size=15)
            pen.text((left + WIDTH / 2, TOP + HEIGHT - 10), f"agent {agent}", size=12)
        draw_key(pen, KEY, HEIGHT + TOP, width)
        return pen.picture()


def _draw_canal(pen: Pen, box: Box, part: float) -> None:
    """Draw the canal where it has this part of the water."""
    left, top, right, bottom = box
    pen.rectangle(box, fill=DRY, outline=DRY)
    depth = (bottom - top) * part
    if depth >= 1:
        pen.rectangle((left, bottom - depth, right, bottom), fill=WATER, outline=WATER)


def _draw_field(pen: Pen, box: Box, text: str, part: float, *, size: float) -> None:
    """Draw an agent's field, which takes this part of the water, with a text."""
    left, top, right, bottom = box
    pen.rectangle(box, fill=blend(DRY, WATER, part), outline=INK)
    color = "white" if part > 0.5 else "black"
    pen.text(((left + right) / 2, (top + bottom) / 2), text, size=size, color=color)


def _canal_symbol(pen: Pen, corner: tuple[float, float], side: float) -> None:
    left, top = corner
    _draw_canal(pen, (left, top, left + side, top + side), 0.5)


def _field_symbol(pen: Pen, corner: tuple[float, float], side: float) -> None:
    left, top = corner
    _draw_field(pen, (left, top, left + side, top + side), "2", 0.5, size=11)


KEY = (
    (_canal_symbol, "water in the canal that reaches an agent"),
    (_field_symbol, "water that the agent takes"),
)


@cached_constants
def _canal(agents: int, loss: float) -> Network:
    edges = np.stack((np.arange(agents - 1), np.arange(1, agents)), -1)
    return Network(agents, edges, np.full(agents - 1, 1 - loss))


def _parts(game: Irrigation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part of the water that each action takes, and part that it lets the next agent have: [action]."""
    parts = 1 / np.arange(1, game.agents + 1)
    return parts, (1 - game.loss) * (1 - parts)


@cached_constants
def _powers(game: Irrigation, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """`_parts` to the power of the harvest's exponent, each [action]."""
    taken, left = (constant(part**game.exponent, dtype, device) for part in _parts(game))
    return taken, left


@cached_constants
def _optimum(game: Irrigation) -> tuple[NDArray[np.int64], float]:
    """Optimal actions, [agent], and the welfare of one step with one unit of water."""
    taken, left = (part**game.exponent for part in _parts(game))
    actions, below = np.zeros(game.agents, dtype=np.int64), 0.0
    for agent in reversed(range(game.agents)):
        welfare = taken + left * below
        actions[agent] = welfare.argmax()
        below = float(welfare.max())
    return actions, below
