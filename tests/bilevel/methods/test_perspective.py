"""What agents take the others' policies to be: whose policy, of whose observation."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.agents import GRU, MLP, Convolutional, Numbered, Policy, Tabular, Trajectory
from bilevel.methods._lase_perspective import Imagined, TrueObservation, TruePolicy
from bilevel.sharing import ObservationEncoder

SEEDS, AGENTS, TIME, EPISODES, ACTIONS, NUMBERS = 2, 3, 4, 5, 2, 4
GRAPH = torch.ones(AGENTS, AGENTS, dtype=torch.bool)
SHAPE = (2, 3, 3)
BOX = spaces.Box(0.0, 1.0, SHAPE)
NETWORKS: dict[str, Policy] = {
    "mlp": MLP(18, ACTIONS, (5,), observation_axes=3),
    "conv": Convolutional(SHAPE, ACTIONS, (3,), hidden=(4,)),
    "gru": GRU(18, ACTIONS, (5,), 4, observation_axes=3),
    "numbered": Numbered(MLP(18 + AGENTS, ACTIONS, (5,)), observation_axes=3),
}
every_network = pytest.mark.parametrize("policy", NETWORKS.values(), ids=NETWORKS.keys())


def trajectory(numbers: bool, seed: int = 0) -> Trajectory:
    draws = torch.Generator().manual_seed(seed)
    shape = (SEEDS, AGENTS, TIME, EPISODES)
    ends = torch.randint(1, TIME + 1, (SEEDS, 1, 1, EPISODES), generator=draws)
    box = torch.rand(*shape, *SHAPE, generator=draws, dtype=torch.float64)
    return Trajectory(
        observations=torch.randint(NUMBERS, shape, generator=draws) if numbers else box,
        actions=torch.randint(ACTIONS, shape, generator=draws),
        rewards=torch.randn(shape, generator=draws, dtype=torch.float64),
        mask=(torch.arange(TIME)[:, None] < ends).double(),
        cooperated=None,
    )


def random_minds(policy: Policy, seed: int = 1) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(SEEDS, AGENTS, policy.num_parameters, generator=draws, dtype=torch.float64)


@every_network
def test_true_perspectives(policy: Policy) -> None:
    agent_policies, episodes = random_minds(policy), trajectory(False)
    nothing = torch.zeros(SEEDS, AGENTS, 0)
    own = policy.unroll(agent_policies, episodes.observations).softmax(-1)
    true_policy = TruePolicy(policy).policies(nothing, agent_policies, episodes)
    true_view = TrueObservation(policy).policies(nothing, agent_policies, episodes)
    for other in range(AGENTS):
        seen = episodes.observations[:, other : other + 1].expand_as(episodes.observations)
        in_its_place = policy.unroll(agent_policies, seen).softmax(-1)
        for agent in range(AGENTS):
            found = true_view[:, :, :, agent, other]
            torch.testing.assert_close(found, in_its_place[:, agent], rtol=0, atol=1e-12)
            torch.testing.assert_close(true_policy[:, :, :, agent, other], own[:, other], rtol=0, atol=1e-12)


@every_network
def test_what_is_imagined_is_the_networks(policy: Policy) -> None:
    encoder = ObservationEncoder(BOX, AGENTS, ACTIONS)
    perspective, agent_policies, episodes = (
        Imagined(policy, encoder, (6,)),
        random_minds(policy),
        trajectory(False),
    )
    theta = random_minds(perspective, 2)  # type: ignore[arg-type]
    found = perspective.policies(theta, agent_policies, episodes)
    assert found.shape == (SEEDS, TIME, EPISODES, AGENTS, AGENTS, ACTIONS)
    who = torch.eye(AGENTS, dtype=torch.float64)
    for other in range(AGENTS):
        seen = episodes.observations.flatten(-3)
        inputs = torch.cat((seen, who[other].expand(*seen.shape[:-1], -1)), -1).flatten(2, 3)
        view = perspective.network(theta, inputs).reshape(episodes.observations.shape)
        expected = policy.unroll(agent_policies, view).softmax(-1).movedim(1, 3)
        torch.testing.assert_close(found[..., other, :], expected, rtol=0, atol=1e-12)


def numbers_imagined(policy: Policy) -> tuple[Imagined, Tensor, Tensor]:
    perspective = Imagined(policy, ObservationEncoder(spaces.Discrete(NUMBERS), AGENTS, ACTIONS), (6,))
    return perspective, random_minds(perspective, 2), random_minds(policy)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [Tabular(NUMBERS, ACTIONS), MLP(NUMBERS, ACTIONS, (5,), one_hot=True)])
def test_of_numbers_the_policy_is_the_mean(policy: Policy) -> None:
    perspective, theta, agent_policies = numbers_imagined(policy)
    episodes = trajectory(True)
    found = perspective.policies(theta, agent_policies, episodes)
    seed, agent, time, episode, other = 1, 2, 3, 4, 0
    number = episodes.observations[seed, agent, time, episode]
    inputs = torch.cat((torch.eye(NUMBERS)[number], torch.eye(AGENTS)[other])).double()
    odds = perspective.network(theta[seed, agent], inputs[None])[0].softmax(-1)
    every = torch.arange(NUMBERS).expand(SEEDS, AGENTS, 1, -1)
    own = policy.unroll(agent_policies, every)[seed, agent, 0].softmax(-1)
    torch.testing.assert_close(found[seed, time, episode, agent, other], odds @ own, rtol=0, atol=1e-12)


@pytest.mark.parametrize("closeness", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("numbers", [False, True])
def test_losses_by_hand(numbers: bool, closeness: float) -> None:
    policy: Policy = Tabular(NUMBERS, ACTIONS) if numbers else NETWORKS["mlp"]
    space = spaces.Discrete(NUMBERS) if numbers else BOX
    perspective = Imagined(policy, ObservationEncoder(space, AGENTS, ACTIONS), (6,))
    theta, agent_policies = random_minds(perspective, 2), random_minds(policy)  # type: ignore[arg-type]
    episodes, graph = trajectory(numbers), GRAPH.clone()
    graph[0, 1] = False
    found = perspective.losses(theta, agent_policies, episodes, graph, closeness)
    predicted = perspective.policies(theta, agent_policies, episodes)
    seen = perspective.encoder.encode_observations(episodes, theta)
    views = perspective.imagined(theta, seen.flatten(2, 3)).unflatten(2, (TIME, EPISODES))
    seed, agent, expected, steps = 1, 0, 0.0, 0
    for time in range(TIME):
        for episode in range(EPISODES):
            if episodes.mask[seed, 0, time, episode]:
                action = episodes.actions[seed, 2, time, episode]
                surprise = -predicted[seed, time, episode, agent, 2, action].log()
                view = views[seed, agent, time, episode, 2] - seen[seed, agent, time, episode]
                expected += float((1 - closeness) * surprise + closeness * view.abs().sum())
                steps += 1
    assert float(found[seed, agent]) == pytest.approx(expected / steps, abs=1e-12)


def test_an_agent_without_neighbors_has_nothing_to_learn() -> None:
    perspective, theta, agent_policies = numbers_imagined(Tabular(NUMBERS, ACTIONS))
    alone = torch.eye(AGENTS, dtype=torch.bool)
    assert not perspective.losses(theta, agent_policies, trajectory(True), alone, 0.1).any()


def test_a_loss_has_a_derivative_through_the_policy() -> None:
    """Also where what was done was thought impossible."""
    perspective, theta, agent_policies = numbers_imagined(Tabular(NUMBERS, ACTIONS))
    episodes = trajectory(True)

    def total(theta: Tensor) -> Tensor:
        return perspective.losses(theta, 1e4 * agent_policies, episodes, GRAPH, 0.1).sum()

    gradient = torch.func.grad(total)(theta)
    assert gradient.isfinite().all()
    assert gradient.any()
