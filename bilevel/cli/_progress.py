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
"""Number of lines of progress without a terminal, evenly spaced, if the work is short."""
MAX_SILENCE = 60.0
"""Seconds without a terminal after which the next step has a line, too."""
COMPILED = logging.getLogger("bilevel.compiled")
"""The logger of compilation."""


def pace(seconds: float, fraction: float, steps: float, unit: str = "step") -> str:
    """Time so far, steps per second and the estimated time left; `fraction`, above 0, is that of the work.

    >>> pace(75.0, 0.6, steps=30)
    '0:01:15, 0.4 steps per second, 0:00:50 left'
    """
    left = seconds * (1 - fraction) / fraction
    spent, rest = (str(timedelta(seconds=round(some))) for some in (seconds, left))
    return f"{spent}, {steps / max(seconds, 1e-6):.3g} {unit}s per second, {rest} left"


class _Progress:
    """A first line, and in a terminal a bar, once it has a task; elsewhere a line at times."""

    def __init__(self, first_line: str, *columns: ProgressColumn) -> None:
        self._first_line = first_line
        self._started = self._last_line = time.monotonic()
        self._lines = 0
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if console.is_interactive:
            first = (TextColumn("{task.description}"), BarColumn(bar_width=None), *columns)
            last = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self._bar = Progress(*first, *last, console=console, expand=True)

    def __enter__(self) -> Self:
        tell(self._first_line)
        self._started = self._last_line = time.monotonic()
        if self._bar is not None and self._bar.tasks:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _line_due(self, fraction: float) -> bool:
        """True if a further tenth of the work of this command is done, or the last line is a minute old."""
        now, lines = time.monotonic(), int(PLAIN_LINES * fraction)
        due = fraction > 0 and (lines > self._lines or now - self._last_line >= MAX_SILENCE)
        if due:
            self._lines, self._last_line = lines, now
        return due

    def _pace(self, fraction: float, steps: float, unit: str = "step") -> str:
        return pace(time.monotonic() - self._started, fraction, steps, unit)


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
        steps = done - self._before
        fraction = steps / (self._total - self._before)
        if self._bar is None and not self._line_due(fraction):
            return
        welfare = number(interquartile_mean(metrics["welfare"].cpu().numpy()))
        if self._bar is None:
            timing = self._pace(fraction, steps)
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

    def __init__(
        self, first_line: str, total: int, done: int, *, noun: str = "trial", plural: str = "trials"
    ) -> None:
        super().__init__(first_line, TextColumn(f"{{task.fields[done]}}/{{task.fields[of]}} {plural}"))
        self._noun = noun
        self._total, self._done, self._before = total, done, done
        self._steps = 0.0  # of the trials that are done
        if self._bar is not None and done < total:
            # the bar counts what is left, from which it estimates the remaining time
            self._bar.add_task("", total=total - done, done=done, of=total)

    def show(self, words: str, part: float, steps: int | None = None, together: int = 1) -> None:
        """Show the progress of a trial, or of several that run at once.

        Args:
            words: description of the trial.
            part: finished fraction of the trial; 1, once for each trial, when it is written.
            steps: number of its training steps; None: unknown, and the pace is in trials.
            together: number of trials that run at once.
        """
        finished = part >= 1
        self._done += finished
        part = part if finished else part * together
        done = self._done - self._before + (0.0 if finished else part)
        taken = self._steps + part * (steps or 0)
        self._steps = taken if finished else self._steps
        fraction = done / (self._total - self._before)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, done=self._done, description=words)
        elif self._line_due(fraction):
            place = f"{self._noun} {self._done + (not finished)} of {self._total}: {words}"
            percent = "" if finished else f", {int(100 * part / together)} %"
            timing = self._pace(fraction, done, self._noun) if steps is None else self._pace(fraction, taken)
            tell(f"{place}{percent} ({timing})")


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
