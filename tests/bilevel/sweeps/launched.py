"""Sweeps for the tests of launchers, and their results without one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bilevel.experiments import load_run
from bilevel.sweeps import FixedWork, Launcher, Sweep, work_on


def small_sweep(outer_steps: int = 4) -> Sweep:
    """A grid of four short runs."""
    return Sweep(
        games=["chicken", "stag-hunt"],
        methods={"tos": "tos"},
        settings={"seeds": 2, "outer_steps": outer_steps, "checkpoint_every": 2, "compile": "never"},
        axes={"outer.learning_rate": [0.1, 0.3]},
    )


def launch(sweep: Sweep, out: Path, launcher: Launcher) -> dict[str, str]:
    """Launch a sweep: the name of each run -> its status, in the order in which they ended."""
    missing = {run.name for run in FixedWork(sweep, out).missing()}
    names = {str(run.create(out).path.resolve()): run.name for run in sweep.runs}
    left = (path for path, name in names.items() if name in missing)
    return {names[path]: f"{outcome.status}{outcome.message}" for path, outcome in launcher.launch(left)}


def processes_in(folder: Path) -> list[int]:
    """Other processes that have a file of a folder open."""
    found = []
    for files in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(str(folder) in os.readlink(file) for file in files.iterdir()):
                found.append(int(files.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def welfare(sweep: Sweep, out: Path) -> dict[str, list[float]]:
    """Final welfare of each run and seed."""
    return {run.name: load_run(run.folder(out)).final["welfare"].tolist() for run in sweep.runs}


def one_after_the_other(sweep: Sweep, out: Path) -> dict[str, list[float]]:
    """Final welfare of each run and seed, trained in this process."""
    for run in sweep.runs:
        work_on(str(run.create(out).path))
    return welfare(sweep, out)
