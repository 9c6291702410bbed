"""The mediator from end to end: trained, continued, watched and compared, and refused without a script."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--inner.episodes", 4, "--evaluation-episodes", 4)


@pytest.mark.parametrize(
    ("game", "more"),
    [
        ("prisoners-dilemma", ()),
        ("repeated-prisoners-dilemma", ("--game.horizon", 4)),
        ("harvest", ("--game.horizon", 4, "--inner", "ppo")),
        ("stag-hunt-grid", ("--game.horizon", 4)),
    ],
)
def test_a_run_is_continued_and_watched(game: str, more: tuple[Any, ...], call: Call) -> None:
    words = ("train", "--game", game, "--method", "mediator", *more, *SMALL)
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    with Path("whole", "evaluation.csv").open(newline="") as file:
        assert all(0 <= float(row["committed"]) <= 1 for row in csv.DictReader(file))
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0


def test_it_is_compared_with_sharing(call: Call) -> None:
    said = call(
        *("compare", "--game", "prisoners-dilemma", "--seeds", 3, "--outer-steps", 200, "--out", "compared"),
        *("--methods", "selfish", "tos", "mediator"),
    )
    assert said.code == 0
    with Path("compared/seeds.csv").open(newline="") as file:
        welfare = {row["method"]: float(row["welfare"]) for row in csv.DictReader(file)}
    assert welfare["selfish"] < -3.9
    assert welfare["mediator"] > -2.4


def test_a_game_without_a_script_is_one_sentence(call: Call) -> None:
    said = call("train", "--method", "mediator", "--game", "braess")
    assert said.code == 2
    assert "The mediator cooperates and defects by a game's script, and Braess has none" in said.sentence()
