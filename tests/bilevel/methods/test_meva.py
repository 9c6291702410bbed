"""MeVa: meta-values in closed form, gradients, training, naive learning as a limit, bad input."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.core import gradient_at
from bilevel.methods import MeVa, Placement, Selfish
from bilevel.methods._meta_value import Critic, MetaValueNetwork, lambda_targets, quantile_loss
from bilevel.optimizers import make_optimizer
from tests.bilevel.methods.configured import configured

F64 = torch.float64
REPEATED = games.make("repeated-prisoners-dilemma")
SMALL: dict[str, Any] = {
    "meta__hidden_size": 8,
    "meta__quantiles": 4,
    "meta__batch_size": 3,
    "meta__updates": 2,
    "meta__stride": 3,
}


def built(game: Any = REPEATED, /, *, seeds: int = 2, **settings: Any) -> Any:
    return configured(MeVa, **SMALL | settings).build(game, Placement(seeds=seeds))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def contraction(start: Tensor, discount: Tensor, rate: float) -> Tensor:
    """Meta-value of f(x) = -x^2 where learning is x' = (1 - rate) x, in closed form."""
    kept = (1 - rate) ** 2
    return -(1 - discount) * kept * start.square() / (1 - discount * kept)


@pytest.mark.parametrize("td_lambda", [0.0, 0.4, 1.0])
def test_the_meta_value_is_the_fixed_point_of_its_targets(td_lambda):
    """On linear learning of quadratic losses, for every lambda."""
    rate, discount = 0.3, torch.tensor([0.5, 0.9], dtype=F64)
    path = drawn(2) * (1 - rate) ** torch.arange(6, dtype=F64)[:, None]
    exact = contraction(path, discount, rate)
    targets = lambda_targets(-path[1:].square(), exact[1:, :, None], discount, td_lambda)
    torch.testing.assert_close(targets.squeeze(-1), exact[:-1], rtol=1e-12, atol=1e-14)


def test_targets_of_whole_trajectories_by_hand():
    """(1 - g)(f1 + g f2) + g^2 U2 with g = 1/2."""
    targets = lambda_targets(
        torch.tensor([1.0, 2.0]), torch.tensor([[7.0], [4.0]]), torch.tensor(0.5), td_lambda=1.0
    )
    assert targets.flatten().tolist() == [0.5 + 0.5 + 1.0, 1.0 + 2.0]


def test_quantiles_of_samples_minimize_the_loss():
    """With two quantiles, 1/4 and 3/4, of the samples 0, 10, 20, 30 the loss has no slope."""
    samples = torch.tensor([0.0, 10.0, 20.0, 30.0], dtype=F64)
    for quantiles in ([5.0, 25.0], [8.0, 22.0]):
        found = gradient_at(torch.tensor(quantiles, dtype=F64), lambda q: quantile_loss(q, samples))
        torch.testing.assert_close(found, torch.zeros(2, dtype=F64))
    slopes = gradient_at(torch.tensor([15.0, 15.0], dtype=F64), lambda q: quantile_loss(q, samples))
    assert slopes[0] > 0 > slopes[1]


def test_a_network_learns_the_meta_value_of_linear_learning():
    """TD on trajectories of x' = (1 - rate) x finds the closed form, at random discounts, up to 0.1."""
    network, rate, samples = MetaValueNetwork(1, hidden_size=16, quantiles=1), 0.3, 32
    generator = torch.Generator().manual_seed(0)
    parameters = network.initial(generator)[None]
    optimizer = make_optimizer("adam", learning_rate=0.01)
    target, opt_state = parameters, optimizer.init(parameters)

    def trajectory() -> tuple[Tensor, Tensor]:
        start = 4 * torch.rand(1, samples, 2, 1, generator=generator, dtype=F64) - 2
        powers = (1 - rate) ** torch.arange(4, dtype=F64)
        return start * powers[:, None, None, None, None], torch.rand(
            1, samples, 2, generator=generator, dtype=F64
        )

    for _ in range(400):
        path, discounts = trajectory()
        later = [network.quantile_values(Critic(target, discounts), x, x) for x in path[1:]]
        goals = lambda_targets(-path[1:].square().squeeze(-1), torch.stack(later), discounts, 0.9)

        def loss(flat: Tensor, path: Tensor = path, discounts: Tensor = discounts, goals: Tensor = goals):
            predicted = [network.quantile_values(Critic(flat, discounts), x, x) for x in path[:-1]]
            return quantile_loss(torch.stack(predicted), goals).mean()

        updates, opt_state = optimizer.update(
            gradient_at(parameters, loss), opt_state, params=parameters, inplace=False
        )
        parameters = parameters + updates
        target = target + 0.05 * (parameters - target)
    path, discounts = trajectory()
    exact = contraction(path[0].squeeze(-1), discounts, rate)
    errors = network(Critic(parameters, discounts), path[0], path[0]) - exact
    assert exact.std() > 0.3
    assert errors.square().mean().sqrt() < 0.1


