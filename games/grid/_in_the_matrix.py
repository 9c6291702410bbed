"""In-the-matrix games: collect the items of a strategy, then meet the other agent and be paid by a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, cached_constants, computed, constant, require
from games.grid import _tables as tables
from games.grid._frame import HEADING_KEY, Figure, KeyEntry, Thing, draw_grid, fitting
from games.grid._moves import detour, resolve_moves
from games.grid._tables import STILL, Reach
from games.matrix import require_finite

NAMES = ("turn left", "turn right", "forward", "interact", "stay")
LEFT, RIGHT, FORWARD, INTERACT, STAY = range(len(NAMES))
MAX_STRATEGIES = 9
SHIFT = 8
"""Steps after which the other scripted agent goes."""
STORM_MAP = (
    "PPP  PPP",
    "P10  00P",
    " 1    1 ",
    "        ",
    "        ",
    " 0    0 ",
    "P11  10P",
    "PPP  PPP",
)
THREE_STRATEGIES = (
    "PPP  PPP",
    "P01  20P",
    " 2    1 ",
    "        ",
    "        ",
    " 1    2 ",
    "P02  10P",
    "PPP  PPP",
)
"""Map of games of three strategies, with as many items of each."""
ITEMS = (("disc", "#009E73"), ("square", "#6B4F2E"), ("diamond", "#CC79A7"), ("triangle", "#F0E442"))
"""Shape and color of the items of each strategy."""


class MatrixGridState(NamedTuple):
    """Positions, items and inventories; cells are numbered row by row."""

    places: Tensor  # the agents' cells, int64 [batch, agent]
    orientation: Tensor  # 0 north, 1 east, 2 south, 3 west, int64 [batch, agent]
    items: Tensor  # strategy of the item in each cell, or -1, int64 [batch, cell]
    inventories: Tensor  # items of each strategy that each agent has, int64 [batch, agent, strategy]
    beams: Tensor  # cells that a beam reached in the last step, boolean [batch, cell]
    frozen: Tensor  # steps until the agents and items are laid out anew, int64 [batch]; 0: agents may act
    over: Tensor  # the one interaction has taken place, boolean [batch]
    time: Tensor  # steps played, int64 [batch]


@dataclass(frozen=True, kw_only=True)
class InTheMatrix(DrawnGame):
    """A matrix game on a grid: agents collect items of strategies, and interact by a beam.

    Each item stands for a strategy, a row of `matrix`. An agent's mixed strategy v is the distribution of the
    items that it has. When a beam reaches the other agent and both have picked up an item, agent i gets v_i'
    A v_j, with the matrix A. Then both are frozen for `freeze` steps, after which they start from new places
    without their items, and all items are laid out again. With `one_shot` the first interaction ends the
    episode instead.

    In a step agents turn, or walk ahead, then pick up the items in their cells, then interact. The beam
    reaches `beam_length` cells ahead and, on both sides of the first cell, one cell less; walls stop it. A
    contested cell goes to the agent that stays in it, or else to one drawn at random. Agents start from
    different random places with random orientations.

    An observation is a stack of planes in a window with the agent's orientation up: four for the other agent,
    by its orientation relative to the agent's; one for the items of each strategy; ground; and beams. Further
    planes have the same number in every cell: the agent's inventory, as fractions of all items on the map;
    whether it is ready to interact, and whether the other is; and the other's inventory while both are
    frozen.

    With `cooperative`, strategy 0 is to cooperate and strategy 1 to defect: scripted agents pick up an item
    of their own strategy, avoid other items, and interact. An agent cooperates in a step unless it picks up
    an item of another strategy, or most of its items are of another.

    Raises:
        ValueError: the matrix is not square, names or map do not fit it, or a number is out of range.
    Source:
        Leibo et al., Scalable Evaluation with Melting Pot, arXiv 2107.06857, and the two-agent game of STORM
        (Khan et al., Scaling Opponent Shaping to High Dimensional Games, arXiv 2312.12568, as in the code of
        JaxMARL, arXiv 2311.10090), whose map, view, beam, freeze and horizon are the defaults. Unlike there
        agents start from different random places, not from opposite ones, do not swap places, and are paid in
        the last step; the map of three strategies was made here. In Melting Pot agents also step sideways and
        back, beams destroy items, and the matrix has the agent that interacts as its row; maps are larger,
        agents start with one item of each strategy (`start_items`), items grow again (`regrowth` 0.02) and
        both wait for longer.

    >>> game = InTheMatrix()
    >>> generator = torch.Generator().manual_seed(0)
    >>> game.observe(game.reset(2, generator)).shape
    torch.Size([2, 2, 14, 5, 5])
    >>> game.payoffs(torch.tensor([[2, 1], [0, 3]]))  # two cooperative items of three against none of three
    tensor([0.3333, 3.6667])
    """

    matrix: tuple[tuple[float, ...], ...] = ((3, 0), (5, 1))
    """Payoffs A[own strategy][other's strategy], of 2 to 9 strategies."""
    names: tuple[str, ...] = ("cooperate", "defect")
    """Names of the strategies, which differ in their first letters."""
    cooperative: bool = True
    """Read strategy 0 as cooperating and strategy 1 as defecting."""
    map: tuple[str, ...] = STORM_MAP
    """Rows of symbols: P place to start from, @ wall, the number of a strategy for one of its items."""
    one_shot: bool = False
    """End the episode at the first interaction."""
    freeze: int = 5
    """Steps for which both agents are frozen after an interaction; 0 or more."""
    start_items: int = 0
    """Items of each strategy that agents start with; 0 or more."""
    regrowth: float = 0.0
    """Probability that an item appears again in a step, in an empty cell where there was one; from 0 to 1."""
    beam_length: int = 2
    """Cells that the beam reaches ahead; at least 1."""
    view: Reach = (4, 2, 0, 2)
    """Cells that an agent sees ahead, to the right, behind and to the left; each 0 or more."""
    horizon: int = 152
    """Maximum number of steps of an episode; at least 1."""

    num_agents = 2
    action_names = NAMES
    symmetric = True
    strategies = computed(lambda self: len(self.matrix))
    size = computed(lambda self: (len(self.map), len(self.map[0])))
    # a rank of each starting place, and an orientation of each agent
    start_draws = computed(lambda self: len(self.cells_of("spawn")) + 2)
    # a priority of each agent, a new start, and a draw of each item's growth
    step_draws = computed(lambda self: 2 + self.start_draws + (self.regrowth > 0) * len(self.item_cells))

    def __post_init__(self) -> None:
        count = len(self.matrix)
        require(
            2 <= count <= MAX_STRATEGIES and all(len(row) == count for row in self.matrix),
            f"matrix must have as many rows as columns, from 2 to {MAX_STRATEGIES}; it is {self.matrix}.",
        )
        for i, row in enumerate(self.matrix):
            require_finite(**{f"matrix[{i}][{j}]": payoff for j, payoff in enumerate(row)})
        letters = {name[:1].upper() for name in self.names}
        require(
            len(self.names) == len(letters) == count and "" not in letters,
            f"names must be {count} words with different first letters; they are {self.names}.",
        )
        require(not self.cooperative or count == 2, "Strategies cooperate or defect only if there are 2.")
        for strategy in range(count):
            require(
                bool(self.cells_of(str(strategy))),
                f"The map has no item of strategy {strategy}: mark a cell with {str(strategy)!r}.",
            )
        for name in ("freeze", "start_items"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}.")
        require(0 <= self.regrowth <= 1, f"regrowth is a probability, from 0 to 1; it is {self.regrowth}.")
        require(self.beam_length >= 1, f"A beam is at least 1 cell long; beam_length is {self.beam_length}.")
        require(
            len(self.view) == 4 and min(self.view) >= 0,
            f"view says how far an agent sees ahead, right, behind and left, four numbers of 0 or more; not "
            f"{self.view}.",
        )
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    def cells_of(self, meaning: str) -> tuple[int, ...]:
        """The cells of walls ("wall"), starting places ("spawn"), or a strategy's items (its number)."""
        return _cells_of(tuple(self.map), self.strategies)[meaning]

    @property
    def item_cells(self) -> tuple[int, ...]:
        """Cells that items are laid in, in increasing order."""
        return tuple(sorted(cell for own in range(self.strategies) for cell in self.cells_of(str(own))))

    @property
    def observation_space(self) -> spaces.Box:
        shape = (8 + 3 * self.strategies, *tables.window_shape(self.view))
        return spaces.Box(0.0, 1.0, shape, dtype=np.float32)

    @property
    def best_welfare(self) -> float | None:
        """Greatest total of one interaction, if there is only one; 0 if the game is zero-sum."""
        payoffs = np.array(self.matrix, dtype=np.float64)
        total = payoffs + payoffs.T
        if not total.any():
            return 0.0
        return max(0.0, float(total.max())) if self.one_shot else None

    def payoffs(self, inventories: Tensor) -> Tensor:
        """Payoffs of an interaction, float32 [..., agent], of inventories [..., agent, strategy]."""
        mixed = inventories / inventories.sum(-1, keepdim=True).clamp(min=1)
        table = _payoffs(self.matrix, inventories.device)
        paid: Tensor = (mixed.unsqueeze(-1) * table * mixed.flip(-2).unsqueeze(-2)).sum((-1, -2))
        return paid

    def ready(self, inventories: Tensor) -> Tensor:
        """Agents that have picked up an item: boolean [..., agent], of inventories [..., agent, strategy]."""
        at_start = len(self.matrix) * self.start_items
        return inventories.sum(-1) > at_start

    def begin(self, draws: Tensor) -> MatrixGridState:
        places, orientation = self._start(draws)
        batch, device = len(draws), draws.device
        none = torch.zeros(batch, dtype=torch.int64, device=device)
        items = _laid(self, device).expand(batch, -1).clone()
        held = torch.full((batch, 2, self.strategies), self.start_items, device=device)
        beams = torch.zeros_like(items, dtype=torch.bool)
        return MatrixGridState(places, orientation, items, held, beams, none, none.bool(), none.clone())

    def advance(self, state: MatrixGridState, actions: Tensor, draws: Tensor) -> Step:
        actions = torch.where(state.frozen.unsqueeze(-1) > 0, STAY, actions.long())
        turns = (actions == RIGHT).long() - (actions == LEFT).long()
        orientation = (state.orientation + turns) % STILL
        places = resolve_moves(state.places, self._targets(state, actions), draws[:, :2])
        found = state.items.gather(1, places)
        strategies = torch.arange(self.strategies, device=found.device)
        inventories = state.inventories + (found.unsqueeze(-1) == strategies)
        taken = tables.occupied(places, state.items.shape[1])
        items = torch.where(taken, -1, state.items)
        if self.regrowth > 0:
            items = self._grown(items, taken, draws[:, 2 + self.start_draws :])
        reached = self._reached(places, orientation)
        firing = actions == INTERACT
        hits = firing & (reached == places.flip(1).unsqueeze(-1)).any(-1)
        meets = hits.any(1) & self.ready(inventories).all(1)
        rewards = torch.where(meets.unsqueeze(-1), self.payoffs(inventories), 0)
        frozen = torch.where(meets, self.freeze, (state.frozen - 1).clamp_min(0))
        after = MatrixGridState(
            places,
            orientation,
            items,
            inventories,
            self._beams(reached, firing, items),
            frozen,
            state.over | (meets & self.one_shot),
            state.time + 1,
        )
        resets = (meets | (state.frozen == 1)) & (frozen == 0) & (not self.one_shot)
        after = self._laid_out_again(after, resets, draws[:, 2 : 2 + self.start_draws])
        return after, rewards, after.over | (after.time >= self.horizon)

    def observe(self, state: MatrixGridState) -> Tensor:
        batch, device = len(state.time), state.time.device
        strategies = torch.arange(self.strategies, device=device).unsqueeze(-1)
        things = torch.cat(
            (
                tables.mark(state.places, state.items.shape[1]),
                state.items.unsqueeze(1) == strategies,
                _ground(self, device).expand(batch, 1, -1),
                state.beams.unsqueeze(1),
            ),
            1,
        )
        planes = things.float().unflatten(-1, self.size)
        seen = tables.windows(planes, state.places, state.orientation, width=self.size[1], reach=self.view)
        other = torch.stack((seen[:, 0, 1], seen[:, 1, 0]), 1).unsqueeze(2)
        turned = (state.orientation.flip(1) - state.orientation) % STILL
        heading = (turned[..., None] == torch.arange(STILL, device=device)).view(batch, 2, STILL, 1, 1)
        held = (state.inventories / _counts(self, device)).clamp(max=1)
        ready = self.ready(state.inventories).unsqueeze(-1)
        shown = held.flip(1) * (state.frozen > 0).view(-1, 1, 1)
        numbers = torch.cat((held, ready, ready.flip(1), shown), -1).float()
        same = numbers.view(batch, 2, -1, 1, 1).expand(-1, -1, -1, *seen.shape[-2:])
        return torch.cat((other * heading, seen[:, :, 2:], same), 2)

    def ended(self, state: MatrixGridState) -> Tensor:
        return state.over

    def cooperates(self, state: MatrixGridState, actions: Tensor) -> Tensor | None:
        if not self.cooperative:
            return None
        found = state.items.gather(1, self._targets(state, actions))
        return (found < 1) & (state.inventories[..., 0] >= state.inventories[..., 1])

    def scripted(self, state: MatrixGridState, cooperative: Tensor) -> Tensor | None:
        """Pick up an item of one strategy; once both are ready, go to the other agent and interact.

        Agents take turns of `SHIFT` steps in going, so that they do not chase each other.
        """
        if not self.cooperative:
            return None
        own = (~cooperative).long().unsqueeze(-1)
        items = state.items.unsqueeze(1)
        ready = self.ready(state.inventories)
        table = tables.paths(self.size, self.cells_of("wall"), own.device)
        other = state.places.flip(1)
        beside = tables.mark(table[:STILL, other].movedim(0, -1), items.shape[-1]).any(2)
        goals = torch.where(ready.unsqueeze(-1), beside, items == own)
        barred = (items >= 0) & (items != own)
        taken = tables.mark(other, items.shape[-1])
        closed = barred | taken | ~_ground(self, own.device)
        heading = detour(state.places, goals & ~closed, closed, self.size)
        toward = table[:STILL, state.places] == other
        heading = torch.where(ready & toward.any(0), toward.long().argmax(0), heading)
        turn = (heading - state.orientation) % STILL
        walks = torch.where(turn == 0, FORWARD, torch.where(turn == STILL - 1, LEFT, RIGHT))
        turn_of = (state.time // SHIFT % 2).unsqueeze(-1) == torch.arange(2, device=own.device)
        waits = ready & ~(ready.all(1, keepdim=True) & turn_of)
        moves = torch.where((heading == STILL) | waits, STAY, walks)
        reached = self._reached(state.places, state.orientation)
        meets = (reached == other.unsqueeze(-1)).any(-1) & ready.all(1, keepdim=True)
        return torch.where(meets, INTERACT, moves)

    def render(self, state: MatrixGridState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        rows, columns = self.size
        walls = self.cells_of("wall")
        beams = state.beams[index].tolist()
        ground = [
            ["wall" if cell in walls else "beam" if beams[cell] else "ground" for cell in line]
            for line in np.arange(rows * columns).reshape(rows, columns).tolist()
        ]
        items = [(cell, own) for cell, own in enumerate(state.items[index].tolist()) if own >= 0]
        agents = zip(state.places[index].tolist(), state.orientation[index].tolist(), strict=True)
        counts = (
            f"{agent} has " + ", ".join(f"{count} {self._letter(own)}" for own, count in enumerate(held))
            for agent, held in enumerate(state.inventories[index].tolist())
        )
        waits = ", frozen" if state.frozen[index] else ""
        key = [HEADING_KEY, *(KeyEntry(self._thing(0, own), name) for own, name in enumerate(self.names))]
        key += [KeyEntry("wall", "wall")] if walls else []
        return draw_grid(
            ground,
            [self._thing(cell, own) for cell, own in items],
            [Figure(cell, number, face) for number, (cell, face) in enumerate(agents)],
            caption=f"{'; '.join(counts)}; step {int(state.time[index])}{waits}",
            key=[*key, KeyEntry("beam", "beam of the last step")],
            cell=fitting(self.size),
            scale=scale,
        )

    def _letter(self, strategy: int) -> str:
        return self.names[strategy][0].upper()

    def _thing(self, cell: int, strategy: int) -> Thing:
        shape, color = ITEMS[strategy % len(ITEMS)]
        return Thing(cell, color, shape, self._letter(strategy))

    def _start(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Places and orientations of both agents, each [batch, agent]."""
        spawn = tables.cell_indices(self.cells_of("spawn"), draws.device)
        places = spawn[draws[:, : len(spawn)].topk(2).indices]
        return places, (draws[:, len(spawn) :] * STILL).long()

    def _targets(self, state: MatrixGridState, actions: Tensor) -> Tensor:
        """The cells that actions lead to without the other agent, [batch, agent]."""
        table = tables.paths(self.size, self.cells_of("wall"), actions.device)
        heading = torch.where(actions == FORWARD, state.orientation, STILL)
        return tables.look_up(table.flatten(), heading * table.shape[1] + state.places)

    def _reached(self, places: Tensor, orientation: Tensor) -> Tensor:
        """The cells that each agent's beam would reach: [batch, agent, cell of the beam]."""
        table = _beam_table(self.size, self.cells_of("wall"), self.beam_length, places.device)
        return tables.rows_at(table, orientation, places)

    def _beams(self, reached: Tensor, firing: Tensor, items: Tensor) -> Tensor:
        """Mask of the cells that a fired beam reaches, boolean [batch, cell]."""
        cells = items.shape[1]
        fired = torch.where(firing.unsqueeze(-1), reached, cells).flatten(1)
        marks = torch.zeros(len(items), cells + 1, dtype=torch.bool, device=items.device)
        return marks.scatter(1, fired, torch.ones_like(fired, dtype=torch.bool))[:, :-1].contiguous()

    def _grown(self, items: Tensor, taken: Tensor, draws: Tensor) -> Tensor:
        """Items after those of empty cells have appeared again by chance, [batch, cell]."""
        cells = tables.cell_indices(self.item_cells, items.device)
        grows = (draws < self.regrowth) & (tables.at(items, cells) < 0) & ~tables.at(taken, cells)
        new = torch.where(grows, _laid(self, items.device)[cells], tables.at(items, cells))
        return tables.put(items, cells, new)

    def _laid_out_again(self, state: MatrixGridState, resets: Tensor, draws: Tensor) -> MatrixGridState:
        """The state with new places, and all items on the map, where `resets`, boolean [batch]."""
        places, orientation = self._start(draws)
        agents, again = resets.unsqueeze(-1), _laid(self, draws.device)
        return state._replace(
            places=torch.where(agents, places, state.places),
            orientation=torch.where(agents, orientation, state.orientation),
            items=torch.where(agents, again, state.items),
            inventories=torch.where(agents.unsqueeze(-1), self.start_items, state.inventories),
        )


@cached_constants
def _cells_of(rows: tuple[str, ...], strategies: int) -> dict[str, tuple[int, ...]]:
    numbers = {str(strategy): str(strategy) for strategy in range(strategies)}
    return tables.read_map(rows, {"@": "wall", "P": "spawn"} | numbers, agents=2)


@cached_constants
def _laid(game: InTheMatrix, device: torch.device) -> Tensor:
    """Strategy of the item in each cell when all are laid out, or -1: int64 [cell]."""
    items = np.full(game.size[0] * game.size[1], -1)
    for strategy in range(game.strategies):
        items[list(game.cells_of(str(strategy)))] = strategy
    return constant(items, torch.int64, device)


@cached_constants
def _ground(game: InTheMatrix, device: torch.device) -> Tensor:
    """Cells that are not walls: boolean [cell]."""
    walls = np.zeros(game.size[0] * game.size[1], dtype=bool)
    walls[list(game.cells_of("wall"))] = True
    return constant(~walls, torch.bool, device)


@cached_constants
def _counts(game: InTheMatrix, device: torch.device) -> Tensor:
    """Number of items of each strategy, those that an agent starts with included: float32 [strategy]."""
    counts = [len(game.cells_of(str(own))) + game.start_items for own in range(game.strategies)]
    return constant(counts, torch.float32, device)


@cached_constants
def _payoffs(matrix: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    return constant(matrix, torch.float32, device)


@cached_constants
def _beam_table(size: tables.Size, walls: tuple[int, ...], length: int, device: torch.device) -> Tensor:
    """The cells of each beam, [orientation, 1 + cell, cell of the beam], without those beside its owner."""
    left, ahead, right = tables.beam_table(size, walls, length, 3, device).unbind(2)
    return torch.cat((ahead, left[..., 1:], right[..., 1:]), -1)
