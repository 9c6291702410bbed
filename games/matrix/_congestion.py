"""Congestion games on road networks: optimum, equilibria, price of anarchy."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from games.core import computed, require
from games.matrix._matrix import MatrixGame, require_finite

TOLERANCE = 1e-9
"""Routes whose costs differ by less than this share of the largest count as equal: it is rounding."""

MAX_AGENTS = 10
MAX_LOADS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class RoadNetwork:
    """Routes from a common origin to a common destination, over roads that each cost fixed + slope * load.

    Raises:
        ValueError: there are fewer than two routes, a route has no road or an unknown one, or a
            road's fixed cost or slope is missing, negative or not finite.

    >>> network = RoadNetwork(routes=((0,), (1,)), fixed=(1, 0), slope=(0, 0.25))
    >>> network.route_costs(np.array([1, 3]))
    array([1.  , 0.75])
    """

    routes: tuple[tuple[int, ...], ...]
    """The roads that each route takes, two routes or more; roads are numbered from 0."""
    fixed: tuple[float, ...]
    """Cost of each road when empty, in units of time; 0 or more."""
    slope: tuple[float, ...]
    """Cost that each driver on a road adds, in units of time; 0 or more."""

    def __post_init__(self) -> None:
        roads = len(self.fixed)
        require(
            len(self.slope) == roads,
            f"Every road needs a fixed cost and a slope; there are {roads} and {len(self.slope)}.",
        )
        for name, numbers in (("fixed", self.fixed), ("slope", self.slope)):
            require_finite(**{f"{name}[{road}]": number for road, number in enumerate(numbers)})
            require(min(numbers, default=0) >= 0, f"Costs grow from 0 or more: no {name} may be negative.")
        require(len(self.routes) >= 2, f"A network needs at least 2 routes; there are {len(self.routes)}.")
        for number, route in enumerate(self.routes):
            known = set(route) <= set(range(roads)) and len(set(route)) == len(route) > 0
            require(
                known,
                f"A route takes some of the roads 0 to {roads - 1}, each once; route {number} is {route}.",
            )

    def route_costs(self, loads: NDArray[np.int64]) -> NDArray[np.float64]:
        """Each route's cost in units of time, from the number of drivers on each route: both [..., route]."""
        empty: NDArray[np.float64] = self._takes() @ np.array(self.fixed, dtype=np.float64)
        return empty + loads @ self.shared()

    def shared(self) -> NDArray[np.float64]:
        """Cost that a driver on one route adds to another, on the roads they share: [route, route]."""
        takes = self._takes()
        shared: NDArray[np.float64] = (takes * np.array(self.slope, dtype=np.float64)) @ takes.T
        return shared

    def _takes(self) -> NDArray[np.float64]:
        """1 where a route takes a road, [route, road]."""
        return np.array([[float(road in route) for road in range(len(self.fixed))] for route in self.routes])


class Flow(NamedTuple):
    """Numbers of drivers on the routes of a network, and their mean cost."""

    loads: tuple[int, ...]
    """Number of drivers on each route."""
    mean_cost: float
    """Mean cost of a driver, in units of time."""


def social_optimum(network: RoadNetwork, drivers: int) -> Flow:
    """The loads with minimum total cost, by exhaustive search; the first if several tie.

    Args:
        network: the roads and routes.
        drivers: number of drivers, 1 or more.
    Returns:
        Drivers on each route, and their mean cost in units of time.
    Raises:
        ValueError: nobody drives, or there are too many possible loads.

    >>> from games.matrix import Braess
    >>> social_optimum(Braess().network, drivers=4)
    Flow(loads=(2, 2, 0), mean_cost=65.0)
    """
    best = []
    for loads in _all_loads(network, drivers):
        means = (loads * network.route_costs(loads)).sum(-1) / drivers
        cheapest = int(means.argmin())
        best.append(Flow(tuple(loads[cheapest].tolist()), float(means[cheapest])))
    return min(best, key=lambda flow: flow.mean_cost)


