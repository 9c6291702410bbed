"""`bilevel tune world-model`, as small as can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[..., Any]
SMALL = (
    *(
        "--environment-steps",
        128,
        "--num-envs",
        4,
        "--rollout-steps",
        8,
        "--evaluations",
        4,
        "--evaluation-episodes",
        2,
    ),
    *("--downsample", 60, "--update-epochs", 1, "--hidden-size", 8),
)


def test_two_ways_are_trained_and_compared(call: Call) -> None:
    said = call("tune", "world-model", *SMALL, "--seeds", 1, "--weightings", "fixed", "learned")
    assert said.code == 0, said.err
    assert "return, first quarter" in said.out
    folder = Path("runs/tune/world-model")
    assert (folder / "figure.png").exists()
    assert (folder / "learned" / "seed-0.npz").exists()


def test_too_few_steps_are_refused(call: Call) -> None:
    said = call("tune", "world-model", "--environment-steps", 100)
    assert said.code == 2
    assert "num_envs x rollout_steps x evaluations = 4096 or more, not 100" in said.sentence()
