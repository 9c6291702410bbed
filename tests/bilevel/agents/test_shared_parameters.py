"""Agents that share parameters: what they see, and the hypergradient through what they share."""

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import GRU, MLP, Convolutional, Numbered, SampledPlay, initial_parameters
from bilevel.agents._surrogates import dice
from bilevel.core import inner_step_per_agent
from bilevel.hypergradient import BilevelProblem, Unrolled
from bilevel.methods import Placement, Prosocial, Selfish, ToS
from bilevel.optimizers import sgd, tied
from bilevel.sharing import SharedBy
from games.matrix import EscapeRoom

AGENTS, TIME, EPISODES = 3, 4, 5
COINS = games.make("coin-game", horizon=TIME)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_number_is_appended_to_features() -> None:
    inner = GRU(4 + AGENTS, 2, (3,), 2)
    policy, theta, seen = (
        Numbered(inner),
        draw(0, 2, AGENTS, inner.num_parameters),
        draw(1, 2, AGENTS, TIME, 5, 4),
    )
    numbers = torch.eye(AGENTS).double()[:, None, None].expand(2, AGENTS, TIME, 5, AGENTS)
    expected = torch.cat((seen, numbers), -1)
    assert torch.equal(policy.with_index(theta, seen), expected)
    assert torch.equal(policy.unroll(theta, seen), inner.unroll(theta, expected))
    hidden_state = draw(2, *policy.initial_hidden_state(theta, 5).shape)
    found, after = policy.step(theta, seen[:, :, 0], hidden_state)
    logits, same = inner.step(theta, expected[:, :, 0], hidden_state)
    assert torch.equal(found, logits)
    assert torch.equal(after, same)


def test_a_number_is_a_plane_of_ones_among_planes_of_zeros() -> None:
    policy = Numbered(Convolutional((2 + AGENTS, 3, 4), 2), planes=True)
    theta, seen = torch.zeros(2, AGENTS, policy.num_parameters).double(), draw(1, 2, AGENTS, 5, 2, 3, 4)
    shown = policy.with_index(theta, seen)
    assert shown.shape == (2, AGENTS, 5, 2 + AGENTS, 3, 4)
    assert torch.equal(shown[..., :2, :, :], seen)
    for agent in range(AGENTS):
        for other in range(AGENTS):
            assert (shown[:, agent, :, 2 + other] == (agent == other)).all()


def test_numbers_and_planes_become_vectors() -> None:
    theta = torch.zeros(2, 1)
    numbers = Numbered(MLP(5, 2), one_hot=3).with_index(theta, torch.tensor([[1], [2]]))
    assert numbers.tolist() == [[[0, 1, 0, 1, 0]], [[0, 0, 1, 0, 1]]]
    planes = Numbered(MLP(6, 2), observation_axes=3).with_index(theta, torch.ones(2, 7, 1, 2, 2))
    assert planes.shape == (2, 7, 6)


def test_the_hypergradient_is_that_of_one_vector() -> None:
    """Against one shared vector, descended by hand along the mean of own gradients, differentiated twice."""
    game = EscapeRoom(agents=AGENTS, levers=2, random_start=True)
    policy = Numbered(MLP(11 + AGENTS, 3, (4,)))
    play, bonus = SampledPlay(game, policy, dice, EPISODES), torch.tensor(0.1, dtype=torch.float64)
    start = initial_parameters(policy, seed=0, seeds=1, agents=AGENTS, alike=True)
    start = start + 0.3 * draw(1, 1, 1, policy.num_parameters)
    phi = draw(2, 1, AGENTS, AGENTS)
    data = [
        play.sample(start, SharedBy(phi.softmax(-1)), torch.Generator().manual_seed(seed))
        for seed in range(3)
    ]

    def losses(own: Tensor, others: Tensor, phi: Tensor, data: object) -> Tensor:
        return play.losses(own, others, SharedBy(phi.softmax(-1)), data, bonus)

    optimizer = tied(sgd(0.5))
    problem = BilevelProblem(
        step=inner_step_per_agent(losses, optimizer),
        outer_loss=lambda theta, phi, data: -play.values(theta, data).sum(-1),
        inner_data=lambda theta, phi, step: data[step],
        outer_data=lambda theta, phi: data[2],
    )
    found = Unrolled()(problem, start, optimizer.init(start), phi, steps=2)

    variable, one = phi.clone().requires_grad_(), start[:, 0].clone().requires_grad_()
    shared = one
    for step in range(2):
        gradients = []
        for agent in range(AGENTS):
            own = shared.clone()
            together = torch.stack([own if other == agent else shared for other in range(AGENTS)], 1)
            loss = losses(together, together, variable, data[step])[0, agent]
            gradients.append(torch.autograd.grad(loss, own, create_graph=True)[0])
        shared = shared - 0.5 * sum(gradients) / AGENTS
    outer = -play.values(torch.stack([shared] * AGENTS, 1), data[2]).sum()
    (expected,) = torch.autograd.grad(outer, variable)
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(found.theta, shared.detach().unsqueeze(1).expand_as(start), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("policy", ["mlp", "conv", "gru"])
@pytest.mark.parametrize("reset", ["never", "each-outer-step"])
def test_a_learners_agents_stay_alike(policy: str, reset: str) -> None:
    method = ToS().with_settings(
        {
            "policy": policy,
            "policy.share_parameters": True,
            "inner.optimizer": "adam",
            "inner.steps": 2,
            "inner.episodes": 4,
            "outer.reset": reset,
        }
    )
    learner = method.build(COINS, Placement(seeds=2))
    state = learner.init(seed=0)
    for _ in range(2):
        before, (state, _) = state, learner.update(state)
    theta = state["theta"]
    assert torch.equal(theta, theta[:, :1].expand_as(theta))
    assert not torch.equal(theta, before["theta"])
    assert not torch.equal(theta[0], theta[1])


def test_with_one_set_of_parameters_agents_can_play_different_parts() -> None:
    """Escape Room ER(2,1) under the common reward: one pulls the lever, the other leaves; 9 of 9."""
    method = Prosocial().with_settings(
        {
            "policy": "mlp",
            "policy.share_parameters": True,
            "inner.optimizer": "adam",
            "inner.learning_rate": 0.01,
            "inner.episodes": 64,
            "inner.entropy_coef": 0.05,
        }
    )
    learner = method.build(EscapeRoom(), Placement(seeds=4))
    state = learner.init(seed=0)
    for _ in range(300):
        state, _ = learner.update(state)
    assert float(learner.evaluate(state, episodes=200)["welfare"].median()) > 8.5


def test_other_learners_do_not_share() -> None:
    theta = Selfish().build(COINS, Placement(seeds=2)).init(seed=0)["theta"]
    assert not torch.equal(theta[:, 0], theta[:, 1])
