"""Actor-critic and PPO inside every method: settings, learners, estimators, saved runs, critics."""

from __future__ import annotations

import dataclasses
import json
import pickle
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import games
from bilevel.agents import (
    Convolutional,
    CriticPlay,
    Numbered,
    PolicyWithCritic,
    PPOPlay,
    Reinforce,
    Tabular,
    TermWeights,
)
from bilevel.agents._surrogates import LoadedDice, dice
from bilevel.core import leaves, tree_map
from bilevel.experiments import RunFolder, RunInterrupted, create_run, default_config, train
from bilevel.experiments._config import from_settings
from bilevel.methods import METHODS, OuterLearner, Placement, PolicyLearner, Selfish, StepInputs, ToS
from games.core import Game
from games.matrix import EscapeRoom, RepeatedGame
from tests.bilevel.methods.configured import OWN_LEARNERS, configured

ROOM = EscapeRoom(horizon=3)
COINS = games.make("coin-game", horizon=3)
REPEATED = RepeatedGame(horizon=4)
every_learner = pytest.mark.parametrize("learner", ["actor-critic", "ppo", "v-trace"])

NEEDS: dict[str, dict[str, Any]] = {"d3c": {"loss_bound": 100.0}}
"""What a method cannot do without in the Escape Room."""


def build(name: str, game: Game = ROOM, seeds: int = 2, **settings: Any) -> PolicyLearner:
    small = {
        "inner.episodes": 16,
        "inner.optimizer": "adam",
        "inner.learning_rate": 0.01,
        "inner.exact": False,
    }
    return configured(METHODS[name], **{**small, **NEEDS.get(name, {}), **settings}).build(
        game, Placement(seeds=seeds)
    )


def go_on(learner: PolicyLearner, updates: int = 2) -> dict[str, Any]:
    state = learner.init(0)
    for _ in range(updates):
        state, _ = learner.update(state)
    return state


@every_learner
@pytest.mark.parametrize("name", sorted(set(METHODS) - OWN_LEARNERS))
def test_every_method_takes_it(name: str, learner: str) -> None:
    built = build(name, inner=learner, inner__steps=2)
    policy = built.play.policy
    assert isinstance(policy, PolicyWithCritic)
    start, state = built.init(0), go_on(built)
    assert state["theta"].shape == (2, 2, policy.num_parameters)
    for part in policy.split(state["theta"] - start["theta"]):
        assert part.any(-1).all()
    if isinstance(built, OuterLearner):
        assert (state["phi"] - start["phi"]).flatten(1).any(-1).all()
    kept = tree_map(torch.clone, state)
    first, again = built.update(state), built.update(pickle.loads(pickle.dumps(state)))
    assert all(torch.equal(*pair) for pair in zip(leaves(first), leaves(again), strict=True))
    assert all(torch.equal(*pair) for pair in zip(leaves(state), leaves(kept), strict=True))
    assert built.evaluate(state, episodes=4)["welfare"].shape == (2,)


@every_learner
@pytest.mark.parametrize("policy", ["mlp", "conv", "gru"])
def test_agents_may_share_a_policy_and_a_critic(policy: str, learner: str) -> None:
    built = build("tos", COINS, policy=policy, policy__share_parameters=True, inner=learner)
    both = built.play.policy
    assert isinstance(both, PolicyWithCritic)
    assert isinstance(both.critic, Numbered)
    start, theta = built.init(0)["theta"], go_on(built)["theta"]
    assert torch.equal(theta, theta[:, :1].expand_as(theta))
    assert all(part.any() for part in both.split(theta - start))


