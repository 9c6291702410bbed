"""Advantage alignment from end to end: trained, continued, tuned, and under learned sharing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--inner.episodes", 4, "--evaluation-episodes", 4, "--game.horizon", 4)
ALIGNED = ("--inner", "ppo", "--inner.alignment", "released", "--inner.alignment-coef", 0.5)


@pytest.mark.parametrize(
    ("method", "game", "more"),
    [
        ("advantage-alignment", "repeated-prisoners-dilemma", ()),
        ("advantage-alignment", "coin-game", ("--inner.alignment", "released")),
        ("advantage-alignment", "harvest", ("--inner", "actor-critic")),
        ("tos", "repeated-prisoners-dilemma", ALIGNED),
        ("lio", "coin-game", ALIGNED),
    ],
)
def test_a_run_is_continued(method: str, game: str, more: tuple[Any, ...], call: Call) -> None:
    words = ("train", "--game", game, "--method", method, *more, *SMALL)
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()


def test_it_is_compared_and_tuned(call: Call) -> None:
    small = ("--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 4, "--game.horizon", 4)
    methods = ("--methods", "selfish", "advantage-alignment")
    settings = ("--set", "selfish.inner=ppo", "inner.episodes=4")
    words = ("--game", "repeated-prisoners-dilemma", *small, *methods, *settings, "--tune", 2, "--out", "it")
    assert call("compare", *words).code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--inner.alignment", "none"), "choose paper, causal or released"),
        (("--inner.alignment-coef", -1), "inner.alignment_coef must be a finite number of 0 or more"),
        (
            ("--inner", "actor-critic", "--inner.surrogate", "loaded-dice"),
            "leave inner.surrogate at reinforce",
        ),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[Any, ...], sentence: str, call: Call) -> None:
    said = call(
        "train", "--game", "repeated-prisoners-dilemma", "--method", "advantage-alignment", *arguments
    )
    assert said.code == 2
    assert sentence in said.sentence()
