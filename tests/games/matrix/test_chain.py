"""The chain: moves and rewards by hand, its optimum, and selfish learning of one agent."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bilevel.methods import MGRL, Placement, Selfish, VTrace
from games import check_game, make
from games.matrix import Chain


def expected_return(forward: float, steps: int) -> float:
    """Expected return of a plan that moves forward, with slips, with this probability in every step."""
    move = torch.zeros(5, 5, dtype=torch.float64)
    for place in range(5):
        move[place, min(place + 1, 4)] += forward
        move[place, 0] += 1 - forward
    rewards = torch.full((5,), 2 * (1 - forward), dtype=torch.float64)
    rewards[4] += 10 * forward
    place, total = torch.eye(5, dtype=torch.float64)[0], 0.0
    for _ in range(steps):
        total += float(place @ rewards)
        place = place @ move
    return total


def test_moves_and_rewards_without_slips() -> None:
    game, generator = Chain(slip=0.0, length=3, horizon=5), torch.Generator()
    state, seen = game.reset(1, generator), []
    for action in (0, 0, 0, 0, 1):
        state, rewards, done = game.step(state, torch.tensor([[action]]), generator)
        seen.append((int(state.place), float(rewards), bool(done)))
    assert seen == [(1, 0.0, False), (2, 0.0, False), (2, 10.0, False), (2, 10.0, False), (0, 2.0, True)]


def test_slips_have_the_effect_of_the_other_action() -> None:
    game, generator = Chain(), torch.Generator().manual_seed(0)
    state, _, _ = game.step(
        game.reset(20_000, generator), torch.zeros(20_000, 1, dtype=torch.int64), generator
    )
    assert abs(float((state.place == 0).double().mean()) - 0.2) < 0.01


def test_the_rate_of_the_source() -> None:
    """Forward pays 3677 in 1000 steps in the long run (Strens 2000), 0.2 x 2 + 0.8^5 x 10 a step."""
    assert expected_return(0.8, 2001) - expected_return(0.8, 2000) == pytest.approx(0.4 + 0.8**5 * 10)


def test_the_best_plan() -> None:
    assert Chain(slip=0.0, horizon=5).best_welfare == 10.0  # four moves and the reward; back pays 2 x 5, too
    assert Chain(slip=0.0, horizon=7).best_welfare == 30.0
    assert Chain(horizon=1).best_welfare == pytest.approx(1.6)
    game = Chain()
    assert expected_return(0.8, 50) < game.best_welfare < expected_return(0.8, 50) + 3
    check_game(game)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"length": 1}, "2 places or more; length is 1"),
        ({"slip": 0.5}, "slip must be from 0 to less than 0.5, not 0.5"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make("chain", **settings)


def test_one_agent_goes_back_if_it_discounts_too_much_and_learns_a_higher_discount() -> None:
    """Without slips, on 3 places in 10 steps, back pays 20 and forward 80."""
    game = Chain(slip=0.0, length=3, horizon=10)
    inner = VTrace(
        optimizer="adam", learning_rate=0.05, discount=0.2, trace_lambda=0.9, entropy_coef=0.1, episodes=16
    )
    tuned = MGRL(inner=inner).with_settings({"outer.learning_rate": 0.3})
    returns = []
    for method in (Selfish(inner=inner), tuned):
        learner = method.build(game, Placement(seeds=4))
        state = learner.init(seed=0)
        for _ in range(50):
            state, metrics = learner.update(state)
        returns.append(metrics["return_0"])
    fixed, learned = returns
    assert (fixed < 25).all()
    assert (learned > 35).all()
    assert (metrics["discount_0"] > 0.9).all()
