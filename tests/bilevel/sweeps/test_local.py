"""Worker processes on this machine: their results, and workers that are killed or stopped."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bilevel.sweeps import LocalLauncher, Outcome, Status, Sweep, SweepInterrupted, status_of
from bilevel.sweeps._server import PRELOADED
from tests.bilevel.sweeps.launched import launch, one_after_the_other, small_sweep, welfare


def workers() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


@contextlib.contextmanager
def after_a_checkpoint(sweep: Sweep, out: Path, act: object) -> Iterator[None]:
    """Call something, in a thread, once the first run has a checkpoint."""
    checkpoint = sweep.runs[0].folder(out).checkpoint

    def wait() -> None:
        while not checkpoint.exists():
            time.sleep(0.01)
        act()  # type: ignore[operator]

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


def kill(number: int) -> None:
    for pid in workers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def test_two_workers_reach_the_numbers_of_one_process(tmp_path: Path) -> None:
    sweep = small_sweep()
    ended = launch(sweep, tmp_path / "launched", LocalLauncher(workers=2))
    assert ended == {run.name: "finished" for run in sweep.runs}
    assert welfare(sweep, tmp_path / "launched") == one_after_the_other(sweep, tmp_path / "here")
    assert launch(sweep, tmp_path / "launched", LocalLauncher(workers=2)) == {}
    assert not workers()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_run_of_a_worker_that_is_killed_goes_on(number: int, tmp_path: Path) -> None:
    sweep = small_sweep(outer_steps=60)
    out = tmp_path / "launched"
    with after_a_checkpoint(sweep, out, lambda: kill(number)):
        ended = launch(sweep, out, LocalLauncher(workers=2))
    assert ended == {run.name: "finished" for run in sweep.runs}
    assert welfare(sweep, out) == one_after_the_other(sweep, tmp_path / "here")


def test_a_signal_saves_the_runs_in_progress(tmp_path: Path) -> None:
    sweep = small_sweep(outer_steps=400)
    out = tmp_path / "launched"
    with (
        after_a_checkpoint(sweep, out, lambda: os.kill(os.getpid(), signal.SIGINT)),
        pytest.raises(SweepInterrupted) as stopped,
    ):
        launch(sweep, out, LocalLauncher(workers=1))
    assert stopped.value.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not workers()
    assert all(status_of(run.folder(out)).status is Status.WAITING for run in sweep.runs[1:])


def end_at_once(*_: object) -> None:
    os._exit(1)


def test_a_run_that_kills_its_process_fails_after_three_times(tmp_path: Path) -> None:
    launcher = LocalLauncher(workers=1)
    (run, *_) = small_sweep().runs
    path = str(run.create(tmp_path).path.resolve())
    assert list(launcher.launch([path], prepare=end_at_once)) == [
        (path, Outcome(Status.FAILED, "Its process was killed 3 times: is there enough memory?"))
    ]


def test_workers_are_counted() -> None:
    with pytest.raises(ValueError, match=r"must be a whole number, 1 or more, not 1\.5"):
        LocalLauncher(workers=1.5)  # type: ignore[arg-type]


def test_the_server_of_workers_has_loaded_what_runs_need() -> None:
    code = (
        "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, *PRELOADED], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"torch", "bilevel.experiments._run", "bilevel.methods._learner"} <= set(said)
