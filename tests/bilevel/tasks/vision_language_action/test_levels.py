"""Levels, missions and splits."""

from __future__ import annotations

import numpy as np
import pytest

from bilevel.tasks.vision_language_action._data import PARTS, draw_data, draw_split
from bilevel.tasks.vision_language_action._demonstrations import VARIABLE
from bilevel.tasks.vision_language_action._levels import COLORS, make_level, pairs, reset, tokens, words
from tests.bilevel.tasks.vision_language_action.tiny import TINY, tiny


def test_pairs_need_color_and_object():
    assert pairs("go to a red ball") == {("red", "ball")}
    assert pairs("pick up a ball, then open the grey door") == {("grey", "door")}
    assert not pairs("go to the ball on your left")


@pytest.mark.parametrize(
    "level", ["GoToLocalS6N3", "PutNextLocalS5N3", "PickupLoc", "OpenDoorLoc", "Synth", "MiniBossLevel"]
)
def test_missions_of_levels_have_known_words(level):
    env = make_level(f"BabyAI-{level}-v0")
    for seed in range(10):
        mission = reset(env, (seed,))["mission"]
        assert (tokens([mission]) > 0).sum() == len(words(mission))


def test_unknown_words_are_named():
    with pytest.raises(ValueError, match="do not have: pink, unicorn"):
        tokens(["go to the pink unicorn"])


def test_rejected_layouts_are_not_printed_and_episodes_are_determined(capsys):
    env = make_level("BabyAI-PutNextLocalS5N3-v0")
    starts = [[reset(env, (0, number))["image"] for number in range(20)] for _ in range(2)]
    assert np.array_equal(*starts)
    assert capsys.readouterr().out == ""


def test_a_level_that_is_not_there_names_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean 'BabyAI-GoToLocalS6N3-v0'"):
        tiny(level="BabyAI-GoToLocalS6N33-v0")
    with pytest.raises(ValueError, match="There is no level of BabyAI 'CartPole-v1'"):
        tiny(level="CartPole-v1")


def test_a_split_is_disjoint_and_depends_on_the_seed():
    named = [(color, kind) for color in COLORS for kind in ("key", "ball")]
    splits = [draw_split(named, tiny(validation_pairs=4, test_pairs=2), seed) for seed in range(5)]
    for split in splits:
        assert (len(split.validation), len(split.test)) == (4, 2)
        assert not split.validation & split.test
    assert len(set(splits)) == 5


def test_too_many_pairs_are_refused():
    with pytest.raises(ValueError, match=r"of which there are 18, but they take 18\."):
        draw_data(tiny(validation_pairs=15), 0, lambda fraction: None)


def test_parts_have_the_numbers_of_demonstrations_and_disjoint_pairs(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    parts: list[float] = []
    data = draw_data(TINY, 0, parts.append)
    assert parts == sorted(parts)
    assert 0 <= parts[0] <= parts[-1] <= 1
    seen = [set(steps.missions.tolist()) for steps in data[:3]]
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    again = draw_data(TINY, 0, lambda fraction: None)
    assert all((one == other).all() for one, other in zip(data.training, again.training, strict=True))
    assert len(data.training.actions) >= TINY.demonstrations
    assert len(PARTS) == 3
    assert not draw_data(tiny(test_pairs=0), 0, lambda fraction: None).test.actions.numel()
