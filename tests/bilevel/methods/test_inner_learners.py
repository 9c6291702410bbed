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
    ActorCritic,
    Convolutional,
    CriticPlay,
    Numbered,
    PPOPlay,
    Reinforce,
    Tabular,
    TermWeights,
)
from bilevel.agents._surrogates import LoadedDice, dice
from bilevel.core import leaves, tree_map
from bilevel.experiments import RunFolder, RunInterrupted, create_run, default_config, train
from bilevel.experiments._config import from_settings
from bilevel.methods import METHODS, OuterLearner, Placement, PolicyLearner, Selfish, ToS
from games.core import Game
from games.matrix import EscapeRoom, RepeatedGame

ROOM = EscapeRoom(horizon=3)
COINS = games.make("coin-game", horizon=3)
REPEATED = RepeatedGame(horizon=4)
every_learner = pytest.mark.parametrize("learner", ["actor-critic", "ppo"])


NEEDS: dict[str, dict[str, Any]] = {"d3c": {"loss_bound": 100.0}}
"""What a method cannot do without in the Escape Room."""


def build(name: str, game: Game = ROOM, seeds: int = 2, **settings: Any) -> PolicyLearner:
    small = {"episodes": 16, "inner_optimizer": "adam", "inner_learning_rate": 0.01, "exact": False}
    return METHODS[name](**{**small, **NEEDS.get(name, {}), **settings}).build(game, Placement(seeds=seeds))


def go_on(learner: PolicyLearner, updates: int = 2) -> dict[str, Any]:
    state = learner.init(0)
    for _ in range(updates):
        state, _ = learner.update(state)
    return state


@every_learner
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"ltos"}))  # it learns values, and refuses
def test_every_method_takes_it(name: str, learner: str) -> None:
    built = build(name, inner_learner=learner, inner_steps=2)
    policy = built.play.policy
    assert isinstance(policy, ActorCritic)
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
    built = build("tos", COINS, policy=policy, share_parameters=True, inner_learner=learner)
    both = built.play.policy
    assert isinstance(both, ActorCritic)
    assert isinstance(both.critic, Numbered)
    start, theta = built.init(0)["theta"], go_on(built)["theta"]
    assert torch.equal(theta, theta[:, :1].expand_as(theta))
    assert all(part.any() for part in both.split(theta - start))


