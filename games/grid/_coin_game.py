"""The coin game: every coin gives a reward, and picking up the other agent's coin hurts it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, cached_constants, computed, constant, in_fresh_thread, require
from games.grid._coin_tables import Cells, CoinTables, Sizes, tabulate
from games.grid._frame import Figure, KeyEntry, Thing, draw_grid
from games.grid._open_ground import STAY, WALKS
from games.grid._tables import look_up
from games.render import AGENTS

PICK_REWARD, THEFT_REWARD = 1.0, -2.0
KEY = tuple(
    entry
    for agent, color in enumerate(("red", "blue"))
    for entry in (
        KeyEntry(Figure(0, agent), f"agent {agent}, {color}"),
        KeyEntry(Thing(0, AGENTS[agent][0], "diamond", str(agent)), f"{color} coin"),
    )
)
MOST_OUTCOMES = 2**20
"""Maximum number of tabulated outcomes: a board of 3 x 3 with one coin has fewer, larger boards more."""


class CoinState(NamedTuple):
    """Positions; cells are numbered row by row."""

    places: Tensor  # the agents' cells, integer [batch, agent]; both may share one
    coins: Tensor  # the cell of each color's coin, integer [batch, color]; -1 where there is none
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class CoinGame(DrawnGame):
    """The coin game on a torus: a red agent (0), a blue agent (1), and coins of both colors.

    Both move simultaneously. An agent that arrives at a coin picks it up and gets +1, whatever the color; if
    the coin has the other agent's color, that agent gets -2. With one coin, a new coin of the other color or
    of a random color then appears, never on an agent; with two coins (one in each color at all times) the
    coin that was taken moves to a cell without agents and coins. If both arrive at one coin in the same step,
    `tie` determines the agent that picks it up; the other agent is neither rewarded nor penalized for it.
    Agents start on different cells. All free cells are equally likely. With `anywhere`, agents and coins may
    share cells, at the start and later.

    An observation is four planes (the agent itself, the other agent, the coin of its own color, the coin of
    the other color) of the whole torus or, with `view`, of a window around the agent, wrapped around the
    edges. So one policy can act for either agent; the sources' code shows both agents the same planes (red
    agent, blue agent, red coin, blue coin), and has a policy for each.

    Raises:
        ValueError: the torus is too small, the view is wider than it, or a setting is none of those listed.
    Source:
        One coin: Lerer and Peysakhovich, arXiv 1707.01068, as in the code released with LOLA-DiCE, arXiv
        1802.05098. The code released with LOLA, arXiv 1709.04326, differs in tie="red": there red gains on
        average 99 in an episode of two agents who pick up all coins, and blue loses as much. Two coins:
        M-FOS, arXiv 2205.01447, whose released code has coins=2, anywhere=True, pay_last=False, and a horizon
        of 16 (32 without shaping); Pax adds stay=True. LASE, arXiv 2410.07863: size=5, color="random",
        tie="random", horizon=100, view=2; assumed: its field is a torus too, without an action to stay.

    >>> game = CoinGame()
    >>> generator = torch.Generator().manual_seed(0)
    >>> state = game.reset(batch=2, generator=generator)
    >>> game.observe(state).shape
    torch.Size([2, 2, 4, 3, 3])
    """

    size: int = 3
    """Cells of a side; at least 2."""
    coins: Literal[1, 2] = 1
    """Number of coins at a time: one, whose color changes, or one in each color."""
    color: Literal["alternate", "random"] = "alternate"
    """Color of the next coin, with one coin: the other one, or drawn at random."""
    tie: Literal["red", "random", "both"] = "both"
    """The agent that picks up a coin where both arrive: both (as if alone), one drawn at random, or red."""
    stay: bool = False
    """Add a fifth action, to stay."""
    anywhere: bool = False
    """Let agents start, and coins appear, in any cell, also in an occupied one."""
    pay_last: bool = True
    """Give rewards in the last step of an episode."""
    horizon: int = 150
    """Steps of an episode; at least 1."""
    view: int | None = None
    """Cells that an agent sees in each direction, at most (size - 1) / 2; None: the whole torus."""

    discount = 0.96  # LOLA's
    start_draws = 5  # two places, the first coin's color, and the coins' cells
    num_agents = 2
    action_names = computed(lambda self: tuple(WALKS)[: STAY + self.stay])
    # four planes: the agent itself, the other agent, the coin of its own color, that of the other color
    observation_space = computed(lambda self: spaces.Box(0.0, 1.0, self._planes, dtype=np.float32))
    symmetric = computed(lambda self: self.tie != "red")  # broken if red wins ties
    defection_welfare = 0.0  # picking up every coin hurts the other by 2 in half the cases

    def __post_init__(self) -> None:
        require(self.size >= 2, f"The torus needs at least 2 cells a side; size is {self.size}.")
        require(self.coins in (1, 2), f"There are 1 or 2 coins at a time, not {self.coins}.")
        color = self.color
        require(color in ("alternate", "random"), f"color must be alternate or random, not {color!r}.")
        require(self.tie in ("red", "random", "both"), f"tie must be both, random or red, not {self.tie!r}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")
        require(
            self.view is None or 0 <= 2 * self.view < self.size,
            f"A window that reaches {self.view} cells does not fit on a torus of {self.size}: view must be "
            f"at most {(self.size - 1) // 2}, or None.",
        )

    @property
    def step_draws(self) -> int:
        """New coins' cells, the winner of a tie and the next coin's color: the last two only if random."""
        return self.coins + (self.tie == "random") + (self.coins == 1 and self.color == "random")

    def begin(self, draws: Tensor) -> CoinState:
        red = (draws[:, 0] * self.size**2).long()
        blue = self._free_cell((red,), draws[:, 1])
        first = self._free_cell((red, blue), draws[:, 3])
        if self.coins == 1:
            red_first = draws[:, 2] < 0.5
            coins = torch.where(torch.stack((red_first, ~red_first)), first, -1)
        else:
            coins = torch.stack((first, self._free_cell((red, blue, first), draws[:, 4])))
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return CoinState(torch.stack((red, blue)).T, coins.T, time)

    def advance(self, state: CoinState, actions: Tensor, draws: Tensor) -> Step:
        tables = _tables(self, draws.device)
        play = self._transition if tables is None else tables.play
        cells, rewards = play(_cells(state), actions, draws)
        after = CoinState(cells[:2].T, cells[2:].T, state.time + 1)
        done = after.time >= self.horizon
        return after, (rewards if self.pay_last else rewards * ~done).T, done

    def observe(self, state: CoinState) -> Tensor:
        tables = _tables(self, state.places.device)
        look = self._observations if tables is None else tables.look
        return look(_cells(state)).view(-1, self.num_agents, *self._planes)

    def cooperates(self, state: CoinState, actions: Tensor) -> Tensor:
        """Avoiding the other's coin cooperates, unless the own coin is there, too: boolean [batch, agent]."""
        places = self._move(state.places, actions)
        return (places != state.coins.flip(1)) | (places == state.coins)

    def scripted(self, state: CoinState, cooperative: Tensor) -> Tensor:
        """Take the shortest path to the nearest coin; cooperators to their own, avoiding the other's.

        With `anywhere` both coins may lie in one cell; then cooperators, too, go there.
        """
        moves = torch.arange(STAY, device=state.places.device)
        targets = self._move(state.places[..., None], moves)
        table = _distances(self.size, state.places.device)
        far = float(2 * self.size)
        own, other = (
            torch.where(coins[..., None] >= 0, table[targets, coins[..., None].clamp_min(0)], far)
            for coins in (state.coins, state.coins.flip(1))
        )
        careful = torch.where((other == 0) & (own > 0), 2 * far, own)
        return torch.where(cooperative[..., None], careful, torch.minimum(own, other)).argmin(-1)

    def render(self, state: CoinState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        cells = enumerate(state.coins[index].tolist())
        coins = [Thing(cell, AGENTS[color][0], "diamond", str(color)) for color, cell in cells if cell >= 0]
        agents = [Figure(cell, number) for number, cell in enumerate(state.places[index].tolist())]
        plain = [["ground"] * self.size] * self.size
        return draw_grid(plain, coins, agents, key=KEY, cell=60, scale=scale)

    @property
    def _planes(self) -> tuple[int, int, int]:
        side = self.size if self.view is None else 2 * self.view + 1
        return 4, side, side

    def _transition(self, cells: Cells, actions: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Play a step: cells of agents and coins [4, batch] -> next cells, rewards [agent, batch]."""
        # The batch is the last axis: inner loops over two agents or colors would be too short.
        before, coins = torch.stack(tuple(cells)).split(2)
        places = self._move(before, actions.T)
        taken = self._pick_ups(places[:, None] == coins, draws)
        rewards = _payoffs(draws.device) @ taken.flatten(0, 1).view(torch.uint8).float()
        next_coins = self._next_coins(places, coins, taken[0] | taken[1], draws)
        return torch.cat((places, next_coins)), rewards

    def _observations(self, cells: Cells) -> Tensor:
        """Observations, [batch, agent * 4 planes * cell], of cells as for `_transition`."""
        count = self.size**2
        red, blue, red_coin, blue_coin = cells
        plane_cells = ((red, blue), (red_coin, blue_coin), (blue, red), (blue_coin, red_coin))
        pairs = torch.stack([torch.add(other, own, alpha=count + 1) for own, other in plane_cells], 1)
        planes = _pair_planes(count, pairs.device).index_select(0, (pairs + (count + 2)).flatten())
        if self.view is None:
            return planes.reshape(len(red), -1)
        window = _windows(self.size, self.view, planes.device)[torch.stack((red, blue), 1)]
        planes = planes.view(-1, 2, 4, count).gather(-1, window[:, :, None].expand(-1, -1, 4, -1))
        return planes.flatten(1)

    def _move(self, places: Tensor, actions: Tensor) -> Tensor:
        """The cells that these actions lead to."""
        return look_up(_targets(self.size, places.device), torch.add(places, actions, alpha=self.size**2))

    def _pick_ups(self, arrived: Tensor, draws: Tensor) -> Tensor:
        """Mask of pick-ups from the mask of arrivals: boolean [agent, color, batch]."""
        if self.tie == "both":
            return arrived
        red, blue = arrived
        if self.tie == "random":
            red_wins = draws[:, self.coins] < 0.5
            red = red & (red_wins | ~blue)
        return torch.stack((red, blue & ~red))

    def _next_coins(self, places: Tensor, coins: Tensor, taken: Tensor, draws: Tensor) -> Tensor:
        """Cells of the coins after these were picked up, integer [color, batch]."""
        if self.coins == 2:
            left = torch.where(taken[1], places[0], coins[1])  # if taken, an agent stands there
            red = torch.where(taken[0], self._free_cell((*places, left), draws[:, 0]), coins[0])
            blue = torch.where(taken[1], self._free_cell((*places, red), draws[:, 1]), coins[1])
            return torch.stack((red, blue))
        fresh = self._free_cell(tuple(places), draws[:, 0])
        if self.color == "alternate":
            appears = coins < 0
        else:
            red_next = draws[:, -1] < 0.5
            appears = torch.stack((red_next, ~red_next))
        return torch.where(taken[0] | taken[1], torch.where(appears, fresh, -1), coins)

    def _free_cell(self, taken: Sequence[Tensor], draw: Tensor) -> Tensor:
        """A random cell other than those taken, uniformly: integer [batch].

        The draw gives its rank among the free cells; then taken cells are skipped in increasing order.
        """
        cells = self.size**2
        if self.anywhere:
            return (draw * cells).long()
        order = _sorted(taken)
        distinct = [high > low for low, high in itertools.pairwise(order)]
        cell = (draw * _count_free(cells, distinct)).long()
        cell = cell + (cell >= order[0])
        for high, counts in zip(order[1:], distinct, strict=True):
            cell = cell + ((cell >= high) & counts)
        return cell

    def _free_count(self, places: Tensor) -> Tensor:
        """Number of free cells for a single new coin: float32 [batch], from places [agent, batch]."""
        red, blue = places
        if self.anywhere:
            return torch.full((len(red),), float(self.size**2))
        return _count_free(self.size**2, [red != blue])


def _cells(state: CoinState) -> Cells:
    return (*state.places.unbind(1), *state.coins.unbind(1))


@cached_constants
def _pair_planes(cells: int, device: torch.device) -> Tensor:
    """One-hot planes of each pair of cells, -1 (none) included: [pair, 2 * cell]."""
    plane = np.eye(cells + 1, dtype=np.float32)[:, 1:]
    both = np.concatenate((np.repeat(plane, cells + 1, 0), np.tile(plane, (cells + 1, 1))), 1)
    return constant(both, torch.float32, device)


def _count_free(cells: int, masks: Sequence[Tensor]) -> Tensor:
    """Number of free cells, if one is taken and masks for each true mask: float32 [batch]."""
    left: float | Tensor = cells - 1
    for counts in masks:
        left = left - counts.float()  # mixed types take twice as long
    return torch.as_tensor(left)


def _sorted(values: Sequence[Tensor]) -> list[Tensor]:
    """The same numbers, sorted elementwise across the tensors."""
    order = list(values)
    for last in range(len(order) - 1, 0, -1):
        for i in range(last):
            low, high = torch.minimum(order[i], order[i + 1]), torch.maximum(order[i], order[i + 1])
            order[i], order[i + 1] = low, high
    return order


@cached_constants
def _tables(game: CoinGame, device: torch.device) -> CoinTables | None:
    """The transition tables, for games small enough to tabulate."""
    sizes = Sizes(game.size**2, len(game.action_names), game.step_draws - 1)
    if game.coins == 2 or sizes.outcomes > MOST_OUTCOMES:
        return None
    tables = in_fresh_thread(lambda: tabulate(sizes, game._transition, game._free_count, game._observations))
    return CoinTables(sizes, *(table.to(device) for table in tables[1:]))


@cached_constants
def _payoffs(device: torch.device) -> Tensor:
    """Rewards of agents for pick-ups of red, blue coin by red, then by blue: float32 [2, 4]."""
    table = [[PICK_REWARD, PICK_REWARD, THEFT_REWARD, 0], [0, THEFT_REWARD, PICK_REWARD, PICK_REWARD]]
    return constant(table, torch.float32, device)


@cached_constants
def _targets(size: int, device: torch.device) -> Tensor:
    """Next cell of each action from each cell: [action * cell]."""
    targets = [
        (row + down) % size * size + (column + right) % size
        for down, right in WALKS.values()
        for row in range(size)
        for column in range(size)
    ]
    return constant(targets, torch.int64, device)


@cached_constants
def _windows(size: int, view: int, device: torch.device) -> Tensor:
    """The cells of each cell's window, row by row: [cell, cell of the window]."""
    side, reach = np.arange(size), np.arange(-view, view + 1)
    rows = (side[:, None, None, None] + reach[:, None]) % size
    columns = (side[:, None, None] + reach) % size
    return constant((rows * size + columns).reshape(size**2, -1), torch.int64, device)


@cached_constants
def _distances(size: int, device: torch.device) -> Tensor:
    """Steps between cells, with ties broken by the straight-line distance: float32 [cell, cell]."""
    side = np.arange(size)
    apart = np.abs(side[:, None] - side)
    apart = np.minimum(apart, size - apart)
    steps = apart[:, None, :, None] + apart[None, :, None, :]
    squares = (apart**2)[:, None, :, None] + (apart**2)[None, :, None, :]
    return constant((steps + squares / size**2).reshape(size**2, size**2), torch.float32, device)
