"""Slurm jobs through submitit, tried by its executor of local processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bilevel.sweeps import Outcome, SlurmLauncher, Status, work_on
from bilevel.sweeps._slurm import RECORD, Job
from tests.bilevel.sweeps.launched import (
    launch,
    one_after_the_other,
    processes_in,
    small_sweep,
    welfare,
)

submitit = pytest.importorskip("submitit")


def launcher(out: Path, **changes: Any) -> SlurmLauncher:
    found = SlurmLauncher(2, {"timeout_min": 5}, out, cluster="local", interval=0.2)
    return dataclasses.replace(found, **changes)


def test_jobs_reach_the_numbers_of_one_process(tmp_path: Path) -> None:
    sweep, out = small_sweep(), tmp_path / "launched"
    assert set(launch(sweep, out, launcher(out)).values()) == {"finished"}
    assert welfare(sweep, out) == one_after_the_other(sweep, tmp_path / "here")
    assert all((run.folder(out).path / RECORD).exists() for run in sweep.runs)


def test_a_preempted_job_is_requeued_and_resumes_its_run(tmp_path: Path) -> None:
    (run, *_), out = small_sweep(outer_steps=300).runs, tmp_path / "launched"
    folder = run.create(out)
    preempted = []

    def preempt() -> None:
        while not folder.checkpoint.exists():
            time.sleep(0.01)
        for pid in processes_in(folder.path):
            os.kill(pid, signal.SIGUSR2)  # as submitit asks Slurm to, before a job is preempted
            preempted.append(pid)

    thread = threading.Thread(target=preempt)
    thread.start()
    path = str(folder.path.resolve())
    assert list(launcher(out).launch([path])) == [(path, Outcome(Status.FINISHED))]
    thread.join()
    (log,) = (out / "slurm").glob("*/*_log.out")  # one job
    assert preempted
    assert "Requeued job" in log.read_text()
    here = run.create(tmp_path / "here")
    work_on(str(here.path))
    assert folder.metrics.read_bytes() == here.metrics.read_bytes()
    assert folder.evaluation.read_bytes() == here.evaluation.read_bytes()


def test_the_work_asked_for_again_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    again = Job(None).checkpoint("runs/a")
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert (again.args, again.kwargs) == (("runs/a",), {})


def test_a_job_that_leaves_no_result_is_submitted_again_and_then_fails(tmp_path: Path) -> None:
    (run, *_) = small_sweep().runs
    path = str(run.create(tmp_path).path.resolve())
    ((ended, outcome),) = launcher(tmp_path).launch([path], prepare=leave)
    assert (ended, outcome.status) == (path, Status.FAILED)
    assert outcome.message.startswith("Its job ended 3 times: ")


def leave() -> None:
    signal.raise_signal(signal.SIGKILL)


def test_a_missing_package_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"needs the package submitit: pip install 'bilevel\[sweeps\]'"):
        SlurmLauncher()
