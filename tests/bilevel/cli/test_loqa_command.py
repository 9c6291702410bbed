"""LOQA from end to end: trained, continued, watched and tuned, and refused where it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--inner.episodes", 4, "--evaluation-episodes", 4, "--game.horizon", 4)
REPLAY = ("--replay", "earlier-policies", "--replay.opponents", 2, "--replay.every", 1)
SHARED = ("--policy", "gru", "--policy.hidden-size", 3, "--policy.share-parameters")


@pytest.mark.parametrize(
    ("game", "more"),
    [
        ("repeated-prisoners-dilemma", ()),
        ("repeated-prisoners-dilemma", ("--opponents", "n-step", "--opponents.steps", 3, *REPLAY)),
        ("coin-game", (*SHARED, *REPLAY)),
        ("harvest", ("--q.bootstrap", "max", "--inner.exploration", 0.1)),
    ],
)
def test_a_run_is_continued_and_watched(game: str, more: tuple[Any, ...], call: Call) -> None:
    words = ("train", "--game", game, "--method", "loqa", *more, *SMALL)
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0


def test_it_is_compared_and_tuned(call: Call) -> None:
    small = ("--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 4, "--game.horizon", 4)
    methods = ("--methods", "selfish", "loqa", "--set", "selfish.inner.exact=False", "inner.episodes=4")
    words = ("--game", "repeated-prisoners-dilemma", *small, *methods, "--tune", 2, "--out", "compared")
    assert call("compare", *words).code == 0


@pytest.mark.parametrize(
    ("game", "arguments", "sentence"),
    [
        ("repeated-prisoners-dilemma", ("--q.tau", 0), "q.tau must be a finite number"),
        ("repeated-prisoners-dilemma", ("--opponents.steps", 2), "opponents n-step"),
        ("repeated-prisoners-dilemma", (*REPLAY, "--inner.episodes", 5), "cannot be divided equally"),
        ("cournot-continuous", (), "needs Discrete actions"),
    ],
)
def test_bad_input_is_one_sentence(game: str, arguments: tuple[Any, ...], sentence: str, call: Call) -> None:
    said = call("train", "--game", game, "--method", "loqa", *arguments)
    assert said.code == 2
    assert sentence in said.sentence()
