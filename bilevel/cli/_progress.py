"""Progress on standard error: a bar in a terminal, a few lines elsewhere; advice after an interruption."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bilevel.cli._output import FAILED, Stopped, tell, unusable
from bilevel.core import counted
from bilevel.experiments import (
    RunFolder,
    RunInterrupted,
    array_path,
    in_every_step,
    interquartile_mean,
    run_status,
)
from bilevel.methods import Metrics
from bilevel.report import number

PLAIN_LINES = 10
"""Number of lines of progress without a terminal."""
COMPILED = logging.getLogger("bilevel.compiled")
"""The logger of compilation."""


def line_due(done: int, total: int) -> bool:
    """True `PLAIN_LINES` times, evenly spaced, while done counts from 1 to total; the last time at the end.

    >>> [done for done in range(1, 26) if line_due(done, 25)]
    [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    """
    return PLAIN_LINES * done // total > PLAIN_LINES * (done - 1) // total


def pace(seconds: float, done: int, total: int) -> str:
    """Time so far, steps per second and the estimated time left; `done` is 1 or more.

    >>> pace(75.0, 30, 50)
    '0:01:15, 0.4 per second, 0:00:50 left'
    """
    rate = done / max(seconds, 1e-6)
    spent, left = (str(timedelta(seconds=round(some))) for some in (seconds, (total - done) / rate))
    return f"{spent}, {rate:.3g} per second, {left} left"


class _Progress:
    """A first line, and in a terminal a bar, once it has a task."""

    def __init__(self, first_line: str, *columns: ProgressColumn) -> None:
        self._first_line = first_line
        self._started = time.monotonic()
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if console.is_interactive:
            first = (TextColumn("{task.description}"), BarColumn(bar_width=None), *columns)
            last = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self._bar = Progress(*first, *last, console=console, expand=True)

    def __enter__(self) -> Self:
        tell(self._first_line)
        self._started = time.monotonic()
        if self._bar is not None and self._bar.tasks:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class RunProgress(_Progress):
    """Progress of a run: outer steps and welfare; `place` is its position among several runs."""

    def __init__(self, folder: RunFolder, place: str = "") -> None:
        config = folder.load_config()
        self._total, self._folder, self._arrays_told = config.outer_steps, folder, False
        title = (f"{place}: " if place else "") + config.method_name
        seeds, steps = counted(config.seeds, "seed"), counted(config.outer_steps, "outer step")
        super().__init__(
            f"{title} on {config.game_name}: {seeds}, {steps}, in {folder.path}",
            MofNCompleteColumn(),
            TextColumn("welfare {task.fields[welfare]}"),
        )
        if self._bar is not None:
            self._bar.add_task(title, total=self._total, welfare="...")
        self._compiling = _FirstRecords()
        self._before: int | None = None  # steps of an earlier part of a resumed run

    def __enter__(self) -> Self:
        COMPILED.addHandler(self._compiling)
        COMPILED.setLevel(logging.INFO)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        COMPILED.removeHandler(self._compiling)
        COMPILED.setLevel(logging.NOTSET)
        super().__exit__()

    def show(self, done: int, metrics: Metrics) -> None:
        """Show an outer step's interquartile mean of welfare, and once the files of array metrics."""
        for name, values in metrics.items() if not self._arrays_told else ():
            if values.dim() > 1:
                shape = " x ".join(map(str, values.shape[1:]))
                table = self._folder.metrics if in_every_step(values.shape) else self._folder.evaluation
                tell(f"{name}, {shape} for each seed, goes to {array_path(table, name)}, not to columns.")
        self._arrays_told = True
        self._before = done - 1 if self._before is None else self._before
        if self._bar is None and not line_due(done, self._total):
            return
        welfare = number(interquartile_mean(metrics["welfare"].cpu().numpy()))
        if self._bar is None:
            timing = pace(time.monotonic() - self._started, done - self._before, self._total - self._before)
            tell(f"outer step {done} of {self._total}: welfare {welfare} ({timing})")
        else:
            self._bar.update(self._bar.task_ids[0], completed=done, welfare=welfare)


class _FirstRecords(logging.Handler):
    """Handler that prints the first log record of each kind, about compilation and its duration."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg not in self._told:
            self._told.add(record.msg)
            tell(record.getMessage())


class TrialProgress(_Progress):
    """Progress of a total of trials, of which some are done already."""

    def __init__(self, first_line: str, total: int, done: int) -> None:
        super().__init__(first_line, TextColumn("{task.fields[done]}/{task.fields[of]} trials"))
        self._total, self._done, self._before = total, done, done
        if self._bar is not None and done < total:
            # the bar counts what is left, from which it estimates the remaining time
            self._bar.add_task("", total=total - done, done=done, of=total)

    def show(self, weighting: str, seed: int, part: float) -> None:
        """Show the progress of a trial, a fraction; 1 when it is written."""
        self.show_words(f"{weighting}, seed {seed}", part)

    def show_words(self, words: str, part: float) -> None:
        """Show the progress of a trial, described in words."""
        self._done += part >= 1
        done = self._done - self._before
        if self._bar is not None:
            left = done + (part if part < 1 else 0.0)
            self._bar.update(self._bar.task_ids[0], completed=left, done=self._done, description=words)
        elif part >= 1 and line_due(done, self._total - self._before):
            timing = pace(time.monotonic() - self._started, done, self._total - self._before)
            tell(f"trial {self._done} of {self._total}: {words} ({timing})")


@contextmanager
def resumable(advice: str, folder: RunFolder | None = None) -> Iterator[None]:
    """Turn an interruption, or a file that cannot be used, into `Stopped`.

    Args:
        advice: sentence about resuming.
        folder: folder of the run in progress, whose status is added to the message; None: no run.
    """

    def stopped(event: str, code: int) -> Stopped:
        status = [] if folder is None else [run_status(folder)]
        return Stopped(" ".join((event, *status, advice)), code)

    try:
        yield
    except (RunInterrupted, KeyboardInterrupt) as stop:
        number = stop.signal if isinstance(stop, RunInterrupted) else signal.SIGINT
        raise stopped("Stopped.", 128 + number) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise stopped(unusable(error), FAILED) from error
