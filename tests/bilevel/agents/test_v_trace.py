"""Leaky V-trace against hand-computed values, returns, the paper's sums, and finite differences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.agents import generalized_advantages, leaky_v_trace

SEEDS = st.integers(0, 2**31)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(-1)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_v_trace_by_hand() -> None:
    """IS = 4, 1/2, clips 1: rho = 1, 1/2; c = 1 lambda; deltas 1.5 - 1 + 1/2, 1/2 (3 + 1 - 2)."""
    trace = leaky_v_trace(
        column(1.5, 3.0),
        column(1.0, 2.0),
        column(4.0, 0.5).log(),
        torch.tensor([[0.25], [0.5]], dtype=torch.float64),
        trace_lambda=0.5,
        last_value=torch.tensor([2.0], dtype=torch.float64),
    )
    close(trace.targets, column(1.0 + 1.0 + 0.25 * 0.5 * 1.0, 3.0))
    close(trace.advantages, column(1.5 + 0.25 * 3.0 - 1.0, 0.5 * (3.0 + 0.5 * 2.0 - 2.0)))


def test_leaky_clipping_by_hand() -> None:
    """IS = 4, leak 1/4: rho = 1/4 x 1 + 3/4 x 4 = 13/4, and c = lambda x 13/4 at the same clip."""
    trace = leaky_v_trace(
        column(2.0, 1.0), column(0.0, 0.0), column(4.0, 1.0).log(), 1.0, trace_lambda=0.5, leak=0.25
    )
    close(trace.targets, column(3.25 * 2 + 0.5 * 3.25 * 1, 1.0))
    close(trace.advantages, column(3.25 * 3, 1.0))


@given(seed=SEEDS, steps=st.integers(1, 6), discount=st.floats(0, 1), trace_lambda=st.floats(0, 1))
@settings(max_examples=30)
def test_a_leak_of_one_is_the_sum_of_impala(
    seed: int, steps: int, discount: float, trace_lambda: float
) -> None:
    rewards, values, logs = draw(seed, 3, steps, 2)
    last = draw(seed + 1, 2)
    trace = leaky_v_trace(
        rewards, values, logs, discount, trace_lambda=trace_lambda, rho_clip=1.5, c_clip=0.8, last_value=last
    )
    following = torch.cat((values[1:], last[None]))
    rho, c = logs.exp().clamp(max=1.5), trace_lambda * logs.exp().clamp(max=0.8)
    for start in range(steps):
        target = values[start].clone()
        for step in range(start, steps):
            error = rho[step] * (rewards[step] + discount * following[step] - values[step])
            target += discount ** (step - start) * c[start:step].prod(0) * error
        close(trace.targets[start], target)


@given(seed=SEEDS, leak=st.floats(0, 1), discount=st.floats(0, 1), trace_lambda=st.floats(0, 1))
@settings(max_examples=30)
def test_the_leak_has_no_effect_on_the_policys_own_episodes(
    seed: int, leak: float, discount: float, trace_lambda: float
) -> None:
    rewards, values = draw(seed, 2, 3, 5, 4)
    logs, learned = torch.zeros_like(rewards), torch.tensor(leak, dtype=torch.float64, requires_grad=True)
    trace = leaky_v_trace(rewards, values, logs, discount, trace_lambda=trace_lambda, leak=learned)
    for part, clipped in zip(
        trace, leaky_v_trace(rewards, values, logs, discount, trace_lambda=trace_lambda), strict=True
    ):
        close(part.detach(), clipped)
    (gradient,) = torch.autograd.grad(trace.targets.sum() + trace.advantages.square().sum(), learned)
    assert gradient.abs() < 1e-10
    generalized = generalized_advantages(rewards, values, discount, trace_lambda)
    close(trace.targets.detach() - values, generalized)


@given(seed=SEEDS, steps=st.integers(1, 6), discount=st.floats(0, 1))
@settings(max_examples=30)
def test_a_lambda_of_one_on_the_policys_own_episodes_gives_n_step_returns(
    seed: int, steps: int, discount: float
) -> None:
    rewards, values = draw(seed, 2, steps, 3)
    last = draw(seed + 1, 3)
    trace = leaky_v_trace(rewards, values, torch.zeros_like(rewards), discount, last_value=last)
    following = last
    for step in reversed(range(steps)):
        following = rewards[step] + discount * following
        close(trace.targets[step], following)
        close(trace.advantages[step], following - values[step])


def test_a_discount_of_zero_separates_the_episodes_of_a_fragment() -> None:
    rewards, values, logs = draw(0, 3, 5, 2)
    discounts = torch.full((5, 2), 0.9, dtype=torch.float64)
    discounts[2] = 0
    whole = leaky_v_trace(rewards, values, logs, discounts, trace_lambda=0.7, leak=0.4)
    first = leaky_v_trace(rewards[:3], values[:3], logs[:3], 0.9, trace_lambda=0.7, leak=0.4)
    second = leaky_v_trace(rewards[3:], values[3:], logs[3:], 0.9, trace_lambda=0.7, leak=0.4)
    for part, before, after in zip(whole, first, second, strict=True):
        close(part, torch.cat((before, after)))


@given(seed=SEEDS)
@settings(max_examples=5)
def test_derivatives_by_every_argument(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    per_agent = (torch.rand(3, 2, 1, 1, generator=generator, dtype=torch.float64) * 0.8 + 0.1).unbind()
    rewards, values, logs = draw(seed, 3, 2, 4, 3)
    logs = torch.where((logs.exp() - 1).abs() < 1e-2, torch.ones_like(logs), logs)  # away from the clip
    last = draw(seed + 1, 2, 3)
    arguments = [each.requires_grad_() for each in (rewards, values, logs, *per_agent, last)]

    def trace(*inputs: Tensor) -> tuple[Tensor, ...]:
        rewards, values, logs, discount, trace_lambda, leak, last = inputs
        return tuple(
            leaky_v_trace(
                rewards, values, logs, discount, trace_lambda=trace_lambda, leak=leak, last_value=last
            )
        )

    assert torch.autograd.gradcheck(trace, arguments)


def test_bad_input() -> None:
    ones = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"must have one shape, .*not \[2, 3\], \[2, 3\] and \[2\]\."):
        leaky_v_trace(ones, ones, torch.ones(2), 0.9)
    with pytest.raises(ValueError, match=r"c_clip must be above 0, not 0\."):
        leaky_v_trace(ones, ones, ones, 0.9, c_clip=0)
