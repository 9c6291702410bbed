"""LOLA-DiCE from end to end: trained, continued, watched and tuned, and refused where it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--inner.episodes", 4, "--evaluation-episodes", 4, "--game.horizon", 4)


@pytest.mark.parametrize("game", ["repeated-prisoners-dilemma", "coin-game"])
def test_a_run_is_continued_and_watched(game: str, call: Call) -> None:
    words = ("train", "--game", game, "--method", "lola-dice", *SMALL)
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0


def test_it_is_compared_and_tuned(call: Call) -> None:
    small = ("--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 4, "--game.horizon", 4)
    methods = ("--methods", "selfish", "lola-dice", "--set", "selfish.inner.exact=False", "inner.episodes=4")
    words = ("--game", "repeated-prisoners-dilemma", *small, *methods, "--tune", 2, "--out", "compared")
    assert call("compare", *words).code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--inner.surrogate", "reinforce"), "choose dice or loaded-dice"),
        (("--look-ahead.steps", 0), "look_ahead.steps must be a whole number, 1 or more"),
        (("--policy", "mlp", "--policy.share-parameters"), "leave share_parameters off"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[Any, ...], sentence: str, call: Call) -> None:
    said = call("train", "--game", "repeated-prisoners-dilemma", "--method", "lola-dice", *arguments)
    assert said.code == 2
    assert sentence in said.sentence()
