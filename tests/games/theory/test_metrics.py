"""Social metrics: values worked out by hand, and the laws they obey."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from games import theory as metrics

NAN = math.nan


def table(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# Three steps of two agents; in the second copy the last step was not played.
REWARDS = table(
    [
        [[1.0, 0.0], [0.0, 2.0]],
        [[0.0, -1.0], [3.0, -1.0]],
        [[1.0, 2.0], [100.0, 100.0]],
    ]
)
ALIVE = torch.tensor([[True, True], [True, True], [True, False]])


def test_efficiency_by_hand():
    assert_close(metrics.efficiency(REWARDS, ALIVE), table([3 / 3, 4 / 2]), rtol=0, atol=1e-14)
    assert_close(metrics.efficiency(REWARDS), table([3 / 3, 204 / 3]), rtol=0, atol=1e-12)


def test_sustainability_by_hand():
    # copy 0: agent 0 in steps 1 and 3, agent 1 in step 3; copy 1: agent 0 in step 2, agent 1 in step 1
    assert_close(metrics.sustainability(REWARDS, ALIVE), table([2.5, 1.5]), rtol=0, atol=1e-14)
    # unmasked, copy 1: (2 + 3)/2 and (1 + 3)/2
    assert_close(metrics.sustainability(REWARDS), table([2.5, 2.25]), rtol=0, atol=1e-14)


def test_sustainability_leaves_out_who_never_gained():
    rewards = table([[0.0, 0.0], [4.0, -1.0]])
    assert metrics.sustainability(rewards).item() == 2
    assert metrics.sustainability(-rewards[:, :1]).isnan().item()


def test_peace_by_hand():
    timed_out = torch.zeros(4, 3, dtype=torch.bool)
    timed_out[1:3, 0] = True
    timed_out[3, 2] = True
    assert metrics.peace(timed_out).item() == (3 * 4 - 3) / 4
    alive = torch.tensor([True, True, False, False])
    assert metrics.peace(timed_out, alive).item() == (3 * 2 - 1) / 2


@pytest.mark.parametrize(
    ("returns", "equality"),
    [
        ([1.0, 1.0, 1.0], 1.0),
        ([3.0, 0.0, 0.0], 1 / 3),
        ([1.0, 3.0], 1 - 4 / 16),
        ([1.0, 2.0, 3.0], 1 - 8 / 36),
        ([3.0, -1.0], 1 - 8 / 8),  # below 1/N = 1/2: a debt
        ([5.0, -4.0], 1 - 18 / 4),
        ([1.0, -1.0], NAN),
        ([0.0, 0.0], NAN),
        ([-1.0, -1.0], NAN),
    ],
)
def test_equality_by_hand(returns, equality):
    assert_close(metrics.equality(table(returns)), table(equality), rtol=0, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("metric", [metrics.efficiency, metrics.sustainability])
def test_what_was_not_played_may_hold_anything(metric):
    rubbish = torch.where(ALIVE.unsqueeze(-1), REWARDS, torch.nan)
    assert_close(metric(rubbish, ALIVE), metric(REWARDS, ALIVE), rtol=0, atol=0)


def test_nothing_played_is_not_a_number():
    never = torch.zeros(3, 2, dtype=torch.bool)
    assert metrics.efficiency(REWARDS, never).isnan().all()
    assert metrics.sustainability(REWARDS, never).isnan().all()
    assert metrics.peace(REWARDS > 0, never).isnan().all()


@pytest.mark.parametrize("metric", [metrics.efficiency, metrics.sustainability, metrics.peace])
def test_a_mask_of_another_shape_is_refused(metric):
    with pytest.raises(ValueError, match=r"= \(3, 2\), one entry for each step, not \(3,\)"):
        metric(REWARDS > 0, ALIVE[:, 0])


gains = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)


def test_equality_of_very_many_agents_is_that_of_their_pairs():
    returns = torch.rand(2, 1500, dtype=torch.float64) - 0.2
    pairwise = (returns[:, :, None] - returns[:, None]).abs().mean((1, 2)) / (2 * returns.mean(1))
    assert_close(metrics.equality(returns), 1 - pairwise, rtol=0, atol=1e-12)


@settings(max_examples=100)
@given(returns=gains, scale=st.floats(1e-3, 1e3), data=st.data())
def test_laws_of_equality(returns, scale, data):
    agents = len(returns)
    given_to = table(returns)
    permuted = given_to[data.draw(st.permutations(range(agents)))]
    close = {"rtol": 1e-12, "atol": 1e-12}
    assert_close(metrics.equality(permuted), metrics.equality(given_to), **close)
    assert 1 / agents - 1e-12 <= metrics.equality(given_to) <= 1 + 1e-12
    assert_close(metrics.equality(scale * given_to), metrics.equality(given_to), **close)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), time=st.integers(1, 5), agents=st.integers(1, 4))
def test_bounds_and_batches(seed, time, agents):
    draws = torch.Generator().manual_seed(seed)
    rewards = torch.randn(time, 3, 2, agents, generator=draws, dtype=torch.float64)
    mask = torch.rand(time, 3, 2, generator=draws) < 0.8
    flags = rewards > 0.5
    peace = metrics.peace(flags, mask)
    assert (peace.isnan() | ((peace >= 0) & (peace <= agents))).all()
    when = metrics.sustainability(rewards, mask)
    assert (when.isnan() | ((when >= 1) & (when <= time))).all()
    for metric, values in [
        (metrics.efficiency, rewards),
        (metrics.sustainability, rewards),
        (metrics.peace, flags),
    ]:
        one = metric(values[:, 1, 1], mask[:, 1, 1])
        assert_close(one, metric(values, mask)[1, 1], rtol=1e-12, atol=1e-12, equal_nan=True)
