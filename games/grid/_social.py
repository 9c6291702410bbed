"""Sequential social dilemmas on a map: agents walk, turn, eat and fire beams."""

from __future__ import annotations

import abc
import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import pad

from games.core import DrawnGame, Step, alias, cached_constants, computed, constant, require
from games.grid import _tables as tables
from games.grid._moves import path_heading, resolve_moves
from games.grid._social_state import SocialState, draw, observations
from games.grid._tables import STILL


class Beams(NamedTuple):
    """The beams fired in a step, of all copies."""

    copy: Tensor  # index of the copy, integer [beam]
    agent: Tensor  # index of the agent, integer [beam]
    cells: Tensor  # reached cells, integer [beam, ray, cell from near to far]; the number of cells: none

    def mark(self, ground: Tensor) -> Tensor:
        """Cells that any beam reaches: boolean, shaped like the ground [batch, cell]."""
        rows, columns = len(ground), ground.shape[1] + 1
        marks = torch.zeros(rows * columns, dtype=torch.bool, device=ground.device)
        index = (self.cells.flatten(1) + columns * self.copy[:, None]).flatten()
        marks.scatter_(0, index, marks.new_ones(1).expand_as(index))
        return marks.view(rows, columns)[:, :-1]

    def marked(self, ground: Tensor) -> Tensor:
        """Number of marked cells, [batch, cell], that each beam reaches: integer [beam]."""
        count: Tensor = pad(ground, (0, 1))[self.copy].gather(1, self.cells.flatten(1)).sum(1)
        return count

    def hits(self, places: Tensor) -> Tensor:
        """Number of beams that reach each agent: float32 [batch, agent]; 0 for agents away."""
        hit = (self.cells.flatten(1)[..., None] == places[self.copy][:, None]).any(1).float()
        return torch.zeros(places.shape, device=places.device).index_add(0, self.copy, hit)


def reached(cells: Tensor, stops: Tensor) -> Tensor:
    """Cut each ray off after the first cell that stops it, which is still reached.

    Stops are boolean [beam, cell]; cells are integer [beam, ray, cell from near to far], replaced by the
    number of cells where a ray does not reach.

    >>> reached(torch.tensor([[[0, 1, 2]]]), torch.tensor([[False, True, False]]))
    tensor([[[0, 1, 3]]])
    """
    rays, length = cells.shape[-2:]
    hit = pad(stops, (0, 1)).gather(1, cells.flatten(1)).view(torch.uint8)
    # One product for all rays of a beam is faster than a running sum over a few cells.
    behind = hit.float().reshape(-1, rays * length) @ _nearer(rays, length, cells.device)
    return torch.where(behind.reshape(cells.shape) == 0, cells, stops.shape[1])


@cached_constants
def _nearer(rays: int, length: int, device: torch.device) -> Tensor:
    """1 where a cell (row) lies before another (column) on the same ray: float32 [ray * cell, ray * cell]."""
    return constant(np.kron(np.eye(rays), np.triu(np.ones((length, length)), 1)), torch.float32, device)


def nobody(firing: Tensor) -> bool:
    """True if no agent fires, boolean [batch, agent], where the program may wait for the answer."""
    return firing.device.type in SELECTING and not firing.any()


SELECTING = {"cpu"}
"""Types of devices on which beams are computed for the few agents that fire, as selecting these makes the
program wait for no other device; elsewhere beams are computed for all agents."""
BEAM_BREADTH = 3
WALKS = (3, 1, 0, 2)
"""Quarter turns from an agent's orientation to its walk: left, right, forward, back."""
WALK_NAMES = {True: ("left", "right", "forward", "back"), False: ("left", "right", "up", "down")}
"""Names of the walks, by whether agents turn."""
STAY = len(WALKS)
TURNS = {"turn right": 1, "turn left": -1}  # quarter turns, clockwise
EAT_REWARD = 1.0


