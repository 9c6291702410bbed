"""The fishery: by hand, stocks and efforts in closed form, the best plan, scripts, bad input."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from games import check_game
from games.matrix import ContinuousFishery, Fishery, FisheryState
from games.theory import scripted_schelling


def at(game: Fishery | ContinuousFishery, stock: float) -> FisheryState:
    """The start of one copy, with this stock."""
    return game.reset(1, torch.Generator())._replace(stock=torch.tensor([stock], dtype=torch.float64))


def fished(game: ContinuousFishery, efforts: torch.Tensor) -> float:
    """Joint profit of an episode with these total efforts, [step], by two boats in unequal parts."""
    state, welfare = at(game, game.start_stock), 0.0
    for effort in efforts.tolist():
        pair = torch.tensor([[[0.6 * effort], [0.4 * effort]]]).clamp(max=game.max_effort).double()
        pair[0, 1] = effort - pair[0, 0]
        state, rewards, _ = game.step(state, pair, torch.Generator())
        welfare += rewards.sum().item()
    return welfare


def test_a_step_by_hand() -> None:
    game = Fishery(max_effort=10, levels=6)
    # 0.8 grows to 0.8 + 0.15 * 0.8 * 0.2 = 0.824; efforts 10 and 4 catch 14 * 0.009 * 0.8 = 0.1008
    state, rewards, done = game.step(at(game, 0.8), torch.tensor([[5, 2]]), torch.Generator())
    assert state.stock.tolist() == pytest.approx([0.7232])
    assert state.catches[0].tolist() == pytest.approx([0.072, 0.0288])
    assert rewards[0].tolist() == pytest.approx([200 * 0.072 - 9, 200 * 0.0288 - 3.6])
    assert done.tolist() == [False]
    assert game.observe(state)[0].tolist() == [
        pytest.approx([0.7232, 1.0, 0.4]),
        pytest.approx([0.7232, 0.4, 1.0]),
    ]


def test_no_more_is_caught_than_there_is() -> None:
    game = ContinuousFishery(max_effort=100)
    state, rewards, _ = game.step(at(game, 0.5), torch.tensor([[[100.0], [50.0]]]), torch.Generator())
    assert state.stock.tolist() == [0]  # 150 * 0.009 * 0.5 = 0.675 of 0.5375
    assert state.catches[0].tolist() == pytest.approx([0.5375 * 2 / 3, 0.5375 / 3])
    state, rewards, _ = game.step(state, torch.tensor([[[1.0], [0.0]]]), torch.Generator())
    assert rewards[0].tolist() == pytest.approx([-0.9, 0])
    assert state.stock.tolist() == [0]


def test_the_numbers_of_the_source() -> None:
    game = ContinuousFishery()
    assert game.open_access_stock == pytest.approx(0.5)
    assert game.best_stock == pytest.approx(0.75)
    assert game.best_effort == pytest.approx(25 / 6)
    assert game.equilibrium_effort == pytest.approx(50 / 9)  # 4 / 3 of it: that of Cournot competition


@given(
    growth=st.floats(0.05, 1),
    efficiency=st.floats(0.005, 0.1),
    price=st.floats(100, 300),
    wage=st.floats(0, 0.4),
)
def test_the_best_stock_to_keep(growth: float, efficiency: float, price: float, wage: float) -> None:
    """Its effort keeps it, and efforts that keep other stocks have a lower joint profit."""
    numbers: dict[str, Any] = {"growth": growth, "efficiency": efficiency, "price": price, "wage": wage}
    game = ContinuousFishery(max_effort=1e4, **numbers)

    def kept(stock: float) -> float:
        effort = growth * (1 - stock) / efficiency
        each = torch.full((1, 2, 1), effort / 2, dtype=torch.float64)
        state, rewards, _ = game.step(at(game, stock), each, torch.Generator())
        assert state.stock.item() == pytest.approx(stock)
        return rewards.sum().item()

    best = game.best_stock
    assert growth * (1 - best) / efficiency == pytest.approx(game.best_effort)
    assert kept(best) > max(kept(best * 0.98), kept(best + (1 - best) * 0.02))


def test_the_best_plan_is_to_rest_and_then_to_fish_at_full_effort() -> None:
    game = ContinuousFishery()
    plan = game.best_plan
    assert fished(game, plan) == pytest.approx(game.best_welfare)
    assert (plan[:-20].isclose(torch.tensor(0.0).double()) | (plan[:-20] > 19)).all()
    # A constant effort keeps a stock of 0.75, if it starts there; growing to it costs the first profits.
    kept = fished(dataclasses.replace(game, start_stock=0.75), torch.full((300,), 25 / 6).double())
    assert kept == pytest.approx(300 * 1.875)
    assert game.best_welfare > kept


def test_in_the_last_step_the_best_plan_fishes_whatever_pays() -> None:
    one = ContinuousFishery(horizon=1, start_stock=0.75)
    assert one.best_plan.tolist() == pytest.approx([20])
    assert one.best_welfare == pytest.approx(200 * 20 * 0.009 * 0.75 - 18)
    assert ContinuousFishery(horizon=1).best_welfare == pytest.approx(0)  # at 0.5 nothing pays


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), horizon=st.integers(1, 20), start=st.floats(0.3, 1))
@example(seed=1, horizon=2, start=0.7109375)
def test_no_random_plan_beats_the_best(seed: int, horizon: int, start: float) -> None:
    game = ContinuousFishery(horizon=horizon, start_stock=start)
    drawn = 20 * torch.rand(20, horizon, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plans = [*drawn, *torch.where(drawn > 15, 20.0, 0.0)]
    assert max(fished(game, plan) for plan in plans) <= game.best_welfare + 1e-3


def test_scripted_boats() -> None:
    game = Fishery()
    nobody, everybody = torch.zeros(1, 2, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    assert game.scripted(at(game, 0.49), nobody).tolist() == [[0, 0]]  # effort does not pay
    assert game.scripted(at(game, 0.51), nobody).tolist() == [[5, 5]]
    assert game.scripted(at(game, 0.7), everybody).tolist() == [[0, 0]]
    # (0.778125 - 0.75) / (0.009 * 0.75) = 4.17 in all: 2.08 each, of levels 2 apart
    assert game.scripted(at(game, 0.75), everybody).tolist() == [[1, 1]]
    assert game.scripted(at(game, 1.0), everybody).tolist() == [[5, 5]]
    assert game.cooperates(at(game, 0.75), torch.tensor([[1, 2]])).tolist() == [[True, False]]
    assert game.scripted(at(game, 0.0), everybody).tolist() == [[0, 0]]


def test_the_tragedy_of_the_commons() -> None:
    """All at full effort earn a fraction of what cooperators do, and a lone cooperator earns nothing."""
    game = Fishery()
    found = scripted_schelling(game, torch.Generator().manual_seed(0), episodes=2)
    assert 2 * found.average.mean[0] == pytest.approx(game.defection_welfare, rel=1e-4)
    assert found.average.mean[2] > 6 * found.average.mean[0]
    assert 2 * found.average.mean[2] < game.best_welfare
    assert found.cooperator.mean[0, 0] == 0


@pytest.mark.parametrize(
    "game", [Fishery(agents=3, horizon=12), ContinuousFishery(agents=4, horizon=12, wage=0.0)], ids=str
)
def test_the_contract(game: Fishery | ContinuousFishery) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 1}, "agents must be a whole number, 2 or more; it is 1"),
        ({"growth": 1.5}, "growth must be 1 or less, or the stock overshoots; it is 1.5"),
        ({"price": 0.0}, "price must be above 0, not 0.0"),
        ({"wage": -1.0}, "wage must be 0 or more, not -1.0"),
        ({"start_stock": 2.0}, "start_stock must be from 0 to max_stock, 1.0; it is 2.0"),
        ({"efficiency": float("nan")}, "efficiency must be a finite number; it is nan"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
@pytest.mark.parametrize("game", [Fishery(), ContinuousFishery()], ids=["levels", "continuous"])
def test_bad_settings_are_refused(
    game: Fishery | ContinuousFishery, setting: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(game, **setting)


def test_bad_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels must be a whole number, 2 or more; it is 1"):
        Fishery(levels=1)


def test_frames_tell_states_apart() -> None:
    game, generator = Fishery(), torch.Generator()
    state = game.reset(1, generator)
    frames = [game.render(state)]
    for action in (0, 5):
        state, _, _ = game.step(state, torch.full((1, 2), action), generator)
        frames.append(game.render(state))
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1
