"""A policy that remembers, against torch's modules, and in single steps against whole episodes."""

import pytest
import torch
from torch import Tensor

from bilevel.agents import GRU, initial_parameters

SEEDS, AGENTS, TIME, EPISODES = 2, 3, 4, 5
POLICIES = [
    GRU(num_features=6, num_actions=3, hidden=(5, 4), units=3),
    GRU(num_features=6, num_actions=2, hidden=(4,), units=5, one_hot=True, activation="relu"),
    GRU(num_features=6, num_actions=3, hidden=(4,), units=3, observation_axes=3),
]
MODULES = {"tanh": torch.tanh, "relu": torch.relu}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def parameters(policy: GRU, seeds: int = SEEDS, agents: int = AGENTS) -> Tensor:
    theta = initial_parameters(policy, seed=0, seeds=seeds, agents=agents)
    return theta + 0.3 * draw(1, *theta.shape)  # biases, too


def episodes(policy: GRU) -> Tensor:
    """[seed, agent, time, episode, *shape]."""
    lead = SEEDS, AGENTS, TIME, EPISODES
    if policy.one_hot:
        return torch.randint(policy.num_features, lead, generator=generator(2))
    return draw(2, *lead, *((1, 2, 3) if policy.observation_axes == 3 else (6,)))


class Plain(torch.nn.Module):
    """One agent's policy, built of torch.nn.Linear and torch.nn.GRUCell."""

    def __init__(self, policy: GRU, theta: Tensor) -> None:
        super().__init__()
        sizes = (policy.num_features, *policy.hidden)
        self.policy = policy
        self.encoder = torch.nn.ModuleList(map(torch.nn.Linear, sizes[:-1], sizes[1:]))
        self.cell = torch.nn.GRUCell(policy.hidden[-1], policy.units)
        self.readout = torch.nn.Linear(policy.units, policy.num_actions)
        self.double()
        encoder, cell, readout = theta.split(
            [policy.encoder.num_parameters, policy.cell.num_parameters, policy.readout.num_parameters]
        )
        torch.nn.utils.vector_to_parameters(cell, self.cell.parameters())
        for layers, part in ((self.encoder, encoder), ([self.readout], readout)):
            for layer in layers:
                size = layer.weight.numel()
                weights, bias, part = part.tensor_split([size, size + layer.out_features])
                layer.load_state_dict({"weight": weights.reshape(layer.weight.T.shape).T, "bias": bias})

    def forward(self, seen: Tensor) -> Tensor:
        """[time, episode, *shape] -> [time, episode, action]."""
        if self.policy.one_hot:
            seen = torch.eye(self.policy.num_features, dtype=torch.float64)[seen]
        hidden_state, logits = seen.new_zeros(seen.shape[1], self.policy.units), []
        for units in seen.flatten(2):
            for layer in self.encoder:
                units = MODULES[self.policy.activation](layer(units))
            hidden_state = self.cell(units, hidden_state)
            logits.append(self.readout(hidden_state))
        return torch.stack(logits)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_stacked_policies_are_modules_one_by_one(policy: GRU) -> None:
    theta, seen = parameters(policy), episodes(policy)
    logits = policy.unroll(theta, seen)
    for seed in range(SEEDS):
        for agent in range(AGENTS):
            expected = Plain(policy, theta[seed, agent])(seen[seed, agent])
            torch.testing.assert_close(logits[seed, agent], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_steps_and_whole_episodes_say_the_same(policy: GRU) -> None:
    theta, seen = parameters(policy), episodes(policy)
    logits, hidden_state = policy.unroll(theta, seen), policy.initial_hidden_state(theta, EPISODES)
    assert not hidden_state.any()
    for time in range(TIME):
        now, hidden_state = policy.step(theta, seen[:, :, time], hidden_state)
        torch.testing.assert_close(now, logits[:, :, time], rtol=0, atol=1e-12)
    again, _ = policy.step(theta, seen[:, :, -1], policy.initial_hidden_state(theta, EPISODES))
    assert not torch.allclose(again, logits[:, :, -1], atol=1e-3)  # what was seen before counts


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_derivatives_go_back_through_time(policy: GRU) -> None:
    theta, seen = parameters(policy, 1, 1).requires_grad_(), episodes(policy)[:1, :1, :3, :2]

    def log_probabilities(theta: Tensor) -> Tensor:
        return policy.unroll(theta, seen).log_softmax(-1)

    assert torch.autograd.gradcheck(log_probabilities, (theta,))
    assert torch.autograd.gradgradcheck(lambda theta: log_probabilities(theta).square().sum(), (theta,))


def test_members_of_a_batch_do_not_touch_each_other() -> None:
    policy = POLICIES[0]
    theta, seen = parameters(policy).requires_grad_(), episodes(policy)
    (gradient,) = torch.autograd.grad(policy.unroll(theta, seen)[1, 0].square().sum(), theta)
    assert (gradient[1, 0] != 0).all()
    gradient[1, 0] = 0
    assert not gradient.any()


def test_planes_are_one_vector_and_numbers_are_one_hot() -> None:
    flat, planes = GRU(6, 3, (4,), 3), POLICIES[2]
    theta, seen = parameters(planes), episodes(planes)
    assert torch.equal(planes.unroll(theta, seen), flat.unroll(theta, seen.flatten(-3)))
    numbers = GRU(6, 3, (4,), 3, one_hot=True)
    seen = torch.randint(6, (SEEDS, AGENTS, TIME, EPISODES), generator=generator())
    encoded = torch.eye(6, dtype=torch.float64)[seen]
    assert torch.equal(numbers.unroll(theta, seen), flat.unroll(theta, encoded))


def test_a_policy_without_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="A GRU has 1 recurrent unit or more, not 0"):
        GRU(num_features=2, num_actions=2, units=0)
    with pytest.raises(ValueError, match=r"There is no activation 'rely'\. Did you mean 'relu'"):
        GRU(num_features=2, num_actions=2, activation="rely")  # type: ignore[arg-type]
