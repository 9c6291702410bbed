"""Gaussians squashed into a Box: densities against SciPy, gradients against quadrature, learned optima."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import integrate, stats

from bilevel.agents import (
    SURROGATES,
    Gaussian,
    PolicyWithCritic,
    SampledPlay,
    distribution_of,
    learned_actor,
    random_actor,
)
from bilevel.agents._distributions import SquashedGaussian
from bilevel.agents._rollout import rollout
from bilevel.methods import METHODS, GRUPolicy, MLPPolicy, Placement, TabularPolicy
from bilevel.sharing import SharedBy
from games.core import stream
from tests.bilevel.agents.continuous_game import Cournot
from tests.bilevel.methods.configured import configured

F64 = torch.float64
BOXES = [(-1.0, 1.0), (0.0, 1.0), (-2.0, 5.0)]
MEANS = st.floats(-2, 2)
STDS = st.floats(0.05, 2.0)


def outputs(mean: float, std: float) -> torch.Tensor:
    return torch.tensor([mean, math.log(std)], dtype=F64)


def inverse(action: float, low: float, high: float) -> float:
    return math.atanh(2 * (action - low) / (high - low) - 1)


@pytest.mark.parametrize(("low", "high"), BOXES)
@given(mean=MEANS, std=STDS, share=st.floats(0.02, 0.98))
@examples(max_examples=60)
def test_the_density_is_scipys_after_a_change_of_variables(
    low: float, high: float, mean: float, std: float, share: float
) -> None:
    action = low + share * (high - low)
    u = inverse(action, low, high)
    squashed = SquashedGaussian((low,), (high,))
    said = squashed.log_probability(outputs(mean, std), torch.tensor([u], dtype=F64)).item()
    half, y = (high - low) / 2, 2 * share - 1
    expected = stats.norm(mean, std).logpdf(u) - math.log(half * (1 - y * y))
    assert said == pytest.approx(expected, rel=1e-10, abs=1e-8)
    assert squashed.acted(torch.tensor([u], dtype=F64)).item() == pytest.approx(action, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("low", "high"), BOXES)
def test_the_density_is_the_slope_of_the_distribution_function_and_sums_to_1(low: float, high: float) -> None:
    mean, std, h = 0.3, 0.7, 1e-6
    squashed, gaussian = SquashedGaussian((low,), (high,)), stats.norm(mean, std)

    def density(action: float) -> float:
        u = torch.tensor([inverse(action, low, high)], dtype=F64)
        return math.exp(squashed.log_probability(outputs(mean, std), u).item())

    for share in (0.1, 0.5, 0.8):
        action = low + share * (high - low)
        around = [gaussian.cdf(inverse(action + step, low, high)) for step in (-h, h)]
        assert density(action) == pytest.approx((around[1] - around[0]) / (2 * h), rel=1e-6)
    inside = 1e-9 * (high - low)
    assert integrate.quad(density, low + inside, high - inside, limit=200)[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("low", "high"), BOXES)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.1), (0.0, 1.0), (1.5, 0.5), (-0.7, 1.0)])
def test_entropy_is_that_of_the_squashed_density(low: float, high: float, mean: float, std: float) -> None:
    squashed, gaussian = SquashedGaussian((low,), (high,)), stats.norm(mean, std)

    def minus_log_density(u: float) -> float:
        slope = math.log((high - low) / 2) - 2 * math.log(math.cosh(u))
        return gaussian.pdf(u) * (slope - gaussian.logpdf(u))

    expected = integrate.quad(minus_log_density, mean - 12 * std, mean + 12 * std, epsabs=1e-12)[0]
    assert squashed.entropy(outputs(mean, std)).item() == pytest.approx(expected, abs=1e-6)
    assert expected < math.log(high - low)  # that of a uniform action


def test_numbers_of_an_action_add_up_and_float32_is_finite_at_the_edge() -> None:
    both = SquashedGaussian((-1.0, 0.0), (1.0, 10.0))
    said = torch.tensor([0.2, -0.4, 0.1, -0.3], dtype=F64)  # means, log standard deviations
    actions = torch.tensor([0.5, -1.0], dtype=F64)
    apart = [SquashedGaussian((-1.0,), (1.0,)), SquashedGaussian((0.0,), (10.0,))]
    parts = [one.log_probability(said[i::2], actions[i : i + 1]) for i, one in enumerate(apart)]
    torch.testing.assert_close(both.log_probability(said, actions), sum(parts))
    entropies = [one.entropy(said[i::2]) for i, one in enumerate(apart)]
    torch.testing.assert_close(both.entropy(said), sum(entropies))
    far = torch.tensor([[40.0, -40.0], [-3000.0, 3000.0]])
    assert both.log_probability(torch.zeros(4), far).isfinite().all()
    assert both.acted(far).tolist() == [[1.0, 0.0], [-1.0, 10.0]]


def test_draws_have_the_gaussians_distribution() -> None:
    said = outputs(0.4, 0.3).expand(4000, 2)
    drawn = SquashedGaussian((-1.0,), (1.0,)).draw(said, stream(0)).flatten()
    assert stats.kstest(drawn.numpy(), stats.norm(0.4, 0.3).cdf).pvalue > 0.01


def play_of(game: Cournot, surrogate: str, episodes: int) -> SampledPlay:
    policy = MLPPolicy(hidden_size=(1,)).build(game)
    return SampledPlay(game, policy, SURROGATES[surrogate], episodes)


def expected_value(theta: torch.Tensor, play: SampledPlay) -> torch.Tensor:
    """Each firm's expected profit by quadrature, [agent], differentiable in theta [1, agent, parameter]."""
    seen = torch.zeros(1, 2, 1, 1, dtype=torch.int64)
    mean, log_std = play.policy.unroll(theta, seen).flatten(0, 3).unbind(-1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    points = mean[:, None] + log_std.exp()[:, None] * torch.as_tensor(nodes)
    sold = (torch.as_tensor(weights / weights.sum()) * (points.tanh() + 1) / 2).sum(-1)
    squares = (torch.as_tensor(weights / weights.sum()) * ((points.tanh() + 1) / 2).square()).sum(-1)
    return sold - squares - sold * sold.flip(0)


@pytest.mark.parametrize("surrogate", ["dice", "loaded-dice", "reinforce"])
def test_the_policy_gradient_is_that_of_the_expected_value(surrogate: str) -> None:
    play = play_of(Cournot(), surrogate, episodes=20_000)
    theta = play.policy.initial(stream(3), 1, 2).to(F64) * 0.5
    keep = SharedBy(torch.eye(2, dtype=F64)[None])
    data = play.sample(theta, keep, stream(4))
    zero = torch.zeros((), dtype=F64)

    def estimated(own: torch.Tensor) -> torch.Tensor:
        return -play.losses(own, theta, keep, data, zero).sum()

    exact = torch.func.jacrev(lambda own: expected_value(own, play))(theta)  # value's agent, 1, agent, ...
    wanted = torch.stack([exact[agent, 0, agent] for agent in range(2)])
    found = torch.func.grad(estimated)(theta)[0]
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0)
    assert wanted.abs().max() > 0.03
    torch.testing.assert_close(play.values(theta, data)[0], expected_value(theta, play), atol=0.01, rtol=0)


