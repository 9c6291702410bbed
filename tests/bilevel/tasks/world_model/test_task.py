"""The task as a whole, on runs of a second."""

from __future__ import annotations

import math

import pytest
import torch

from bilevel.tasks.world_model import WorldModelSettings, WorldModelTask
from bilevel.tasks.world_model._training import WEIGHTINGS, WorldModelTraining
from tests.bilevel.tasks.world_model.tiny import TINY, tiny

TASK = WorldModelTask()


def run(settings=TINY, way="fixed", seed=0):
    return TASK.run(settings, way, seed, lambda fraction: None)


@pytest.mark.parametrize("way", list(WEIGHTINGS))
def test_every_way_ends_with_every_measure(way):
    parts = []
    trial = TASK.run(TINY, way, 0, parts.append)
    assert list(trial.measures) == [measure.name for measure in TASK.measures]
    assert all(math.isfinite(value) for value in trial.measures.values())
    assert parts == sorted(parts)
    assert parts[-1] == 1
    for name, course in trial.curves.items():
        if not name.endswith(" at"):
            assert len(course) == len(trial.curves[f"{name} at"])
    assert trial.curves["return at"][-1] == TINY.environment_steps


@pytest.mark.parametrize(
    "changes",
    [
        {"latents": "categorical"},
        {"bptt_steps": 3},
        {"policy_gradient": "imagined"},
        {"policy_gradient": "both", "latents": "categorical"},
        {"value_head": False},
        {"contrastive": True},
        {"controller_hidden_size": 0},
        {"max_norm": None, "max_value": 0.1},
        {"estimator": "unrolled"},
        {"estimator": "finite-difference"},
    ],
    ids=str,
)
def test_every_option_learns_weights(changes):
    settings = tiny(**changes)
    trial = run(settings, "learned")
    for name in settings.losses:
        assert len(trial.curves[f"weight of {name}"]) == settings.steps
    assert all(math.isfinite(value) for value in trial.measures.values())


@pytest.mark.parametrize(
    "changes",
    [{}, {"policy_gradient": "both"}, {"latents": "categorical"}, {"bptt_steps": 3, "contrastive": True}],
    ids=str,
)
def test_estimators_of_the_gradient_in_the_weights_agree(changes):
    ends = [
        run(tiny(estimator=name, max_norm=None, **changes), "learned").curves["weight of policy"][-1]
        for name in ("unrolled", "directional")
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)
    assert ends[0] != 1


@pytest.mark.parametrize("way", ["staged", "alternating"])
def test_parts_that_are_frozen_do_not_move(way):
    training = WorldModelTraining(tiny(environment_steps=128), way, 0)
    for phase in training.plan:
        before = {name: p.clone() for name, p in training.model.named_parameters()}
        training.train_batch(phase)
        moved = {name for name, p in training.model.named_parameters() if not torch.equal(p, before[name])}
        assert {name.partition(".")[0] for name in moved} == set(phase.parts)
    training.close()


@pytest.mark.parametrize(("limit", "greatest"), [({"max_norm": 1e-3}, None), ({"max_value": 1e-5}, 1e-5)])
def test_gradients_are_clipped(limit, greatest):
    settings = tiny(**({"max_norm": None} | limit))
    training = WorldModelTraining(settings, "fixed", 0)
    training.train_batch(training.plan[0])
    gradients = torch.cat([p.grad.flatten() for p in training.model.parameters() if p.grad is not None])
    if greatest is None:
        assert gradients.norm().item() <= settings.max_norm * (1 + 1e-4)
    else:
        assert gradients.abs().max().item() <= greatest
    assert gradients.any()
    training.close()


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'learned'"):
        run(way="learnd")


@pytest.mark.slow
def test_the_pole_is_held_longer_than_by_chance():
    settings = WorldModelSettings(environment_steps=8192)
    trial = run(settings, "fixed-policy-high")
    assert trial.curves["return"][0] < 25
    assert trial.measures["return"] > 40  # by chance: 22
