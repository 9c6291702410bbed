"""M-FOS: the meta-game against plain autodiff, PPO and evolution against closed forms, and refusals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.core import Purpose, leaves
from bilevel.methods import METHODS, MFOS, Placement, Selfish
from bilevel.methods._meta_policy import (
    MetaBatch,
    MetaPolicy,
    log_probability,
    ppo_losses,
    standardized_returns,
)
from games.core import Game
from games.matrix import FiniteRepeatedGame
from tests.bilevel.methods.configured import configured

F64 = torch.float64
REPEATED: Any = games.make("repeated-prisoners-dilemma")
STAGE = games.make("prisoners-dilemma")
SMALL: dict[str, Any] = {"meta.steps": 3, "meta.episodes": 4, "meta.hidden_size": (4,)}
EVOLUTION: dict[str, Any] = {"training": "evolution", "training.samples": 4}


def built(game: Game = REPEATED, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 2)
    return configured(MFOS, **SMALL | settings).build(game, Placement(seeds=seeds))


def by_hand(game: Any, logits: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Values of two tables of log-odds, and the second after a gradient step on its own value."""
    second = logits[1].clone().requires_grad_()
    chances = torch.stack((logits[0], second)).sigmoid()
    values = game.values(torch.stack((chances, 1 - chances), -1))
    (gradient,) = torch.autograd.grad(values[1] * game.effective_horizon, second)
    return values.detach(), logits[1] + rate * gradient


@pytest.mark.parametrize("training", ["ppo", "evolution"])
def test_a_meta_episode_by_hand(training: str) -> None:
    """Each step: the naive agent learns from what was played, the other's choice depends on the same."""
    learner = built(training=training, inner__learning_rate=0.7)
    state = learner.init(3)
    draws = learner.streams(state, Purpose.TRAINING)
    start, _ = learner._game(state).reset(2, 1, draws, F64)
    shaping = torch.tensor([[True, False]])
    found = learner.meta_episodes(state, state["meta"], shaping, learner.streams(state, Purpose.TRAINING))
    logits, seed = start[1, 0], 1
    for step in range(3):
        seen = torch.cat((logits[0], logits[1])).sigmoid()
        torch.testing.assert_close(found.features[seed, 0, step, 0], seen, rtol=0, atol=1e-12)
        _, learned = by_hand(REPEATED, logits, 0.7)
        logits = torch.stack((found.actions[seed, 0, step, 0], learned))
        values, _ = by_hand(REPEATED, logits, 0.7)
        torch.testing.assert_close(found.returns[seed, :, step, 0], values, rtol=0, atol=1e-10)
        if training == "evolution":  # deterministic
            means = learner.meta_policy.means(state["meta"], found.features[:, :, step])
            torch.testing.assert_close(found.actions[:, :, step], means, rtol=0, atol=0)
    torch.testing.assert_close(found.policies[seed, 0], logits, rtol=0, atol=1e-10)


def test_naive_agents_alone_are_selfish() -> None:
    """Where nobody shapes, meta-steps are the steps of independent learners."""
    learner = built(meta__steps=4)
    state = learner.init(0)
    nobody = torch.tensor([[False, False]])
    end = learner.meta_episodes(
        state, state["meta"], nobody, learner.streams(state, Purpose.TRAINING)
    ).policies
    start, _ = learner._game(state).reset(2, 1, learner.streams(state, Purpose.TRAINING), F64)
    selfish: Any = Selfish().build(REPEATED, Placement(seeds=2))
    other = {**selfish.init(0), "theta": start[:, 0]}
    for _ in range(4):
        other, _ = selfish.update(other)
    torch.testing.assert_close(end[:, 0], other["theta"], rtol=0, atol=1e-9)


