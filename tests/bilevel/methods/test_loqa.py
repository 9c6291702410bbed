"""LOQA: its updates against plain ones, replay, sharing of parameters, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import Exploring
from bilevel.core import Purpose
from bilevel.methods import LOQA, EarlierPolicies, LoadedDiceOpponents, NStepOpponents, Placement
from games.core import Game
from tests.bilevel.methods.configured import configured

REPEATED = games.make("repeated-prisoners-dilemma", horizon=4)
SMALL: dict[str, Any] = {"inner__episodes": 8}


def built(game: Game = REPEATED, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 1)
    return configured(LOQA, **{**SMALL, **settings}).build(game, Placement(seeds=seeds, dtype=torch.float64))


def updated(learner: Any, state: Any, times: int = 1) -> Any:
    for _ in range(times):
        state, _ = learner.update(state)
    return state


def test_an_update_descends_both_losses_on_the_same_episodes() -> None:
    """Plain gradient steps, from the losses of the play, whose values its own tests check."""
    learner = built(
        seeds=2, inner__learning_rate=0.3, q__optimizer="sgd", q__learning_rate=0.2, q__tau=0.25, q__updates=2
    )
    state = learner.init(3)
    state["q"] = state["q"] + 0.1
    after = updated(learner, state)
    theta, q, target = state["theta"], state["q"], state["target_q"]
    data = learner.play.sample(theta, None, learner.streams(state, Purpose.TRAINING))
    own = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(learner.play.shaping_losses(own, q, data, None).sum(), own)
    torch.testing.assert_close(after["theta"], theta - 0.3 * gradient)
    goals = learner.play.q_goals(target, theta, data)
    for _ in range(2):
        values = q.clone().requires_grad_()
        (slope,) = torch.autograd.grad(learner.play.q_losses(values, goals, data).sum(), values)
        q = q - 0.2 * slope
    torch.testing.assert_close(after["q"], q)
    torch.testing.assert_close(after["target_q"], 0.75 * target + 0.25 * q)


def test_with_replay_each_learner_meets_the_drawn_policies() -> None:
    """The gradient is the mean over games of a learner against each of them."""
    learner = built(
        seeds=2,
        inner__optimizer="sgd",
        inner__learning_rate=1.0,
        replay=EarlierPolicies(capacity=3, every=1, opponents=2),
    )
    state = updated(learner, learner.init(5), times=2)
    worlds: list[Tensor] = []
    sample = learner.training_play.sample

    def recorded(theta: Tensor, *rest: Any) -> Any:
        worlds.append(theta)
        data.append(sample(theta, *rest))
        return data[-1]

    data: list[Any] = []
    object.__setattr__(learner.training_play, "sample", recorded)
    after = updated(learner, state)
    profiles = worlds[0].unflatten(0, (2, 2, 2))  # opponents, learner, seed
    kept = [learner.init(5)["theta"], *(updated(learner, learner.init(5), k)["theta"] for k in (1, 2))]
    for seed in range(2):
        for learner_index in range(2):
            for opponent in range(2):
                profile = profiles[opponent, learner_index, seed]
                assert torch.equal(profile[learner_index], state["theta"][seed, learner_index])
                other = 1 - learner_index
                assert any(torch.equal(profile[other], each[seed, other]) for each in kept)
    assert data[0].rewards.shape == (8, 2, 4, 4)  # 8 episodes among 2 opponents
    step = state["theta"] - after["theta"]
    assert step.isfinite().all()
    assert (step != 0).any(-1).all()


def test_replay_of_the_present_policies_alone_is_play_without_replay() -> None:
    """The draws of profiles change the episodes, so losses are compared on the same ones."""
    present = EarlierPolicies(every=1, opponents=1, current_fraction=1.0)
    learner, plain = built(replay=present, seeds=3), built(seeds=3)
    state = updated(learner, learner.init(0), times=2)
    theta, q = state["theta"], state["q"]
    drawn = learner._drawn(theta, q, state["replay"], learner.streams(state, Purpose.TRAINING))
    of_theta, of_q = learner._profiles(drawn, 0), learner._profiles(drawn, 1)
    assert torch.equal(of_theta(theta), theta.repeat(2, 1, 1))
    data = plain.play.sample(theta, None, learner.streams(state, Purpose.TRAINING))
    twice = data._make(None if part is None else part.repeat(2, *[1] * (part.ndim - 1)) for part in data)
    total = learner._own(learner.play.shaping_losses(of_theta(theta), of_q(q), twice, None), drawn)
    torch.testing.assert_close(total, plain.play.shaping_losses(theta, q, data, None).sum())


def test_the_replay_keeps_the_latest_policies() -> None:
    learner = built(replay=EarlierPolicies(capacity=2, every=2, opponents=1))
    state = learner.init(0)
    seen = []
    for _ in range(6):
        seen.append(state["theta"])
        state = updated(learner, state)
    assert state["replay"].written.tolist() == [3]
    kept = state["replay"].items.theta[:, :2]
    torch.testing.assert_close(kept, torch.stack((seen[4], seen[2]), 1))


def test_an_impossible_replay_is_refused() -> None:
    learner = built(replay=EarlierPolicies(every=1))
    state = updated(learner, learner.init(0))
    state["replay"] = state["replay"]._replace(written=torch.tensor([-7]))
    with pytest.raises(ValueError, match="has a count that is impossible in this outer step"):
        learner.update(state)


def test_exploration_is_for_training_alone() -> None:
    learner = built(inner__exploration=0.5)
    assert isinstance(learner.training_play.policy, Exploring)
    assert not isinstance(learner.play.policy, Exploring)
    state = learner.init(0)
    state["theta"] = torch.full_like(state["theta"], -50.0)  # always defect
    assert float(learner.evaluate(state, episodes=50)["cooperation"]) == 0
    data = learner.training_play.sample(state["theta"], None, learner.streams(state, Purpose.TRAINING))
    assert 0 < float((data.actions == 0).double().mean()) < 0.5


def test_agents_that_share_parameters_stay_equal() -> None:
    learner = built(
        policy="mlp", policy__hidden_size=(4,), policy__share_parameters=True, policy__observe_index=False
    )
    state = updated(learner, learner.init(0), times=3)
    for name in ("theta", "q", "target_q"):
        torch.testing.assert_close(state[name][:, 0], state[name][:, 1])
    assert (state["theta"] != learner.init(0)["theta"]).any()


@pytest.mark.parametrize("opponents", [LoadedDiceOpponents(), NStepOpponents(steps=3)])
@pytest.mark.parametrize("policy", ["mlp", "gru"])
@pytest.mark.parametrize("replay", [None, EarlierPolicies(every=1, opponents=2)])
def test_networks_take_finite_steps(policy: str, opponents: Any, replay: Any) -> None:
    learner = built(
        seeds=2, policy=policy, policy__hidden_size=(3,), opponents=opponents, replay=replay, q__updates=2
    )
    before = learner.init(0)
    after = updated(learner, before, times=2)
    for name in ("theta", "q"):
        assert after[name].isfinite().all()
        assert (after[name] != before[name]).any(-1).all()


def test_three_agents_shape_two_each() -> None:
    game = games.make("public-goods", agents=3, k=1.5)
    learner = built(game, seeds=2, replay=EarlierPolicies(every=1, opponents=4))
    state = updated(learner, learner.init(0), times=3)
    assert state["theta"].shape == (2, 3, 1)
    assert (state["theta"] != learner.init(0)["theta"]).all()


@pytest.mark.parametrize("game", ["harvest", "coin-game"])
def test_grids_with_masked_actions_and_many_agents(game: str) -> None:
    learner = built(games.make(game, horizon=3), inner__episodes=2)
    assert updated(learner, learner.init(0))["theta"].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner.gae_lambda": 1.5}, "inner.gae_lambda must be a finite number from 0 to 1"),
        ({"inner.exploration": -0.1}, "inner.exploration must be a finite number from 0 to 1"),
        ({"q.updates": 0}, "q.updates must be a whole number, 1 or more, not 0"),
        ({"q.bootstrap": "mean"}, "q.bootstrap"),
        ({"q.tau": 0.0}, "q.tau must be a finite number above 0 and at most 1, not 0"),
        ({"opponents.temperature": 0.0}, "opponents.temperature must be a finite number above 0"),
        ({"opponents": "n-step", "opponents.steps": 1}, "opponents.steps must be a whole number, 2 or more"),
        ({"opponents.steps": 3}, "opponents.steps is a setting of opponents n-step"),
        ({"replay": "earlier-policies", "replay.opponents": 3}, "cannot be divided equally among 3 policies"),
        ({"inner": "ppo"}, "inner"),
    ],
)
def test_bad_settings_are_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(**settings)


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"A softmax of action values \(loqa\) needs Discrete actions"):
        built(games.make("cournot-continuous"))
