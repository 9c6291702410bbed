"""Cournot competition: firms choose quantities, and the price falls with their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games.core import Game, Step, alias, computed, require
from games.matrix._escape_room import own_first
from games.matrix._matrix import WIDEST_PAYOFF, MatrixGame, MatrixState, require_finite, require_two_or_more
from games.render import draw_table

MAX_PAYOFFS = 2_000_000


class CournotState(NamedTuple):
    """The state of continuous Cournot competition.

    >>> from games import make
    >>> game, generator = make("cournot-continuous"), torch.Generator()
    >>> game.step(game.reset(1, generator), torch.tensor([[[30.0], [20.0]]]), generator)[0].quantities
    tensor([[30., 20.]])
    """

    time: Tensor
    """Steps played, int64 [batch]."""
    quantities: Tensor
    """Quantities of the last step, [batch, agent]; 0 before the first."""


@dataclass(frozen=True, kw_only=True)
class Market(Game):
    """Firms with a common cost, on a market with linear demand."""

    agents: int = 2
    """Number of firms, 2 or more."""
    intercept: float = 100.0
    """Price at which nothing is sold; above the cost."""
    slope: float = 1.0
    """Fall of the price for each unit sold; above 0."""
    cost: float = 10.0
    """Cost of a unit, 0 or more."""
    max_quantity: float = 45.0
    """Largest quantity of a firm; above 0. By default that of a monopoly."""

    num_agents = alias("agents")
    symmetric = True
    fully_symmetric = True
    draws_by_rows = True
    pure = True

    def __post_init__(self) -> None:
        require_two_or_more(agents=self.agents)
        numbers = {name: getattr(self, name) for name in ("intercept", "slope", "cost", "max_quantity")}
        require_finite(**numbers)
        for name in ("slope", "max_quantity"):
            require(numbers[name] > 0, f"{name} must be above 0, not {numbers[name]}.")
        require(
            0 <= self.cost < self.intercept,
            f"cost must be from 0 to less than the intercept, {self.intercept}; it is {self.cost}.",
        )

    @property
    def equilibrium_quantity(self) -> float:
        """Quantity of each firm in the Nash equilibrium of continuous quantities."""
        return min(self._competitive / (self.agents + 1), self.max_quantity)

    @property
    def cartel_quantity(self) -> float:
        """Quantity of each firm at the greatest joint profit of continuous quantities."""
        return min(self._competitive / (2 * self.agents), self.max_quantity)

    @property
    def competitive_quantity(self) -> float:
        """Quantity of each firm at which the price is the cost, best for firms and consumers together."""
        return min(self._competitive / self.agents, self.max_quantity)

    def total_profit(self, quantity: float) -> float:
        """Joint profit of a step in which every firm sells this quantity."""
        total = self.agents * quantity
        return float(total * (self.intercept - self.cost - self.slope * total))

    def consumer_surplus(self, total: float) -> float:
        """Gain of the consumers in a step in which this total is sold: slope * total^2 / 2."""
        return self.slope * total**2 / 2

    @property
    def _competitive(self) -> float:
        """Total quantity at which the price is the cost."""
        return (self.intercept - self.cost) / self.slope


@dataclass(frozen=True, kw_only=True)
class Cournot(Market, MatrixGame):
    """Cournot competition: each firm chooses one of several quantities, and the price falls with their sum.

    Firm i sells q_i at the price p = intercept - slope * sum(q) and earns (p - cost) q_i. With the default
    numbers two firms sell 60 in equilibrium and earn 900 each; selling 45 together, as a monopoly would,
    they could earn 1012.5 each. But the best responses to 22.5 are 30 and 37.5, so the cartel is a
    dilemma for the firms; for consumers it is a loss, and firms and consumers together gain most at 90.
    The welfare of this game is that of the firms. The price has no lower bound.

    Quantities are `levels` numbers at equal distances, from 0 to `max_quantity`. Cooperating means to sell
    at most the level that is best for all if all choose it. Scripted cooperators choose that level, and
    scripted defectors the one nearest to the equilibrium. Levels add equilibria to that of continuous
    quantities, in which firms sell different quantities near it.

    Raises:
        ValueError: there are too few firms or levels, too many payoffs, or a number is out of range.
    Source:
        Cournot, Recherches sur les principes mathematiques de la theorie des richesses, 1838; form and
        numbers as in the code of Pax (Willi et al., 2022), whose quantities are continuous:
        `ContinuousCournot`.

    >>> game = Cournot()
    >>> game.action_names
    ('0', '7.5', '15', '22.5', '30', '37.5', '45')
    >>> game.payoffs()[4, 4]
    tensor([900., 900.], dtype=torch.float64)
    >>> game.best_welfare, game.defection_welfare
    (2025.0, 1800.0)
    """

    levels: int = 7
    """Number of quantities that a firm can choose from, 2 or more."""

    cooperative = False  # there are more than two actions
    num_agents = alias("agents")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_two_or_more(levels=self.levels)
        payoffs = self.agents * self.levels**self.agents
        require(
            payoffs <= MAX_PAYOFFS,
            f"The table of payoffs has room for {MAX_PAYOFFS}; {self.agents} firms with {self.levels} levels "
            f"have {payoffs}: choose fewer, or cournot-continuous.",
        )

    action_space = computed(lambda self: spaces.Discrete(self.levels))
    action_names = computed(lambda self: tuple(f"{quantity:g}" for quantity in self.quantities))
    defection_welfare = computed(lambda self: self.total_profit(self.quantities[self.equilibrium_level]))

    @property
    def quantities(self) -> NDArray[np.float64]:
        """The quantity of each action, [action]."""
        return np.linspace(0.0, self.max_quantity, self.levels)

    @property
    def cartel_level(self) -> int:
        """The action with the greatest joint profit if all firms choose it."""
        return int(np.argmax([self.total_profit(quantity) for quantity in self.quantities]))

    @property
    def equilibrium_level(self) -> int:
        """The action nearest to the equilibrium of continuous quantities."""
        return int(np.abs(self.quantities - self.equilibrium_quantity).argmin())

    def build_payoffs(self) -> NDArray[np.float64]:
        sold = np.moveaxis(self.quantities[np.indices((self.levels,) * self.agents)], 0, -1)
        margin = self.intercept - self.cost - self.slope * sold.sum(-1, keepdims=True)
        return np.ascontiguousarray(margin * sold)

    def cooperation(self, policies: Tensor) -> Tensor:
        """Probability of selling at most the cartel's quantity: [..., agent]."""
        return policies[..., 0, : self.cartel_level + 1].sum(-1)

    def cooperates(self, state: MatrixState, actions: Tensor) -> Tensor:
        return actions <= self.cartel_level

    def scripted(self, state: MatrixState, cooperative: Tensor) -> Tensor:
        return torch.where(cooperative, self.cartel_level, self.equilibrium_level)


