"""Steps of every kind of network can be compiled, and give what they give eagerly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bilevel.agents import GRU, MLP, Convolutional, Policy, initial_parameters
from bilevel.compile import Compiled
from bilevel.core import inner_step, inner_step_per_agent, over_minibatches
from bilevel.hypergradient import BilevelProblem, FixedData, Unrolled
from bilevel.optimizers import sgd
from tests.bilevel.agents.critic_cases import Case, ppo

POLICIES = [
    MLP(36, 2, (4,), observation_axes=3, activation="relu"),
    Convolutional((4, 3, 3), 2, (3, 2), stride=2, hidden=(4,)),
    Convolutional((4, 3, 3), 2, (3,), kernel=2, padding="valid", hidden=(4,)),
    GRU(36, 2, (4,), 3, observation_axes=3),
]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_a_compiled_network_is_the_eager_one(policy: Policy, built: list[str]) -> None:
    """Two steps that make one action likelier where phi, of an agent and a time, says so."""
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(2, 3, 3, 5, 4, 3, 3, generator=generator, dtype=torch.float64)  # time 3, episode 5
    phi = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)

    def likely(theta: Tensor) -> Tensor:
        """Of the first action, mean over episodes, [seed, agent, time]."""
        return policy.unroll(theta, planes).log_softmax(-1)[..., 0].mean(-1)

    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: -(phi * likely(theta)).sum(-1), sgd(0.5)),
        outer_loss=lambda theta, phi, data: likely(theta).square().sum((-2, -1)),
    )
    theta = initial_parameters(policy, seed=0, seeds=2, agents=3)
    eager, compiled = (
        (Compiled(Unrolled()) if choice else Unrolled())(problem, theta, sgd(0.5).init(theta), phi, steps=2)
        for choice in (False, True)
    )
    assert built
    assert eager.gradient.any()
    torch.testing.assert_close(compiled.gradient, eager.gradient, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(compiled.theta, eager.theta, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", [Case, pytest.param(ppo, marks=pytest.mark.slow)])
def test_a_compiled_step_with_critics_is_the_eager_one(kind: Callable[..., Case], built: list[str]) -> None:
    """Actor-critic, and PPO, whose step has several gradient steps."""
    case = kind("table", **({"epochs": 2} if kind is ppo else {}))
    problem = BilevelProblem(
        step=over_minibatches(inner_step_per_agent(case.losses, sgd(0.2)), case.batches),
        outer_loss=lambda theta, phi, data: theta.square().sum((-2, -1)),
        inner_data=FixedData(case.data),
    )
    start = problem, case.theta, sgd(0.2).init(case.theta), case.phi
    eager, compiled = (
        (Compiled(Unrolled()) if choice else Unrolled())(*start, steps=2) for choice in (False, True)
    )
    assert built
    assert eager.gradient.any()
    torch.testing.assert_close(compiled.gradient, eager.gradient, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(compiled.theta, eager.theta, rtol=1e-11, atol=1e-12)