def equilibria(network: RoadNetwork, drivers: int) -> tuple[Flow, ...]:
    """All pure equilibria, by exhaustive search: loads where no driver gains by changing its route.

    There is always one. Raises as `social_optimum`.

    Source:
        Rosenthal, A class of games possessing pure-strategy Nash equilibria, International Journal of Game
        Theory 2, 1973.

    >>> equilibria(Braess().network, drivers=4)
    (Flow(loads=(0, 0, 4), mean_cost=80.0),)
    """
    shared = network.shared()
    detours = shared.diagonal() - shared  # cost that a driver adds to its new route: [from, to]
    stable_loads = []
    for loads in _all_loads(network, drivers):
        costs = network.route_costs(loads)
        gains = costs[:, :, None] - costs[:, None, :] - detours
        stays = (loads == 0)[:, :, None] | (gains <= TOLERANCE * costs.max())
        for stable in np.flatnonzero(stays.all((1, 2))):
            mean = float(loads[stable] @ costs[stable]) / drivers
            stable_loads.append(Flow(tuple(loads[stable].tolist()), mean))
    return tuple(stable_loads)


def worst_equilibrium(network: RoadNetwork, drivers: int) -> Flow:
    """The pure equilibrium with the highest cost, by exhaustive search.

    Args:
        network: the roads and routes.
        drivers: number of drivers, 1 or more.
    Returns:
        Drivers on each route, and their mean cost in units of time.
    Raises:
        ValueError: as for `social_optimum`.

    >>> from games.matrix import Braess
    >>> worst_equilibrium(Braess().network, drivers=4)
    Flow(loads=(0, 0, 4), mean_cost=80.0)
    """
    return max(equilibria(network, drivers), key=lambda flow: flow.mean_cost)


def price_of_anarchy(network: RoadNetwork, drivers: int) -> float:
    """Compute the worst pure equilibrium's cost over the optimum's: at most 5/2 with affine costs.

    Args:
        network: the roads and routes.
        drivers: number of drivers, 1 or more.
    Returns:
        The ratio of costs, 1 or more.
    Raises:
        ValueError: as for `social_optimum`, or where driving costs nothing.
    Source:
        Koutsoupias and Papadimitriou, Worst-case equilibria, STACS 1999; the bound: Christodoulou and
        Koutsoupias, The price of anarchy of finite congestion games, STOC 2005.

    >>> from games.matrix import Pigou
    >>> round(price_of_anarchy(Pigou().network, drivers=4), 12)
    1.333333333333
    """
    optimum = social_optimum(network, drivers).mean_cost
    require(optimum > 0, "There is no price of anarchy where the best routes cost nothing.")
    return worst_equilibrium(network, drivers).mean_cost / optimum


@dataclass(frozen=True, kw_only=True)
class CongestionGame(MatrixGame):
    """A few drivers choose routes simultaneously; a reward is minus the time of the route.

    A subclass gives the network.

    Raises:
        ValueError: there are fewer than 2 drivers or more than 10, or the network is bad.

    >>> from games.matrix import RoadNetwork
    >>> class Bridge(CongestionGame):
    ...     network = RoadNetwork(routes=((0,), (1,)), fixed=(3, 1), slope=(0, 1))
    >>> Bridge(agents=2).payoffs()[1]  # agent 0 takes the bridge, agent 1 the way round or the bridge
    tensor([[-2., -3.],
            [-3., -3.]], dtype=torch.float64)
    """

    agents: int = 4
    """Number of drivers, from 2 to 10: the payoff table has a row for each joint choice."""

    cooperative = False  # the route that spares the others depends on where they drive

    def __post_init__(self) -> None:
        require(
            isinstance(self.agents, int) and 2 <= self.agents <= MAX_AGENTS,
            f"agents must be a whole number between 2 and {MAX_AGENTS}, as the payoff table has "
            f"routes^agents rows; it is {self.agents}. (A network's loads can be studied with many more.)",
        )
        _ = self.network  # which checks its own numbers

    @property
    @abc.abstractmethod
    def network(self) -> RoadNetwork:
        """The roads and routes."""

    def build_payoffs(self) -> NDArray[np.float64]:
        routes = len(self.network.routes)
        chosen = np.moveaxis(np.indices((routes,) * self.agents), 0, -1)
        loads = (chosen[..., None] == np.arange(routes)).sum(-2)
        return -np.take_along_axis(self.network.route_costs(loads), chosen, -1)


