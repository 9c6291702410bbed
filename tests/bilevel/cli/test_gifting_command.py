"""Gifting from end to end: trained, stopped and resumed, watched and compared, on games of every kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from bilevel.cli import _train as train_command

Call = Callable[..., Any]
CONVOLUTIONS = ("--policy", "conv", "--policy.channels", 4)
SMALL = ("--seeds", 3, "--outer-steps", 6, "--inner.episodes", 4, "--evaluation-episodes", 4)


def evaluated(folder: str) -> list[dict[str, str]]:
    with Path(folder, "evaluation.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("game", "budget", "more"),
    [
        ("escape-room", "fixed", ("--method.purse", 5)),
        ("coin-game-lase", "replenishable", (*CONVOLUTIONS, "--method.observe-purse", "--game.horizon", 8)),
        ("prisoners-dilemma", "fixed", ()),
        ("repeated-prisoners-dilemma", "zero-sum", ()),
        ("repeated-prisoners-dilemma", "replenishable", ("--inner.no-exact", "--game.horizon", 4)),
    ],
)
def test_a_run_is_stopped_resumed_and_watched(
    game: str, budget: str, more: tuple[Any, ...], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    gifts = ("--method", "gifting", "--method.amount", 2, "--method.budget", budget, *more)
    words = ("train", "--game", game, *gifts, *SMALL, "--checkpoint-every", 2)
    assert call(*words, "--out", "whole").code == 0
    done: list[int] = []

    def show(_: Any, step: int, __: Any) -> None:
        done.append(step)
        if len(done) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train_command.RunProgress, "show", show)
        assert call(*words, "--out", "parts").code == 130
    assert call("train", "--resume", "parts").code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert json.loads(Path("whole/config.json").read_text())["method"]["budget"] == budget
    assert all(float(row["incentive_0_1"]) >= 0 for row in evaluated("whole"))
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0
    film = np.asarray(iio.imread("clip.gif", index=None))
    assert film.shape[0] >= 2  # actions with gifts are played, too


def test_methods_are_compared_by_the_same_welfare(call: Call) -> None:
    """Agents who all end defecting have the same welfare, whatever they were given."""
    said = call(
        *("compare", "--game", "prisoners-dilemma", "--seeds", 3, "--outer-steps", 30, "--out", "compared"),
        *("--methods", "selfish", "paid=gifting", "free=gifting"),
        *("--set", "free.budget=fixed", "free.amount=10", "inner.steps=10"),
    )
    assert said.code == 0
    with Path("compared/seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"selfish", "paid", "free"}
    for row in rows:
        assert float(row["welfare"]) == pytest.approx(-4, abs=0.05)
        assert float(row["normalized_score"]) == pytest.approx(0, abs=0.025)
    given = {row["method"]: row["given"] for row in rows}
    assert given["selfish"] == ""
    assert float(given["paid"]) < 0.05 < 0.5 < float(given["free"])


def test_a_negative_gift_is_one_sentence(call: Call) -> None:
    said = call("train", "--method", "gifting", "--method.amount", -1)
    assert said.code == 2
    assert said.sentence() == "A gift is worth something: amount must be above 0, not -1.0."
