"""Critics of joint actions: what they say had somebody done otherwise is what they say where it was done."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.agents import Trajectory
from bilevel.methods._lase_critic import JointCritic, NetworkCritic, TableCritic
from bilevel.sharing import ObservationEncoder

SEEDS, AGENTS, TIME, EPISODES, ACTIONS, NUMBERS = 2, 3, 4, 5, 3, 4
BOX = spaces.Box(0.0, 1.0, (2, 3))
CRITICS: dict[str, tuple[JointCritic, bool]] = {
    "table": (TableCritic(NUMBERS, AGENTS, ACTIONS), True),
    "network of numbers": (
        NetworkCritic(ObservationEncoder(spaces.Discrete(NUMBERS), AGENTS, ACTIONS), (7, 5)),
        True,
    ),
    "network": (NetworkCritic(ObservationEncoder(BOX, AGENTS, ACTIONS), (6,), "relu"), False),
}
every_critic = pytest.mark.parametrize(("critic", "numbers"), CRITICS.values(), ids=CRITICS.keys())


def trajectory(numbers: bool, seed: int = 0) -> Trajectory:
    draws = torch.Generator().manual_seed(seed)
    shape = (SEEDS, AGENTS, TIME, EPISODES)
    box = torch.rand(*shape, 2, 3, generator=draws, dtype=torch.float64)
    return Trajectory(
        observations=torch.randint(NUMBERS, shape, generator=draws) if numbers else box,
        actions=torch.randint(ACTIONS, shape, generator=draws),
        rewards=torch.randn(shape, generator=draws, dtype=torch.float64),
        mask=torch.ones(SEEDS, 1, TIME, EPISODES, dtype=torch.float64),
        cooperated=None,
    )


def random_theta(critic: JointCritic) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(SEEDS, AGENTS, critic.num_parameters, generator=draws, dtype=torch.float64)


@every_critic
def test_had_somebody_done_otherwise(critic: JointCritic, numbers: bool) -> None:
    theta, episodes = random_theta(critic), trajectory(numbers)
    found = critic.counterfactual_values(theta, episodes)
    assert found.shape == (SEEDS, TIME, EPISODES, AGENTS, AGENTS, ACTIONS)
    for other in range(AGENTS):
        for action in range(ACTIONS):
            otherwise = episodes.actions.clone()
            otherwise[:, other] = action
            values = critic.values(theta, episodes._replace(actions=otherwise))
            torch.testing.assert_close(found[..., other, action].movedim(-1, 1), values, rtol=0, atol=1e-12)
    assert float((found.amax(-1) - found.amin(-1)).min()) > 0


@every_critic
def test_each_agent_has_its_own_and_looks_at_what_it_sees(critic: JointCritic, numbers: bool) -> None:
    theta, episodes = random_theta(critic), trajectory(numbers)
    before = critic.values(theta, episodes)
    theta[1, 2] += 1
    seen = episodes.observations.clone()
    seen[0, 1] = (seen[0, 1] + 1) % NUMBERS if numbers else seen[0, 1] + 1
    changed = critic.values(theta, episodes._replace(observations=seen)) != before
    expected = torch.zeros(SEEDS, AGENTS, dtype=torch.bool)
    expected[1, 2] = expected[0, 1] = True
    assert torch.equal(changed.any(-1).any(-1), expected)


def test_a_network_is_the_perceptron_of_all_its_inputs() -> None:
    critic, episodes = NetworkCritic(ObservationEncoder(BOX, AGENTS, ACTIONS), (6, 4)), trajectory(False)
    theta = random_theta(critic)
    seed, agent, time, episode = 1, 2, 3, 4
    acted = torch.eye(ACTIONS, dtype=torch.float64)[episodes.actions[seed, :, time, episode]].flatten()
    units = torch.cat((episodes.observations[seed, agent, time, episode].flatten(), acted))
    rest = theta[seed, agent]
    for fan_in, fan_out in ((6 + AGENTS * ACTIONS, 6), (6, 4), (4, 1)):
        weights, bias, rest = rest.split((fan_in * fan_out, fan_out, len(rest) - (fan_in + 1) * fan_out))
        units = (torch.tanh if fan_out > 1 else torch.clone)(units @ weights.reshape(fan_in, fan_out) + bias)
    assert len(rest) == 0
    found = critic.values(theta, episodes)[seed, agent, time, episode]
    torch.testing.assert_close(found, units[0], rtol=0, atol=1e-12)


def test_known_payoffs_are_looked_up() -> None:
    draws = torch.Generator().manual_seed(2)
    payoffs = torch.randn(*[ACTIONS] * AGENTS, AGENTS, generator=draws, dtype=torch.float64)
    critic = TableCritic(1, AGENTS, ACTIONS, payoffs)
    episodes = trajectory(True)._replace(observations=torch.zeros(SEEDS, AGENTS, TIME, EPISODES).long())
    nothing = torch.zeros(SEEDS, AGENTS, 0, dtype=torch.float64)
    expected = payoffs[episodes.actions.unbind(1)].movedim(-1, 1)
    torch.testing.assert_close(critic.values(nothing, episodes), expected, rtol=0, atol=0)
    first, second, third = episodes.actions[1, :, 2, 3].tolist()
    found = critic.counterfactual_values(nothing, episodes)[1, 2, 3]
    torch.testing.assert_close(found[:, 1], payoffs[first, :, third].T, rtol=0, atol=0)
    torch.testing.assert_close(found[:, 2], payoffs[first, second].T, rtol=0, atol=0)


def test_a_table_expects_nothing_at_first_and_a_network_little() -> None:
    draws = torch.Generator().manual_seed(0)
    table, _ = CRITICS["table"]
    assert not table.initial(draws, 2).any()
    network, _ = CRITICS["network"]
    first = network.initial(draws, SEEDS, AGENTS)
    assert first.shape == (SEEDS, AGENTS, network.num_parameters)
    assert float(network.values(first, trajectory(False)).abs().max()) < 1


def test_a_network_needs_a_layer() -> None:
    encoder = ObservationEncoder(BOX, AGENTS, ACTIONS)
    with pytest.raises(ValueError, match="needs 1 hidden layer or more, but has none"):
        NetworkCritic(encoder, ())
    with pytest.raises(ValueError, match="needs 1 unit or more"):
        NetworkCritic(encoder, (0,))
