"""Contracts from end to end: trained, resumed, watched and compared, and refused where they do not apply."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--inner.episodes", 4, "--evaluation-episodes", 4)


def evaluated(folder: str) -> list[dict[str, str]]:
    with Path(folder, "evaluation.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("game", "more"),
    [
        ("prisoners-dilemma", ()),
        ("repeated-prisoners-dilemma", ()),
        ("escape-room", ()),
        ("harvest", ("--game.horizon", 4)),
    ],
)
def test_a_run_is_continued_and_watched(game: str, more: tuple[Any, ...], call: Call) -> None:
    words = ("train", "--game", game, "--method", "contract", *more, *SMALL)
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    for row in evaluated("whole"):
        assert float(row["contract_payment"]) > 0
        assert row["accepted"] in ("0.0", "1.0")
        assert float(row["transfer_0"]) + float(row["transfer_1"]) == pytest.approx(0, abs=1e-6) or more
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0


def test_it_is_compared_with_sharing(call: Call) -> None:
    said = call(
        *("compare", "--game", "prisoners-dilemma", "--seeds", 3, "--outer-steps", 150, "--out", "compared"),
        *("--methods", "selfish", "tos", "contract"),
    )
    assert said.code == 0
    with Path("compared/seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    welfare = {row["method"]: float(row["welfare"]) for row in rows}
    assert welfare["selfish"] < -3.9
    assert welfare["contract"] > -2.1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--game", "braess"),
            "A contract is on defection, and Braess does not define which actions cooperate",
        ),
        (("--method.initial-payment", 7), "initial_payment must be below max_payment, 5, not 7."),
        (("--method.max-payment", -1), "max_payment"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[Any, ...], sentence: str, call: Call) -> None:
    said = call("train", "--method", "contract", *arguments)
    assert said.code == 2
    assert sentence in said.sentence()
