"""CFR and CFR+ on Kuhn poker, through OpenSpiel."""

from __future__ import annotations

import pytest

pyspiel = pytest.importorskip("pyspiel")

from bilevel.zero_sum import (  # noqa: E402
    CounterfactualRegretMinimization,
    CounterfactualRegretMinimizationPlus,
    SequentialRule,
    learn_sequential,
    make_sequential_rule,
)

MARKS = (10, 100, 1000)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (CounterfactualRegretMinimization(), [0.137398, 0.016452, 0.001875]),
        (CounterfactualRegretMinimizationPlus(), [0.065374, 0.002389, 0.000175]),
    ],
)
def test_nash_conv_on_kuhn_poker(rule: SequentialRule, expected: list[float]) -> None:
    history = learn_sequential("kuhn_poker", rule, 1000, record=MARKS)
    assert history.steps == MARKS
    assert history.average.tolist() == pytest.approx(expected, abs=5e-7)
    assert history.values[-1].item() == pytest.approx(-1 / 18, abs=1e-4)


def test_the_equilibrium_family_of_kuhn_poker() -> None:
    policy = learn_sequential("kuhn_poker", CounterfactualRegretMinimizationPlus(), 10_000).policy
    assert len(policy) == 12
    bluff = policy["0"][1]  # bet with the jack
    assert 0 <= bluff <= 1 / 3 + 1e-3
    assert policy["2"][1] == pytest.approx(3 * bluff, abs=0.01)  # bet with the king
    assert policy["1pb"][1] == pytest.approx(bluff + 1 / 3, abs=0.01)  # call with the queen
    assert policy["1b"][1] == pytest.approx(1 / 3, abs=0.01)  # the second agent calls with the queen
    assert policy["0p"][1] == pytest.approx(1 / 3, abs=0.01)  # and bluffs with the jack


def test_uniform_play_on_kuhn_poker() -> None:
    game = pyspiel.load_game("kuhn_poker")
    assert pyspiel.nash_conv(game, pyspiel.UniformRandomPolicy(game)) == pytest.approx(0.916667, abs=5e-7)


def test_a_simultaneous_game_is_taken_in_turn() -> None:
    game = "goofspiel(num_cards=3,points_order=descending,returns_type=win_loss)"
    history = learn_sequential(game, CounterfactualRegretMinimizationPlus(), 100)
    assert history.average[-1].item() < 0.02
    assert history.values[-1].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("kuhn_pokr", "There is no OpenSpiel game 'kuhn_pokr'; did you mean 'kuhn_poker'"),
        ("kuhn_poker(players=3)", "Only two-agent zero-sum games are solved; kuhn_poker has 3 agents"),
        ("matrix_pd", "matrix_pd has 2 agents and the utility GENERAL_SUM"),
        ("kuhn_poker(foo=1)", "OpenSpiel refuses the game kuhn_poker.foo=1.: Unknown parameter 'foo'"),
    ],
)
def test_bad_games(game: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn_sequential(game, CounterfactualRegretMinimization(), 10)


def test_bad_steps() -> None:
    rule = make_sequential_rule("cfr")
    with pytest.raises(ValueError, match="must be 1 or more, not 0"):
        learn_sequential("kuhn_poker", rule, 0)
    with pytest.raises(ValueError, match=r"are from 1 to 5, not \[0\]"):
        learn_sequential("kuhn_poker", rule, 5, record=[0])
    with pytest.raises(ValueError, match="There is no learning rule of sequential games 'psro'"):
        make_sequential_rule("psro")
