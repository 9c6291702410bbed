"""Results of a sweep: the combinations of game, method and values, as far as their runs are finished."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilevel.experiments import Run, join_runs, load_run
from bilevel.sweeps._sweep_run import SweepRun
from bilevel.sweeps._work import Outcome, Status, status_of


@dataclass(frozen=True)
class SweepPoint:
    """A combination of game, method and values, and what is known of its runs.

    >>> from bilevel.sweeps import Sweep
    >>> run, = Sweep(games=["chicken"], methods={"tos": "tos"}).runs
    >>> point, = points_of([run], Path("sweep"))
    >>> point.label, point.run, point.unfinished
    ('tos', None, 1)
    """

    game: str
    """Name of the game."""
    label: str
    """Label of the method."""
    values: Mapping[str, Any]
    """Varied setting -> value."""
    run: Run | None
    """The run of all seeds; None while one is unfinished or has failed."""
    unfinished: int
    """Number of runs that are not finished."""
    failures: Sequence[str]
    """Messages of the runs that failed."""
    pruned: bool = False
    """True if an optuna search has pruned its run."""


def points_of(runs: Sequence[SweepRun], out: Path) -> list[SweepPoint]:
    """Load what is known of runs, by combinations of values; runs of the same combination are adjacent.

    Args:
        runs: runs of a sweep.
        out: folder of the sweep.

    Raises:
        ValueError: the files of a finished run are damaged (names them).

    >>> from bilevel.sweeps import Sweep
    >>> sweep = Sweep(games=["chicken"], methods={"tos": "tos"}, axes={"own_share": [0.5, 0.9]})
    >>> [point.values for point in points_of(sweep.runs, Path("sweep"))]
    [{'own_share': 0.5}, {'own_share': 0.9}]
    """
    points = []
    for _, group in itertools.groupby(runs, key=lambda run: run.point):
        of_point = list(group)
        first, outcomes = of_point[0], [_outcome(run, out) for run in of_point]
        unfinished = sum(outcome.status is not Status.FINISHED for outcome in outcomes)
        whole = None if unfinished else join_runs([load_run(run.folder(out)) for run in of_point])
        failures = [outcome.message for outcome in outcomes if outcome.status is Status.FAILED]
        pruned = any(outcome.status is Status.PRUNED for outcome in outcomes)
        points.append(SweepPoint(first.game, first.label, first.values, whole, unfinished, failures, pruned))
    return points


def _outcome(run: SweepRun, out: Path) -> Outcome:
    return status_of(run.folder(out))
