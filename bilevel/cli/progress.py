"""How a run goes: a bar with the time left and the live welfare, or plain lines where no terminal is."""

from __future__ import annotations

import logging
import sys

from rich.progress import MofNCompleteColumn, TextColumn

from bilevel.cli.bars import line_due, make_bar
from bilevel.experiment.config import load_config
from bilevel.experiment.metrics import array_path, in_every_step
from bilevel.experiment.run import RunFolder
from bilevel.experiment.statistics import interquartile_mean
from bilevel.methods import Metrics
from bilevel.report.table import number
from bilevel.words import counted

COMPILED = logging.getLogger("bilevel.compiled")
"""Where it is said that steps are compiled."""


class Progress:
    """Shows a run's outer steps on standard error, from a first line that says what runs.

    Args:
        folder: of the run, which has its config.json.
        place: of the run among several, in words; what is shown begins with it.

    Raises:
        ValueError: the folder is no run (says why).
    """

    def __init__(self, folder: RunFolder, place: str = "") -> None:
        config = load_config(folder.config)
        self._total = config.outer_steps
        self._title = (f"{place}: " if place else "") + config.method_name
        self._first_line = (
            f"{self._title} on {config.game_name}: "
            f"{counted(config.seeds, 'seed')}, {counted(config.outer_steps, 'outer step')}, in {folder.path}"
        )
        self._bar = make_bar(MofNCompleteColumn(), TextColumn("welfare {task.fields[welfare]}"))
        self._compiling = _FirstLines()
        self._folder, self._told = folder, False

    def __enter__(self) -> Progress:
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
        """Tell of an outer step; the welfare shown is the interquartile mean over seeds.

        Metrics that are arrays, which no column of metrics.csv has, are told of once.
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


class _FirstLines(logging.Handler):
    """Says, once for a run, that steps are being compiled, and once that this takes long."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the first record of each kind."""
        if record.msg not in self._told:
            self._told.add(record.msg)
            print(record.getMessage(), file=sys.stderr, flush=True)
