"""Progress without a terminal: ten lines of short work, a line a minute of long work, each with its pace."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bilevel.cli import _progress as progress
from bilevel.experiments import create_run, default_config
from bilevel.tasks import _task as registry
from tests.bilevel.tasks.coin import Coin

Call = Callable[..., Any]


class Clock:
    """Seconds of the progress lines, which tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(progress, "time", fake)
    return fake


def test_a_long_trial_has_a_line_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.TrialProgress("Trials", total=42, done=2) as shown:
        for step in range(301):
            shown.show("learned, seed 0", min(step / 300, 0.999), steps=300)
            clock.now += 0.5
        shown.show("learned, seed 0", 1.0, steps=300)
    assert capsys.readouterr().err.splitlines() == [
        "Trials",
        "trial 3 of 42: learned, seed 0, 40 % (0:01:00, 2 steps per second, 1:39:00 left)",
        "trial 3 of 42: learned, seed 0, 80 % (0:02:00, 2 steps per second, 1:38:00 left)",
    ]


def test_few_trials_have_ten_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.TrialProgress("Trials", total=2, done=0) as shown:
        for seed, step in itertools.product(range(2), range(51)):
            clock.now += 0.1
            shown.show(f"seed {seed}", min(step / 50, 0.999), steps=50)
            if step == 50:
                shown.show(f"seed {seed}", 1.0, steps=50)
    lines = capsys.readouterr().err.splitlines()[1:]
    assert [re.findall(r"trial (\d) of 2: seed \d(?:, (\d+) %)?", line)[0] for line in lines] == [
        *(("1", percent) for percent in ("20", "40", "60", "80", "")),
        *(("2", percent) for percent in ("20", "40", "60", "80", "")),
    ]
    assert lines[-1] == "trial 2 of 2: seed 1 (0:00:10, 9.8 steps per second, 0:00:00 left)"


def test_trials_without_a_number_of_steps_have_their_own_pace(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.TrialProgress("Trials", total=2, done=0) as shown:
        clock.now += 61
        shown.show("fair", 0.0)  # nothing is done yet: no time left is known
        shown.show("fair", 0.5)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "trial 1 of 2: fair, 50 % (0:01:01, 0.0082 trials per second, 0:03:03 left)"
    ]


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 10), (7.0, 40)])
def test_a_long_run_has_a_line_a_minute_and_a_short_one_ten(
    seconds: float, count: int, clock: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = create_run(default_config("chicken", "selfish"), tmp_path / "run")
    with progress.RunProgress(folder) as shown:
        for done in range(1, 301):
            clock.now += seconds
            shown.show(done, {"welfare": torch.tensor([1.0])})
    lines = capsys.readouterr().err.splitlines()[1:]
    pace = re.compile(r"\(\d+:\d\d:\d\d, \S+ steps per second, \d+:\d\d:\d\d left\)$")
    assert all(pace.search(line) for line in lines)
    assert len(lines) == count
    assert lines[-1].startswith("outer step 300 of 300: welfare 1.000 (")


def test_a_resumed_run_counts_its_own_steps(
    clock: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = create_run(default_config("chicken", "selfish"), tmp_path / "run")
    with progress.RunProgress(folder) as shown:
        for done in range(201, 301):
            clock.now += 1
            shown.show(done, {"welfare": torch.tensor([1.0])})
    lines = capsys.readouterr().err.splitlines()[1:]
    assert lines[0] == "outer step 210 of 300: welfare 1.000 (0:00:10, 1 steps per second, 0:01:30 left)"
    assert len(lines) == 10


def test_the_command_tells_of_a_trial_before_its_end(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TASKS, "coin", Coin())
    said = call("tune", "coin", "--weightings", "fair", "--seeds", 1)
    assert said.code == 0
    pace = r"\(0:00:0\d, \S+ trials per second, 0:00:0\d left\)"
    assert [re.sub(pace, "(pace)", line) for line in said.err.splitlines()[1:]] == [
        "trial 1 of 1: fair, seed 0, 50 % (pace)",
        "trial 1 of 1: fair, seed 0, 99 % (pace)",
        "trial 1 of 1: fair, seed 0 (pace)",
    ]
