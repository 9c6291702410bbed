"""Differentiable action values of other agents: against sums over steps, and softmax policies by them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.agents import DiceReturns, Exploring, NStepReturns, OpponentReturns, Tabular
from bilevel.agents import estimated_log_policy as log_policy

F64 = torch.float64
AGENTS, STEPS, EPISODES = 3, 5, 4
GAMMA = 0.9


def sample(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities, rewards, values and a mask; the last episode has three steps."""
    generator = torch.Generator().manual_seed(seed)
    own, rewards, values = torch.randn(3, AGENTS, STEPS, EPISODES, generator=generator, dtype=F64)
    mask = torch.ones(1, STEPS, EPISODES, dtype=F64)
    mask[:, 3:, -1] = 0
    return -own.abs() * mask, rewards * mask, values * mask, mask


def slopes(returns: OpponentReturns, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Estimates, and their derivatives [t, k] by the log-probability of step k; of learner 1 and agent 2."""
    own, rewards, values, mask = sample(seed)
    own.requires_grad_()
    found = returns(own, rewards, values, mask, GAMMA)
    rows = [torch.autograd.grad(found[1, 2, t].sum(), own, retain_graph=True)[0] for t in range(STEPS)]
    return found.detach(), torch.stack(rows)[:, 1]


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("gae_lambda", [0.5, 1.0])
@pytest.mark.parametrize("center", [False, True])
def test_dice_returns_are_sums_over_later_steps(decay: float, gae_lambda: float, center: bool) -> None:
    found, derivatives = slopes(DiceReturns(decay=decay, gae_lambda=gae_lambda, center=center))
    _, rewards, values, mask = sample()
    advantages = torch.zeros(STEPS, EPISODES, dtype=F64)
    for t in reversed(range(STEPS)):
        later = (values[2, t + 1], advantages[t + 1]) if t + 1 < STEPS else (0.0, 0.0)
        advantages[t] = rewards[2, t] + GAMMA * later[0] - values[2, t] + GAMMA * gae_lambda * later[1]
    torch.testing.assert_close(found[1, 2], advantages + values[2])
    if center:
        advantages = (
            advantages - (advantages * mask[0]).sum(-1, keepdim=True) / mask[0].sum(-1)[:, None]
        ) * (mask[0])
    for t in range(STEPS):
        for k in range(STEPS):
            weight = GAMMA * (GAMMA * decay) ** (k - t - 1) if k > t else 0.0
            torch.testing.assert_close(derivatives[t, k], weight * advantages[k])


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_n_step_returns_are_sums_over_the_next_steps(steps: int) -> None:
    found, derivatives = slopes(NStepReturns(steps=steps))
    _, rewards, values, mask = sample()
    mean = rewards[2].sum() / mask.sum()
    for t in range(STEPS):
        ahead = range(min(steps, STEPS - t))
        value = sum((GAMMA**step * rewards[2, t + step] for step in ahead), torch.zeros(EPISODES, dtype=F64))
        if t + steps < STEPS:
            value = value + GAMMA**steps * values[2, t + steps]
        torch.testing.assert_close(found[1, 2, t], value)
        for k in range(STEPS):
            slope = torch.zeros(EPISODES, dtype=F64)
            for step in ahead:
                if t < k <= t + step:
                    slope = slope + GAMMA**step * (rewards[2, t + step] - mean) * mask[0, t + step]
            torch.testing.assert_close(derivatives[t, k], slope)


def test_without_a_baseline_dice_and_long_n_steps_agree() -> None:
    """Values of 0, rewards whose mean is 0: both are the gradient of the sampled return."""
    own, rewards, _, _ = sample()
    rewards, mask = rewards - rewards.mean((-2, -1), keepdim=True), torch.ones(1, STEPS, EPISODES, dtype=F64)
    found = []
    for returns in (DiceReturns(decay=1.0), NStepReturns(steps=STEPS)):
        log = own.clone().requires_grad_()
        total = returns(log, rewards, torch.zeros_like(rewards), mask, GAMMA)
        found.append((total.detach(), torch.autograd.grad(total.square().sum(), log)[0]))
    torch.testing.assert_close(found[0], found[1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), decay=st.floats(0, 1), gae_lambda=st.floats(0, 1), data=st.data())
def test_only_later_actions_count(seed: int, decay: float, gae_lambda: float, data: Any) -> None:
    steps = data.draw(st.integers(2, 8))
    for returns in (DiceReturns(decay=decay, gae_lambda=gae_lambda), NStepReturns(steps=steps)):
        _, derivatives = slopes(returns, seed)
        for t in range(STEPS):
            assert (derivatives[t, : t + 1] == 0).all()
            assert (derivatives[t, 3:, -1] == 0).all()  # after the last episode's end


def test_estimated_policies_are_softmaxes_with_one_value_replaced() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(2, 3, 4, 5, generator=generator, dtype=F64)  # agent, time, episode, action
    actions = torch.randint(0, 4, (2, 3, 4), generator=generator)
    estimates = torch.randn(2, 2, 3, 4, generator=generator, dtype=F64, requires_grad=True)
    legal = torch.ones(2, 3, 4, 5, dtype=torch.bool)
    legal[..., 4] = False
    found = log_policy(values, actions, estimates, 0.7, legal)
    for learner in range(2):
        replaced = values.scatter(-1, actions[..., None], estimates[learner, ..., None])[..., :4] / 0.7
        expected = replaced.log_softmax(-1).gather(-1, actions[..., None])[..., 0]
        torch.testing.assert_close(found[learner], expected)
        (slope,) = torch.autograd.grad(found[learner].sum(), estimates, retain_graph=True)
        torch.testing.assert_close(slope[learner], (1 - expected.exp()) / 0.7)


def test_a_single_legal_action_is_certain() -> None:
    values, actions = torch.tensor([[[[1.0, 3.0]]]]), torch.zeros(1, 1, 1, dtype=torch.int64)
    estimate = torch.tensor([[[[-5.0]]]], requires_grad=True)
    legal = torch.tensor([[[[True, False]]]])
    found = log_policy(values, actions, estimate, 1.0, legal)
    assert (found == 0).all()
    assert (torch.autograd.grad(found.sum(), estimate)[0] == 0).all()


def test_exploration_mixes_probabilities() -> None:
    policy, seen = Tabular(num_observations=1, num_actions=3), torch.zeros(1, 1, 1, dtype=torch.int64)
    theta = torch.tensor([[1.0, -2.0]], dtype=F64, requires_grad=True)
    plain = policy.unroll(theta, seen).softmax(-1)
    mixed = Exploring(policy, epsilon=0.3).unroll(theta, seen)
    torch.testing.assert_close(mixed.exp(), 0.7 * plain + 0.1)
    torch.testing.assert_close(mixed.softmax(-1), mixed.exp())


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: DiceReturns(decay=1.1), "decay must be a finite number from 0 to 1, not 1.1"),
        (lambda: DiceReturns(gae_lambda=-1), "gae_lambda must be a finite number from 0 to 1"),
        (lambda: NStepReturns(steps=1), "steps of n-step returns is a whole number, 2 or more, not 1"),
        (lambda: Exploring(Tabular(1, 2), epsilon=2), "epsilon must be a finite number from 0 to 1, not 2"),
    ],
)
def test_bad_input_is_one_sentence(build: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build()