@dataclass(frozen=True, kw_only=True)
class ContinuousCournot(Market):
    """Cournot competition with continuous quantities: a Box from 0 to `max_quantity`.

    Firm i sells q_i at the price p = intercept - slope * sum(q) and earns (p - cost) q_i. With N firms and
    Q = (intercept - cost) / slope, a firm sells Q / (N + 1) in equilibrium and Q / 2N at the greatest joint
    profit; at a total of Q the price is the cost. The price has no lower bound.

    An observation has the quantities of the last step as fractions of the largest, the firm's own first and
    then those of the other firms in increasing order.

    Raises:
        ValueError: there are too few firms, or a number is out of range.
    Source:
        Cournot, Recherches sur les principes mathematiques de la theorie des richesses, 1838; form and
        numbers as in the code of Pax (Willi et al., 2022), which sets no largest quantity, and shows the
        price, too.

    >>> game = ContinuousCournot()
    >>> game.equilibrium_quantity, game.cartel_quantity, game.competitive_quantity
    (30.0, 22.5, 45.0)
    >>> game.best_welfare, game.defection_welfare
    (2025.0, 1800.0)
    """

    horizon: int = 1
    """Steps of an episode; at least 1."""

    action_space = computed(lambda self: spaces.Box(0.0, self.max_quantity, (1,), dtype=np.float32))
    observation_space = computed(lambda self: spaces.Box(0.0, 1.0, (self.agents,), dtype=np.float32))
    action_names = ("quantity",)
    best_welfare = computed(lambda self: self.horizon * self.total_profit(self.cartel_quantity))
    # the equilibrium of one step, played in all of them
    defection_welfare = computed(lambda self: self.horizon * self.total_profit(self.equilibrium_quantity))

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    def reset(self, batch: int, generator: torch.Generator) -> CournotState:
        nothing = torch.zeros(batch, self.agents, device=generator.device)
        return CournotState(torch.zeros_like(nothing[:, 0], dtype=torch.int64), nothing)

    def observe(self, state: CournotState) -> Tensor:
        return (state.quantities / self.max_quantity)[:, own_first(self.agents, state.time.device)].float()

    def step(self, state: CournotState, actions: Tensor, generator: torch.Generator) -> Step:
        after = CournotState(state.time + 1, actions.squeeze(-1))
        return after, self._profits(after.quantities), after.time >= self.horizon

    def render(self, state: CournotState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        steps = int(state.time[index])
        sold = state.quantities[index].double()
        title, rows = "not yet played", [[str(agent), "-", "-"] for agent in range(self.agents)]
        if steps:
            price = self.intercept - self.slope * sold.sum().item()
            title = f"step {steps}, price {price:.4g}"
            pairs = zip(sold.tolist(), self._profits(sold).tolist(), strict=True)
            rows = [[str(agent), f"{own:.4g}", f"{paid:.4g}"] for agent, (own, paid) in enumerate(pairs)]
        table = [["firm", "quantity", "profit"], *rows]
        return draw_table(title, table, room=[["", WIDEST_PAYOFF, WIDEST_PAYOFF]], scale=scale)

    def _profits(self, sold: Tensor) -> Tensor:
        return sold * (self.intercept - self.cost - self.slope * sold.sum(-1, keepdim=True))