@pytest.mark.parametrize("equivariant", [True, False])
def test_agents_of_an_equivariant_network_are_interchangeable(equivariant):
    network = MetaValueNetwork(5, hidden_size=8, quantiles=3, equivariant=equivariant)
    parameters, theta, discounts = drawn(2, network.size), drawn(2, 4, 2, 5), drawn(2, 4, 2).sigmoid()
    values = network(Critic(parameters, discounts), theta, theta)
    swapped = network(Critic(parameters, discounts.flip(-1)), theta.flip(-2), theta.flip(-2)).flip(-1)
    assert torch.allclose(values, swapped) is equivariant
    alone = network(Critic(parameters[1:], discounts[1:]), theta[1:], theta[1:])
    torch.testing.assert_close(values[1:], alone)


def test_the_direction_is_the_gradient_of_the_weighted_returns_and_meta_values():
    learner = built(meta__discount=0.7)
    state, theta = learner.init(seed=0), drawn(2, 2, 5)
    critic = Critic(state["target_meta_value"], torch.full((2, 1, 2), 0.7, dtype=F64))
    found = learner.direction(state, theta)
    for agent in range(2):

        def ahead(own: Tensor, agent: int = agent) -> Tensor:
            joint = torch.stack([own if i == agent else theta[:, i] for i in range(2)], 1)
            now = REPEATED.values(learner.play.policy.probabilities(joint))
            later = learner.network(critic, joint.unsqueeze(1), joint.unsqueeze(1)).squeeze(1)
            return -REPEATED.effective_horizon * (0.3 * now + 0.7 * later)[:, agent].sum()

        torch.testing.assert_close(found[:, agent], gradient_at(theta[:, agent], ahead))


def test_without_a_meta_discount_agents_are_naive_learners_bit_for_bit():
    learner, naive = (
        built(meta__discount=0.0, meta__training_steps=0),
        Selfish().build(REPEATED, Placement(seeds=2)),
    )
    state, expected = learner.init(seed=3), naive.init(seed=3)
    for _ in range(5):
        state, metrics = learner.update(state)
        expected, other = naive.update(expected)
        assert torch.equal(state["theta"], expected["theta"])
        assert torch.equal(metrics["welfare"], other["welfare"])


def test_the_network_learns_first_and_policies_later():
    learner = built(meta__training_steps=2)
    states = [learner.init(seed=0)]
    for _ in range(3):
        state, metrics = learner.update(states[-1])
        states.append(state)
    changed = [
        [not torch.equal(after[name], before[name]) for name in ("meta_value", "target_meta_value", "theta")]
        for before, after in itertools.pairwise(states)
    ]
    assert changed == [[True, True, False], [True, True, False], [False, False, True]]
    assert metrics["meta_loss"].shape == (2,)
    alone, seed = built(meta__training_steps=2, seeds=1), 1
    state = alone.init(seed)
    for _ in range(3):
        state, _ = alone.update(state)
    torch.testing.assert_close(state["theta"], states[-1]["theta"][1:])


def test_training_reduces_the_error_of_the_network():
    learner = built(seeds=1, meta__updates=10, meta__batch_size=8, meta__learning_rate=0.01)
    state, losses = learner.init(seed=0), []
    for _ in range(12):
        state, metrics = learner.update(state)
        losses.append(float(metrics["meta_loss"]))
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner__exact": False}, "is sampled: choose a matrix game or a repeated one, and exact values"),
        ({"inner__optimizer": "adam"}, "set inner.optimizer to sgd, not adam"),
        ({"inner__entropy_coef": 0.1}, "An entropy bonus is no part of the meta-value"),
        ({"meta__discount": 1.5}, "meta.discount must be"),
        ({"meta__stride": 1}, "meta.stride must be"),
        ({"meta__flip_probability": 0.6}, "meta.flip_probability must be"),
    ],
)
def test_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        configured(MeVa, **settings).build(REPEATED, Placement())


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("public-goods", "for two agents, and PublicGoods has 3"),
        ("escape-room", "EscapeRoom is sampled: choose a matrix game"),
    ],
)
def test_games_are_refused(game, message):
    with pytest.raises(ValueError, match=message):
        MeVa().build(games.make(game), Placement())