def test_a_lola_agent_takes_its_own_rule() -> None:
    """The agent that does not shape moves by LOLA, as in `selfish` with this rule."""
    learner = built(rule="lola", rule__rate=0.5, meta__steps=1, seeds=1)
    state = learner.init(0)
    generator = learner.streams(state, Purpose.TRAINING)
    start, _ = learner._game(state).reset(1, 1, learner.streams(state, Purpose.TRAINING), F64)
    end = learner.meta_episodes(state, state["meta"], torch.tensor([[True, False]]), generator).policies
    selfish: Any = Selfish().with_settings({"rule": "lola", "rule.rate": 0.5})
    other = selfish.build(REPEATED, Placement())
    expected, _ = other.update({**other.init(0), "theta": start[:, 0]})
    torch.testing.assert_close(end[0, 0, 1], expected["theta"][0, 1], rtol=0, atol=1e-9)
    naive, _ = Selfish().build(REPEATED, Placement()).update({**other.init(0), "theta": start[:, 0]})
    assert not torch.allclose(end[0, 0, 1], naive["theta"][0, 1], atol=1e-3)


def test_self_play_pairs_each_agent_with_naive_ones_by_a_share() -> None:
    learner = built(shapers="both", shapers__naive="0:1, 4:0", meta__episodes=4)
    state = learner.init(0)
    alone = [[True, False]] * 4 + [[False, True]] * 4
    assert learner._pairings(state).tolist() == alone
    half = learner._pairings({**state, "outer_step": torch.tensor(2)})
    assert half.tolist() == [[True, False]] * 2 + [[True] * 2] * 2 + [[False, True]] * 2 + [[True] * 2] * 2
    assert learner._pairings({**state, "outer_step": torch.tensor(9)}).all()
    assert learner._all_shape(3).all()
    assert built()._all_shape(2).tolist() == [[True, False]] * 2


def test_batches_have_each_agents_own_meta_episodes() -> None:
    """Entries of recorded meta-episodes are numbers that name the agent and the meta-episode."""
    learner = built(shapers="both", seeds=1, meta__episodes=2, meta__steps=3)
    state = learner.init(0)
    recorded = learner.meta_episodes(
        state, state["meta"], learner._pairings(state), learner.streams(state, Purpose.TRAINING)
    )
    batch = learner._batch(recorded, 1.0)
    for agent, episodes in ((0, [0, 1]), (1, [2, 3])):
        expected = recorded.actions[0, agent][:, episodes].flatten(0, 1)
        torch.testing.assert_close(batch.actions[0, agent], expected, rtol=0, atol=0)
        returns = recorded.returns[:, [agent]][..., episodes]
        torch.testing.assert_close(
            batch.returns[:, [agent]], standardized_returns(returns, 1.0).flatten(2, 3), rtol=0, atol=0
        )


def test_evolution_follows_finite_differences() -> None:
    """With few parameters and a small sigma, many samples give the derivative of the mean meta-return."""
    learner = built(
        STAGE,
        seeds=1,
        training="evolution",
        training__samples=2000,
        training__sigma=0.01,
        training__rank_shaping=False,
        meta__hidden_size=(2,),
        meta__steps=2,
        meta__episodes=3,
        shapers="both",
        shapers__naive=0.0,
    )
    state = learner.init(0)
    meta, pairings = state["meta"], learner._pairings(state)

    def returns(moved: Tensor) -> Tensor:
        """Mean return of each agent over its own meta-episodes, [agent]."""
        found = learner.meta_episodes(state, moved, pairings, learner.streams(state, Purpose.TRAINING))
        return torch.stack([found.returns[0, agent, :, 3 * agent : 3 * agent + 3].mean() for agent in (0, 1)])

    expected = torch.zeros_like(meta[0])
    for agent, entry in itertools.product((0, 1), range(meta.shape[-1])):
        shift = torch.zeros_like(meta)
        shift[0, agent, entry] = 1e-5
        expected[agent, entry] = -(returns(meta + shift) - returns(meta - shift))[agent] / 2e-5
    found = learner.evolution_gradient(state, meta, pairings, learner.streams(state, Purpose.TRAINING))[0]
    # the error of an entry: |gradient over all parameters| / sqrt(pairs)
    error = expected.norm(dim=-1, keepdim=True) * (2 / 2000) ** 0.5 * 2
    assert ((found - expected).abs() < 4 * error + 1e-4).all()
    assert (expected.abs().amax(-1) > 8 * error.squeeze(-1)).all()


