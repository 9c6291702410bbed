"""Entropy bonus in units of the standard deviation of advantages: invariant to the size of rewards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import PPOPlay, SampledPlay, initial_parameters
from bilevel.agents._loss_terms import deviation, normalized
from bilevel.agents._surrogates import loaded_dice, reinforce
from bilevel.methods import LASE, METHODS, Placement, PolicyGradient, Selfish
from bilevel.sharing import SharedBy
from tests.bilevel.agents.critic_cases import BONUS, EPISODES, PLAYED, SEEDS, SURROGATES, Case, draw

SIZE = 0.125
"""Factor on rewards; a power of 2."""
PLAIN = {"reinforce": reinforce, "dice": SURROGATES["dice"], "loaded-dice": loaded_dice}


class PlainCase:
    """A play without critics, with parameters and a sample."""

    def __init__(self, surrogate: str, *, scaled: bool, name: str = "mlp") -> None:
        game, policy = PLAYED[name]
        self.play = SampledPlay(game, policy, PLAIN[surrogate], EPISODES, scaled)
        first = initial_parameters(policy, seed=0, seeds=SEEDS, agents=game.num_agents)
        self.theta = first + 0.3 * draw(1, *first.shape)
        self.phi = draw(2, SEEDS, game.num_agents, game.num_agents)
        self.data = self.play.sample(self.theta, self.transfer(1.0), torch.Generator().manual_seed(3))

    def transfer(self, size: float, phi: Tensor | None = None) -> SharedBy:
        return SharedBy(size * (self.phi if phi is None else phi).softmax(-1))

    def losses(self, own: Tensor, size: float, phi: Tensor | None = None) -> Tensor:
        return self.play.losses(own, self.theta, self.transfer(size, phi), self.data, BONUS)

    def gradient(self, size: float) -> Tensor:
        return torch.func.grad(lambda own: self.losses(own, size).sum())(self.theta)


@pytest.mark.parametrize("surrogate", PLAIN)
def test_gradients_scale_with_rewards(surrogate: str) -> None:
    case = PlainCase(surrogate, scaled=True)
    whole, part = case.gradient(1.0), case.gradient(SIZE)
    torch.testing.assert_close(part, SIZE * whole, rtol=1e-6, atol=1e-8)
    case = PlainCase(surrogate, scaled=False)
    whole, part = case.gradient(1.0), case.gradient(SIZE)
    assert (part - SIZE * whole).abs().max() > 0.01


@pytest.mark.parametrize("scaled", [True, False])
def test_gradients_of_actor_critic_scale_with_rewards_and_values(scaled: bool) -> None:
    case = Case("table", scaled_entropy=scaled)
    policy, critic = case.play.policy.split(case.theta)

    def gradient(size: float) -> Tensor:
        theta = torch.cat((policy, size * critic), -1)  # a table of values is linear in its parameters
        transfer = SharedBy(size * case.phi.softmax(-1))
        (data,) = case.play.batches(theta, transfer, case.data)
        losses = torch.func.grad(lambda own: case.play.losses(own, theta, transfer, data, BONUS).sum())
        return case.play.policy.split(losses(theta))[0]

    assert torch.allclose(gradient(SIZE), SIZE * gradient(1.0), rtol=1e-6, atol=1e-8) == scaled


def test_the_bonus_is_that_of_plain_torch() -> None:
    case, without = PlainCase("reinforce", scaled=True), PlainCase("reinforce", scaled=False)
    terms, plain = (
        each.play.terms(each.theta, each.theta, each.transfer(1.0), each.data) for each in (case, without)
    )
    assert torch.equal(terms.policy, plain.policy)
    assert terms.entropy is not None
    assert plain.entropy is not None
    data, rewards = case.data, case.transfer(1.0).rewards(case.data)
    horizon, episodes = rewards.shape[-2:]
    for seed in range(SEEDS):
        for agent in range(rewards.shape[1]):
            mask = data.mask[seed, 0] > 0
            to_go = torch.stack([rewards[seed, agent, time:].sum(0) for time in range(horizon)])
            advantages = []
            for time in range(horizon):
                running = [episode for episode in range(episodes) if mask[time, episode]]
                for episode in running:
                    others = [float(to_go[time, other]) for other in running if other != episode]
                    baseline = sum(others) / len(others) if others else 0.0
                    advantages.append(float(to_go[time, episode]) - baseline)
            expected = torch.tensor(advantages, dtype=torch.float64).std(unbiased=False)
            found = terms.entropy[seed, agent] / plain.entropy[seed, agent]
            assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_the_deviation_is_that_which_normalization_divides_by() -> None:
    mask = (draw(0, 2, 1, 5, 7) > -1).to(torch.float64)
    advantages = draw(1, 2, 3, 5, 7)
    scale = deviation(advantages, mask)[..., None, None]
    mean = (advantages * mask).sum((-2, -1), keepdim=True) / mask.sum((-2, -1), keepdim=True)
    torch.testing.assert_close(normalized(advantages, mask) * scale, (advantages - mean) * mask)
    nobody = deviation(advantages, torch.zeros_like(mask))
    assert torch.equal(nobody, torch.full_like(nobody, 1e-4))


def test_hypergradients_include_the_scale() -> None:
    """The loss's derivative in the sharing is that of finite differences, where all advantages are 0, too."""
    case = PlainCase("reinforce", scaled=True, name="table")
    phi = case.phi.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda phi: case.losses(case.theta, 1.0, phi), phi)
    gradient = torch.func.grad(lambda own: case.losses(own, 0.0).sum())(case.theta)
    assert gradient.isfinite().all()
    through = torch.func.grad(lambda phi: case.losses(case.theta, 0.0, phi).sum())(case.phi)
    assert through.isfinite().all()


