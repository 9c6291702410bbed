"""Weightings, phases, and the task as a whole, on runs of a second."""

from __future__ import annotations

import math

import pytest
import torch

from bilevel.tasks.vision_language_action import VisionLanguageAction
from bilevel.tasks.vision_language_action._episodes import play
from bilevel.tasks.vision_language_action._losses import LOSSES
from bilevel.tasks.vision_language_action._training import GRID, WEIGHTINGS, ImitationTraining
from tests.bilevel.tasks.vision_language_action.tiny import TINY, some_data, tiny

TASK = VisionLanguageAction()


def trained(weighting, settings=TINY):
    training, curves = WEIGHTINGS[weighting][1](
        ImitationTraining(some_data(), settings, 0), lambda fraction: None
    )
    return training, curves


def start():
    return dict(ImitationTraining(some_data(), TINY, 0).network.named_parameters())


def moved(training):
    before = start()
    after = dict(training.network.named_parameters())
    return {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])}


def test_the_grid_has_nine_weights():
    assert sorted(GRID.values()) == [(a, b) for a in (0.1, 1, 10) for b in (0.1, 1, 10)]
    assert GRID["equal"] == (1, 1)
    assert GRID["align-high-reconstruct-low"] == (10, 0.1)
    assert set(GRID) < set(WEIGHTINGS)


@pytest.mark.parametrize("name", list(GRID))
def test_fixed_weights(name):
    _, curves = trained(name)
    assert [curves[loss][-1] for loss in LOSSES] == pytest.approx([1, *GRID[name]])


def test_stages_train_one_group_after_the_other():
    settings = tiny(steps=4)
    training = ImitationTraining(some_data(), settings, 0)
    names = []
    compute = training.losses
    training.losses = lambda: names.append(training.names) or compute()
    WEIGHTINGS["two-stage"][1](training, lambda fraction: None)
    groups = ("alignment", "reconstruction"), ("action",)
    assert names == [groups[0], groups[0], groups[1], groups[1]]
    names.clear()
    WEIGHTINGS["alternating"][1](training, lambda fraction: None)
    assert names == [groups[0], groups[1], groups[0], groups[1]]


def test_heads_move_with_their_losses():
    assert "reconstruction" not in moved(trained("action-only")[0])
    heads = {"action", "reconstruction", "query", "vision", "language"}
    for name in ("equal", "two-stage", "alternating", "learned"):
        assert heads <= moved(trained(name)[0])


def test_more_is_trained_on_the_validation_missions():
    data = some_data()
    training = trained("equal-more")[0]
    assert len(training.steps.actions) == len(data.training.actions) + len(data.validation.actions)
    assert len(trained("equal")[0].steps.actions) == len(data.training.actions)


def test_estimators_of_the_hypergradient_agree():
    ends = [
        [trained("learned", tiny(estimator=name, steps=3, every=1))[1][loss][-1] for loss in LOSSES]
        for name in ("unrolled", "directional", "finite-difference")
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-5)
    assert ends[0] == pytest.approx(ends[2], abs=2e-3)
    assert all(end != 1 for end in ends[0])


def test_a_loss_alone_is_learned():
    training = trained("action-only", tiny(features=8, hidden_size=32, steps=120, learning_rate=0.01))[0]
    assert training.mean_loss(training.data.training, "action") < 0.5
    assert training.mean_loss(training.data.test, "action") > math.log(7)


@pytest.mark.parametrize("weighting", ["equal", "learned"])
def test_a_trial_has_every_measure_and_a_clip(weighting):
    parts: list[float] = []
    trial = TASK.run(TINY, weighting, 0, parts.append)
    assert list(trial.measures) == [measure.name for measure in TASK.measures]
    assert all(math.isfinite(value) for value in trial.measures.values())
    assert parts == sorted(parts)
    clip = trial.arrays["clip"]
    assert clip.dtype == "uint8"
    assert clip.ndim == 4
    assert clip.shape[1] > 6 * 32


def test_without_test_missions_their_measures_are_undefined():
    trial = TASK.run(tiny(test_pairs=0, clip_episodes=0), "equal", 0, lambda fraction: None)
    assert {name for name, value in trial.measures.items() if math.isnan(value)} == {
        "success, new (%)",
        "action loss, new",
    }
    assert not trial.arrays


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'learned'"):
        TASK.run(TINY, "learnd", 0, lambda fraction: None)


def test_episodes_have_the_missions_of_their_part():
    training = ImitationTraining(some_data(), TINY, 0)
    split = training.data.split
    outcome = [play(training.network, TINY.level, 0, split, "validation", 2, 1) for _ in range(2)]
    assert outcome[0].success.tolist() == outcome[1].success.tolist()
    assert 2 <= len(outcome[0].frames) <= 14  # start, at most 12 steps, and the last one


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"demonstrations": 0}, "demonstrations must be 1 or more, not 0"),
        ({"batch_size": 1}, "batch_size must be 2 or more, not 1"),
        ({"test_pairs": -1}, "test_pairs must be 0 or more, not -1"),
        ({"clip_episodes": 3}, "clip_episodes must be at most episodes = 2, not 3"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, not 0"),
        ({"outer_learning_rate": -1.0}, "outer_learning_rate must be a finite number of 0 or more, not -1"),
        (
            {"min_weight": 2.0, "max_weight": 1.0},
            "min_weight and max_weight are two weights above 0 in order",
        ),
    ],
)
def test_settings_out_of_range_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny(**change)


@pytest.mark.slow
def test_missions_are_followed():
    settings = tiny(
        demonstrations=600,
        features=16,
        language_size=32,
        hidden_size=64,
        steps=250,
        batch_size=64,
        episodes=60,
    )
    trial = TASK.run(settings, "equal", 0, lambda fraction: None)
    assert trial.measures["success (%)"] > 65  # untrained: below 10
