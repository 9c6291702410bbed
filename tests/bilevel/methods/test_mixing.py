"""Mixing by receiver: what agents feel, what is conserved, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilevel.agents import Trajectory
from bilevel.methods._d3c_bound import MixedBy, Mixing

ALL = torch.ones(3, 3, dtype=torch.bool)
RING = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.bool)
"""Giver, receiver: agent 0's reward reaches agents 0 and 1."""


def episodes(rewards: torch.Tensor) -> Trajectory:
    """Rewards [seed, agent, time, episode], with nothing to see or do."""
    still = torch.zeros_like(rewards)
    return Trajectory(still.long(), still.long(), rewards, torch.ones_like(rewards[:, :1]), None)


@given(st.integers(0, 2**31), st.sampled_from([ALL, RING]), st.floats(0.01, 0.99))
def test_rows_of_weights_sum_to_one_whatever_the_logits(seed: int, graph: torch.Tensor, own: float) -> None:
    mixing = Mixing(graph, own)
    logits = 5 * torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = mixing.weights(logits)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3).double(), rtol=0, atol=1e-12)
    assert not weights[:, ~graph.mT].any()
    transfer = mixing.transfer(logits)
    assert torch.equal(transfer.matrix, weights.mT)
    start = mixing.weights(mixing.initial(seed=0, seeds=2))
    torch.testing.assert_close(start.diagonal(dim1=1, dim2=2), torch.full((2, 3), own).double())


def test_what_is_felt_by_hand() -> None:
    weights = torch.tensor([[[0.75, 0.25], [0.5, 0.5]]])
    trajectory = episodes(torch.tensor([[[[4.0]], [[8.0]]]]))
    mixed = MixedBy(weights)
    assert mixed.rewards(trajectory).flatten().tolist() == [5.0, 6.0]  # 11 felt, 12 earned
    assert not mixed.gifts(trajectory).any()
    report = mixed.report(None)
    assert {name: float(values) for name, values in report.items()} == {
        "given_away": pytest.approx(0.375),
        "share_0_0": 0.75,
        "share_0_1": 0.5,
        "share_1_0": 0.25,
        "share_1_1": 0.5,
        "imbalance": 0.25,
    }


def test_the_total_is_conserved_where_columns_sum_to_one_and_only_there() -> None:
    rewards = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trajectory = episodes(rewards)
    for other, conserved in ((0.3, True), (0.4, False)):
        mixed = MixedBy(torch.tensor([[[0.7, 0.3], [other, 1 - other]]], dtype=torch.float64))
        miss = (mixed.rewards(trajectory).sum(1) - rewards.sum(1)).abs().max()
        assert (float(miss) < 1e-12) == conserved
        assert (float(mixed.report(None)["imbalance"]) < 1e-12) == conserved


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        Mixing(ALL, 1.0)
    with pytest.raises(ValueError, match="diagonal of a sharing graph is True"):
        Mixing(~ALL)
