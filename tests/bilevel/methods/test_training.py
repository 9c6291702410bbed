"""How the two levels take turns: together, in rounds, or one after the other."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

import games
from bilevel.core import leaves
from bilevel.experiments import default_config
from bilevel.experiments._config import from_settings
from bilevel.methods import LIO, CentralPlanner, OuterLearner, OuterMethod, Placement, StepInputs, ToS
from games.core import Game
from games.matrix import EscapeRoom
from tests.bilevel.methods.configured import configured
from tests.bilevel.methods.courses import train

REPEATED = games.make("repeated-prisoners-dilemma")
ROOM = EscapeRoom()


def build(method: OuterMethod, game: Game = REPEATED) -> OuterLearner:
    learner = method.build(game, Placement(seeds=3))
    assert isinstance(learner, OuterLearner)
    return learner


def test_a_round_is_plain_learning_and_the_outer_step_looks_through_the_last() -> None:
    """By hand: the rounds under phi, then a joint outer step from there."""
    alternating = build(
        ToS().with_settings({"training": "alternating", "training.rounds": 2, "inner.steps": 3})
    )
    joint = build(ToS().with_settings({"inner.steps": 3}))
    state = alternating.init(0)
    after, _ = alternating.update(state)
    theta, opt_state = state["theta"], state["opt_state"]
    data = StepInputs((), torch.zeros((), dtype=theta.dtype))
    for _ in range(2 * 3):
        theta, opt_state = joint.step(theta, opt_state, state["phi"], data)
    expected, _ = joint.update({**state, "theta": theta, "opt_state": opt_state})
    for name in ("theta", "phi"):
        torch.testing.assert_close(after[name], expected[name], rtol=0, atol=1e-12)


def test_after_the_stage_the_outer_variables_stay_and_policies_start_from_scratch() -> None:
    staged, joint = (
        build(ToS().with_settings({"training": "staged", "training.outer_steps": 3})),
        build(ToS()),
    )
    states, _ = train(staged, 6)
    first, _ = train(joint, 3)
    for ours, theirs in zip(leaves(states[3]), leaves(first[3]), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(states[3]["phi"], states[2]["phi"])
    for state in states[4:]:
        assert torch.equal(state["phi"], states[3]["phi"])
    # New policies are spread like those of the start; one exact step from there they still are.
    assert states[4]["theta"].std() > 0.2
    assert (states[4]["theta"] - states[3]["theta"]).abs().max() > 1
    assert not torch.equal(states[5]["theta"], states[4]["theta"])


def test_the_entropy_bonus_starts_again_with_the_policies() -> None:
    staged = build(
        ToS().with_settings(
            {"training": "staged", "training.outer_steps": 3, "inner.entropy_coef": "0:0.4, 2:0.2"}
        )
    )
    states, _ = train(staged, 5)
    bonuses = [float(staged.inputs(state).entropy_coef) for state in states]
    assert bonuses == pytest.approx([0.4, 0.3, 0.2, 0.4, 0.3, 0.2])


@pytest.mark.parametrize(
    "settings",
    [{"training": "alternating", "training.rounds": 2}, {"training": "staged", "training.outer_steps": 2}],
)
@pytest.mark.parametrize("kind", [ToS, LIO, CentralPlanner])
def test_every_outer_method_can_be_trained_so_and_goes_on_from_what_was_saved(
    kind: type[OuterMethod], settings: dict[str, Any]
) -> None:
    learner = build(configured(kind, inner__episodes=4, **settings), ROOM)
    states, _ = train(learner, 4)
    state = pickle.loads(pickle.dumps(states[2]))
    for _ in range(2):
        state, _ = build(configured(kind, inner__episodes=4, **settings), ROOM).update(state)
    for ours, theirs in zip(leaves(state), leaves(states[4]), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"training": "apart"}, "no training 'apart'"),
        ({"training.rounds": 3}, "a setting of training alternating, and training is joint"),
        ({"training": "alternating"}, "training alternating needs the setting training.rounds"),
        ({"training": "staged", "training.outer_steps": 0}, "training.outer_steps must be a whole number, 1"),
        (
            {"training": "alternating", "training.rounds": 2, "outer.reset": "each-outer-step"},
            "no learning between outer steps",
        ),
        (
            {
                "training": "staged",
                "training.outer_steps": 2,
                "outer.hypergradient": "truncated(steps=4, window=True)",
            },
            "holds every step",
        ),
    ],
)
def test_training_that_makes_no_sense_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(ToS, **settings)


def test_a_stage_must_leave_steps() -> None:
    settings = default_config("prisoners-dilemma", "tos").to_json()
    kept = {name: settings[name] for name in settings if name not in ("format", "versions", "commit")}
    kept["method"] |= {"training": {"variant": "staged", "outer_steps": 300}}
    with pytest.raises(ValueError, match=r"training.outer_steps must leave outer steps .* 300 of 300"):
        from_settings(kept)
