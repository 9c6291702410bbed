"""Hypergradients through steps of every kind of network: walked back, carried forward, and by differences."""

import pytest
import torch
from torch import Tensor

from bilevel.agents import GRU, MLP, Convolutional, Numbered, Policy, initial_parameters
from bilevel.core import inner_step
from bilevel.hypergradient import BilevelProblem, Forward, Unrolled, check_hypergradient
from bilevel.optimizers import GradientTransformation, adam, sgd, tied

SEEDS, AGENTS, TIME, EPISODES = 2, 3, 3, 4
POLICIES = [
    MLP(36, 2, (4,), observation_axes=3),
    Convolutional((4, 3, 3), 2, (3, 2), stride=2, hidden=(4,)),
    GRU(36, 2, (4,), 3, observation_axes=3),
    Numbered(GRU(36 + AGENTS, 2, (4,), 3), observation_axes=3),
]


# Adam's first step is steep where a gradient is near epsilon: a large one keeps differences exact.
@pytest.mark.parametrize("optimizer", [sgd(0.5), tied(adam(0.1, epsilon=1e-3))], ids=["sgd", "tied adam"])
@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_estimators_without_bias_agree(policy: Policy, optimizer: GradientTransformation) -> None:
    """Three steps that make one action likelier where phi, of an agent and a time, says so."""
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(SEEDS, AGENTS, TIME, EPISODES, 4, 3, 3, generator=generator, dtype=torch.float64)
    phi = torch.randn(SEEDS, AGENTS, TIME, generator=generator, dtype=torch.float64)

    def likely(theta: Tensor) -> Tensor:
        """Of the first action, mean over episodes, [seed, agent, time]."""
        return policy.unroll(theta, planes).log_softmax(-1)[..., 0].mean(-1)

    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: -(phi * likely(theta)).sum(-1), optimizer),
        outer_loss=lambda theta, phi, data: likely(theta).square().sum((-2, -1)),
    )
    theta = initial_parameters(policy, seed=0, seeds=SEEDS, agents=AGENTS, alike=True)
    start = problem, theta, optimizer.init(theta), phi
    back, forward = (kind()(*start, steps=3).gradient for kind in (Unrolled, Forward))
    assert back.abs().min() > 1e-6
    torch.testing.assert_close(forward, back, rtol=1e-10, atol=1e-12)
    assert check_hypergradient(*start, steps=3).passed
