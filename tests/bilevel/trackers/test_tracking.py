"""Tracking of runs: metrics and their names, resumption, and trackers that fail."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from bilevel.experiments import (
    RunConfig,
    RunFolder,
    RunInterrupted,
    configured,
    create_run,
    default_config,
    train,
)
from bilevel.methods import Metrics
from bilevel.sweeps import Status, work_on
from bilevel.trackers import (
    TrackerWarning,
    register_tracker,
    request_tracking,
    tracked_metrics,
    tracking,
)


class Recorder:
    """A tracker that remembers what it was told, and raises where it is asked to."""

    def __init__(self, key: str | None = None, fails_in: str = "") -> None:
        self.key = key or "first"
        self.resumed = key is not None
        self.steps: dict[int, Mapping[str, float]] = {}
        self.summary: Mapping[str, float] = {}
        self.figures: list[str] = []
        self.closed = False
        self._fails_in = fails_in

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._fail("log")
        self.steps[step] = metrics

    def finish(self, summary: Mapping[str, float], figures: Sequence[Path]) -> None:
        self._fail("finish")
        self.summary, self.figures = summary, [path.name for path in figures]

    def close(self) -> None:
        self._fail("close")
        self.closed = True

    def _fail(self, where: str) -> None:
        if where == self._fails_in:
            raise ConnectionError("the server is gone")


def recorder(fails_in: str = "") -> list[Recorder]:
    """Register a tracker `recorder`: those that it opens, in order."""
    opened: list[Recorder] = []

    def open_tracker(folder: RunFolder, config: RunConfig, key: str | None) -> Recorder:
        if fails_in == "open":
            raise ConnectionError("the server is gone")
        opened.append(Recorder(key, fails_in))
        return opened[-1]

    register_tracker("recorder", open_tracker)
    return opened


def new_run(path: Path, outer_steps: int = 4, seed: int = 7) -> RunFolder:
    settings = {"seeds": 2, "outer_steps": outer_steps, "seed": seed, "checkpoint_every": 2}
    folder = create_run(configured(default_config("chicken", "tos"), settings), path)
    request_tracking(folder, ["recorder"])
    return folder


def test_the_metrics_have_the_names_of_the_field() -> None:
    two = torch.tensor([1.0, 3.0])
    metrics = {"welfare": two, "return_0": two, "return_1": two + 2, "share_0_1": two, "meta_loss": two}
    found = tracked_metrics(metrics | {"shares": torch.ones(2, 4, 4)}, first_seed=5)
    assert found == {
        "charts/welfare": 2.0,
        "charts/episodic_return": 3.0,
        "charts/episodic_return_0": 2.0,
        "charts/episodic_return_1": 4.0,
        "sharing/share_0_1": 2.0,
        "losses/meta_loss": 2.0,
        "seeds/welfare_5": 1.0,
        "seeds/welfare_6": 3.0,
    }


def test_a_run_reports_every_step_and_its_end(tmp_path: Path) -> None:
    opened = recorder()
    folder = new_run(tmp_path / "run")
    with tracking(folder) as tracked:
        run = train(folder, listener=tracked.log)
        tracked.finish(run)
    (tracker,) = opened
    assert list(tracker.steps) == [1, 2, 3, 4]
    assert tracker.closed
    assert tracker.steps[4]["charts/welfare"] == pytest.approx(run.curves["welfare"][3].mean())
    assert tracker.summary["final/welfare"] == pytest.approx(run.final["welfare"].mean())
    assert tracker.figures == ["welfare.png", "sharing.png", "cooperation.png"]


def test_a_long_run_reports_a_thousand_steps(tmp_path: Path) -> None:
    opened = recorder()
    with tracking(new_run(tmp_path / "run", outer_steps=2500)) as tracked:
        for step in range(1, 2501):
            tracked.log(step, {"welfare": torch.zeros(2)})
    steps = list(opened[0].steps)
    assert len(steps) <= 1000
    assert steps[0] == 3
    assert steps[-1] == 2500


def test_a_resumed_run_goes_on_at_its_tracker(tmp_path: Path) -> None:
    opened = recorder()
    folder = new_run(tmp_path / "run")

    def stop(done: int, metrics: Metrics) -> None:
        tracked.log(done, metrics)
        if done == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RunInterrupted), tracking(folder) as tracked:
        train(folder, listener=stop)
    with tracking(folder) as tracked:
        tracked.finish(train(folder, listener=tracked.log))
    first, second = opened
    assert first.closed
    assert list(first.steps) == [1, 2]
    assert not first.summary
    assert second.resumed
    assert list(second.steps) == [3, 4]


@pytest.mark.parametrize("where", ["open", "log", "finish", "close"])
def test_a_tracker_that_fails_never_ends_a_run(tmp_path: Path, where: str) -> None:
    recorder(fails_in=where)
    folder = new_run(tmp_path / "run")
    message = "recorder failed, and .* goes on without it .*server is gone"
    with pytest.warns(TrackerWarning, match=message), tracking(folder) as tracked:
        tracked.finish(train(folder, listener=tracked.log))
    assert folder.finished


def test_a_run_of_a_sweep_is_tracked_by_its_worker(tmp_path: Path) -> None:
    opened = recorder()
    folder = new_run(tmp_path / "run")
    assert work_on(str(folder.path)).status is Status.FINISHED
    assert list(opened[0].steps) == [1, 2, 3, 4]
    assert opened[0].closed


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    opened = recorder()
    folder = new_run(tmp_path / "run")

    def refuse(done: int, metrics: Metrics) -> None:
        raise ValueError("No.")

    with pytest.raises(ValueError, match="No"), tracking(folder):
        train(folder, listener=refuse)
    assert not opened
    folder.discard()
    assert not folder.path.exists() or not list(folder.path.glob("*.json"))


def test_a_damaged_file_of_trackers_is_refused(tmp_path: Path) -> None:
    recorder()
    folder = new_run(tmp_path / "run")
    for content in ("[", json.dumps(["recorder"]), json.dumps({"recorder": 3})):
        folder.trackers.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=r"trackers\.json is damaged.*Delete it"), tracking(folder):
            pass


def test_an_unknown_tracker_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    recorder()
    folder = new_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"There is no tracker 'wandbb'\. Did you mean 'wandb'"):
        request_tracking(folder, ["wandbb"])


def test_a_missing_package_is_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder()
    folder = new_run(tmp_path / "run")
    monkeypatch.setattr("bilevel.trackers._tracker.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'bilevel\[trackers\]', or pip install mlflow"):
        request_tracking(folder, ["mlflow"])
