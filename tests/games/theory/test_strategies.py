"""Strategies on payoff tables against games with policies, sums over profiles, and bad input."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import exploitability, make, nash_conv
from games.matrix import random_general_sum
from games.theory import action_counts, action_payoffs, zero_sum_matrix

COUNTS = st.lists(st.integers(1, 4), min_size=2, max_size=4)


def random_table(counts: list[int], seed: int) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    payoffs = torch.randn(*counts, len(counts), generator=generator, dtype=torch.float64)
    draws = (torch.randn(5, count, generator=generator, dtype=torch.float64) for count in counts)
    return payoffs, [draw.softmax(-1) for draw in draws]


@given(counts=COUNTS, seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_action_payoffs_against_the_sum_over_profiles(counts: list[int], seed: int) -> None:
    payoffs, strategies = random_table(counts, seed)
    assert action_counts(payoffs) == tuple(counts)
    for agent, count in enumerate(counts):
        expected = torch.zeros(5, count, dtype=torch.float64)
        for profile in itertools.product(*map(range, counts)):
            others = [strategies[i][:, profile[i]] for i in range(len(counts)) if i != agent]
            expected[:, profile[agent]] += torch.stack(others).prod(0) * payoffs[profile][agent]
        torch.testing.assert_close(action_payoffs(payoffs, strategies, agent), expected)


@given(agents=st.integers(2, 3), actions=st.integers(2, 3), seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_nash_conv_of_payoffs_equals_that_of_the_game(agents: int, actions: int, seed: int) -> None:
    game = random_general_sum(actions, seed, agents=agents)
    _, strategies = random_table([actions] * agents, seed)
    policies = torch.stack(strategies, 1).unsqueeze(2)  # [batch, agent, 1, action]
    torch.testing.assert_close(nash_conv(game.payoffs(), strategies), nash_conv(game, policies))
    torch.testing.assert_close(exploitability(game.payoffs(), strategies), exploitability(game, policies))


def test_a_matrix_equals_its_table() -> None:
    payoffs, strategies = random_table([2, 3], seed=0)
    matrix = payoffs[..., 0]
    table = torch.stack((matrix, -matrix), -1)
    torch.testing.assert_close(nash_conv(matrix, strategies), nash_conv(table, strategies))
    torch.testing.assert_close(zero_sum_matrix(table), matrix)
    assert zero_sum_matrix(matrix) is matrix


def test_uniform_strategies_of_a_biased_game() -> None:
    # by hand: rows earn (1, -1/2), columns cost (1/2, 0); the profile is worth 1/4
    matrix = torch.tensor([[3.0, -1.0], [-2.0, 1.0]])
    uniform = torch.full((2,), 0.5)
    assert action_payoffs(matrix, (uniform, uniform), 0).tolist() == [1.0, -0.5]
    assert action_payoffs(matrix, (uniform, uniform), 1).tolist() == [-0.5, 0.0]
    assert nash_conv(matrix, (uniform, uniform)).item() == (1 - 0.25) + (0 + 0.25)
    assert exploitability(matrix, (uniform, uniform)).item() == 0.5


@pytest.mark.parametrize(
    ("payoffs", "message"),
    [
        (torch.tensor(1.0), "their shape is one number"),
        (torch.zeros(3), "their shape is 3"),
        (torch.zeros(2, 2, 3), "their shape is 2 x 2 x 3"),
        (torch.zeros(2, 0), "their shape is 2 x 0"),
        (torch.zeros(2, 2, dtype=torch.int64), "must be a finite floating number"),
        (torch.tensor([[1.0, math.nan]]), "must be a finite floating number"),
    ],
)
def test_bad_payoffs(payoffs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        action_counts(payoffs)
    with pytest.raises(ValueError, match=message):
        zero_sum_matrix(payoffs)


def test_strategies_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="have 2, 3 actions; the strategies are over 3, 2"):
        nash_conv(torch.zeros(2, 3), (torch.ones(3) / 3, torch.ones(2) / 2))
    with pytest.raises(ValueError, match="have 2, 3 actions; the strategies are over none"):
        nash_conv(torch.zeros(2, 3), ())


def test_games_that_are_not_zero_sum() -> None:
    with pytest.raises(ValueError, match="the payoffs of one outcome sum to -4, not 0"):
        zero_sum_matrix(make("prisoners-dilemma").payoffs())
    with pytest.raises(ValueError, match="The game has 3 agents"):
        zero_sum_matrix(make("public-goods", agents=3).payoffs())
