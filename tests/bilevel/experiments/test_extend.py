"""A run that goes on to more outer steps ends in the bytes of one that had them from the start."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from bilevel.experiments import RunFolder, RunInterrupted, create_run, extend_run, load_run, train
from bilevel.experiments import _run as run
from tests.bilevel.experiments.small_runs import EVERY, STEPS, small

MORE = STEPS + 5


def numbers(folder: RunFolder) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in (folder.config, folder.metrics, folder.evaluation))


@pytest.mark.parametrize("game", ["chicken", "escape-room"])
@pytest.mark.parametrize("first", [EVERY, STEPS])
def test_it_is_one_long_run(game: str, first: int, tmp_path: Path) -> None:
    """Interrupted, or finished, and extended twice, the last time to what it had taken already."""
    long = create_run(small(game, outer_steps=MORE), tmp_path / "long")
    train(long)
    short = create_run(small(game), tmp_path / "short")
    if first == STEPS:
        train(short)
    else:
        with pytest.raises(RunInterrupted):
            train(
                short, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == first else None
            )
    extend_run(short, MORE + 1)
    assert not short.finished
    with pytest.raises(RunInterrupted):
        train(short, listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == MORE else None)
    extend_run(short, MORE)
    results = train(short)
    assert results.config.outer_steps == MORE
    assert numbers(short) == numbers(long)


def test_killed_before_it_is_longer_it_ends_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(small(), tmp_path / "run")
    train(folder)
    before = numbers(folder)

    def stop(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(run, "write_text", stop)
        with pytest.raises(SystemExit):
            extend_run(folder, MORE)
    train(folder)
    assert numbers(folder) == before


def curriculum(**changes: Any) -> Any:
    config = small(**changes)
    method = config.method.with_settings({"training": "curriculum", "training.phases": f"0-3, 3-{STEPS}"})
    return dataclasses.replace(config, method=method)


@pytest.mark.parametrize(
    ("config", "steps", "says"),
    [
        (
            small(),
            STEPS - 1,
            f"has taken {STEPS} outer steps already: it can go on to more, not to {STEPS - 1}",
        ),
        (small(), 0, "outer_steps must be 1 or more, not 0"),
        (curriculum(), MORE, f"phases end at outer step {STEPS}, but the run has {MORE}: nothing says"),
    ],
)
def test_what_would_not_be_the_same_run_is_refused(
    config: Any, steps: int, says: str, tmp_path: Path
) -> None:
    folder = create_run(config, tmp_path / "run")
    train(folder)
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(ValueError, match=says):
        extend_run(folder, steps)
    assert {path: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_damaged_run_is_not_extended(tmp_path: Path) -> None:
    folder = create_run(small(), tmp_path / "run")
    train(folder)
    folder.metrics.write_bytes(folder.metrics.read_bytes().replace(b"0.", b"1.", 1))
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged"):
        extend_run(folder, MORE)
    assert folder.finished
    assert json.loads(folder.config.read_text())["outer_steps"] == STEPS


def test_the_same_length_is_nothing_to_do(tmp_path: Path) -> None:
    folder = create_run(small(), tmp_path / "run")
    train(folder)
    extend_run(folder, STEPS)
    assert folder.finished
    assert len(load_run(folder).curves["welfare"]) == STEPS
