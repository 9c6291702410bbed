"""PSRO: rounds by hand, equilibria by exact responses, learned responses, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.zero_sum import PolicySpaceResponseOracles, exact_response, learn, policy_gradient_response
from games import make, nash_conv
from games.theory import zero_sum_equilibrium
from tests.bilevel.zero_sum.games_of_theory import (
    EQUILIBRIUM,
    PERTURBED,
    ROCK_PAPER_SCISSORS,
    SHAPLEY,
    random_matrix,
    tensors,
)


@pytest.mark.parametrize(("payoffs", "gaps"), [(ROCK_PAPER_SCISSORS, [2, 2, 0]), (PERTURBED, [6, 2, 0])])
def test_rounds(payoffs: torch.Tensor, gaps: list[float]) -> None:
    history = learn(payoffs, PolicySpaceResponseOracles(), 2, record=(0, 1, 2))
    assert nash_conv(payoffs, history.last).tolist() == pytest.approx(gaps, abs=1e-9)
    assert [len(population) for population in history.state.memory] == [3, 3]


def test_nothing_is_added_twice() -> None:
    history = learn(PERTURBED, PolicySpaceResponseOracles(), 6)
    assert [len(population) for population in history.state.memory] == [3, 3]
    torch.testing.assert_close(history.state.strategies[0], EQUILIBRIUM, atol=1e-9, rtol=0)


@given(rows=st.integers(1, 7), columns=st.integers(1, 7), seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_exact_responses_end_in_an_equilibrium(rows: int, columns: int, seed: int) -> None:
    payoffs = random_matrix(rows, columns, seed)
    final = learn(payoffs, PolicySpaceResponseOracles(), rows + columns).state.strategies
    assert -1e-12 < nash_conv(payoffs, final).item() < 1e-7
    value = (final[0] @ payoffs @ final[1]).item()
    assert value == pytest.approx(zero_sum_equilibrium(payoffs).value, abs=1e-7)


def test_remaining_steps_at_once_equal_single_steps() -> None:
    rule = PolicySpaceResponseOracles()
    single = rule.init(PERTURBED)
    for _ in range(9):
        single = rule.step(single, PERTURBED)
    at_once = rule.run(rule.init(PERTURBED), PERTURBED, 9)
    assert (at_once.steps, at_once.weight) == (9, 9)
    torch.testing.assert_close(at_once.average, single.average)
    torch.testing.assert_close(at_once.strategies, single.strategies, atol=0, rtol=0)


def test_learned_responses() -> None:
    oracle = policy_gradient_response(steps=300)
    rule = PolicySpaceResponseOracles(oracle)
    history = learn(PERTURBED, rule, 6)
    assert nash_conv(PERTURBED, history.state.strategies).item() < 0.2
    assert all(len(population) > 3 for population in history.state.memory)  # none repeats exactly


def test_a_learned_response_approaches_the_exact_one() -> None:
    strategies = tensors([0.2, 0.5, 0.3], [0.6, 0.2, 0.2])
    for agent in (0, 1):
        learned = policy_gradient_response(steps=2000)(PERTURBED, strategies, agent)
        exact = exact_response(PERTURBED, strategies, agent)
        torch.testing.assert_close(learned, exact, atol=2e-3, rtol=0)


def test_general_sum_games_are_refused() -> None:
    with pytest.raises(ValueError, match="the payoffs of one outcome sum to 1, not 0"):
        learn(SHAPLEY, PolicySpaceResponseOracles(), 1)
    with pytest.raises(ValueError, match="The game has 3 agents; only zero-sum games of two agents"):
        learn(make("public-goods", agents=3).payoffs(), PolicySpaceResponseOracles(), 1)


def test_a_batch_of_starts_is_refused() -> None:
    start = tuple(torch.eye(3, dtype=torch.float64) for _ in range(2))
    with pytest.raises(ValueError, match="it takes no batch of starts"):
        learn(PERTURBED, PolicySpaceResponseOracles(), 1, start=start)