def test_the_gradient_of_ppo_is_the_policy_gradient() -> None:
    """At the policy of the draws: minus the mean of advantages times scores, and the critic's regression."""
    policy = MetaPolicy(num_features=2, num_outputs=1, hidden=(3,))
    generator = torch.Generator().manual_seed(0)
    theta = policy.initial(generator, 1, 2)
    features = torch.rand(1, 2, 5, 2, generator=generator, dtype=F64)
    actions = torch.randn(1, 2, 5, 1, generator=generator, dtype=F64)
    returns = torch.randn(1, 2, 5, generator=generator, dtype=F64)

    def gradient(loss: Any) -> Tensor:
        own = theta.clone().requires_grad_()
        found: Tensor = torch.autograd.grad(loss(own).sum(), own)[0]
        return found

    def log(own: Tensor) -> Tensor:
        means, variances = policy.distribution(own, features)
        chances: Any = torch.distributions.Normal(means, variances.sqrt())
        found: Tensor = chances.log_prob(actions).sum(-1)
        return found

    batch = MetaBatch(features, actions, log(theta), returns)
    found = gradient(lambda own: ppo_losses(policy, own, batch, clip_coef=0.2, ent_coef=0.1, vf_coef=0.5))
    advantages = returns - policy.values(theta, features)

    def by_hand(own: Tensor) -> Tensor:
        _, variances = policy.distribution(own, features)
        spread: Any = torch.distributions.Normal(torch.zeros_like(variances), variances.sqrt())
        entropy = spread.entropy().sum(-1)
        errors = (policy.values(own, features) - returns).square()
        total: Tensor = (-advantages * log(own) - 0.1 * entropy + 0.5 * errors).mean(-1)
        return total

    torch.testing.assert_close(found, gradient(by_hand), rtol=0, atol=1e-10)


def test_ppo_ignores_ratios_beyond_the_clipping_range() -> None:
    policy = MetaPolicy(num_features=1, num_outputs=1, hidden=(2,))
    theta = policy.initial(torch.Generator().manual_seed(0), 1, 1).requires_grad_()
    features, actions = torch.ones(1, 1, 1, 1, dtype=F64), torch.zeros(1, 1, 1, 1, dtype=F64)
    now = log_probability(actions, *policy.distribution(theta, features)).detach()
    baseline = policy.values(theta, features).detach()
    for shift, advantage, moves in ((-1.0, 1.0, False), (-1.0, -1.0, True), (1.0, -1.0, False)):
        batch = MetaBatch(features, actions, now + shift, baseline + advantage)
        loss = ppo_losses(policy, theta, batch, clip_coef=0.2, ent_coef=0.0, vf_coef=1e-300)
        (gradient,) = torch.autograd.grad(loss.sum(), theta)
        assert bool((gradient.abs() > 1e-9).any()) == moves, (shift, advantage)


@pytest.mark.parametrize("training", ["ppo", "evolution"])
def test_training_raises_the_meta_return(training: str) -> None:
    """In a one-shot dilemma, an agent that shapes learns to defect in every meta-step."""
    name = "training__learning_rate" if training == "ppo" else "training__ascent_rate"
    learner = built(STAGE, seeds=3, training=training, meta__steps=3, meta__episodes=8, **{name: 0.1})
    state = learner.init(0)
    before = learner.evaluate(state, episodes=2)["meta_return_0"]
    for _ in range(80):
        state, _ = learner.update(state)
    after = learner.evaluate(state, episodes=2)["meta_return_0"]
    assert (after > before + 0.2).all()


