"""A few of the kills of `kill_cases`, which has many; and damage to files, of which none goes unnoticed."""

from __future__ import annotations

import dataclasses
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bilevel.experiments import Run, RunConfig, RunFolder, RunInterrupted, create_run, load_run, train
from tests.bilevel.experiments.small_runs import EVERY, STEPS, small

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(sys.platform != "linux", reason="finds files in /proc")
def test_killed_commands_go_on_to_the_same_numbers() -> None:
    words = ["--cases", "4", "--scenarios", "train", "extend"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bilevel.experiments.kill_cases", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("no hang, no other number, no file of others touched.\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = create_run(small(), tmp_path_factory.mktemp("finished") / "run")
    train(folder)
    return folder


def damage(path: Path, draws: random.Random) -> None:
    """A flipped bit, an end cut off, a hole of zeros, a missing line, or more than there was."""
    data = path.read_bytes()
    place = draws.randrange(len(data))
    kinds = {
        "bit": data[:place] + bytes([data[place] ^ 1 << draws.randrange(8)]) + data[place + 1 :],
        "end": data[:place],
        "hole": data[:place] + bytes(len(data[place : place + 50])) + data[place + 50 :],
        "line": b"".join(data.splitlines(keepends=True)[1:]),
        "more": data + data[place:],
    }
    path.write_bytes(kinds[draws.choice(list(kinds))])


def same(found: Run, whole: Run) -> bool:
    """Whether results have the same numbers, made with the same settings."""
    for ours, theirs in ((found.curves, whole.curves), (found.final, whole.final)):
        np.testing.assert_equal(ours, theirs)
    return settings(found.config) == settings(whole.config)


def settings(config: RunConfig) -> RunConfig:
    """Without what a run may go on with changed, other than its length."""
    return dataclasses.replace(config, checkpoint_every=1, threads=1, device="cpu")


@pytest.mark.parametrize("name", ["metrics.csv", "evaluation.csv", "config.json", "summary.json"])
def test_damage_to_a_finished_run_is_refused_or_harmless(
    name: str, finished: RunFolder, tmp_path: Path
) -> None:
    whole, draws, refused = load_run(finished), random.Random(0), list[str]()
    for case in range(20):
        folder = RunFolder(tmp_path / str(case))
        shutil.copytree(finished.path, folder.path)
        damage(folder.path / name, draws)
        try:
            found = load_run(folder)
        except ValueError as error:
            refused.append(str(error))
            continue
        assert same(found, whole)
    assert len(refused) >= 15
    assert all(name in sentence for sentence in refused)


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoint.pt"])
def test_damage_to_an_interrupted_run_is_refused_or_harmless(
    name: str, finished: RunFolder, tmp_path: Path
) -> None:
    whole, draws, refused = load_run(finished), random.Random(1), list[str]()
    stopped = create_run(small(), tmp_path / "stopped")
    with pytest.raises(RunInterrupted):
        train(
            stopped,
            listener=lambda done, _: signal.raise_signal(signal.SIGINT) if done == EVERY + 1 else None,
        )
    for case in range(35):
        folder = RunFolder(tmp_path / str(case))
        shutil.copytree(stopped.path, folder.path)
        damage(folder.path / name, draws)
        try:
            found = train(folder, listener=lambda done, _: None)
        except ValueError as error:
            refused.append(str(error))
            continue
        assert same(found, whole)
        assert len(found.curves["welfare"]) == STEPS
    assert len(refused) >= 20
    assert all(name in sentence for sentence in refused)