def test_settings() -> None:
    room = games.make("escape-room")
    for inner, scaled in (("policy-gradient", True), ("actor-critic", True)):
        settings = {"inner": inner, "inner.entropy_scale": "advantage-std"}
        play: Any = Selfish().with_settings(settings).play(room)
        assert play.scaled_entropy == scaled
        assert not Selfish().with_settings({"inner": inner}).play(room).scaled_entropy
    with pytest.raises(ValueError, match="a setting of inner policy-gradient or actor-critic"):
        Selfish().with_settings({"inner": "ppo", "inner.entropy_scale": "advantage-std"})
    with pytest.raises(ValueError, match="PPO has normalized advantages"):
        Case("table", PPOPlay, scaled_entropy=True)
    for method in (Selfish, LASE):
        with pytest.raises(ValueError, match="Exact values have no sampled advantages to scale"):
            method(inner=PolicyGradient(exact=True, entropy_scale="advantage-std")).play(
                games.make("prisoners-dilemma")
            )


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in METHODS
        if name not in ("ltos", "loqa", "coala-pg", "m-fos", "meva", "advantage-alignment")
        and name not in ("mgrl", "stac", "stacx", "bmg")
    ],
)
def test_every_method_of_policy_gradients_takes_it(name: str) -> None:
    settings = {"inner.exact": False, "inner.entropy_scale": "advantage-std", "inner.entropy_coef": 0.1}
    own = {"loss_bound": 12.0} if name == "d3c" else {}
    method = METHODS[name]().with_settings(settings | {"inner.episodes": 4} | own)
    learner = method.build(games.make("escape-room"), Placement(seeds=2))
    state, metrics = learner.update(learner.init(seed=0))
    assert metrics["welfare"].isfinite().all()
    plain = method.with_settings({"inner.entropy_scale": "none"}).build(
        games.make("escape-room"), Placement(seeds=2)
    )
    assert not torch.equal(plain.update(plain.init(seed=0))[0]["theta"], state["theta"])