@pytest.mark.parametrize("settings", [{}, EVOLUTION, {"shapers": "both"}], ids=["ppo", "evolution", "both"])
def test_an_update_is_pure_and_seeds_are_independent(settings: dict[str, Any]) -> None:
    learner, alone = built(seeds=3, **settings), built(seeds=2, **settings)
    state = learner.update(learner.init(5))[0]
    first, again = learner.update(state), learner.update(state)
    for one, other in zip(leaves(first), leaves(again), strict=True):
        assert torch.equal(one, other)
    fewer = alone.update(alone.update(alone.init(5))[0])
    for name in ("theta", "meta"):
        torch.testing.assert_close(first[0][name][:2], fewer[0][name], rtol=0, atol=1e-9)
    shapers = 2 if settings.get("shapers") else 1
    assert state["meta"].shape == (3, shapers, learner.meta_policy.num_parameters)


def test_metrics_are_those_of_the_last_policies_and_of_all_meta_steps() -> None:
    learner = built(meta__steps=5)
    state, metrics = learner.update(learner.init(0))
    exact = REPEATED.values(learner.play.policy.probabilities(state["theta"]))
    for agent in (0, 1):
        torch.testing.assert_close(metrics[f"return_{agent}"], exact[:, agent], rtol=0, atol=1e-12)
        assert not torch.allclose(metrics[f"meta_return_{agent}"], exact[:, agent])
    measured = learner.evaluate(state, episodes=7)
    torch.testing.assert_close(measured["return_0"], metrics["return_0"], rtol=0, atol=1e-12)
    assert metrics.keys() == measured.keys()


@pytest.mark.parametrize("settings", [{}, EVOLUTION], ids=["ppo", "evolution"])
def test_sampled_episodes_and_an_optimizer_with_a_state(settings: dict[str, Any]) -> None:
    """Returns of many sampled episodes are the exact ones within standard errors."""
    game = FiniteRepeatedGame(horizon=3, discount=0.9)
    sampled = built(
        game,
        seeds=2,
        inner__exact=False,
        inner__episodes=6,
        inner__optimizer="adam",
        inner__steps=2,
        **settings,
    )
    state, metrics = sampled.update(sampled.init(0))
    assert all(values.isfinite().all() for values in metrics.values())
    assert (state["theta"] != sampled.init(0)["theta"]).any(-1).all()
    many = built(game, seeds=1, inner__exact=False, inner__episodes=20000, meta__steps=2, meta__episodes=1)
    state = many.init(0)
    found = many.meta_episodes(
        state, state["meta"], torch.tensor([[True, False]]), many.streams(state, Purpose.TRAINING)
    )
    exact = game.values(many.play.policy.probabilities(found.policies[0, 0]))
    torch.testing.assert_close(found.returns[0, :, -1, 0], exact, rtol=0, atol=0.03)


def test_compiled_meta_steps_are_the_same_but_for_rounding() -> None:
    plain, fast = (
        MFOS().with_settings(SMALL).build(REPEATED, Placement(seeds=2, compile=choice))
        for choice in (False, True)
    )
    one, other = plain.update(plain.init(0)), fast.update(fast.init(0))
    torch.testing.assert_close(one[0]["theta"], other[0]["theta"], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("game", "sentence"),
    [
        (games.make("public-goods", agents=3), "has 3 agents: choose a game with two"),
        (
            games.make("escape-room"),
            "leave policy at auto, and choose a game whose observations are integers",
        ),
        (games.make("cournot-continuous", agents=2), "M-FOS, which chooses tables"),
    ],
)
def test_games_without_tables_or_with_more_agents_are_refused(game: Game, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(game)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"meta.steps": 0}, "meta.steps must be a whole number, 1 or more"),
        ({"meta.episodes": 0}, "meta.episodes must be a whole number, 1 or more"),
        ({"training": "evolution", "training.samples": 5}, "samples must be even"),
        ({"training.discount": 1.5}, "training.discount"),
        ({"training": "sgd"}, "training"),
        ({"shapers": "both", "shapers.naive": 2.0}, "shapers.naive"),
        ({"shapers.naive": 0.5}, "is a setting of shapers both, and shapers is one"),
        ({"inner": "ppo"}, "inner"),
    ],
)
def test_bad_input_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS["m-fos"]().with_settings(settings)
