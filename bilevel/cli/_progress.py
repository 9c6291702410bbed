"""Progress on standard error: a bar in a terminal, a few lines elsewhere; advice after an interruption."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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

from bilevel.cli._output import FAILED, Stopped, unusable
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
"""Lines of progress where there is no terminal."""


def make_bar(*columns: ProgressColumn) -> Progress | None:
    """A bar on standard error, columns, elapsed and remaining time; None where there is no terminal."""
    console = Console(stderr=True)
    if not console.is_interactive:
        return None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        *columns,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
    )


def line_due(done: int, total: int) -> bool:
    """True `PLAIN_LINES` times, evenly spaced, while done counts from 1 to total; the last time at the end.

    >>> [done for done in range(1, 26) if line_due(done, 25)]
    [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    """
    return PLAIN_LINES * done // total > PLAIN_LINES * (done - 1) // total


COMPILED = logging.getLogger("bilevel.compiled")
"""The logger of compilation."""


class RunProgress:
    """Progress of a run: a first line, then its outer steps and their welfare.

    Args:
        folder: of the run, which has its config.json.
        place: of the run among several, in words; every line begins with it.

    Raises:
        ValueError: the folder is no run (says why).
    """

    def __init__(self, folder: RunFolder, place: str = "") -> None:
        config = folder.load_config()
        self._total = config.outer_steps
        self._title = (f"{place}: " if place else "") + config.method_name
        self._first_line = (
            f"{self._title} on {config.game_name}: "
            f"{counted(config.seeds, 'seed')}, {counted(config.outer_steps, 'outer step')}, in {folder.path}"
        )
        self._bar = make_bar(MofNCompleteColumn(), TextColumn("welfare {task.fields[welfare]}"))
        self._compiling = _FirstRecords()
        self._folder, self._told = folder, False

    def __enter__(self) -> RunProgress:
        print(self._first_line, file=sys.stderr, flush=True)
        COMPILED.addHandler(self._compiling)
        COMPILED.setLevel(logging.INFO)
        if self._bar is not None:
            self._bar.add_task(self._title, total=self._total, welfare="...")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        COMPILED.removeHandler(self._compiling)
        COMPILED.setLevel(logging.NOTSET)
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, metrics: Metrics) -> None:
        """Show an outer step, with the interquartile mean of the welfare over seeds.

        The files of metrics that are arrays are named once.
        """
        if not self._told:
            self._told = True
            for name, values in metrics.items():
                if values.dim() > 1:
                    shape = " x ".join(map(str, values.shape[1:]))
                    table = self._folder.metrics if in_every_step(values.shape) else self._folder.evaluation
                    place = array_path(table, name)
                    print(f"{name}, {shape} for each seed, goes to {place}, not to columns.", file=sys.stderr)
        if self._bar is None and not line_due(done, self._total):
            return
        welfare = number(interquartile_mean(metrics["welfare"].cpu().numpy()))
        if self._bar is None:
            print(f"outer step {done} of {self._total}: welfare {welfare}", file=sys.stderr, flush=True)
        else:
            self._bar.update(self._bar.task_ids[0], completed=done, welfare=welfare)


class _FirstRecords(logging.Handler):
    """Prints the first record of each kind: that steps are being compiled, and that this takes long."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record if it is the first of its kind."""
        if record.msg not in self._told:
            self._told.add(record.msg)
            print(record.getMessage(), file=sys.stderr, flush=True)


class TrialProgress:
    """Progress of trials.

    Args:
        first_line: printed first.
        total: number of trials.
        done: number of those that are done already.
    """

    def __init__(self, first_line: str, total: int, done: int) -> None:
        self._first_line, self._total, self._done, self._before = first_line, total, done, done
        self._bar = make_bar(TextColumn("{task.fields[done]}/{task.fields[of]} trials"))

    def __enter__(self) -> TrialProgress:
        print(self._first_line, file=sys.stderr, flush=True)
        if self._bar is not None and self._done < self._total:
            # The bar counts what is left: what is there already says nothing about the time that takes.
            self._bar.add_task("", total=self._total - self._before, done=self._done, of=self._total)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, weighting: str, seed: int, part: float) -> None:
        """Show the progress of a trial, a fraction; 1 when it is written."""
        self._done += part >= 1
        if self._bar is None:
            if part >= 1 and line_due(self._done - self._before, self._total - self._before):
                print(
                    f"trial {self._done} of {self._total}: {weighting}, seed {seed}",
                    file=sys.stderr,
                    flush=True,
                )
            return
        left = self._done - self._before + (part if part < 1 else 0.0)
        words = f"{weighting}, seed {seed}"
        self._bar.update(self._bar.task_ids[0], completed=left, done=self._done, description=words)


@contextmanager
def resumable(advice: str, folder: RunFolder | None = None) -> Iterator[None]:
    """Turn an interruption, or a file that cannot be used, into `Stopped`.

    Args:
        advice: how to go on, a sentence.
        folder: of the one run that is under way; the sentence then says where it stands.
    """
    try:
        yield
    except (RunInterrupted, KeyboardInterrupt) as stop:
        number = stop.signal if isinstance(stop, RunInterrupted) else signal.SIGINT
        raise Stopped(_sentence("Stopped.", folder, advice), 128 + number) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Stopped(_sentence(unusable(error), folder, advice), FAILED) from error


def _sentence(event: str, folder: RunFolder | None, advice: str) -> str:
    return " ".join((event, advice) if folder is None else (event, run_status(folder), advice))
