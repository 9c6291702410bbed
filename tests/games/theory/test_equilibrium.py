"""Equilibria against closed forms, brute force, and each other."""

import itertools
from types import SimpleNamespace

import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make
from games.matrix import (
    MatrixGame,
    PublicGoods,
    RepeatedGame,
    SymmetricTwoAgentGame,
    random_general_sum,
    random_zero_sum,
)
from games.theory import exploitability, nash_conv, zero_sum_equilibrium
from games.theory._equilibria import action_values

ROCK_PAPER_SCISSORS, PENNIES = make("rock-paper-scissors"), make("matching-pennies")


def random_policies(agents: int, actions: int, *batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, agents, 1, actions, generator=generator, dtype=torch.float64).softmax(-1)


@pytest.mark.parametrize("game", [ROCK_PAPER_SCISSORS, PENNIES])
def test_the_only_equilibrium_is_uniform_and_worth_nothing(game: MatrixGame) -> None:
    solved = zero_sum_equilibrium(game.payoffs()[..., 0])
    uniform = torch.full_like(solved.row, 1 / len(solved.row))
    torch.testing.assert_close(solved.row, uniform, atol=1e-12, rtol=0)
    torch.testing.assert_close(solved.column, uniform, atol=1e-12, rtol=0)
    assert abs(solved.value) < 1e-12
    assert 0 <= solved.gap + 1e-12 < 1e-11


def test_a_biased_game() -> None:
    # by hand: without a saddle point the value is (ad - bc) / (a + d - b - c), here of 3, -1, -2, 1
    solved = zero_sum_equilibrium(torch.tensor([[3.0, -1.0], [-2.0, 1.0]]))
    assert solved.value == pytest.approx(1 / 7, abs=1e-12)
    torch.testing.assert_close(solved.row, torch.tensor([3 / 7, 4 / 7]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(solved.column, torch.tensor([2 / 7, 5 / 7]).double(), atol=1e-7, rtol=0)


def test_a_dominated_row_and_a_saddle_point_in_a_game_that_is_not_square() -> None:
    solved = zero_sum_equilibrium(torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -5.0]]))
    assert solved.value == pytest.approx(1, abs=1e-12)
    assert solved.row.tolist() == pytest.approx([1, 0], abs=1e-12)
    assert solved.column.tolist() == pytest.approx([1, 0, 0], abs=1e-12)


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_laws_of_the_value(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    payoffs = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    solved = zero_sum_equilibrium(payoffs)
    assert (solved.row @ payoffs).min().item() >= solved.value - 1e-9
    assert (payoffs @ solved.column).max().item() <= solved.value + 1e-9
    assert zero_sum_equilibrium(-payoffs.T).value == pytest.approx(-solved.value, abs=1e-9)
    assert zero_sum_equilibrium(1000 * payoffs + 5).value == pytest.approx(1000 * solved.value + 5, abs=1e-6)


@given(actions=st.integers(2, 6), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_nobody_gains_by_leaving_what_the_program_finds(actions: int, seed: int) -> None:
    game = random_zero_sum(actions, seed)
    solved = zero_sum_equilibrium(game.payoffs()[..., 0])
    policies = torch.stack((solved.row, solved.column)).unsqueeze(1)
    assert nash_conv(game, policies).item() == pytest.approx(solved.gap, abs=1e-12)
    assert nash_conv(game, policies).item() < 1e-9
    torch.testing.assert_close(game.values(policies)[0].item(), solved.value, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("payoffs", "message"),
    [
        (torch.zeros(3), "their shape is 3"),
        (torch.tensor(1.0), "their shape is one number"),
        (torch.zeros(2, 0), "their shape is 2 x 0"),
        (torch.tensor([[1.0, float("nan")]]), "Every payoff must be finite"),
    ],
)
def test_bad_payoffs_are_refused(payoffs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zero_sum_equilibrium(payoffs)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (SimpleNamespace(status=0, x=[1.0, 0.0, 0.0]), "left a gap of 2 between"),
        (SimpleNamespace(status=4, message="numerical trouble"), "not solved: numerical trouble"),
    ],
)
def test_a_wrong_answer_is_not_passed_on(
    answer: SimpleNamespace, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scipy.optimize, "linprog", lambda **_: answer)
    with pytest.raises(ArithmeticError, match=message):
        zero_sum_equilibrium(PENNIES.payoffs()[..., 0])


def test_always_rock_against_uniform() -> None:
    # derived: against rock the other gains 1 by paper, against uniform nothing can be gained
    rock = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    policies = torch.stack((rock, torch.full_like(rock, 1 / 3)))
    assert nash_conv(ROCK_PAPER_SCISSORS, policies).item() == pytest.approx(1, abs=1e-15)
    assert exploitability(ROCK_PAPER_SCISSORS, policies).item() == pytest.approx(0.5, abs=1e-15)
    assert action_values(ROCK_PAPER_SCISSORS, policies).argmax(-1).tolist()[1] == 1


def test_public_goods_with_three_agents() -> None:
    # by hand: whoever keeps its unit gains 1 - k / n, whatever the others do
    game = PublicGoods(agents=3, k=2)
    give, keep = torch.eye(2, dtype=torch.float64).reshape(2, 1, 1, 2).expand(2, 3, 1, 2)
    found = nash_conv(game, torch.stack((give, keep)))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0], dtype=torch.float64), atol=1e-14, rtol=0)
    assert action_values(game, give).argmax(-1).tolist() == [1, 1, 1]


@given(agents=st.integers(2, 3), actions=st.integers(2, 3), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_action_values_against_the_sum_over_profiles(agents: int, actions: int, seed: int) -> None:
    game = random_general_sum(actions, seed, agents=agents)
    policies = random_policies(agents, actions, seed=seed)
    expected = torch.zeros(agents, actions, dtype=torch.float64)
    payoffs = game.payoffs()
    for profile in itertools.product(range(actions), repeat=agents):
        for agent in range(agents):
            others = [policies[other, 0, profile[other]] for other in range(agents) if other != agent]
            expected[agent, profile[agent]] += torch.stack(others).prod() * payoffs[profile][agent]
    found = action_values(game, policies)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    own = torch.stack([found[agent] @ policies[agent, 0] for agent in range(agents)])
    torch.testing.assert_close(own, game.values(policies), atol=1e-12, rtol=0)
    assert nash_conv(game, policies).item() >= 0


def test_a_batch_equals_its_members() -> None:
    game = random_general_sum(3, 0, agents=3)
    policies = random_policies(3, 3, 2, 4)
    for function in (action_values, nash_conv, exploitability):
        found = function(game, policies)
        assert found.shape[:2] == (2, 4)
        for index in itertools.product(range(2), range(4)):
            torch.testing.assert_close(found[index], function(game, policies[index]), atol=1e-13, rtol=0)


def test_ties_go_to_the_lowest_action() -> None:
    uniform = torch.full((2, 1, 2), 0.5)
    assert action_values(PENNIES, uniform).argmax(-1).tolist() == [0, 0]


def test_a_repeated_game_is_refused() -> None:
    game = RepeatedGame(stage=SymmetricTwoAgentGame(), horizon=7)
    with pytest.raises(ValueError, match="RepeatedGame has 7 steps and 5 observations"):
        nash_conv(game, torch.full((2, 5, 2), 0.5))
