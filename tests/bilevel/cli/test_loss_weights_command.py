"""Learned loss weights on the command line: trained, filmed, compared, checked, listed, refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--outer-steps", 3, "--inner.episodes", 4, "--evaluation-episodes", 4)
LEARN = ("--inner", "actor-critic", "--loss-weights", "learned")


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("method", ["selfish", "tos"])
def test_a_run_from_end_to_end(method: str, call: Call) -> None:
    said = call("train", "--game", "escape-room", "--method", method, *SMALL, *LEARN, "--out", "run")
    assert said.code == 0
    assert "loss_weights.png" in said.out
    assert Path("run/figures/loss_weights.png").stat().st_size > 0
    assert (
        json.loads(Path("run/config.json").read_text())["method"]["loss_weights"]["objective"] == "own-return"
    )
    with Path("run/metrics.csv").open(newline="") as file:
        weights = [float(row["policy_weight_1"]) for row in csv.DictReader(file)]
    assert weights[:3] == [1, 1, 1]  # a row for each seed; the first learned by the settings' own
    assert any(weight != 1 for weight in weights[3:])
    assert call("play", "--policy", "run", "--out", "clip.gif").code == 0


def test_they_are_compared(call: Call) -> None:
    said = call(
        "compare",
        *("--game", "escape-room", "--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 4),
        *("--methods", "neither=selfish", "weights=selfish", "sharing=tos", "both=tos", "--out", "found"),
        *("--set", "inner.episodes=4", "inner=actor-critic", "inner.steps=2"),
        *("weights.loss-weights=learned", "both.loss-weights=learned"),
    )
    assert said.code == 0
    assert "Learned loss weights, mean over agents" in said.out
    assert Path("found/loss_weights.png").exists()
    with Path("found/table.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert [name for name, row in rows.items() if row["value_weight"]] == ["weights", "both"]


def test_estimators_are_checked_with_them(call: Call) -> None:
    said = call(
        "check",
        *("--game", "prisoners-dilemma", *LEARN, "--seeds", 2, "--resamples", 2),
        *("--inner-steps", 2, "--estimators", "unrolled", "one-step"),
    )
    assert said.code == 0
    assert "one-step" in said.out


def test_the_list_and_the_help_tell_of_them(call: Call) -> None:
    said = call("methods")
    assert said.code == 0
    assert "most methods can also learn the weights of the agents' loss terms" in said.out
    assert said.out.rstrip().endswith("--loss-weights learned.")
    helped = call("train", "--game", "escape-room", "--method", "selfish", "--help").out
    assert "--loss-weights: learned, none (selected: none)" in helped
    helped = call("train", "--game", "escape-room", "--method", "selfish", *LEARN, "--help").out
    for setting in ("objective", "learning-rate", "max-factor"):
        assert f"--loss-weights.{setting}" in helped


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tos", *LEARN[2:]), "policy-gradient has none: choose the inner learner actor-critic or ppo"),
        (("ltos", *LEARN[2:]), "LToS has no loss weights: its parts are inner, outer"),
        (("lase", *LEARN), "LASE has no loss weights"),
        (("d3c", *LEARN), "D3C has no loss weights"),
        (("selfish", *LEARN, "--loss-weights.max-factor", 0.5), "above 1, not 0.5"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[object, ...], says: str, call: Call) -> None:
    method, *rest = words
    said = call("train", "--game", "escape-room", "--method", method, *rest)
    assert said.code != 0
    assert says in said.sentence()
