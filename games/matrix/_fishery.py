"""A fishery with open access: the catch pays each boat, and the stock is common."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games.core import Game, Step, alias, cached_constants, computed, require
from games.matrix._escape_room import own_first
from games.matrix._matrix import WIDEST_PAYOFF, require_finite, require_two_or_more
from games.render import draw_table

STOCKS = 400
"""Intervals between the stocks over which the best plan is searched."""
ROUNDING = 1e-9
"""Share of such an interval by which a stock may miss its end."""


class FisheryState(NamedTuple):
    """The stock of fish, and efforts and catches of the last step.

    >>> from games import make
    >>> game, generator = make("fishery"), torch.Generator()
    >>> game.reset(1, generator).stock
    tensor([0.5000])
    """

    time: Tensor
    """Steps played, int64 [batch]."""
    stock: Tensor
    """Fish left, [batch]."""
    efforts: Tensor
    """Efforts of the last step, [batch, agent]; 0 before the first."""
    catches: Tensor
    """Fish that each agent caught in the last step, [batch, agent]; 0 before the first."""


@dataclass(frozen=True, kw_only=True)
class FishingGround(Game):
    """Boats that fish from a common stock with logistic growth."""

    agents: int = 2
    """Number of boats, 2 or more."""
    growth: float = 0.15
    """Rate of growth of a small stock in a step; above 0, at most 1."""
    efficiency: float = 0.009
    """Fraction of the stock that one unit of effort catches; above 0."""
    price: float = 200.0
    """Value of a unit of fish, above 0."""
    wage: float = 0.9
    """Cost of a unit of effort; 0 or more."""
    start_stock: float = 0.5
    """Stock at the start of an episode; from 0 to `max_stock`."""
    max_stock: float = 1.0
    """Stock at which growth ends, the carrying capacity; above 0."""
    max_effort: float = 10.0
    """Largest effort of a boat in a step; above 0."""
    horizon: int = 300
    """Steps of an episode; at least 1."""

    num_agents = alias("agents")
    symmetric = True
    fully_symmetric = True
    draws_by_rows = True
    pure = True
    # the stock, the agent's own effort, the others' in increasing order, as fractions of the largest
    observation_space = computed(lambda self: spaces.Box(0.0, 1.0, (1 + self.agents,), dtype=np.float32))

    def __post_init__(self) -> None:
        require_two_or_more(agents=self.agents)
        names = ("growth", "efficiency", "price", "wage", "start_stock", "max_stock", "max_effort")
        require_finite(**{name: getattr(self, name) for name in names})
        for name in ("growth", "efficiency", "price", "max_stock", "max_effort"):
            require(getattr(self, name) > 0, f"{name} must be above 0, not {getattr(self, name)}.")
        require(self.growth <= 1, f"growth must be 1 or less, or the stock overshoots; it is {self.growth}.")
        require(self.wage >= 0, f"wage must be 0 or more, not {self.wage}.")
        require(
            0 <= self.start_stock <= self.max_stock,
            f"start_stock must be from 0 to max_stock, {self.max_stock}; it is {self.start_stock}.",
        )
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def open_access_stock(self) -> float:
        """Stock at which a unit of effort just pays its wage: wage / (price * efficiency)."""
        return self.wage / (self.price * self.efficiency)

    @property
    def best_stock(self) -> float:
        """Stock with the greatest joint profit of a step if it is kept forever."""
        return (self.max_stock + min(self.open_access_stock, self.max_stock)) / 2

    @property
    def best_effort(self) -> float:
        """Total effort that keeps the best stock."""
        return self.growth * (1 - self.best_stock / self.max_stock) / self.efficiency

    @property
    def equilibrium_effort(self) -> float:
        """Total effort in the Nash equilibrium of constant efforts, with payoffs of the stock that they keep.

        A constant total effort E keeps max_stock (1 - efficiency E / growth), so that the profit of a boat is
        that of a firm in Cournot competition: 2N / (N + 1) times the best effort.
        """
        return 2 * self.agents / (self.agents + 1) * self.best_effort

    @property
    def best_welfare(self) -> float:
        """Joint profit of the best plan of an episode."""
        return _welfare(self, True)

    @property
    def defection_welfare(self) -> float:
        """Joint profit of an episode if every boat fishes at full effort while that pays."""
        return _welfare(self, False)

    @property
    def best_plan(self) -> Tensor:
        """Total efforts that maximize the joint profit of an episode, float64 [horizon].

        By dynamic programming over 401 stocks: other plans may gain slightly more.
        """
        return torch.from_numpy(_best_plan(self).copy())

    @abc.abstractmethod
    def efforts(self, actions: Tensor) -> Tensor:
        """Efforts of actions, [batch, agent]."""

    def reset(self, batch: int, generator: torch.Generator) -> FisheryState:
        nothing = torch.zeros(batch, self.agents, device=generator.device)
        stock = torch.full_like(nothing[:, 0], self.start_stock)
        return FisheryState(torch.zeros_like(stock, dtype=torch.int64), stock, nothing, nothing.clone())

    def observe(self, state: FisheryState) -> Tensor:
        efforts = (state.efforts / self.max_effort)[:, own_first(self.agents, state.efforts.device)]
        stock = (state.stock / self.max_stock)[:, None, None].expand(-1, self.agents, 1)
        return torch.cat((stock, efforts), -1).float()

    def step(self, state: FisheryState, actions: Tensor, generator: torch.Generator) -> Step:
        efforts, stock = self.efforts(actions).to(state.stock), state.stock
        total = efforts.sum(-1)
        grown = stock + self.growth * stock * (1 - stock / self.max_stock)
        caught = torch.minimum(total * stock * self.efficiency, grown)
        shares = efforts / torch.where(total > 0, total, 1).unsqueeze(-1)
        catches = shares * caught.unsqueeze(-1)
        left = (grown - caught).clamp(0, self.max_stock)
        after = FisheryState(state.time + 1, left, efforts, catches)
        return after, self.price * catches - self.wage * efforts, after.time >= self.horizon

    def render(self, state: FisheryState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        steps, stock = int(state.time[index]), float(state.stock[index])
        efforts, catches = state.efforts[index].tolist(), state.catches[index].tolist()
        rows = [
            [str(agent), f"{effort:.4g}", f"{caught:.3f}", f"{self.price * caught - self.wage * effort:.4g}"]
            for agent, (effort, caught) in enumerate(zip(efforts, catches, strict=True))
        ]
        table = [["boat", "effort", "catch", "profit"], *rows]
        room = [["", *[WIDEST_PAYOFF] * 3]]
        return draw_table(f"after {steps} steps, stock {stock:.3f}", table, room=room, scale=scale)


@dataclass(frozen=True, kw_only=True)
class Fishery(FishingGround):
    """A fishery with open access: each boat's effort pays it, and the stock is common.

    With total effort E, H = min(efficiency E s, G(s)) fish are caught from a stock s that has grown to G(s) =
    s + growth s (1 - s / max_stock), and G(s) - H are left. The catch is split in proportion to efforts, and
    each boat pays `wage` for a unit of its effort: r_i = price H e_i / E - wage e_i.

    Effort pays as long as the stock is above wage / (price efficiency), 0.5 with the default numbers, at
    which all profits are 0. If a stock is kept forever, the joint profit is greatest at 0.75, at a
    total effort of 4.1667: 1.875 a step. The best plan of an episode (`best_plan`) gains more: as a step's
    catch is taken from the stock at its start, it pays to let the stock grow and then to fish at full effort.
    The optimum is that of continuous efforts.

    Efforts are `levels` numbers at equal distances, from 0 to `max_effort`. Scripted cooperators let the
    stock grow to the best one and then keep it there, with equal efforts rounded down to a level. Scripted
    defectors fish at full effort while that pays. An action cooperates if its effort is at most that of the
    cooperators' script.

    An observation is the stock and the efforts of the last step, as fractions of the largest: the agent's own
    effort, then those of the others in increasing order.

    Raises:
        ValueError: there are too few boats or levels, or a number is out of range.
    Source:
        Perman et al., Natural Resource and Environmental Economics, 3rd edition, 2003; form, numbers and
        horizon as in the code of Pax (Willi et al., 2022), whose efforts are continuous:
        `ContinuousFishery`. The largest effort and the levels were chosen here.

    >>> game = Fishery()
    >>> game.best_stock, round(game.best_effort, 4)
    (0.75, 4.1667)
    >>> generator = torch.Generator()
    >>> state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[5, 0]]), generator)
    >>> state.stock, rewards  # 0.5 + 0.0375 - 10 * 0.009 * 0.5; 200 * 0.045 - 9: fishing at 0.5 pays nothing
    (tensor([0.4925]), tensor([[0., 0.]]))
    """

    levels: int = 6
    """Number of efforts that a boat can choose from, 2 or more."""

    action_space = computed(lambda self: spaces.Discrete(self.levels))
    action_names = computed(lambda self: tuple(f"{effort:g}" for effort in self.choices))

    def __post_init__(self) -> None:
        super().__post_init__()
        require_two_or_more(levels=self.levels)

    @property
    def choices(self) -> NDArray[np.float64]:
        """The effort of each action, [action]."""
        return np.linspace(0.0, self.max_effort, self.levels)

    def efforts(self, actions: Tensor) -> Tensor:
        return actions * (self.max_effort / (self.levels - 1))

    def cooperates(self, state: FisheryState, actions: Tensor) -> Tensor:
        return actions <= self._sustainable(state)

    def scripted(self, state: FisheryState, cooperative: Tensor) -> Tensor:
        pays = (state.stock > self.open_access_stock).unsqueeze(-1)
        return torch.where(cooperative, self._sustainable(state), (self.levels - 1) * pays)

    def _sustainable(self, state: FisheryState) -> Tensor:
        """The highest level that, chosen by all, leaves the best stock: integer [batch, 1]."""
        grown = state.stock + self.growth * state.stock * (1 - state.stock / self.max_stock)
        total = (grown - self.best_stock) / (self.efficiency * state.stock).clamp(min=1e-12)
        level = total / self.agents * ((self.levels - 1) / self.max_effort)
        return level.clamp(0, self.levels - 1).floor().long().unsqueeze(-1)


@dataclass(frozen=True, kw_only=True)
class ContinuousFishery(FishingGround):
    """A fishery with open access and continuous efforts: a Box from 0 to `max_effort`.

    The rules are those of `Fishery`. With continuous efforts the best stock can be kept exactly. If boats
    choose constant efforts, total effort in equilibrium is 2N / (N + 1) times that of the best stock.

    Raises:
        ValueError: there are too few boats, or a number is out of range.
    Source:
        Perman et al., Natural Resource and Environmental Economics, 3rd edition, 2003; form, numbers and
        horizon as in the code of Pax (Willi et al., 2022), which draws the efforts of the first observation
        at random. The largest effort was chosen here.

    >>> game = ContinuousFishery(start_stock=0.75)
    >>> generator = torch.Generator()
    >>> half = torch.full((1, 2, 1), game.best_effort / 2)
    >>> state, rewards, done = game.step(game.reset(1, generator), half, generator)
    >>> state.stock, rewards
    (tensor([0.7500]), tensor([[0.9375, 0.9375]]))
    """

    action_space = computed(lambda self: spaces.Box(0.0, self.max_effort, (1,), dtype=np.float32))
    action_names = ("effort",)

    def efforts(self, actions: Tensor) -> Tensor:
        return actions.squeeze(-1)


@cached_constants
def _best_plan(game: FishingGround) -> NDArray[np.float64]:
    """Total efforts of the best plan, float64 [horizon], by dynamic programming over the stock left.

    Going backward, stocks are `STOCKS` equal intervals apart; going forward, they are those that follow from
    the efforts, between which values are interpolated.
    """
    stocks = np.linspace(0.0, game.max_stock, STOCKS + 1)
    lowest, grown, profit = _choices(game, stocks)
    first = np.ceil(lowest / stocks[1] - ROUNDING).astype(int)
    last = np.floor(grown / stocks[1] + ROUNDING).astype(int)
    left = last[:, None] - np.arange(
        max(1, int((last - first).max()) + 1)
    )  # numbers of stocks, [stock, choice]
    paid = np.where(left >= first[:, None], profit[:, None] * (grown[:, None] - left * stocks[1]), -np.inf)
    left = left.clip(0)
    values = [np.zeros(STOCKS + 1)]
    for _ in range(game.horizon - 1):
        rests = np.interp(grown, stocks, values[-1])
        most = profit * (grown - lowest) + np.interp(lowest, stocks, values[-1])  # full effort
        values.append(np.maximum((paid + values[-1][left]).max(1), np.maximum(rests, most)))
    plan, stock = np.zeros(game.horizon), np.array(game.start_stock)
    for time, value in enumerate(reversed(values)):
        low, high, profit = _choices(game, stock)
        choices = np.append(np.unique(stocks.clip(low, high)), high)
        best = choices[np.argmax(profit * (high - choices) + np.interp(choices, stocks, value))]
        plan[time] = (high - best) / (game.efficiency * stock) if stock > 0 else 0.0
        stock = best
    return plan


def _choices(game: FishingGround, stock: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Least and largest stock that can be left, and the profit of a fish, at this stock: each [...]."""
    grown = stock + game.growth * stock * (1 - stock / game.max_stock)
    most = game.agents * game.max_effort * game.efficiency * stock
    profit = game.price - game.wage / np.where(stock > 0, game.efficiency * stock, np.inf)
    return np.maximum(grown - most, 0.0), grown, profit


@cached_constants
def _welfare(game: FishingGround, best: bool) -> float:
    """Joint profit of an episode: of the best plan, or if all fish at full effort while that pays."""
    plan = _best_plan(game) if best else np.full(game.horizon, game.agents * game.max_effort)
    stock, welfare = game.start_stock, 0.0
    for planned in plan.tolist():
        effort = planned if best or stock > game.open_access_stock else 0.0
        grown = stock + game.growth * stock * (1 - stock / game.max_stock)
        caught = min(effort * stock * game.efficiency, grown)
        welfare += game.price * caught - game.wage * effort
        stock = grown - caught
    return welfare