def sold_by(method: str, **changes: Any) -> torch.Tensor:
    """The mean sale of each firm after training, [seed, agent]."""
    usual = {
        "policy": "mlp",
        "inner.optimizer": "adam",
        "inner.learning_rate": 0.05,
        "inner.episodes": 64,
        "policy.hidden_size": (4,),
    }
    learner = configured(METHODS[method], **usual | changes).build(Cournot(), Placement(seeds=2, dtype=F64))
    state = learner.init(seed=0)
    for _ in range(80):
        state, _ = learner.update(state)
    transfer = learner.transfer(state["phi"])
    data = learner.play.sample(state["theta"], transfer, stream(1))
    return learner.play.distribution.acted(data.actions).mean((2, 3, 4))


@pytest.mark.parametrize("inner", ["policy-gradient", "actor-critic", "ppo"])
def test_selfish_firms_learn_the_equilibrium(inner: str) -> None:
    sold = sold_by("selfish", inner=inner, **({"inner.update_epochs": 2} if inner == "ppo" else {}))
    torch.testing.assert_close(sold, torch.full_like(sold, 1 / 3), atol=0.04, rtol=0)


def test_firms_that_share_alike_learn_the_optimum() -> None:
    total = sold_by("prosocial").sum(-1)
    torch.testing.assert_close(total, torch.full_like(total, 1 / 2), atol=0.04, rtol=0)


@pytest.mark.parametrize("policy", [MLPPolicy, GRUPolicy])
@pytest.mark.parametrize("shares", [False, True])
def test_every_network_has_a_gaussian_head(policy: type[MLPPolicy] | type[GRUPolicy], shares: bool) -> None:
    game = Cournot(firms=3, days=2)
    made = policy(hidden_size=(4,), share_parameters=shares).build(game)
    assert isinstance(made, Gaussian)
    both = PolicyWithCritic.of(made)
    theta = both.initial(stream(0), 2, 3)
    episodes = rollout(game, both, theta, SharedBy(torch.eye(3).expand(2, 3, 3)), 5, stream(1))
    assert episodes.actions.shape == (2, 3, 2, 5, 1)
    assert both.unroll(theta, episodes.observations).shape == (2, 3, 2, 5, 2)
    assert both.values(theta, episodes.observations).shape == (2, 3, 2, 5)
    assert episodes.select_episodes(slice(1, 3)).actions.shape == (2, 3, 2, 2, 1)


def test_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"A tabular policy \(use mlp\) needs Discrete actions, but"):
        TabularPolicy().build(Cournot())


@pytest.mark.parametrize("name", [name for name in METHODS if name != "meva"])  # exact values
def test_every_method_learns_or_says_that_it_needs_discrete_actions(name: str) -> None:
    bound = {"loss_bound": 1.0} if name == "d3c" else {}
    method = configured(METHODS[name], inner__episodes=4, **bound)
    try:
        learner = method.build(Cournot(), Placement(seeds=2))
    except ValueError as refusal:
        others = "contract", "gifting", "lase", "lio", "loqa", "ltos", "mediator", "planner", "stacx"
        assert name in ("coala-pg", "m-fos", *others)
        assert "actions" in str(refusal)  # noqa: PT017
        assert "Box" in str(refusal)  # noqa: PT017
        return
    _, metrics = learner.update(learner.init(seed=0))
    assert metrics["welfare"].isfinite().all()


def test_actors_stay_in_the_box() -> None:
    game = Cournot()
    state = game.reset(50, stream(0))
    policy = MLPPolicy(hidden_size=(4,)).build(game)
    theta = policy.initial(stream(1), 2).float()
    for actor in (random_actor(game), learned_actor(game, policy, theta)):
        actions, _ = actor(state, stream(2))
        assert actions.shape == (50, 2, 1)
        game.step(state, actions, stream(3))
    assert distribution_of(game) == SquashedGaussian((0.0,), (1.0,))
    assert isinstance(game.action_space, spaces.Box)
    assert game.action_names == ("0",)
    assert dataclasses.replace(game, firms=3).num_agents == 3
