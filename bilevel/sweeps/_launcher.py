"""Contracts of launchers, and of the work that they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from bilevel.sweeps._sweep import Sweep
from bilevel.sweeps._sweep_run import SweepRun
from bilevel.sweeps._work import Outcome
from games.core import require

Prepare = Callable[[], object]
"""Called once in each worker, such as to register a user's own games; must be picklable."""


def require_workers(noun: str, workers: int) -> None:
    """Raise ValueError if a number of workers, as the noun calls them, is not a whole number from 1 on."""
    require(
        type(workers) is int and workers >= 1,
        f"The number of {noun} must be a whole number, 1 or more, not {workers!r}.",
    )


class Launcher(Protocol):
    """Something that works on runs, several at a time.

    >>> from bilevel.sweeps import LocalLauncher
    >>> launcher: Launcher = LocalLauncher(workers=2)
    """

    @property
    def workers(self) -> int:
        """Maximum number of runs at a time."""

    def launch(self, paths: Iterable[str], prepare: Prepare | None = None) -> Iterator[tuple[str, Outcome]]:
        """Work on runs, and yield each with its outcome when it ends, finished, failed or pruned.

        Args:
            paths: folders of the runs; the next one is asked for when a worker is free.
            prepare: called once in each worker.
        """


class Work(Protocol):
    """The runs of a sweep: those that are left to do, and their results.

    >>> work: Work = FixedWork(Sweep(games=["chicken"], methods={"tos": "tos"}), Path("sweep"))
    >>> work.total
    1
    """

    @property
    def total(self) -> int:
        """Number of runs in the end."""

    @property
    def done(self) -> int:
        """Number of runs that have a result."""

    def missing(self) -> Iterator[SweepRun]:
        """Yield the runs to train, each when it is asked for."""

    def record(self, run: SweepRun, outcome: Outcome) -> None:
        """Take note of the result of a run."""

    def runs(self) -> list[SweepRun]:
        """All runs that were begun."""


class FixedWork:
    """The runs of a grid, or of a random search, which are known before it begins.

    >>> work = FixedWork(Sweep(games=["chicken"], methods={"tos": "tos"}), Path("sweep"))
    >>> work.total, work.done, [run.name for run in work.missing()]
    (1, 0, ['chicken/tos/preset'])
    """

    def __init__(self, sweep: Sweep, out: Path) -> None:
        self._runs = sweep.runs
        self._finished = {run.name for run in self._runs if run.folder(out).finished}

    @property
    def total(self) -> int:
        return len(self._runs)

    @property
    def done(self) -> int:
        return len(self._finished)

    def missing(self) -> Iterator[SweepRun]:
        return (run for run in self._runs if run.name not in self._finished)

    def record(self, run: SweepRun, outcome: Outcome) -> None:
        """Nothing to note: the result is in the run's folder."""

    def runs(self) -> list[SweepRun]:
        return self._runs
