"""Advantages by hand, and REINFORCE's gradient."""

from __future__ import annotations

import pytest
import torch

from bilevel.tasks.world_model._losses import (
    advantages_with_values,
    advantages_without_values,
    clipped_surrogate,
    normalized,
)
from tests.bilevel.tasks.world_model.tiny import a_roll_out


def test_with_trace_one_advantages_are_discounted_sums_less_the_value():
    roll_out = a_roll_out()
    values = torch.rand(9, 4, generator=torch.Generator().manual_seed(1))
    advantages, targets = advantages_with_values(roll_out, values, 0.9, 1.0)
    # The first copy: rewards of 1 until the episode ends in step 3, and no value after it.
    assert targets[0, 0].item() == pytest.approx(1 + 0.9 + 0.81 + 0.729)
    # The second copy: rewards of 1 throughout, then the last value.
    expected = sum(0.9**step for step in range(8)) + 0.9**8 * values[8, 1].item()
    assert targets[0, 1].item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(advantages, targets - values[:-1])


def test_with_trace_zero_advantages_look_one_step_ahead():
    roll_out = a_roll_out()
    values = torch.rand(9, 4, generator=torch.Generator().manual_seed(1))
    advantages, _ = advantages_with_values(roll_out, values, 0.9, 0.0)
    assert advantages[2, 1].item() == pytest.approx((1 + 0.9 * values[3, 1] - values[2, 1]).item())


def test_time_running_out_is_no_end():
    roll_out = a_roll_out()
    values = torch.full((9, 4), 10.0)
    cut = roll_out._replace(ended=torch.zeros_like(roll_out.ended))
    assert advantages_with_values(cut, values, 0.9, 1.0)[1][3, 0].item() == pytest.approx(10.0)
    assert advantages_with_values(roll_out, values, 0.9, 1.0)[1][3, 0].item() == pytest.approx(1.0)


def test_without_values_the_baseline_is_the_mean_over_copies():
    roll_out = a_roll_out()
    advantages = advantages_without_values(roll_out, 0.9)
    counted = (advantages * roll_out.counts).sum(1)
    torch.testing.assert_close(counted, torch.zeros(8), atol=1e-5, rtol=0)
    assert advantages[0, 0] < advantages[0, 1]  # its episode ends


def test_steps_that_only_start_an_episode_do_not_count():
    roll_out = a_roll_out()
    assert not roll_out.counts[4, 0]
    assert roll_out.counts.sum() == 8 * 4 - 1
    some = normalized(torch.rand(8, 4), roll_out.counts)[roll_out.counts]
    assert some.mean().item() == pytest.approx(0, abs=1e-6)
    assert some.std(correction=0).item() == pytest.approx(1, rel=1e-4)


def test_where_the_policy_acted_itself_the_gradient_is_reinforces():
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    actions, advantages = torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(6, dtype=torch.float64)
    taken = logits.log_softmax(-1)[torch.arange(6), actions]
    (found,) = torch.autograd.grad(
        clipped_surrogate(taken, taken.detach(), advantages, 0.2), logits, retain_graph=True
    )
    (expected,) = torch.autograd.grad(-(taken * advantages).mean(), logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_far_from_who_acted_the_gradient_stops():
    log_policy = torch.tensor([0.0, 0.0], requires_grad=True)
    before, advantages = torch.tensor([-1.0, 1.0]), torch.tensor([1.0, -1.0])
    clipped_surrogate(log_policy, before, advantages, 0.2).backward()
    assert log_policy.grad.tolist() == [0.0, 0.0]