@every_learner
@pytest.mark.parametrize(("policy", "game"), [("tabular", REPEATED), ("gru", REPEATED), ("conv", COINS)])
def test_every_policy_takes_it(policy: str, game: Game, learner: str) -> None:
    built = build("tos", game, policy=policy, inner=learner)
    state = go_on(built, 1)
    assert all(part.any() for part in built.play.policy.split(state["theta"] - built.init(0)["theta"]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner": "ppoo"}, "no inner 'ppoo'. Did you mean 'ppo'"),
        ({"inner.gae_lambda": 1.1}, "inner.gae_lambda must be a finite number from 0 to 1, not 1.1"),
        ({"inner.policy_coef": 0.0}, "inner.policy_coef must be a finite number above 0, not 0"),
        ({"inner.vf_coef": -1.0}, "inner.vf_coef must be a finite number above 0, not -1"),
        ({"inner.vf_coef": float("inf")}, "inner.vf_coef must be a finite number above 0, not inf"),
        ({"inner.clip_coef": float("nan")}, "inner.clip_coef must be a finite number above 0, not nan"),
        ({"inner.clip_vloss": 0.0}, "inner.clip_vloss must be a finite number above 0, not 0"),
        ({"inner.update_epochs": 0}, "inner.update_epochs must be a whole number, 1 or more, not 0"),
        ({"inner.num_minibatches": 1.5}, "inner.num_minibatches must be a whole number, 1 or more, not 1.5"),
    ],
)
@pytest.mark.parametrize("name", ["selfish", "tos"])
def test_bad_settings_are_refused(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(METHODS[name], **{"inner": "ppo", **settings})


@pytest.mark.parametrize(
    ("settings", "game", "sentence"),
    [
        (
            {"inner": "ppo", "inner.surrogate": "dice"},
            ROOM,
            "setting of inner policy-gradient or actor-critic",
        ),
        (
            {"inner": "actor-critic", "inner.surrogate": "dice"},
            ROOM,
            r"a gae_lambda of 0\.95 would not be used: set it to 1, or choose loaded-dice",
        ),
        (
            {"inner": "ppo", "inner.num_minibatches": 5, "inner.episodes": 4},
            ROOM,
            "4 episodes cannot be split into 5 minibatches",
        ),
        (
            {"inner": "ppo", "outer.hypergradient": "implicit(max_distance=inf)"},
            ROOM,
            "Implicit solves with the derivative of a step by the policies",
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_built(settings: dict[str, Any], game: Game, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(ToS, **settings).build(game, Placement())


def test_settings_reach_the_play() -> None:
    shared = {"inner.gae_lambda": 0.7, "inner.policy_coef": 2.0, "inner.vf_coef": 0.1, "inner.episodes": 8}
    actor = (
        Selfish()
        .with_settings({"inner": "actor-critic", "inner.surrogate": "loaded-dice", **shared})
        .play(ROOM)
    )
    assert type(actor) is CriticPlay
    assert (actor.surrogate, actor.gae_lambda, actor.episodes) == (LoadedDice(gae_lambda=0.7), 0.7, 8)
    assert actor.weights == TermWeights(2.0, 0.1)
    own = {
        "inner.clip_coef": 0.3,
        "inner.update_epochs": 5,
        "inner.num_minibatches": 2,
        "inner.clip_vloss": 0.4,
    }
    clipped = configured(Selfish, **{"inner": "ppo", "inner.norm_adv": True, **own, **shared}).play(ROOM)
    assert isinstance(clipped, PPOPlay)
    assert (clipped.surrogate, clipped.gae_lambda, clipped.weights) == (
        Reinforce(gae_lambda=0.7),
        0.7,
        actor.weights,
    )
    assert (clipped.clip_range, clipped.epochs, clipped.minibatches, clipped.value_clip) == (0.3, 5, 2, 0.4)
    assert clipped.normalize
    assert len(clipped.batches(*_sampled(clipped))) == 10
    exact = (
        Selfish()
        .with_settings({"inner": "actor-critic", "inner.surrogate": "dice", "inner.gae_lambda": 1.0})
        .play(REPEATED)
    )
    assert (exact.surrogate, exact.policy) == (dice, PolicyWithCritic.of(Tabular(5, 2)))
    assert isinstance(
        Selfish().with_settings({"inner": "ppo", "policy": "conv"}).play(COINS).policy.critic, Convolutional
    )


def _sampled(play: PPOPlay) -> tuple[Any, ...]:
    learner = Selfish().build(play.game, Placement())
    theta = torch.zeros(1, play.game.num_agents, play.policy.num_parameters, dtype=torch.float64)
    transfer = learner.transfer(learner.init(0)["phi"])
    return theta, transfer, play.sample(theta, transfer, torch.Generator().manual_seed(0))


ESTIMATORS = ["unrolled", "truncated(steps=2)", "forward", "truncated(steps=1)", "one-step"]


@every_learner
def test_estimators_walk_through_its_steps(learner: str) -> None:
    """Those without bias agree, and so do the two that look at one step only."""
    found = {}
    for text in ESTIMATORS:
        built = build("tos", inner=learner, outer__hypergradient=text, inner__steps=2)
        found[text] = _hypergradient(built)
        assert found[text].any()
    for text in ESTIMATORS[1:3]:
        torch.testing.assert_close(found[text], found["unrolled"], rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(found["truncated(steps=1)"], found["one-step"], rtol=1e-8, atol=1e-11)
    assert not torch.allclose(found["one-step"], found["unrolled"], rtol=1e-2)


def _hypergradient(built: PolicyLearner) -> Tensor:
    assert isinstance(built, OuterLearner)
    state = built.init(0)
    problem = built.problem(
        torch.Generator().manual_seed(1), StepInputs((), torch.tensor(0.1, dtype=torch.float64))
    )
    start = state["theta"], state["opt_state"], state["phi"]
    found: Tensor = built.hypergradient(problem, *start, steps=built.method.inner.steps).gradient
    return found


@every_learner
@pytest.mark.parametrize(
    "text",
    ["truncated(steps=3, window=True)", "evolution(samples=8, members=True, fresh_data=True)"],
)
def test_estimators_with_a_past_or_with_samples_of_their_own(text: str, learner: str) -> None:
    built = build("tos", inner=learner, outer__hypergradient=text, inner__steps=2)
    state = go_on(built)
    assert (state["phi"] != built.init(0)["phi"]).flatten(1).any(-1).all()


@every_learner
@pytest.mark.parametrize(
    "settings", [{"outer.reset": "each-outer-step"}, {"training": "alternating", "training.rounds": 2}]
)
def test_other_courses_of_training(settings: dict[str, Any], learner: str) -> None:
    assert go_on(build("tos", inner=learner, **settings))["theta"].isfinite().all()


@every_learner
def test_a_run_resumes_to_the_same_bytes(learner: str, tmp_path: Path) -> None:
    config = default_config("escape-room", "tos")
    clip = {"inner.clip_vloss": 0.5} if learner == "ppo" else {}
    method = config.method.with_settings({"inner": learner, "policy": "gru", "inner.episodes": 4, **clip})
    config = dataclasses.replace(
        config, method=method, seeds=2, outer_steps=4, checkpoint_every=1, evaluation_episodes=4
    )
    assert from_settings(json.loads(json.dumps(config.plain))) == config
    whole, broken = (create_run(config, tmp_path / name) for name in ("whole", "broken"))
    train(whole)

    def interrupt(done: int, _: object) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunInterrupted):
        train(broken, listener=interrupt)
    train(broken)
    assert _numbers(broken) == _numbers(whole)


def _numbers(folder: RunFolder) -> tuple[bytes, bytes]:
    return folder.metrics.read_bytes(), folder.evaluation.read_bytes()


class Time(NamedTuple):
    time: Tensor


@dataclasses.dataclass(frozen=True)
class Countdown(Game):
    """Everybody sees the time, and gets a reward of its own in every step, whatever is done."""

    num_agents: int = 2
    horizon: int = 3
    discount: float = 0.5
    action_space = spaces.Discrete(2)
    observation_space = spaces.Discrete(3)

    def reset(self, batch: int, generator: torch.Generator) -> Time:
        return Time(torch.zeros(batch, dtype=torch.int64))

    def observe(self, state: Time) -> Tensor:
        return state.time.unsqueeze(-1).expand(-1, 2)

    def step(self, state: Time, actions: Tensor, generator: torch.Generator) -> tuple[Time, Tensor, Tensor]:
        rewards = torch.tensor([1.0, 4.0]).expand(len(actions), 2)
        return Time(state.time + 1), rewards, state.time + 1 >= self.horizon

    def render(self, state: Time, index: int = 0, scale: float = 1.0) -> np.ndarray:
        return np.zeros((1, 1, 3), dtype=np.uint8)


@every_learner
@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
def test_critics_learn_the_values_of_the_rewards_that_are_seen(gae_lambda: float, learner: str) -> None:
    """Half of 1 + 4 each under the common reward, discounted by a half: 4.375, 3.75 and 2.5 (derived)."""
    settings = {
        "inner.optimizer": "sgd",
        "inner.learning_rate": 1.0,
        "inner.vf_coef": 1.0,
        "inner.trace_lambda" if learner == "v-trace" else "inner.gae_lambda": gae_lambda,
    }
    built = build("prosocial", Countdown(), inner=learner, inner__steps=120, **settings)
    _, values = built.play.policy.split(go_on(built, 1)["theta"])
    expected = torch.tensor([4.375, 3.75, 2.5], dtype=torch.float64).expand(2, 2, 3)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)
