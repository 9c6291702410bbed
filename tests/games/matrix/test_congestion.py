"""Congestion: the textbook's numbers, and loads against the payoff table of the same roads."""

import dataclasses
import itertools
import pickle

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from games.matrix import Braess, CongestionGame, Pigou
from games.matrix._congestion import (
    RoadNetwork,
    equilibria,
    price_of_anarchy,
    social_optimum,
    worst_equilibrium,
)
from games.theory import nash_conv


def test_four_drivers_on_braess_roads() -> None:
    # the textbook's: 65 each at best, and 80 each in the only pure equilibrium once the shortcut is open
    open_, closed = Braess().network, Braess(shortcut=False).network
    assert social_optimum(open_, 4) == ((2, 2, 0), 65)
    assert equilibria(open_, 4) == (((0, 0, 4), 80),)
    assert price_of_anarchy(open_, 4) == pytest.approx(16 / 13, abs=1e-14)
    assert equilibria(closed, 4) == (((2, 2), 65),)
    assert price_of_anarchy(closed, 4) == 1


def test_four_thousand_cars_on_braess_roads() -> None:
    # by hand: 2250 cars on each narrow road, 500 of them by the shortcut: 2 (2250^2 / 100) + 45 * 3500 in all
    network = Braess(slope=0.01).network
    optimum, worst = social_optimum(network, 4000), worst_equilibrium(network, 4000)
    assert optimum.loads == (1750, 1750, 500)
    assert optimum.mean_cost == pytest.approx(64.6875, abs=1e-10)
    assert worst.loads == (0, 0, 4000)
    assert worst.mean_cost / optimum.mean_cost == pytest.approx(256 / 207, abs=1e-12)


@pytest.mark.parametrize(("drivers", "price"), [(2, 4 / 3), (3, 9 / 7), (4, 4 / 3), (1000, 4 / 3)])
def test_pigous_roads(drivers: int, price: float) -> None:
    # 4/3 where half of the drivers can take each road; 3 drivers pay 7/3 together at best and 3 at worst
    network = RoadNetwork(routes=((0,), (1,)), fixed=(1, 0), slope=(0, 1 / drivers))
    assert price_of_anarchy(network, drivers) == pytest.approx(price, abs=1e-12)
    if drivers <= 10:
        assert Pigou(agents=drivers).network == network


def test_payoffs_by_hand() -> None:
    payoffs = Braess().payoffs()
    # Three on the upper route, one on the shortcut: four on the upper narrow road, one on the lower.
    assert payoffs[0, 0, 2, 0].tolist() == [-85, -85, -50, -85]
    assert payoffs[0, 1, 0, 1].tolist() == [-65] * 4
    assert Braess().best_welfare == -4 * 65
    assert Braess().action_names == ("upper", "lower", "shortcut")
    assert Braess(shortcut=False).payoffs().equal(payoffs[:2, :2, :2, :2])


def test_the_table_plays() -> None:
    game, generator = Braess(), torch.Generator()
    _, rewards, done = game.step(game.reset(1, generator), torch.tensor([[0, 0, 2, 0]]), generator)
    assert rewards.tolist() == [[-85, -85, -50, -85]]
    assert done.all()
    assert game.cooperates(game.reset(1, generator), torch.zeros(1, 4, dtype=torch.int64)) is None
    assert game.render(game.reset(1, generator)).ndim == 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roads(CongestionGame):
    """Any network."""

    given: RoadNetwork

    @property
    def network(self) -> RoadNetwork:
        return self.given


@st.composite
def networks(draw: st.DrawFn) -> RoadNetwork:
    roads = draw(st.integers(1, 5))
    numbers = st.lists(st.integers(0, 5), min_size=roads, max_size=roads)
    route = st.sets(st.integers(0, roads - 1), min_size=1).map(lambda chosen: tuple(sorted(chosen)))
    routes = draw(st.lists(route, min_size=2, max_size=3))
    return RoadNetwork(routes=tuple(routes), fixed=tuple(draw(numbers)), slope=tuple(draw(numbers)))


@given(network=networks(), agents=st.integers(2, 4))
@settings(max_examples=40)
def test_loads_agree_with_the_payoff_table(network: RoadNetwork, agents: int) -> None:
    game, routes = Roads(agents=agents, given=network), len(network.routes)
    profiles = torch.tensor(list(itertools.product(range(routes), repeat=agents)))
    policies = torch.nn.functional.one_hot(profiles, routes).double().unsqueeze(-2)
    loads = torch.nn.functional.one_hot(profiles, routes).sum(-2)
    stable = nash_conv(game, policies) < 1e-9
    found = equilibria(network, agents)
    assert {tuple(row) for row in loads[stable].tolist()} == {traffic.loads for traffic in found}
    assert social_optimum(network, agents).mean_cost * agents == pytest.approx(-game.best_welfare, abs=1e-9)
    costs = -game.values(policies).sum(-1)[stable] / agents
    assert worst_equilibrium(network, agents).mean_cost == pytest.approx(costs.max().item(), abs=1e-9)
    assert min(traffic.mean_cost for traffic in found) == pytest.approx(costs.min().item(), abs=1e-9)


@given(network=networks(), drivers=st.integers(1, 12))
@settings(max_examples=60)
def test_the_price_of_anarchy_is_at_most_five_halves(network: RoadNetwork, drivers: int) -> None:
    # Christodoulou and Koutsoupias 2005
    assume(social_optimum(network, drivers).mean_cost > 0)
    assert 1 - 1e-12 <= price_of_anarchy(network, drivers) <= 2.5 + 1e-12


def test_free_roads_have_no_price() -> None:
    network = RoadNetwork(routes=((0,), (1,)), fixed=(0, 1), slope=(0, 0))
    with pytest.raises(ValueError, match="best routes cost nothing"):
        price_of_anarchy(network, 3)


GOOD = {"routes": ((0,), (1,)), "fixed": (1, 0), "slope": (0, 1)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"slope": (1,)}, "needs a fixed cost and a slope; there are 2 and 1"),
        ({"fixed": (1, float("inf"))}, r"fixed\[1\] must be a finite number"),
        ({"slope": (0, -1)}, "no slope may be negative"),
        ({"routes": ((0,),)}, "at least 2 routes; there are 1"),
        ({"routes": ((0,), (2,))}, r"roads 0 to 1, each once; route 1 is \(2,\)"),
        ({"routes": ((0,), ())}, r"route 1 is \(\)"),
        ({"routes": ((0, 0), (1,))}, r"route 0 is \(0, 0\)"),
    ],
)
def test_bad_networks_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoadNetwork(**(GOOD | changed))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"agents must be a whole number between 2 and 10.* it is 11"):
        Braess(agents=11)
    with pytest.raises(ValueError, match="no slope may be negative"):
        Braess(slope=-1)
    with pytest.raises(ValueError, match="Somebody must drive; there are 0 drivers"):
        social_optimum(Braess().network, 0)
    with pytest.raises(ValueError, match="10000 drivers on 3 routes have 50015001"):
        equilibria(Braess().network, 10_000)


def test_pickling() -> None:
    for game in (Braess(slope=3), Pigou(agents=6)):
        game.payoffs()
        assert pickle.loads(pickle.dumps(game)) == game
