"""Terms of losses: hand-computed, against loops, and their weighted sum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.agents import TermWeights, generalized_advantages, weighted
from bilevel.agents._loss_terms import (
    LossTerms,
    centered_by_step,
    clipped_value_losses,
    normalized,
    value_losses,
)

SEEDS = st.integers(0, 2**31)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two numbers for each of 3 agents, 4 steps and 5 episodes that end; what is after the end is dirt."""
    mask = (draw(seed, 2, 1, 4, 5) < 0.7).double().cumprod(-2)
    mask[..., 0, :] = 1
    return draw(seed + 1, 2, 3, 4, 5), draw(seed + 2, 2, 3, 4, 5), mask


def played(values: Tensor, mask: Tensor, seed: int, agent: int) -> Tensor:
    return values[seed, agent][mask[seed, 0] > 0]


@given(seed=SEEDS)
@settings(max_examples=20)
def test_value_losses_are_means_over_the_steps_played(seed: int) -> None:
    values, targets, mask = batch(seed)
    found = value_losses(values, targets, mask)
    assert found.shape == (2, 3)
    for member in range(2):
        for agent in range(3):
            ours, theirs = (played(each, mask, member, agent) for each in (values, targets))
            expected = torch.nn.functional.mse_loss(ours, theirs) / 2
            torch.testing.assert_close(found[member, agent], expected, rtol=0, atol=1e-12)


@given(seed=SEEDS, clip=st.floats(0.01, 3))
@settings(max_examples=20)
def test_clipped_value_losses_take_the_greater_error(seed: int, clip: float) -> None:
    values, targets, mask = batch(seed)
    old = values + draw(seed + 5, *values.shape)
    found = clipped_value_losses(values, targets, mask, old, clip)
    held = torch.minimum(torch.maximum(values, old - clip), old + clip)
    for member in range(2):
        for agent in range(3):
            new, target, near = (played(each, mask, member, agent) for each in (values, targets, held))
            expected = torch.stack(((new - target) ** 2, (near - target) ** 2)).amax(0).mean() / 2
            torch.testing.assert_close(found[member, agent], expected, rtol=0, atol=1e-12)


def test_values_within_the_clip_lose_as_without() -> None:
    values, targets, mask = batch(0)
    found = clipped_value_losses(values, targets, mask, values + 0.1, clip=0.2)
    torch.testing.assert_close(found, value_losses(values, targets, mask), rtol=0, atol=1e-14)


@given(seed=SEEDS)
@settings(max_examples=20)
def test_normalized_advantages_have_mean_0_and_deviation_1_of_every_agent_and_seed(seed: int) -> None:
    advantages, _, mask = batch(seed)
    scale = torch.tensor([0.1, 1.0, 100.0], dtype=torch.float64).reshape(3, 1, 1)
    found = normalized(scale * advantages + 7, mask)
    assert not (found * (1 - mask)).any()
    for member in range(2):
        for agent in range(3):
            steps = played(found, mask, member, agent)
            assert abs(float(steps.mean())) < 1e-12
            if len(steps) > 1:
                assert float(steps.std(unbiased=False)) == pytest.approx(1, abs=1e-4)


def test_equal_advantages_become_0_and_have_derivatives() -> None:
    flat = torch.full((1, 1, 2, 3), 5.0, dtype=torch.float64, requires_grad=True)
    found = normalized(flat, torch.ones_like(flat))
    assert not found.any()
    assert torch.autograd.grad((found * draw(0, 1, 1, 2, 3)).sum(), flat)[0].isfinite().all()


@given(seed=SEEDS, discount=st.floats(0, 1), gae_lambda=st.floats(0, 1))
@settings(max_examples=30)
def test_targets_are_mixtures_of_returns_of_every_length(
    seed: int, discount: float, gae_lambda: float
) -> None:
    """A + V = (1 - l) sum_n l^(n-1) G^(n), l = gae_lambda; the last has the remaining weight (derived)."""
    mask = (draw(seed, 1, 4, 5) < 0.7).double().cumprod(-2)
    rewards, values = (draw(seed + k, 2, 4, 5) * mask for k in (1, 2))
    found = generalized_advantages(rewards, values, discount, gae_lambda) + values
    after = torch.cat((values, torch.zeros(2, 1, 5, dtype=torch.float64)), -2)
    for time in range(4):
        expected, total = torch.zeros(2, 5, dtype=torch.float64), torch.zeros(2, 5, dtype=torch.float64)
        for length in range(1, 5 - time):
            total = total + discount ** (length - 1) * rewards[:, time + length - 1]
            bootstrapped = total + discount**length * after[:, time + length]
            last = length == 4 - time
            expected = expected + gae_lambda ** (length - 1) * (1 if last else 1 - gae_lambda) * bootstrapped
        torch.testing.assert_close(found[:, time], expected, rtol=0, atol=1e-12)


def test_the_sum_is_linear_in_its_weights_and_differentiable_in_them() -> None:
    """As whoever learns the weights needs it: one for each agent and seed."""
    policy, value, entropy = (draw(k, 2, 3) for k in range(3))
    terms = LossTerms(policy, value, entropy)
    weights = [draw(k, 2, 3).exp() for k in range(3, 6)]
    found = torch.func.grad(lambda *each: weighted(terms, TermWeights(*each)).sum(), argnums=(0, 1, 2))
    for slope, expected in zip(found(*weights), (policy, value, -entropy), strict=True):
        torch.testing.assert_close(slope, expected, rtol=0, atol=0)
    expected = weights[0] * policy + weights[1] * value - weights[2] * entropy
    torch.testing.assert_close(weighted(terms, TermWeights(*weights)), expected, rtol=0, atol=1e-14)


def test_without_a_critic_there_is_no_value_term() -> None:
    policy, entropy = draw(0, 2, 3), draw(1, 2, 3)
    found = weighted(LossTerms(policy, None, entropy), TermWeights(entropy=0.5))
    torch.testing.assert_close(found, policy - 0.5 * entropy, rtol=0, atol=0)


def test_centered_advantages_have_a_mean_of_zero_at_each_step() -> None:
    advantages = torch.tensor([[[1.0, 3.0, 5.0], [2.0, 4.0, 100.0], [7.0, 50.0, 100.0]]])
    mask = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    expected = [[[-2.0, 0.0, 2.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    assert centered_by_step(advantages, mask).tolist() == expected
