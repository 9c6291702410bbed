"""Actor-critic and PPO on the command line: trained, compared, filmed, checked, refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--outer-steps", 3, "--inner.episodes", 4, "--evaluation-episodes", 4)
PPO = ("--inner", "ppo", "--inner.update-epochs", 2, "--inner.num-minibatches", 2)


@pytest.mark.parametrize("learner", [("--inner", "actor-critic"), PPO], ids=["actor-critic", "ppo"])
@pytest.mark.parametrize("policy", ["conv", "gru"])
def test_a_run_from_end_to_end(learner: tuple[Any, ...], policy: str, call: Call) -> None:
    """Trained, and then filmed: who plays has the policy alone."""
    game = ("--game", "coin-game", "--game.horizon", 3, "--method", "tos")
    said = call("train", *game, "--policy", policy, *SMALL, *learner, "--out", "run")
    assert said.code == 0
    assert "[95 % interval]" in said.out
    kept = json.loads(Path("run/config.json").read_text())["method"]
    assert (kept["inner"]["variant"], kept["policy"]["variant"]) == (learner[1], policy)
    with Path("run/metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 9
    assert call("play", "--policy", "run", "--out", "clip.gif").code == 0
    assert Path("clip.gif").stat().st_size > 0


def test_inner_learners_are_compared(call: Call) -> None:
    said = call(
        "compare",
        *("--game", "escape-room", "--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 4),
        *(
            "--methods",
            "plain=tos",
            "ppo=tos",
            "--set",
            "inner.episodes=4",
            "ppo.inner=ppo",
            "--out",
            "found",
        ),
    )
    assert said.code == 0
    assert {path.name for path in Path("found").iterdir()} >= {"plain", "ppo", "table.csv"}


def test_estimators_are_checked_through_its_steps(call: Call) -> None:
    said = call(
        "check",
        *("--game", "prisoners-dilemma", "--inner", "actor-critic"),
        *("--seeds", 2, "--resamples", 2, "--inner-steps", 2, "--estimators", "unrolled", "one-step"),
    )
    assert said.code == 0
    assert "not compared with exact values: inner.exact is a setting of inner policy-gradient" in said.err
    assert "unrolled" in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--inner.update-epochs", "0"], "inner.update_epochs must be a whole number, 1 or more, not 0."),
        (
            ["--inner.surrogate", "loaded-dice"],
            "setting of inner policy-gradient or actor-critic, and inner is ppo",
        ),
        (["--inner.gae-lambda", "2"], "inner.gae_lambda must be a finite number from 0 to 1, not 2."),
        (
            ["--inner.num-minibatches", "65"],
            "64 episodes cannot be split into 65 minibatches: play more of them.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], says: str, call: Call) -> None:
    said = call("train", "--game", "escape-room", "--inner", "ppo", *words)
    assert said.code == 2
    assert says in said.sentence()
    assert said.out == ""
    assert not list(Path().iterdir())
