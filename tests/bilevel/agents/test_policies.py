"""Stacked policies against plain ones, member by member."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.agents import (
    GRU,
    MLP,
    Convolutional,
    FeedForward,
    Mixture,
    Policy,
    Tabular,
    initial_parameters,
)

POLICIES = [
    Tabular(num_observations=5, num_actions=3),
    MLP(num_features=4, num_actions=3, hidden=(6, 5)),
    MLP(num_features=5, num_actions=2, hidden=(4,), one_hot=True),
    Convolutional((2, 3, 3), num_actions=3, channels=(2,), hidden=(4,)),
    Mixture(num_features=4, num_actions=3, experts=3, hidden=(5,), alpha=1.5),
    Mixture(num_features=4, num_actions=2, experts=3, hidden=(4,), active=2),
]
RECURRENT = [
    GRU(num_features=4, num_actions=3, hidden=(3,), units=2),
    GRU(num_features=5, num_actions=2, hidden=(3, 2), units=3, one_hot=True),
]
SEEDS, AGENTS, SAMPLES = 3, 2, 7
RECORDED_TABLE = [
    *(0.20741502104519033, -1.3814591968923986, 0.21351188235701574, 0.16868930913664051),
    *(-0.9171307959666076, 1.197018666497676, -0.11695394621547772, -0.5909294274049736),
]
RECORDED_NETWORK = [
    -0.08269892845549105,
    -0.4178502053207404,
    0.0,
    0.08396302892889787,
    0.10163731545593596,
    0.0,
    0.0,
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def observations(policy: Policy) -> torch.Tensor:
    """[seed, agent, sample, *shape]."""
    if isinstance(policy, Tabular) or (isinstance(policy, MLP) and policy.one_hot):
        return torch.randint(5, (SEEDS, AGENTS, SAMPLES), generator=generator(1))
    shape = policy.planes if isinstance(policy, Convolutional) else (4,)
    return torch.randn(SEEDS, AGENTS, SAMPLES, *shape, generator=generator(1), dtype=torch.float64)


def parameters(policy: Policy) -> torch.Tensor:
    return initial_parameters(policy, seed=3, seeds=SEEDS, agents=AGENTS)


def as_modules(policy: MLP, theta: torch.Tensor) -> torch.nn.Sequential:
    """One agent's network, built of torch.nn.Linear."""
    sizes = (policy.num_features, *policy.hidden, policy.num_actions)
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        linear = torch.nn.Linear(fan_in, fan_out, dtype=torch.float64)
        weights, bias, theta = theta.tensor_split([fan_in * fan_out, (fan_in + 1) * fan_out])
        with torch.no_grad():
            linear.weight.copy_(weights.reshape(fan_in, fan_out).T)
            linear.bias.copy_(bias)
        layers += [linear, torch.nn.Tanh()]
    assert theta.numel() == 0
    return torch.nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("policy", POLICIES[1:3], ids=repr)
def test_a_stacked_network_is_a_loop_over_modules(policy: MLP) -> None:
    theta, seen = parameters(policy), observations(policy)
    theta = theta + 0.3 * torch.randn(theta.shape, generator=generator(2), dtype=theta.dtype)  # biases, too
    logits = policy.logits(theta, seen)
    assert logits.shape == (SEEDS, AGENTS, SAMPLES, policy.num_actions)
    inputs = torch.nn.functional.one_hot(seen, 5).double() if policy.one_hot else seen
    for seed in range(SEEDS):
        for agent in range(AGENTS):
            expected = as_modules(policy, theta[seed, agent])(inputs[seed, agent])
            torch.testing.assert_close(logits[seed, agent], expected, rtol=0, atol=1e-13)


