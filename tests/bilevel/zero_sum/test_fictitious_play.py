"""Fictitious play: NashConv of the average, ties, and the cycle of Shapley's game."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.zero_sum import FictitiousPlay, best_response, learn
from games import make, nash_conv
from tests.bilevel.zero_sum.games_of_theory import (
    PENNIES,
    ROCK_PAPER_SCISSORS,
    SHAPLEY,
    random_matrix,
    random_start,
)


@pytest.mark.parametrize(
    ("payoffs", "expected"),
    [
        (ROCK_PAPER_SCISSORS, [0.4, 0.14, 0.042, 0.0134, 0.00422]),
        (PENNIES, [0.4, 0.14, 0.044, 0.014, 0.00448]),
    ],
)
def test_nash_conv_of_the_average(payoffs: torch.Tensor, expected: list[float]) -> None:
    record = [10**power for power in range(1, 6)]
    history = learn(payoffs, FictitiousPlay(), record[-1], record=record)
    assert nash_conv(payoffs, history.average).tolist() == pytest.approx(expected, rel=1e-9)


def test_shapleys_game_cycles_ever_more_slowly() -> None:
    steps = 4999
    history = learn(SHAPLEY, FictitiousPlay(), steps, record=range(steps + 1))
    profiles = zip(*(one.argmax(-1).tolist() for one in history.last), strict=True)
    runs = [len(list(group)) for _, group in itertools.groupby(profiles)][:-1]  # the last is cut off
    assert runs[:14] == [1, 2, 4, 7, 11, 17, 26, 39, 58, 86, 127, 187, 275, 404]
    ratio = next(root.real for root in torch.linalg.eigvals(COMPANION).tolist() if abs(root.imag) < 1e-9)
    assert ratio == pytest.approx(1.4656, abs=5e-5)
    assert runs[-1] / runs[-2] == pytest.approx(ratio, abs=2e-3)
    assert nash_conv(SHAPLEY, history.average)[-1].item() > 0.1


COMPANION = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
"""Its characteristic polynomial is x^3 - x^2 - 1."""


def test_totals_are_counts_of_actions() -> None:
    state = learn(ROCK_PAPER_SCISSORS, FictitiousPlay(), 4).state
    # by hand: rock against rock; paper twice, as it beats the average; then scissors tie and win
    assert [total.tolist() for total in state.totals] == [[1.0, 3.0, 0.0], [1.0, 3.0, 0.0]]
    assert state.weight == 4


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), seed=st.integers(0, 999), whole=st.booleans())
@settings(max_examples=40, deadline=None)
def test_repeated_actions_at_once_equal_single_steps(rows: int, columns: int, seed: int, whole: bool) -> None:
    payoffs = random_matrix(rows, columns, seed)
    payoffs = payoffs.round() if whole else payoffs  # with ties
    start = tuple(best_response(one) for one in random_start(rows, columns, seed=seed, batch=(2,)))
    rule = FictitiousPlay()
    at_once = single = rule.init(payoffs, start)
    for _ in range(150):
        single = rule.step(single, payoffs)
    at_once = rule.run(rule.run(at_once, payoffs, 67), payoffs, 83)
    assert (at_once.steps, at_once.weight) == (single.steps, single.weight) == (150, 150)
    torch.testing.assert_close(at_once.totals, single.totals, atol=0, rtol=0)
    torch.testing.assert_close(at_once.strategies, single.strategies, atol=0, rtol=0)


def test_the_lowest_index_breaks_ties() -> None:
    assert best_response(torch.zeros(2, 3)).tolist() == [[1.0, 0.0, 0.0]] * 2


def test_three_agents_of_a_coordination_game_stay_together() -> None:
    # all-cooperate is an equilibrium of a public good that repays more than it costs
    payoffs = make("public-goods", agents=3, k=4).payoffs()
    history = learn(payoffs, FictitiousPlay(), 50)
    assert all(one[-1, 0] == 1 for one in history.last)
    assert nash_conv(payoffs, history.last)[-1].item() == 0
