"""Cournot competition: by hand, closed forms of any number of firms, equilibria of the levels, learning."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import scipy
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from games import check_game
from games.matrix import ContinuousCournot, Cournot, RepeatedGame
from games.theory import pure_equilibria, scripted_schelling, welfare_optima


def test_profits_by_hand() -> None:
    game, generator = Cournot(), torch.Generator()
    # 30 and 45 are sold: the price is 25, the margin 15
    _, rewards, done = game.step(game.reset(1, generator), torch.tensor([[4, 6]]), generator)
    assert rewards.tolist() == [[450.0, 675.0]]
    assert done.tolist() == [True]
    continuous = ContinuousCournot(horizon=2)
    seen = continuous.reset(1, generator)
    assert continuous.observe(seen).tolist() == [[[0, 0], [0, 0]]]
    seen, rewards, done = continuous.step(seen, torch.tensor([[[30.0], [45.0]]]), generator)
    assert rewards.tolist() == [[450.0, 675.0]]
    assert done.tolist() == [False]
    assert continuous.observe(seen)[0, 1].tolist() == pytest.approx([1, 2 / 3])


def test_the_numbers_of_the_source() -> None:
    """In equilibrium 60 are sold; 45 are best for the firms, and 90 for firms and consumers."""
    game = ContinuousCournot()
    totals = [2 * q for q in (game.equilibrium_quantity, game.cartel_quantity, game.competitive_quantity)]
    assert totals == [60, 45, 90]
    assert (game.best_welfare, game.defection_welfare) == (2025, 1800)

    def everybody(total: float) -> float:
        return game.total_profit(total / 2) + game.consumer_surplus(total)

    best = scipy.optimize.minimize_scalar(lambda total: -everybody(total), bounds=(0, 100), method="bounded")
    assert best.x == pytest.approx(90, abs=1e-3)
    assert everybody(90) == 4050  # the triangle between demand and cost


@given(
    agents=st.integers(2, 8),
    intercept=st.floats(5, 100),
    slope=st.floats(0.1, 5),
    cost=st.floats(0, 4),
)
def test_nobody_gains_by_leaving_the_equilibrium(
    agents: int, intercept: float, slope: float, cost: float
) -> None:
    numbers: dict[str, Any] = {"intercept": intercept, "slope": slope, "cost": cost, "max_quantity": 1e4}
    game = ContinuousCournot(agents=agents, **numbers)
    sold = torch.full((3, agents), game.equilibrium_quantity, dtype=torch.float64)
    sold[1, 0] *= 1.01
    sold[2, 0] *= 0.99
    profits = game.step(game.reset(3, torch.Generator()), sold.unsqueeze(-1), torch.Generator())[1]
    assert (profits[0, 0] > profits[1:, 0]).all()
    each = profits[0, 0].item()
    assert each == pytest.approx((intercept - cost) ** 2 / (slope * (agents + 1) ** 2))
    assert game.best_welfare == pytest.approx((intercept - cost) ** 2 / (4 * slope))
    assert game.defection_welfare == pytest.approx(agents * each)


def test_equilibria_of_the_levels() -> None:
    """33.75 is the best reply to 22.5: 30 and 37.5 are equally near, so each is a best reply, too."""
    found = pure_equilibria(Cournot())
    assert [outcome.profile for outcome in found] == [(3, 5), (4, 4), (5, 3)]
    without_30 = Cournot(levels=12, max_quantity=44)  # 31 is the best reply to 28, and 29 to 32
    assert [outcome.profile for outcome in pure_equilibria(without_30)] == [(7, 8), (8, 7)]
    assert {outcome.welfare for outcome in welfare_optima(Cournot())} == {2025}


def test_a_coarse_market() -> None:
    game = Cournot(agents=3, levels=4, max_quantity=30)  # 0, 10, 20, 30; Q / 6 = 15 and Q / 4 = 22.5
    assert (game.cartel_level, game.equilibrium_level) == (1, 2)  # 10 and 20 are equally good for the cartel
    assert game.total_profit(10) == 1800 == game.total_profit(20)
    assert game.cooperates(game.reset(1, torch.Generator()), torch.arange(4)).tolist() == [1, 1, 0, 0]


def test_scripted_firms_face_a_dilemma() -> None:
    found = scripted_schelling(Cournot(), torch.Generator().manual_seed(0), episodes=2)
    # a defector sells 30 against 22.5 at a margin of 37.5
    assert found.defector.mean[0].tolist() == [900, 1125]
    assert found.cooperator.mean[0].tolist() == [843.75, 1012.5]
    assert "a social dilemma by greed and fear" in str(found.verdict())


def test_cooperation_is_the_probability_of_the_cartels_quantity_or_less() -> None:
    policies = torch.tensor([0.1, 0.1, 0.1, 0.2, 0.3, 0.1, 0.1]).double().expand(2, 1, 7)
    assert Cournot().cooperation(policies).tolist() == pytest.approx([0.5, 0.5])


def test_repeated_markets_have_exact_values() -> None:
    stage = Cournot(levels=4)
    game = RepeatedGame(stage=stage)
    policies = torch.zeros(2, 17, 4, dtype=torch.float64)
    policies[..., 2] = 1
    assert game.values(policies).tolist() == pytest.approx([900, 900])


def test_gradient_play_reaches_the_equilibrium() -> None:
    """Each firm follows the gradient of its own profit in its continuous quantity."""
    game = ContinuousCournot(agents=3)
    sold = torch.full((1, 3, 1), 5.0, dtype=torch.float64)
    for _ in range(200):
        own = sold.clone().requires_grad_()
        profits = game.step(game.reset(1, torch.Generator()), own, torch.Generator())[1]
        slopes = [torch.autograd.grad(profits[0, i], own, retain_graph=True)[0][0, i, 0] for i in range(3)]
        sold = (sold + 0.1 * torch.stack(slopes).view(1, 3, 1)).clamp(0, 45)
    assert sold.flatten().tolist() == pytest.approx([22.5] * 3)


@pytest.mark.parametrize(
    "game", [Cournot(agents=4, levels=3), ContinuousCournot(agents=3, horizon=4)], ids=str
)
def test_the_contract(game: Cournot | ContinuousCournot) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game
    assert game.fully_symmetric


def test_actions_are_a_box() -> None:
    game = ContinuousCournot(max_quantity=20)
    assert game.action_space == spaces.Box(0.0, 20.0, (1,), dtype=np.float32)
    with pytest.raises(ValueError, match="num_actions needs Discrete actions"):
        _ = game.num_actions


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 1}, "agents must be a whole number, 2 or more; it is 1"),
        ({"slope": 0.0}, "slope must be above 0, not 0.0"),
        ({"max_quantity": -1.0}, "max_quantity must be above 0, not -1.0"),
        ({"cost": 100.0}, "cost must be from 0 to less than the intercept, 100.0; it is 100.0"),
        ({"intercept": float("inf")}, "intercept must be a finite number"),
    ],
)
@pytest.mark.parametrize("game", [Cournot(), ContinuousCournot()], ids=["levels", "continuous"])
def test_bad_numbers_are_refused(
    game: Cournot | ContinuousCournot, setting: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(game, **setting)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="levels must be a whole number, 2 or more; it is 1"):
        Cournot(levels=1)
    with pytest.raises(ValueError, match="8 firms with 7 levels have 46118408: choose fewer"):
        Cournot(agents=8)
    with pytest.raises(ValueError, match="at least 1 step; horizon is 0"):
        ContinuousCournot(horizon=0)


def test_frames_tell_states_apart() -> None:
    game, generator = ContinuousCournot(horizon=3), torch.Generator()
    state = game.reset(1, generator)
    frames = [game.render(state)]
    for quantity in (0.0, 45.0):
        state, _, _ = game.step(state, torch.full((1, 2, 1), quantity), generator)
        frames.append(game.render(state))
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1
