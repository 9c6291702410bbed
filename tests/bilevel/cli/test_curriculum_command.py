"""Schedules and phases on the real command line: trained, kept, resumed in any phase, compared, refused."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bilevel.methods import OuterLearner

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--outer-steps", 6, "--inner.episodes", 4, "--evaluation-episodes", 4)
PHASES = "0-2(moves=policies), 2-4(cost_weight='0:0, 2:0.5'), 4-6(policies=new, inner.learning_rate=0.1)"
CURRICULUM = ("--training", "curriculum", "--training.phases", PHASES)


def numbers(folder: str) -> tuple[bytes, bytes]:
    return Path(folder, "metrics.csv").read_bytes(), Path(folder, "evaluation.csv").read_bytes()


@pytest.mark.parametrize("game", ["chicken", "escape-room"])
@pytest.mark.parametrize("at", [1, 3, 4, 5])
def test_a_curriculum_is_resumed_in_the_middle_of_any_phase(
    game: str, at: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "--game", game, *SMALL, *CURRICULUM, "--outer.learning-rate", "0:.1, 6:.05")
    assert call(*words, "--out", "whole").code == 0
    saved = json.loads(Path("whole/config.json").read_text())["method"]
    assert saved["training"] == {"variant": "curriculum", "phases": PHASES}
    assert saved["outer"]["learning_rate"] == "0:0.1, 6:0.05"
    with monkeypatch.context() as patched:
        stop_in(at, patched)
        assert call(*words, "--out", "run").code == 130
    assert call("train", "--resume", "run").code == 0
    assert numbers("run") == numbers("whole")


def stop_in(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGINT in outer step `at`, which is still taken."""
    update = OuterLearner.update

    def stopped(self: OuterLearner, state: Any) -> Any:
        if int(state["outer_step"]) == at:
            signal.raise_signal(signal.SIGINT)
        return update(self, state)

    monkeypatch.setattr(OuterLearner, "update", stopped)


def test_methods_are_compared_with_and_without_a_curriculum(call: Call) -> None:
    said = call(
        *("compare", "--game", "chicken", "--seeds", 3, "--outer-steps", 6),
        *("--methods", "joint=tos", "later=tos", "moving=fixed", "--set"),
        *("later.training=curriculum", f"later.training.phases={PHASES}", "moving.self-interest=0:0.9,5:0.4"),
    )
    assert said.code == 0, said.err
    with Path("runs/compare/chicken/moving/metrics.csv").open(newline="") as file:
        kept = [float(row["share_0_0"]) for row in csv.DictReader(file) if row["seed"] == "0"]
    assert kept == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    configuration = json.loads(Path("runs/compare/chicken/later/config.json").read_text())
    assert configuration["method"]["training"]["phases"] == PHASES


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--training.phases", "0-6"],
            "training.phases is a setting of training curriculum, and training is joint",
        ),
        (["--training", "curriculum"], "--training curriculum needs the option --training.phases."),
        ([*CURRICULUM, "--outer-steps", "7"], "phases end at outer step 6, but the run has 7: nothing says"),
        ([*CURRICULUM, "--outer-steps", "5"], "phases end at outer step 6, but the run has 5: they go on"),
        ([*CURRICULUM[:3], "0-3, 2-6"], "phases overlap: one ends at outer step 3"),
        (
            [*CURRICULUM[:3], "0-2, 3-6"],
            "phases leave a gap: nothing says what happens from outer step 2 to 3",
        ),
        (
            [*CURRICULUM[:3], "0-6(inner.entropy=1)"],
            "no setting of the phase 0-6 'inner.entropy'. Did you mean 'inner.entropy_coef'",
        ),
        (["--inner.learning-rate", "0:1, 5:0"], "inner.learning_rate must be a finite number above 0"),
        (["--outer.learning-rate", "fast"], "'fast' is not a schedule: write a"),
        (["--method.cost-weight", "5:1, 0:2"], "A schedule's knots are in order, but outer step 0 follows 5"),
        (
            ["--outer.hypergradient", "implicit"],
            "Implicit needs the step's fixed point",
        ),  # in the first step
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(words: list[str], says: str, call: Call) -> None:
    said = call("train", "--game", "chicken", *SMALL, *words)
    assert said.code == 2
    assert says in said.err.splitlines()[-1]
    assert "Traceback" not in said.err
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_settings_changed_by_hand_are_refused_on_the_way(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_in(3, monkeypatch)
    assert call("train", "--game", "chicken", *SMALL, "--out", "run").code == 130
    path = Path("run/config.json")
    saved = json.loads(path.read_text())
    saved["method"]["outer"]["learning_rate"] = "0:0.1, 6:0.05"
    path.write_text(json.dumps(saved))
    said = call("train", "--resume", "run")
    assert said.code == 2
    assert (
        "was changed after the run began (method.outer.learning_rate 0.1 then, 0:0.1, 6:0.05 now)"
        in (said.err.splitlines()[-1])
    )