@dataclass(frozen=True, kw_only=True)
class Braess(CongestionGame):
    """Braess's paradox: two symmetric routes, and a shortcut that makes everybody slower once it opens.

    Each route has one narrow road, slope * drivers, and one wide road, fixed; the shortcut joins the two
    narrow roads and costs nothing. Four drivers take 65 each without it, and 80 with it.

    Source:
        Braess, Ueber ein Paradoxon aus der Verkehrsplanung, Unternehmensforschung 12, 1968. The numbers are
        those of the common textbook example, which has 4000 cars and a slope of 0.01.

    >>> Braess().payoffs()[2, 2, 2, 2]
    tensor([-80., -80., -80., -80.], dtype=torch.float64)
    """

    shortcut: bool = True
    """Open the shortcut."""
    slope: float = 10
    """Cost that each driver adds to a narrow road, in units of time; 0 or more."""
    fixed: float = 45
    """Cost of a wide road, in units of time; 0 or more."""

    action_names = computed(lambda self: ("upper", "lower", "shortcut")[: 2 + self.shortcut])

    @property
    def network(self) -> RoadNetwork:
        """Roads: upper narrow, upper wide, lower wide, lower narrow, shortcut."""
        return RoadNetwork(
            routes=((0, 1), (2, 3), (0, 4, 3))[: 2 + self.shortcut],
            fixed=(0, self.fixed, self.fixed, 0, 0),
            slope=(self.slope, 0, 0, self.slope, 0),
        )


@dataclass(frozen=True, kw_only=True)
class Pigou(CongestionGame):
    """Pigou's two roads: a wide one that costs 1, and a narrow one that costs the share of drivers on it.

    In equilibrium everybody may take the narrow road and gains nothing by it; in the optimum half do.

    Source:
        Pigou, The Economics of Welfare, 1920; as in Roughgarden and Tardos, How bad is selfish routing?,
        Journal of the ACM 49(2), 2002.

    >>> Pigou(agents=2).payoffs()[1]
    tensor([[-0.5000, -1.0000],
            [-1.0000, -1.0000]], dtype=torch.float64)
    """

    action_names = ("wide", "narrow")

    @property
    def network(self) -> RoadNetwork:
        """The wide road, the narrow road."""
        return RoadNetwork(routes=((0,), (1,)), fixed=(1, 0), slope=(0, 1 / self.agents))


def _all_loads(network: RoadNetwork, drivers: int) -> Iterator[NDArray[np.int64]]:
    """All loads of so many drivers, in blocks [load, route]."""
    routes = len(network.routes)
    require(drivers >= 1, f"Somebody must drive; there are {drivers} drivers.")
    count = math.comb(drivers + routes - 1, routes - 1)
    require(
        count <= MAX_LOADS,
        f"Loads are found by trying all, of which there may be {MAX_LOADS}; {drivers} drivers on {routes} "
        f"routes have {count}.",
    )
    return _spread(drivers, routes)


def _spread(drivers: int, routes: int) -> Iterator[NDArray[np.int64]]:
    """All loads, in blocks that vary in the last two routes."""
    if routes == 2:
        first = np.arange(drivers + 1)
        yield np.stack((first, drivers - first), -1)
        return
    for load in range(drivers + 1):
        for rest in _spread(drivers - load, routes - 1):
            yield np.column_stack((np.full(len(rest), load), rest))