@given(theta=st.lists(st.floats(-8, 8), min_size=5, max_size=5))
@settings(max_examples=30)
def test_with_two_actions_a_parameter_is_the_log_odds_of_the_first(theta: list[float]) -> None:
    policy = Tabular(num_observations=5, num_actions=2)
    odds = torch.tensor(theta, dtype=torch.float64)
    cooperate = policy.probabilities(odds)[:, 0]
    torch.testing.assert_close(cooperate, odds.sigmoid(), rtol=0, atol=1e-14)
    seen = torch.tensor([4, 0, 4])
    looked_up = policy.logits(odds, seen).softmax(-1)[:, 0]
    torch.testing.assert_close(looked_up, odds.sigmoid()[seen], rtol=0, atol=1e-14)


def test_the_rows_of_a_table_are_its_observations() -> None:
    policy = Tabular(num_observations=2, num_actions=3)
    theta = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert policy.table(theta).tolist() == [[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]]
    assert policy.logits(theta, torch.tensor([1])).tolist() == [[3.0, 4.0, 0.0]]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_members_of_a_batch_do_not_touch_each_other(policy: FeedForward) -> None:
    theta, seen = parameters(policy), observations(policy)
    logits = policy.logits(theta, seen)
    for seed in range(SEEDS):
        alone = policy.logits(theta[seed], seen[seed])
        torch.testing.assert_close(logits[seed], alone, rtol=0, atol=1e-14)
    variable = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(policy.logits(variable, seen)[1, 0].square().sum(), variable)
    assert (gradient[1, 0] != 0).any()
    gradient[1, 0] = 0
    assert (gradient == 0).all()  # no agent, and no seed, shares a parameter with another


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_first_and_second_derivatives(policy: FeedForward) -> None:
    theta, seen = parameters(policy)[:1].requires_grad_(), observations(policy)[:1, :, :2]

    def log_probabilities(theta: torch.Tensor) -> torch.Tensor:
        return policy.logits(theta, seen).log_softmax(-1)

    assert torch.autograd.gradcheck(log_probabilities, (theta,))
    assert torch.autograd.gradgradcheck(lambda theta: log_probabilities(theta).square().sum(), (theta,))


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_the_steps_of_episodes_are_samples_where_nothing_is_remembered(policy: FeedForward) -> None:
    theta, samples = parameters(policy), observations(policy)
    logits = policy.logits(theta, samples)
    hidden_state = policy.initial_hidden_state(theta, SAMPLES)
    assert hidden_state.numel() == 0
    stepped, after = policy.step(theta, samples, hidden_state)
    assert torch.equal(stepped, logits)
    assert after is hidden_state
    episodes = torch.stack((samples, samples.flip(2)), 2)  # two steps
    unrolled = policy.unroll(theta, episodes)
    assert unrolled.shape == (SEEDS, AGENTS, 2, SAMPLES, policy.num_actions)
    torch.testing.assert_close(unrolled[:, :, 0], logits, rtol=0, atol=1e-14)
    torch.testing.assert_close(unrolled[:, :, 1], logits.flip(2), rtol=0, atol=1e-14)


@pytest.mark.parametrize("policy", [*POLICIES, *RECURRENT], ids=repr)
def test_first_parameters_of_a_seed_do_not_depend_on_how_many_there_are(policy: Policy) -> None:
    many = initial_parameters(policy, seed=3, seeds=9, agents=AGENTS)
    assert many.shape == (9, AGENTS, policy.num_parameters)
    assert many.dtype == torch.float64
    assert torch.equal(many[:SEEDS], parameters(policy))
    assert many.flatten(0, 1).unique(dim=0).shape[0] == 9 * AGENTS  # nobody starts like another
    other = initial_parameters(policy, seed=12, seeds=9, agents=AGENTS)
    assert not (other[..., 0] == many[..., 0]).any()
    later = initial_parameters(policy, seed=3, seeds=9, agents=AGENTS, outer_step=1)
    assert not (later[..., 0] == many[..., 0]).any()
    assert torch.equal(initial_parameters(policy, seed=7, seeds=2, agents=AGENTS), many[4:6])


