"""A policy and a critic in one vector: each is what it is alone, and neither touches the other."""

import pytest
import torch

from bilevel.agents import GRU, MLP, Convolutional, Numbered, PolicyWithCritic, Tabular, ValueTable
from bilevel.agents import critic_like as like
from tests.bilevel.agents.critic_cases import PLAYED, Case, draw

every_policy = pytest.mark.parametrize("name", PLAYED)


@every_policy
def test_both_are_what_they_are_alone(name: str) -> None:
    case = Case(name)
    both, seen = case.play.policy, case.data.observations
    policy, critic = both.split(case.theta)
    assert torch.equal(torch.cat((policy, critic), -1), case.theta)
    assert torch.equal(both.unroll(case.theta, seen), PLAYED[name][1].unroll(policy, seen))
    values = both.values(case.theta, seen)
    assert values.shape == case.data.rewards.shape
    assert torch.equal(values.unsqueeze(-1), both.critic.unroll(critic, seen))
    assert values.std() > 0
    hidden_state = both.initial_hidden_state(case.theta, 6)
    stepped, alone = (
        one.step(at, seen[:, :, 0], hidden_state) for one, at in ((both, case.theta), (both.policy, policy))
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(stepped, alone, strict=True))


@every_policy
def test_an_agents_values_depend_on_its_own_critic_alone(name: str) -> None:
    case = Case(name)
    both, theta = case.play.policy, case.theta.clone().requires_grad_()
    values = both.values(theta, case.data.observations)
    (gradient,) = torch.autograd.grad(values[1, 0].square().sum(), theta)
    policy, critic = both.split(gradient)
    assert critic[1, 0].any()
    assert not policy.any()
    critic[1, 0] = 0
    assert not critic.any()


def test_a_table_holds_one_value_for_each_observation() -> None:
    table, theta, seen = ValueTable(5), draw(0, 2, 3, 5), torch.randint(5, (2, 3, 4, 6))
    found = table.unroll(theta, seen).squeeze(-1)
    for place in torch.cartesian_prod(*map(torch.arange, seen.shape)).tolist():
        seed, agent, time, episode = place
        assert found[seed, agent, time, episode] == theta[seed, agent, seen[seed, agent, time, episode]]


def test_critics_are_of_the_policys_kind() -> None:
    assert like(Tabular(5, 2)) == ValueTable(5)
    assert like(MLP(4, 3, (6, 5), one_hot=True, activation="relu")) == MLP(
        4, 1, (6, 5), one_hot=True, activation="relu"
    )
    conv = Convolutional((4, 3, 3), 4, (3,), stride=2, hidden=(4,))
    assert like(conv) == Convolutional((4, 3, 3), 1, (3,), stride=2, hidden=(4,))
    hidden_state = Numbered(GRU(7, 3, (4,), 3), one_hot=5, planes=False)
    assert like(hidden_state) == Numbered(GRU(7, 1, (4,), 3), one_hot=5, planes=False)


@every_policy
def test_first_parameters_are_the_policys_and_then_the_critics(name: str) -> None:
    policy = PLAYED[name][1]
    both = PolicyWithCritic.of(policy)
    found = both.initial(torch.Generator().manual_seed(0), 2, 3)
    generator = torch.Generator().manual_seed(0)
    expected = [part.initial(generator, 2, 3) for part in (policy, like(policy))]
    assert torch.equal(found, torch.cat(expected, -1))
    assert found.shape == (2, 3, both.num_parameters)
    assert found.dtype == torch.float64
