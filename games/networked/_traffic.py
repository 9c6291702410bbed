"""Traffic: signals on a grid of roads, by a store-and-forward model of queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, cached_constants, computed, constant, require
from games.matrix import require_finite
from games.networked._graphs import Grid
from games.networked._network import Network
from games.networked._picture import EDGE, blend, line_symbol, text_symbol
from games.render import INK, Pen, draw_key, key_size

SIDES = ("north", "east", "south", "west")
TURNS = ("left", "straight", "right")
AHEAD = (1, 2, 3)
"""Sides by which vehicles leave when they turn left, go straight and turn right, counted from their own."""
PHASES = ("north-south", "north-south left", "east-west", "east-west left")
LETTERS = ("NS", "NSL", "EW", "EWL")
MEANINGS = (
    "green from north and south: straight and right",
    "green from north and south: left",
    "green from east and west: straight and right",
    "green from east and west: left",
)
"""Phases in a frame, and their meanings in its key."""
MOST = 100
"""Largest number of rows, and of columns."""
CLEAR, JAMMED = (EDGE, 1.0), ("#D55E00", 8.0)
"""Colors and widths of roads."""
KEY = (
    *((text_symbol(phase), meaning) for phase, meaning in zip(LETTERS, MEANINGS, strict=True)),
    (line_symbol(*CLEAR), "empty road"),
    (line_symbol(*JAMMED), "full road"),
)
BLOCK, LANE = 62, 5


class TrafficState(NamedTuple):
    """Numbers of vehicles, which are real numbers as in a fluid."""

    queues: Tensor  # vehicles by intersection, side they come from, and turn: [batch, agent, side, turn]
    outside: Tensor  # vehicles that wait to enter the grid, [batch, agent, side]; 0 on inner roads
    phases: Tensor  # the green phase of each signal, integer [batch, agent]
    passed: Tensor  # vehicles that passed each intersection in the last step, [batch, agent]
    left: Tensor  # vehicles that have left the grid, [batch]
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class Traffic(DrawnGame):
    """Traffic on a grid of signals, the agents, each of which chooses its green phase.

    Every intersection has a road from each side, with a lane for each turn. A phase gives green to two
    opposite sides: straight and right, or left. A decision lasts `interval` seconds, of which a change of
    phase costs `yellow`. During green a lane discharges `saturation` vehicles a second, as far as there are
    vehicles, and as far as the road that they turn into has room: flows into one road are scaled down so that
    together they fill the room that it had before the step (spill-back). Vehicles on a road choose their
    lanes by the turning ratios. At each border road `demand` vehicles a second arrive on average, in a step
    uniformly between none and twice as many; those for which it has no room wait outside.

    This is a store-and-forward queue model: vehicles are a fluid, driving along a road takes no time, and all
    vehicles on a road count as waiting. The source uses the simulator CityFlow, so its travel times cannot be
    reproduced. A signal's reward is -`waiting_cost` times the vehicles waiting on its incoming roads and
    outside of them. Neighbors are the adjacent intersections.

    An observation has the vehicles in each incoming lane and outside each road, and on each outgoing road, as
    fractions of a road's capacity; the phase, one-hot; and 1 for each side with a neighbor. The best welfare
    is not known. `max_pressure` and `fixed_time` are scripts: max-pressure keeps queues bounded whenever any
    signals can, if roads are long and a change of phase costs nothing.

    Grid, blocks of 100 m, phases, times and the waiting cost are those of the source; capacity (three lanes,
    7.5 m for a vehicle), saturation flow, turning ratios, demand and horizon (an hour) were chosen here.

    Raises:
        ValueError: there is no intersection, or a number is out of range.
    Source:
        LToS (Yi et al., arXiv 2112.08702). Model and max-pressure: Varaiya, Max pressure control of a network
        of signalized intersections, Transportation Research Part C 36, 2013.

    >>> game = Traffic(rows=1, columns=1, demand=0.0)
    >>> state = game.reset(1, torch.Generator())
    >>> state.queues[0, 0, 0, 1] = 6.0  # from the north, straight ahead
    >>> state, reward, _ = game.step(state, torch.tensor([[0]]), torch.Generator())
    >>> state.left, reward
    (tensor([5.]), tensor([[-0.2500]]))
    """

    rows: int = 6
    """Rows of intersections, from 1 to 100."""
    columns: int = 6
    """Columns of intersections, from 1 to 100."""
    demand: float = 0.15
    """Mean number of vehicles that arrive at each border road in a second; 0 or more."""
    saturation: float = 0.5
    """Vehicles that a lane discharges in a second of green; above 0."""
    capacity: float = 40.0
    """Vehicles for which a road has room; above 0."""
    turning: tuple[float, float, float] = (0.2, 0.6, 0.2)
    """Shares of vehicles that turn left, go straight and turn right; they sum to 1."""
    interval: float = 10.0
    """Seconds of a step; above 0."""
    yellow: float = 5.0
    """Seconds without green after a change of phase; from 0 to the interval."""
    waiting_cost: float = 0.25
    """Cost of a waiting vehicle in a step; 0 or more."""
    horizon: int = 360
    """Steps of an episode; at least 1."""

    action_names = PHASES
    num_agents = computed(lambda self: self.rows * self.columns)
    start_draws = 0
    step_draws = computed(lambda self: len(SIDES) * self.num_agents)  # arrivals, used at the border

    def __post_init__(self) -> None:
        numbers = ("demand", "saturation", "capacity", "interval", "yellow", "waiting_cost")
        require_finite(**{name: getattr(self, name) for name in numbers})
        for name in ("rows", "columns"):
            value = getattr(self, name)
            require(1 <= value <= MOST, f"A grid of signals has 1 to {MOST} {name}, not {value}.")
        for name in ("saturation", "capacity", "interval"):
            require(getattr(self, name) > 0, f"{name} must be above 0, not {getattr(self, name)}.")
        for name in ("demand", "waiting_cost"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}.")
        shares = len(self.turning) == len(TURNS) and min(self.turning) >= 0
        require(
            shares and abs(sum(self.turning) - 1) < 1e-9,
            f"turning has the shares of vehicles that turn left, go straight and turn right, which sum to 1; "
            f"it is {self.turning}.",
        )
        require(
            0 <= self.yellow <= self.interval,
            f"yellow must be from 0 to the interval, {self.interval}, not {self.yellow}.",
        )
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def network(self) -> Network:
        """The roads between adjacent intersections."""
        return _grid(self.rows, self.columns)

    @property
    def edges(self) -> Tensor:
        return self.network.sharing_edges()

    @property
    def influence(self) -> Tensor:
        """Adjacent intersections: a signal fills the roads that lead to them, and drains those from them."""
        return torch.from_numpy(self.network.edges.T.copy())

    @property
    def observation_space(self) -> spaces.Box:
        numbers = len(SIDES) * (len(TURNS) + 3) + len(PHASES)
        return spaces.Box(0.0, 1.0, (numbers,), dtype=np.float32)

    def begin(self, draws: Tensor) -> TrafficState:
        agents, device = self.num_agents, draws.device
        queues = torch.zeros(len(draws), agents, len(SIDES), len(TURNS), device=device)
        phases = torch.zeros(len(draws), agents, dtype=torch.int64, device=device)
        outside, passed, left = (torch.zeros(queues.shape[:axes], device=device) for axes in (3, 2, 1))
        return TrafficState(queues, outside, phases, passed, left, phases[:, 0].clone())

    def advance(self, state: TrafficState, actions: Tensor, draws: Tensor) -> Step:
        roads = _roads(self, state.queues.device)
        actions = actions.long()
        green = self.interval - self.yellow * (actions != state.phases)
        served = roads.served[actions] * (self.saturation * green)[..., None, None]
        ready = torch.minimum(state.queues, served).flatten(1)  # [batch, lane]
        on_road = state.queues.sum(-1).flatten(1)  # [batch, road]
        room = (self.capacity - on_road).clamp_min(0)
        wanted = _collect(ready, roads.leads_to, len(SIDES) * self.num_agents + 1)[:, :-1]
        factor = (room / wanted.clamp_min(1e-12)).clamp_max(1)
        flows = ready * torch.nn.functional.pad(factor, (0, 1), value=1.0)[:, roads.leads_to]
        arriving = _collect(flows, roads.leads_to, factor.shape[1] + 1)
        waiting = state.outside.flatten(1) + 2 * self.demand * self.interval * draws * roads.enters
        entering = torch.minimum(waiting, room * roads.enters)
        joining = (arriving[:, :-1] + entering).view_as(state.outside)
        leaving = flows.view_as(state.queues)
        queues = state.queues - leaving + joining.unsqueeze(-1) * roads.turning
        outside = (waiting - entering).view_as(state.outside)
        passed = leaving.sum((2, 3))
        after = TrafficState(queues, outside, actions, passed, state.left + arriving[:, -1], state.time + 1)
        rewards = -self.waiting_cost * (queues.sum((2, 3)) + outside.sum(2))
        return after, rewards, after.time >= self.horizon

    def observe(self, state: TrafficState) -> Tensor:
        roads = _roads(self, state.queues.device)
        on_road = torch.nn.functional.pad(state.queues.sum(-1).flatten(1), (0, 1))
        parts = (
            state.queues.flatten(2) / self.capacity,
            state.outside / self.capacity,
            on_road[:, roads.outgoing] / self.capacity,
            torch.eye(len(PHASES), device=state.queues.device)[state.phases],
            (roads.outgoing < len(roads.enters)).float().expand(len(state.time), -1, -1),
        )
        return torch.cat(parts, -1).clamp(0, 1)  # queues outside have no bound

    def max_pressure(self, state: TrafficState) -> Tensor:
        """Phases with the greatest pressure, integer [batch, agent]: a script that relieves full roads.

        The pressure of a lane is its vehicles minus those on the road that they turn into, weighted by the
        turning ratios; the pressure of a phase is the sum over its lanes.
        """
        roads = _roads(self, state.queues.device)
        ahead = torch.nn.functional.pad((state.queues * roads.turning).sum(-1).flatten(1), (0, 1))
        pressure = state.queues - ahead[:, roads.leads_to].view_as(state.queues)
        by_phase = (pressure.unsqueeze(2) * roads.served).sum((3, 4))
        return by_phase.argmax(-1)

    def fixed_time(self, state: TrafficState, steps: int = 2) -> Tensor:
        """Phases in turn, each for this many steps: integer [batch, agent]."""
        phase = state.time // steps % len(PHASES)
        return phase[:, None].expand(-1, self.num_agents)

    def measures(self, state: TrafficState) -> dict[str, Tensor]:
        return {"passed": state.passed}

    def render(self, state: TrafficState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        (clear, thin), (jammed, wide) = CLEAR, JAMMED
        width, height = max(self.columns + 1, 4) * BLOCK, (self.rows + 1) * BLOCK + 24
        across, down = key_size([meaning for _, meaning in KEY], width)
        pen = Pen(max(width, across), height + down, scale=scale)
        waiting, outside = (float(part[index].sum()) for part in (state.queues, state.outside))
        title = f"step {int(state.time[index])}: {waiting:.0f} vehicles, {outside:.0f} outside"
        pen.text((8, 14), title, size=14, anchor="lm")
        loads = (state.queues[index].sum(-1) / self.capacity).tolist()
        ways = ((0, -1), (1, 0), (0, 1), (-1, 0))
        for agent, phase in enumerate(state.phases[index].tolist()):
            row, column = divmod(agent, self.columns)
            x, y = (column + 1) * BLOCK, (row + 1) * BLOCK + 12
            for side, (right, down) in enumerate(ways):
                shift_x, shift_y = LANE * down, -LANE * right  # vehicles keep to the right
                start = (x + 0.82 * BLOCK * right + shift_x, y + 0.82 * BLOCK * down + shift_y)
                load = min(loads[agent][side], 1.0)
                color, line = blend(clear, jammed, load), thin + (wide - thin) * load
                pen.line([start, (x + shift_x, y + shift_y)], color=color, line=line)
            pen.circle((x, y), 0.22 * BLOCK, fill="#FFFFFF", outline=INK)
            pen.text((x, y), LETTERS[phase], size=10)
        draw_key(pen, KEY, height, width)
        return pen.picture()


class _Roads(NamedTuple):
    """Constants of a grid. Lanes are numbered by intersection, side and turn, roads without the turn."""

    served: Tensor  # 1 for the lanes that have green, [phase, side, turn]
    turning: Tensor  # [turn]
    leads_to: Tensor  # the road that a lane leads to, integer [lane]; the number of roads: out of the grid
    outgoing: Tensor  # the road that leaves an intersection to each side, integer [agent, side]; as above
    enters: Tensor  # 1 for roads that lead into the grid, [road]


@cached_constants
def _grid(rows: int, columns: int) -> Network:
    agents = rows * columns
    if agents == 1:
        return Network(1, np.zeros((0, 2), np.int64), np.zeros(0))
    return Grid(rows=rows, periodic=False).network(agents)


@cached_constants
def _roads(game: Traffic, device: torch.device) -> _Roads:
    rows, columns, agents, sides = game.rows, game.columns, game.num_agents, len(SIDES)
    row, column = np.divmod(np.arange(agents), columns)
    step_down, step_right = np.array((-1, 0, 1, 0)), np.array((0, 1, 0, -1))
    to_row, to_column = row[:, None] + step_down, column[:, None] + step_right
    inside = (to_row >= 0) & (to_row < rows) & (to_column >= 0) & (to_column < columns)
    opposite = (np.arange(sides) + 2) % sides
    outgoing = np.where(inside, (to_row * columns + to_column) * sides + opposite, agents * sides)
    exits = (np.arange(sides)[:, None] + np.array(AHEAD)) % sides  # [side, turn]
    served = np.zeros((len(PHASES), sides, len(TURNS)))
    for pair in (0, 1):
        served[2 * pair, pair::2, 1:] = 1  # straight and right
        served[2 * pair + 1, pair::2, 0] = 1  # left
    return _Roads(
        served=constant(served, torch.float32, device),
        turning=constant(game.turning, torch.float32, device),
        leads_to=constant(outgoing[:, exits].ravel(), torch.int64, device),
        outgoing=constant(outgoing, torch.int64, device),
        enters=constant(~inside.ravel(), torch.float32, device),
    )


def _collect(flows: Tensor, roads: Tensor, count: int) -> Tensor:
    """Sum flows, [batch, lane], over the lanes that lead to the same road: [batch, count]."""
    return flows.new_zeros(len(flows), count).scatter_add(1, roads.expand_as(flows), flows)
