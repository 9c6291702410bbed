"""LIO with models of the others: the centralized hypergradient where they are right, and runs that resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bilevel.core import Purpose
from bilevel.experiments import preset
from bilevel.methods import LIO, OuterInputs, OuterLearner, Placement
from bilevel.methods._lio_learner import ModelingLearner
from games.matrix import EscapeRoom
from tests.bilevel.methods.configured import configured
from tests.bilevel.methods.interrupted import assert_an_interruption_changes_nothing

SMALL: dict[str, Any] = {"inner.episodes": 6, "inner.learning_rate": 0.3, "inner.entropy_coef": 0.1}


def build(room: EscapeRoom, **settings: Any) -> ModelingLearner:
    learner = configured(LIO, **{"opponents": "modeled", **SMALL, **settings}).build(room, Placement(seeds=3))
    assert isinstance(learner, ModelingLearner)
    return learner


def gradients(room: EscapeRoom, off: float = 0.0, **settings: Any) -> tuple[Tensor, Tensor]:
    """Every giver's own hypergradient: through the true steps, and through those of models that are off."""
    learner = build(room, **settings)
    central = configured(LIO, **{**SMALL, **settings}).build(room, Placement(seeds=3))
    assert isinstance(central, OuterLearner)
    state = learner.init(0)
    theta, phi = state["theta"], state["phi"]
    start = central.init(0)
    generator, inputs = central.streams(start, Purpose.TRAINING), central.inputs(start)
    steps = central.method.inner.steps
    estimate = central.hypergradient(
        central.problem(generator, inputs), theta, state["opt_state"], phi, steps=steps
    )
    models = theta.unsqueeze(1).repeat(1, room.agents, 1, 1) + off
    found = learner.gradient_by_models(theta, models, phi, estimate.inner_data, estimate.outer_data)
    losses = estimate.outer_loss
    return central.own_gradient(estimate.gradient, losses), central.own_gradient(found, losses)


@pytest.mark.parametrize("agents", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"inner.steps": 3, "inner.surrogate": "dice"},
        {"cost": "objective", "cost.weight": 0.5},
        {"cost": "charged"},
        {"policy": "gru", "policy.hidden_size": (4,), "policy.recurrent_size": 3},
        {"outer.hypergradient": "truncated(steps=1)", "inner.steps": 2},
    ],
    ids=["one step", "three steps", "cost", "charged", "remembering", "truncated"],
)
def test_with_models_that_are_right_the_gradient_is_the_centralized_one(
    agents: int, settings: dict[str, Any]
) -> None:
    known, modeled = gradients(EscapeRoom(agents=agents), **settings)
    assert float(known.abs().max()) > 1e-5
    torch.testing.assert_close(modeled, known, rtol=1e-9, atol=1e-13)


def test_with_models_that_are_wrong_it_is_not() -> None:
    known, modeled = gradients(EscapeRoom(), off=0.3)
    assert float((modeled - known).abs().max()) > 0.01 * float(known.abs().max())


def test_an_observer_sees_its_own_models_alone() -> None:
    learner = build(EscapeRoom())
    state = learner.init(0)
    theta, phi, models = state["theta"], state["phi"], state["models"]["theta"]
    generator, inputs = learner.streams(state, Purpose.TRAINING), learner.inputs(state)
    data = [learner.play.sample(theta, learner.transfer(phi), generator) for _ in range(2)]
    other = models.clone()
    other[:, 0] += 0.5
    found = [
        learner.own_gradient(
            learner.gradient_by_models(
                theta, each, phi, (inputs._replace(batch=data[0]),), OuterInputs(data[1])
            ),
            torch.zeros(2, 3, dtype=theta.dtype),
        )
        for each in (models, other)
    ]
    assert torch.equal(found[0][:, 1], found[1][:, 1])
    assert not torch.isclose(found[0][:, 0], found[1][:, 0]).all()


def test_models_are_part_of_the_state_and_come_to_fit() -> None:
    learner = build(
        EscapeRoom(), inner__episodes=32, inner__learning_rate=1e-6, opponents__learning_rate=0.05
    )
    state = learner.init(0)
    assert state["models"]["theta"].shape == (3, 2, 2, learner.play.policy.num_parameters)
    state["theta"][..., -1] = 3.0  # the last action's bias: else policies are nearly uniform, as models are
    first = state["models"]["theta"]
    for _ in range(6):
        before = state["models"]["theta"]
        state, metrics = learner.update(state)
        assert not torch.equal(before, state["models"]["theta"])
    # On episodes that no model was fitted to: how well they do on their own batch says little.
    play, theta = dataclasses.replace(learner.play, episodes=256), state["theta"]
    fresh = play.sample(theta, learner.transfer(state["phi"]), torch.Generator().manual_seed(0))
    others = ~torch.eye(2, dtype=torch.bool)
    start, end = (
        learner.models.cross_entropy(models, fresh)[:, others] for models in (first, state["models"]["theta"])
    )
    assert (end < start).all(), (start, end)
    measured = learner.evaluate(state, episodes=4)
    assert measured.keys() == metrics.keys()
    assert torch.equal(measured["model_loss"], metrics["model_loss"])


def test_an_interrupted_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    assert_an_interruption_changes_nothing("escape-room", "lio", tmp_path, opponents="modeled")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner.optimizer": "adam"}, "leave inner.optimizer at sgd, not adam"),
        (
            {"policy": "mlp", "policy.share_parameters": True},
            "Agents with shared parameters know all policies",
        ),
        ({"outer.reset": "each-outer-step"}, "leave reset at never, or opponents at known"),
        ({"outer.hypergradient": "truncated(steps=5, window=True)"}, "Truncated would need a state"),
        (
            {"outer.hypergradient": "evolution(members=True, fresh_data=True)"},
            "Evolution would need a state, or fresh episodes",
        ),
        ({"opponents": "guessed"}, "no opponents 'guessed'"),
        ({"opponents.optimizer": "adm"}, "no opponents.optimizer 'adm'"),
        ({"opponents.learning_rate": 0.0}, "opponents.learning_rate must be a finite number above 0"),
        ({"opponents.steps": 0}, "opponents.steps must be a whole number, 1 or more, not 0"),
    ],
)
def test_what_cannot_be_modeled_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(EscapeRoom(), **settings)


@pytest.mark.slow
def test_modeling_givers_open_the_escape_room() -> None:
    """12 seeds of the preset: the middle half reaches 95 % of the optimum, 9."""
    _, method = preset("escape-room", "lio")
    learner: Any = method.with_settings({"opponents": "modeled"}).build(
        EscapeRoom(), Placement(seeds=12, dtype=torch.float32)
    )
    state = learner.init(0)
    for _ in range(200):
        state, _ = learner.update(state)
    welfare = learner.evaluate(state, episodes=256)["welfare"].sort().values
    assert float(welfare[3:9].mean()) >= 0.95 * 9