@dataclass(frozen=True, kw_only=True)
class SocialGrid(DrawnGame, abc.ABC):
    """The base of cleanup and harvest.

    In a step agents turn and walk first (see `resolve_moves` for contested cells), then eat the apples in
    their cells, then fire; then agents whose time-out is over return to a free starting place, and the map
    changes. Walks are relative to an agent's orientation; without turning all agents face north. Beams are
    three cells wide; each ray stops at a wall or at the first agent, which is hit. All agents fire
    simultaneously: no beam sees another's effects.

    An observation is a stack of planes (`PLANES`) in a window around the agent, with its orientation up;
    cells outside the map are walls, and agents that are away observe zeros.
    """

    map: tuple[str, ...]
    """Rows of symbols, from north to south."""
    agents: int = 5
    """Number of agents; at least 1."""
    horizon: int = 1000
    """Steps of an episode; at least 1."""
    view: tuple[int, int, int, int] = (7, 7, 7, 7)
    """Cells that an agent sees ahead, to the right, behind and to the left; each 0 or more."""
    turning: bool = True
    """Let agents turn; otherwise they always face north."""
    fining: bool = True
    """Add a beam that fines the agents that it hits."""
    fine_cost: float = 1.0
    """Cost of firing the fining beam, in reward units; 0 or more."""
    fine: float = 50.0
    """Cost of being hit by a fining beam, in reward units; 0 or more."""
    time_out: int = 0
    """Steps for which an agent is away after being hit; 0 or more."""
    cooldown: int = 1
    """Steps from one firing of the fining beam to the next possible one, before which firing has no effect;
    at least 1. It is one more than Melting Pot's `cooldownTime`, which counts the steps in between."""
    beam_length: int = 5
    """Cells of each of a beam's three rays; at least 1."""
    random_spawn: bool = True
    """Draw the agents' starting places; otherwise agent i starts at the i-th place from below."""

    SYMBOLS: ClassVar[dict[str, str]] = {"@": "wall", "P": "spawn"}
    PLANES: ClassVar[tuple[str, ...]] = ("oneself", "others", "walls", "apples", "beams")

    num_agents = computed(lambda self: self.agents)
    # only if starting places are drawn
    symmetric = computed(lambda self: self.random_spawn)
    fully_symmetric = alias("symmetric")
    # a rank for each starting place, and an orientation for each agent
    start_draws = computed(lambda self: len(self.cells_of("spawn")) + self.agents)
    # a priority for each agent, a rank for each place to return to, and the draws of the map
    step_draws = computed(lambda self: self.agents + self._return_draws + self.map_draws)

    def __post_init__(self) -> None:
        require(self.agents >= 1, f"Somebody has to play: agents is {self.agents}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")
        require(
            len(self.view) == 4 and min(self.view) >= 0,
            f"view says how far an agent sees ahead, right, behind and left, four numbers of 0 or more; not "
            f"{self.view}.",
        )
        require(self.beam_length >= 1, f"A beam is at least 1 cell long; beam_length is {self.beam_length}.")
        require(self.cooldown >= 1, f"cooldown must be at least 1 step, not {self.cooldown}.")
        for name in ("fine_cost", "fine", "time_out"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be 0 or more, but it is {value}.")
        self.cells_of("wall")

    def cells_of(self, *meanings: str) -> tuple[int, ...]:
        """The cells with any of these meanings, in increasing order."""
        return _cells_of(tuple(self.map), tuple(self.SYMBOLS.items()), self.agents, meanings)

    @property
    def size(self) -> tuple[int, int]:
        return len(self.map), len(self.map[0])  # rows and columns

    @property
    def beams_of_game(self) -> tuple[str, ...]:
        return ("fine",) if self.fining else ()  # the beams that are actions

    @property
    def action_names(self) -> tuple[str, ...]:
        return (*WALK_NAMES[self.turning], "stay", *(TURNS if self.turning else ()), *self.beams_of_game)

    @property
    def observation_space(self) -> spaces.Box:
        """Planes in a window, of bytes: as floats they would dominate the memory of a step."""
        shape = (len(self.PLANES), *tables.window_shape(self.view))
        return spaces.Box(0, 1, shape, dtype=np.uint8)

    @property
    @abc.abstractmethod
    def map_draws(self) -> int:
        """Number of uniform draws of the map in a step."""

    @abc.abstractmethod
    def change_map(self, state: SocialState, draws: Tensor) -> SocialState:
        """Let things grow at the end of a step; draws are uniform, [batch, map_draws]."""

    def begin(self, draws: Tensor) -> SocialState:
        batch, device = len(draws), draws.device
        spawn = tables.cell_indices(self.cells_of("spawn"), device)
        if self.random_spawn:
            places = spawn[draws[:, : len(spawn)].topk(self.agents).indices]
        else:
            places = spawn.flip(0)[: self.agents].repeat(batch, 1)
        faces = (draws[:, len(spawn) :] * 4).long() * int(self.turning)
        apples, waste = (
            tables.cell_mask(self.size, self.cells_of(meaning), device).repeat(batch, 1)
            for meaning in ("apple", "waste")
        )
        none = torch.zeros_like(places)
        time = torch.zeros(batch, dtype=torch.int64, device=device)
        return SocialState(places, faces, none, none, apples, waste, torch.zeros_like(apples), time, none)

    def advance(self, state: SocialState, actions: Tensor, draws: Tensor) -> Step:
        present = state.places >= 0
        actions = torch.where(present, actions.long(), STAY)
        wanted, faces = self.targets_of(state, actions)
        places = resolve_moves(state.places, wanted, draws[:, : self.agents])
        state = state._replace(
            places=places,
            orientation=faces,
            beams=torch.zeros_like(state.beams),
            cleaned=torch.zeros_like(state.cleaned),
        )
        state, rewards = self.eat(state)
        for name in self.beams_of_game:
            firing = (actions == self.action_names.index(name)) & present
            state, beam_rewards = self.fire(state, name, firing)
            rewards = rewards + beam_rewards
        rest = draws[:, self.agents :]
        if self.time_out > 0:
            state = self._return_agents(state, ~present, rest[:, : self._return_draws])
        state = self.change_map(state, rest[:, self._return_draws :])._replace(time=state.time + 1)
        return state, rewards, state.time >= self.horizon

    def eat(self, state: SocialState) -> tuple[SocialState, Tensor]:
        """Let agents eat the apples in their cells: the next state; rewards, float32 [batch, agent]."""
        eaten = state.apples.gather(1, state.places.clamp_min(0)) & (state.places >= 0)
        apples = state.apples & ~tables.occupied(state.places, state.apples.shape[1])
        return state._replace(apples=apples), EAT_REWARD * eaten.float()

    def targets_of(self, state: SocialState, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The cells that actions lead to without other agents, and the orientations after them."""
        names, device = self.action_names, actions.device
        key = state.orientation * len(names) + actions
        heading, faces = (tables.look_up(effect, key) for effect in _effects(names, device))
        table = tables.paths(self.size, self.cells_of("wall"), device)
        targets = tables.look_up(table.flatten(), heading * table.shape[1] + state.places.clamp_min(0))
        return torch.where(state.places < 0, state.places, targets), faces

    def fire(self, state: SocialState, name: str, firing: Tensor) -> tuple[SocialState, Tensor]:
        """Fire a beam from each firing agent, boolean [batch, agent]: the next state, and rewards."""
        firing = firing & (state.cooling == 0)
        cooling = (torch.where(firing, self.cooldown, state.cooling) - 1).clamp_min(0)
        cooling = torch.where(state.places < 0, state.cooling, cooling)  # paused for agents that are away
        state = state._replace(cooling=cooling)
        if nobody(firing):
            return state, torch.zeros(firing.shape, dtype=torch.float32, device=firing.device)
        beams = self.beams(state, firing, tables.occupied(state.places, state.apples.shape[1]))
        times = beams.hits(state.places)
        rewards = -self.fine_cost * firing.float() - self.fine * times
        hit = (times > 0) & (self.time_out > 0)
        state = state._replace(
            beams=state.beams | beams.mark(state.beams),
            away=torch.where(hit, self.time_out, state.away),
            places=torch.where(hit, -1, state.places),
        )
        return state, rewards

    def beams(self, state: SocialState, firing: Tensor, stops: Tensor) -> Beams:
        """The beams of firing agents, boolean [batch, agent]; stops are boolean [batch, cell]."""
        walls = self.cells_of("wall")
        table = tables.beam_table(self.size, walls, self.beam_length, BEAM_BREADTH, firing.device)
        if firing.device.type in SELECTING:
            copy, agent = firing.nonzero(as_tuple=True)  # few agents fire
        else:
            index = torch.arange(firing.numel(), device=firing.device)
            copy, agent = index // self.agents, index % self.agents
        rays = tables.rows_at(table, state.orientation[copy, agent], state.places[copy, agent].clamp_min(0))
        cells = reached(rays, stops.index_select(0, copy))
        if firing.device.type not in SELECTING:
            cells = torch.where(firing.flatten()[:, None, None], cells, stops.shape[1])
        return Beams(copy, agent, cells)

    def observe(self, state: SocialState) -> Tensor:
        return observations(self, state)

    def render(self, state: SocialState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        return draw(self, state, index, scale)

    def walk_to(self, state: SocialState, goals: Tensor, barred: Tensor | None = None) -> Tensor:
        """Actions toward the nearest goal, or `STAY`; goals and barred cells: [batch, agent or 1, cell]."""
        heading = path_heading(state, goals, self.size, self.cells_of("wall"), barred)
        walk = tables.cell_indices(tuple(WALKS.index(turn) for turn in range(STILL)), heading.device)
        return torch.where(heading == STILL, STAY, walk[(heading - state.orientation) % STILL])

    @property
    def _return_draws(self) -> int:
        return len(self.cells_of("spawn")) if self.time_out > 0 else 0

    def _return_agents(self, state: SocialState, gone: Tensor, draws: Tensor) -> SocialState:
        """Count down the time-outs of agents away in this step, and place those whose time-out is over."""
        away = state.away - gone.long()
        back = gone & (away == 0)
        spawn = tables.cell_indices(self.cells_of("spawn"), draws.device)
        taken = tables.at(tables.occupied(state.places, state.apples.shape[1]), spawn)
        free = spawn[draws.masked_fill(taken, -1.0).topk(self.agents).indices]
        assigned = free.gather(1, (back.cumsum(1) - 1).clamp_min(0))
        return state._replace(away=away, places=torch.where(back, assigned, state.places))


@functools.lru_cache
def _cells_of(
    rows: tuple[str, ...], symbols: tuple[tuple[str, str], ...], agents: int, meanings: tuple[str, ...]
) -> tuple[int, ...]:
    layout = tables.read_map(rows, dict(symbols), agents=agents)
    return tuple(sorted(cell for meaning in meanings for cell in layout.get(meaning, ())))


@cached_constants
def _effects(names: tuple[str, ...], device: torch.device) -> Tensor:
    """Heading of each action (a row of `paths`), and orientation after it: [2, orientation * action]."""
    pairs = [(face, action) for face in range(STILL) for action in range(len(names))]
    heading = [(face + WALKS[action]) % STILL if action < STAY else STILL for face, action in pairs]
    faces = [(face + TURNS.get(names[action], 0)) % STILL for face, action in pairs]
    return constant([heading, faces], torch.int64, device)
