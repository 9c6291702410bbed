"""Learned loss weights on the command line: trained, filmed, compared, checked, listed, refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--outer-steps", 3, "--method.episodes", 4, "--evaluation-episodes", 4)
LEARN = ("--method.inner-learner", "actor-critic", "--method.learn-loss-weights")


@pytest.mark.parametrize("method", ["selfish", "tos"])
def test_a_run_from_end_to_end(method: str, call: Call) -> None:
    said = call("train", "--game", "escape-room", "--method", method, *SMALL, *LEARN, "--out", "run")
    assert said.code == 0
    assert "loss_weights.png" in said.out
    assert Path("run/figures/loss_weights.png").stat().st_size > 0
    assert json.loads(Path("run/config.json").read_text())["method"]["learn_loss_weights"] is True
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
        *("--set", "episodes=4", "inner-learner=actor-critic", "inner-steps=2"),
        *("weights.learn-loss-weights=True", "both.learn-loss-weights=True"),
    )
    assert said.code == 0
    assert "Learned weights of losses, mean over agents" in said.out
    assert Path("found/loss_weights.png").exists()
    with Path("found/table.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert [name for name, row in rows.items() if row["value_weight"]] == ["weights", "both"]


def test_estimators_are_checked_with_them(call: Call) -> None:
    said = call(
        "check",
        *("--game", "prisoners-dilemma", "--method.no-exact", *LEARN, "--seeds", 2, "--resamples", 2),
        *("--inner-steps", 2, "--estimators", "unrolled", "one-step"),
    )
    assert said.code == 0
    assert "one-step" in said.out


def test_the_list_and_the_help_tell_of_them(call: Call) -> None:
    said = call("methods")
    assert said.code == 0
    assert "each of them but ltos, d3c and lase may also learn the weights of its agents' losses" in said.out
    assert said.out.rstrip().endswith("--method.learn-loss-weights.")
    helped = call("train", "--game", "escape-room", "--method", "selfish", "--help").out
    for setting in ("learn-loss-weights", "loss-weight-objective", "loss-weight-learning-rate"):
        assert f"--method.{setting}" in helped


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tos", *LEARN[2:]), "policy-gradient has none: choose actor-critic or ppo"),
        (("ltos", *LEARN[2:]), "has no actor-critic inside whose losses could be weighed"),
        (("lase", *LEARN), "shares by rule, and takes no gradient through its policies' steps"),
        (("d3c", *LEARN, "--method.no-exact"), "by a bound of its own"),
        (("selfish", *LEARN, "--method.loss-weight-range", 0.5), "above 1, not 0.5"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[object, ...], says: str, call: Call) -> None:
    method, *rest = words
    said = call("train", "--game", "escape-room", "--method", method, *rest)
    assert said.code != 0
    assert says in said.sentence()
