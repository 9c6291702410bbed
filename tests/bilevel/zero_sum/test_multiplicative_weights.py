"""Multiplicative weights on matching pennies: the last iterate spirals out, the optimistic one converges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.zero_sum import MultiplicativeWeights, OptimisticMultiplicativeWeights, learn
from games import nash_conv
from games.theory import zero_sum_equilibrium
from tests.bilevel.zero_sum.games_of_theory import PENNIES, random_matrix, random_start, tensors

START = tensors([0.7, 0.3], [0.4, 0.6])


def divergence_from_uniform(strategies: tuple[torch.Tensor, ...]) -> float:
    """The sum of KL(uniform, x) over the agents."""
    return sum(-(one * len(one)).log().mean().item() for one in strategies)


def test_the_last_iterate_spirals_to_the_corners() -> None:
    history = learn(PENNIES, MultiplicativeWeights(0.1), 10_000, start=START, record=(1000, 10_000))
    assert nash_conv(PENNIES, history.last).tolist() == pytest.approx([1.9217, 1.9999], abs=6e-5)
    assert nash_conv(PENNIES, history.average)[1].item() == pytest.approx(0.01429, abs=5e-6)
    at_thousand = tuple(one[0] for one in history.last)
    assert divergence_from_uniform(at_thousand) == pytest.approx(2.7879, abs=5e-5)


def test_the_optimistic_last_iterate_converges() -> None:
    rule = OptimisticMultiplicativeWeights(0.1)
    history = learn(PENNIES, rule, 10_000, start=START, record=(1000, 10_000))
    last, average = nash_conv(PENNIES, history.last), nash_conv(PENNIES, history.average)
    assert last[0].item() == pytest.approx(0.00321, abs=5e-6)
    assert last[1].item() < 1e-8
    assert average[1].item() == pytest.approx(0.00061, abs=5e-6)
    at_thousand = tuple(one[0] for one in history.last)
    assert divergence_from_uniform(at_thousand) == pytest.approx(4.9e-6, abs=5e-8)


def test_two_steps_by_hand() -> None:
    # u_0 = (-.2, .2), u_1 follows from the strategies after one step; the prediction is 2 u_1 - u_0
    rule = OptimisticMultiplicativeWeights(0.5)
    first = rule.step(rule.init(PENNIES, START), PENNIES)
    row = torch.tensor([0.7, 0.3], dtype=torch.float64).log() + 0.5 * tensors([-0.2, 0.2])[0]
    torch.testing.assert_close(first.strategies[0], row.softmax(-1))
    before, now = tensors([-0.2, 0.2])[0], PENNIES @ first.strategies[1]
    torch.testing.assert_close(
        rule.step(first, PENNIES).strategies[0], (row + 0.5 * (2 * now - before)).softmax(-1)
    )


@given(rows=st.integers(2, 5), columns=st.integers(2, 5), seed=st.integers(0, 999), eta=st.floats(0.01, 1.0))
@settings(max_examples=20, deadline=None)
def test_regret_bound(rows: int, columns: int, seed: int, eta: float) -> None:
    payoffs, steps = random_matrix(rows, columns, seed), 200
    spread = (payoffs.max() - payoffs.min()).item()
    counts = torch.tensor([rows, columns], dtype=torch.float64)
    bound = counts.log().sum().item() / (eta * steps) + eta * spread**2 / 4
    history = learn(payoffs, MultiplicativeWeights(eta), steps, record=(steps,))
    assert 0 <= nash_conv(payoffs, history.average).item() + 1e-12 <= bound + 2e-12


def test_the_optimistic_last_iterate_converges_in_random_games() -> None:
    for seed in range(3):
        payoffs = random_matrix(3, 3, seed)
        start = random_start(3, 3, seed=seed)
        final = learn(payoffs, OptimisticMultiplicativeWeights(0.2), 3000, start=start).state.strategies
        assert nash_conv(payoffs, final).item() < 1e-3
        value = (final[0] @ payoffs @ final[1]).item()
        assert value == pytest.approx(zero_sum_equilibrium(payoffs).value, abs=1e-3)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_learning_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="learning_rate must be above 0 and finite, not"):
        MultiplicativeWeights(rate)