@every_learner
@pytest.mark.parametrize(("policy", "game"), [("tabular", REPEATED), ("gru", REPEATED), ("conv", COINS)])
def test_every_policy_takes_it(policy: str, game: Game, learner: str) -> None:
    built = build("tos", game, policy=policy, inner_learner=learner)
    state = go_on(built, 1)
    assert all(part.any() for part in built.play.policy.split(state["theta"] - built.init(0)["theta"]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner_learner": "ppoo"}, "no inner_learner 'ppoo'. Did you mean 'ppo'"),
        ({"trace": 1.1}, "trace must be a finite number from 0 to 1, not 1.1"),
        ({"policy_weight": 0.0}, "policy_weight must be a finite number above 0, not 0"),
        ({"value_weight": -1.0}, "value_weight must be a finite number above 0, not -1"),
        ({"value_weight": float("inf")}, "value_weight must be a finite number above 0, not inf"),
        ({"clip_range": float("nan")}, "clip_range must be a finite number above 0, not nan"),
        ({"value_clip": 0.0}, "value_clip must be a finite number above 0, not 0"),
        ({"epochs": 0}, "epochs is a whole number from 1, not 0"),
        ({"minibatches": 1.5}, "minibatches is a whole number from 1, not 1.5"),
    ],
)
@pytest.mark.parametrize("name", ["selfish", "tos"])
def test_bad_settings_are_refused(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS[name](**settings)


@pytest.mark.parametrize(
    ("settings", "game", "sentence"),
    [
        ({"inner_learner": "ppo"}, REPEATED, "nothing for a critic to learn: with ppo play episodes"),
        ({"inner_learner": "actor-critic"}, REPEATED, r"with actor-critic play episodes \(--method.no-exact"),
        ({"inner_learner": "ppo", "surrogate": "dice"}, ROOM, "PPO has a surrogate of its own, and dice"),
        (
            {"inner_learner": "actor-critic", "surrogate": "dice"},
            ROOM,
            r"a trace of 0\.95 would not be used: set trace to 1, or choose loaded-dice",
        ),
        (
            {"inner_learner": "ppo", "minibatches": 5, "episodes": 4},
            ROOM,
            "4 episodes cannot be cut into 5 minibatches",
        ),
        (
            {"inner_learner": "ppo", "hypergradient": "implicit(accept_distance=inf)"},
            ROOM,
            "Implicit solves with how a step depends on the policies",
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_built(settings: dict[str, Any], game: Game, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ToS(**settings).build(game, Placement())


def test_settings_reach_the_play() -> None:
    shared = {"trace": 0.7, "policy_weight": 2.0, "value_weight": 0.1, "episodes": 8}
    actor = Selfish(inner_learner="actor-critic", surrogate="loaded-dice", **shared).play(ROOM)
    assert type(actor) is CriticPlay
    assert (actor.surrogate, actor.trace, actor.episodes) == (LoadedDice(trace=0.7), 0.7, 8)
    assert actor.weights == TermWeights(2.0, 0.1)
    own = {"clip_range": 0.3, "epochs": 5, "minibatches": 2, "value_clip": 0.4}
    clipped = Selfish(inner_learner="ppo", normalize_advantages=True, **own, **shared).play(ROOM)
    assert isinstance(clipped, PPOPlay)
    assert (clipped.surrogate, clipped.trace, clipped.weights) == (
        Reinforce(trace=0.7),
        0.7,
        actor.weights,
    )
    assert {name: getattr(clipped, name) for name in own} == own
    assert clipped.normalize
    assert len(clipped.parts(*_sampled(clipped))) == 10
    exact = Selfish(inner_learner="actor-critic", surrogate="dice", trace=1.0, exact=False).play(REPEATED)
    assert (exact.surrogate, exact.policy) == (dice, ActorCritic.of(Tabular(5, 2)))
    assert isinstance(Selfish(inner_learner="ppo", policy="conv").play(COINS).policy.critic, Convolutional)


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
        built = build("tos", inner_learner=learner, hypergradient=text, inner_steps=2)
        found[text] = _meta_gradient(built)
        assert found[text].any()
    for text in ESTIMATORS[1:3]:
        torch.testing.assert_close(found[text], found["unrolled"], rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(found["truncated(steps=1)"], found["one-step"], rtol=1e-8, atol=1e-11)
    assert not torch.allclose(found["one-step"], found["unrolled"], rtol=1e-2)


def _meta_gradient(built: PolicyLearner) -> Tensor:
    assert isinstance(built, OuterLearner)
    state = built.init(0)
    problem = built.problem(torch.Generator().manual_seed(1), torch.tensor(0.1, dtype=torch.float64))
    start = state["theta"], state["opt_state"], state["phi"]
    found: Tensor = built.hypergradient(problem, *start, steps=built.method.inner_steps).gradient
    return found


@every_learner
@pytest.mark.parametrize(
    "text",
    ["truncated(steps=3, window=True)", "evolution(samples=8, members=True, fresh_data=True)"],
)
def test_estimators_with_a_past_or_with_samples_of_their_own(text: str, learner: str) -> None:
    built = build("tos", inner_learner=learner, hypergradient=text, inner_steps=2)
    state = go_on(built)
    assert (state["phi"] != built.init(0)["phi"]).flatten(1).any(-1).all()


@every_learner
@pytest.mark.parametrize(
    "settings", [{"reset": "each-outer-step"}, {"training": "alternating", "inner_rounds": 2}]
)
def test_other_courses_of_training(settings: dict[str, Any], learner: str) -> None:
    assert go_on(build("tos", inner_learner=learner, **settings))["theta"].isfinite().all()


@every_learner
def test_a_run_resumes_to_the_same_bytes(learner: str, tmp_path: Path) -> None:
    config = default_config("escape-room", "tos")
    method = dataclasses.replace(
        config.method, episodes=4, inner_learner=learner, policy="gru", value_clip=0.5
    )
    config = dataclasses.replace(
        config, method=method, seeds=2, outer_steps=4, checkpoint_every=1, evaluation_episodes=4
    )
    assert from_settings(json.loads(json.dumps(dataclasses.asdict(config)))) == config
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
@pytest.mark.parametrize("trace", [0.0, 0.8, 1.0])
def test_critics_learn_the_values_of_the_rewards_that_are_seen(trace: float, learner: str) -> None:
    """Half of 1 + 4 each under the common reward, discounted by a half: 4.375, 3.75 and 2.5 (derived)."""
    settings = {"inner_optimizer": "sgd", "inner_learning_rate": 1.0, "value_weight": 1.0, "trace": trace}
    built = build("prosocial", Countdown(), inner_learner=learner, inner_steps=120, **settings)
    _, values = built.play.policy.split(go_on(built, 1)["theta"])
    expected = torch.tensor([4.375, 3.75, 2.5], dtype=torch.float64).expand(2, 2, 3)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)
