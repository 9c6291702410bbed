"""AgA from end to end: trained, continued, watched and compared, and refused where it does not apply."""

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
        ("repeated-prisoners-dilemma", ("--inner.no-exact", "--game.horizon", 4)),
        ("harvest", ("--game.horizon", 4, "--inner.surrogate", "reinforce")),
    ],
)
def test_a_run_is_continued_and_watched(game: str, more: tuple[Any, ...], call: Call) -> None:
    words = ("train", "--game", game, "--method", "aga", *more, *SMALL)
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0


def test_it_is_compared_with_the_common_reward(call: Call) -> None:
    said = call(
        *("compare", "--game", "prisoners-dilemma", "--seeds", 3, "--outer-steps", 150, "--out", "compared"),
        *("--methods", "selfish", "prosocial", "aga"),
    )
    assert said.code == 0
    with Path("compared/seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert (float(row["welfare"]) > -2.1) == (row["method"] != "selfish")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--method.alignment-weight", -1), "alignment_weight"),
        (
            ("--policy", "mlp", "--policy.share-parameters", "--inner.no-exact"),
            "leave share_parameters off.",
        ),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[Any, ...], sentence: str, call: Call) -> None:
    said = call("train", "--method", "aga", *arguments)
    assert said.code == 2
    assert sentence in said.sentence()
