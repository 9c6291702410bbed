"""Regret matching on perturbed rock-paper-scissors, and bounds on its regret."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.zero_sum import RegretMatching, RegretMatchingPlus, Rule, learn
from games import make, nash_conv
from tests.bilevel.zero_sum.games_of_theory import EQUILIBRIUM, PERTURBED, random_matrix, tensors

MARKS = (100, 1000, 10_000)


def test_regret_matching() -> None:
    found = nash_conv(PERTURBED, learn(PERTURBED, RegretMatching(), 10_000, record=MARKS).average)
    # With 60 decimal digits the sequence is .26735221, .06123149, .02407012; float64 follows it up to about
    # step 1000, and later digits depend on the order of sums.
    assert found[:2].tolist() == pytest.approx([0.26735221, 0.06123149], abs=5e-9)
    assert found[2].item() < 0.05


def test_regret_matching_plus() -> None:
    history = learn(PERTURBED, RegretMatchingPlus(), 10_000, record=MARKS)
    expected = [0.009059, 0.001557, 0.000195]
    assert nash_conv(PERTURBED, history.average).tolist() == pytest.approx(expected, abs=5e-7)
    for strategies in history.average:
        torch.testing.assert_close(strategies[-1], EQUILIBRIUM, atol=2e-4, rtol=0)


def test_a_step_by_hand() -> None:
    # uniform against uniform: u = (0, 2/3, -2/3), so the row agent plays paper
    for rule in (RegretMatching(), RegretMatchingPlus()):
        state = rule.step(rule.init(PERTURBED), PERTURBED)
        torch.testing.assert_close(state.strategies[0], tensors([0.0, 1.0, 0.0])[0])
    # the column agent of RM+ has seen paper, v = (-3, 0, 1): regrets -7/3, 2/3, 5/3
    torch.testing.assert_close(state.strategies[1], tensors([0.0, 2 / 7, 5 / 7])[0])
    torch.testing.assert_close(state.memory[1], tensors([0.0, 2 / 3, 5 / 3])[0])
    # its average counts the row agent's new strategy, and the column agent's old one
    torch.testing.assert_close(state.average, tensors([0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]))


def test_no_positive_regret_gives_the_uniform_strategy() -> None:
    state = RegretMatching().step(RegretMatching().init(torch.zeros(2, 3)), torch.zeros(2, 3))
    torch.testing.assert_close(state.strategies, (torch.full((2,), 1 / 2), torch.full((3,), 1 / 3)))


@pytest.mark.parametrize(("rule", "factor"), [(RegretMatching(), 1), (RegretMatchingPlus(), 2)])
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_regret_bound(rule: Rule, factor: int, rows: int, columns: int, seed: int) -> None:
    payoffs, steps = random_matrix(rows, columns, seed), 200
    spread = (payoffs.max() - payoffs.min()).item()
    bound = factor * spread * (rows**0.5 + columns**0.5) / steps**0.5
    found = nash_conv(payoffs, learn(payoffs, rule, steps, record=(steps,)).average).item()
    assert -1e-12 <= found <= bound + 1e-12


@pytest.mark.parametrize("rule", [RegretMatching(), RegretMatchingPlus()])
def test_three_agents_leave_a_dominated_action(rule: Rule) -> None:
    payoffs = make("public-goods", agents=3, k=2).payoffs()  # keeping dominates
    final = learn(payoffs, rule, 50).state
    for strategy in final.strategies:
        torch.testing.assert_close(strategy, tensors([0.0, 1.0])[0])