def test_first_parameters_are_those_that_they_were() -> None:
    """The stream of repetition i: (seed + i, policies, outer step 0), all agents together (recorded)."""
    table = initial_parameters(Tabular(num_observations=2, num_actions=2), seed=3, seeds=2, agents=2)
    assert table.flatten().tolist() == pytest.approx(RECORDED_TABLE, rel=1e-12)
    network = initial_parameters(MLP(num_features=2, num_actions=2, hidden=(1,)), seed=3, seeds=2, agents=2)
    assert network[1, 1].tolist() == pytest.approx(RECORDED_NETWORK, rel=1e-12)


def test_agents_that_start_alike_have_the_first_agents_parameters() -> None:
    many = initial_parameters(POLICIES[1], seed=3, seeds=5, agents=3, alike=True)
    assert many.shape == (5, 3, POLICIES[1].num_parameters)
    assert torch.equal(many, many[:, :1].expand_as(many))
    assert many[:, 0].unique(dim=0).shape[0] == 5  # repetitions are not alike
    assert torch.equal(many[:2], initial_parameters(POLICIES[1], seed=3, seeds=2, agents=3, alike=True))


def test_the_scale_of_first_parameters() -> None:
    """Over 4000 agents: logits N(0, 2^2); weights N(0, 1 / fan in), a tenth of that in the last layer."""
    table = Tabular(num_observations=5, num_actions=2, initial_scale=2.0)
    logits = initial_parameters(table, seed=0, seeds=2000, agents=2)
    assert abs(float(logits.mean())) < 5 * 2 / 20_000**0.5
    assert abs(float(logits.std()) - 2) < 5 * 2 / 40_000**0.5
    network = MLP(num_features=4, num_actions=3, hidden=(16,))
    first, bias, last, last_bias = initial_parameters(network, seed=0, seeds=200, agents=2).split(
        [64, 16, 48, 3], -1
    )
    assert not bias.any()
    assert not last_bias.any()
    assert abs(float(first.std()) / 0.5 - 1) < 5 / (2 * first.numel()) ** 0.5
    assert abs(float(last.std()) / 0.025 - 1) < 5 / (2 * last.numel()) ** 0.5


@pytest.mark.parametrize("hidden", [(), (4, 0), (-1,)])
def test_layers_without_units_are_refused(hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="An MLP's hidden layers need 1 unit or more each"):
        MLP(num_features=2, num_actions=2, hidden=hidden)
    with pytest.raises(ValueError, match="A GRU's hidden layers need 1 unit or more each"):
        GRU(num_features=2, num_actions=2, hidden=hidden)
    with pytest.raises(ValueError, match="A convolutional policy's hidden layers need 1 unit or more each"):
        Convolutional((1, 3, 3), num_actions=2, hidden=hidden)


def test_convolutions_come_before_the_perceptron() -> None:
    """Each agent's logits are its perceptron's of what its convolutions give, laid end to end."""
    policy = Convolutional((2, 4, 5), 3, (3, 2), kernel=2, stride=2, hidden=(4,), activation="relu")
    theta = torch.randn(SEEDS, AGENTS, policy.num_parameters, generator=generator(), dtype=torch.float64)
    planes = torch.randn(SEEDS, AGENTS, SAMPLES, 2, 4, 5, generator=generator(1), dtype=torch.float64)
    first, last = theta.tensor_split([policy.convolutions.num_parameters], -1)
    vectors = policy.convolutions(first, planes).flatten(3)
    assert vectors.shape[-1] == 2 * 1 * 2
    expected = MLP(4, 3, (4,), activation="relu").logits(last, vectors)
    assert torch.equal(policy.logits(theta, planes), expected)


def test_planes_are_one_vector() -> None:
    planes = torch.randn(2, 7, 4, 3, 3, dtype=torch.float64)
    flat = MLP(36, 5)
    theta = torch.randn(2, flat.num_parameters, dtype=torch.float64)
    found = MLP(36, 5, observation_axes=3).logits(theta, planes)
    assert torch.equal(found, flat.logits(theta, planes.flatten(-3)))
