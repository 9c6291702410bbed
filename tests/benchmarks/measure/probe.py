"""Note when each outer step of a whole run is done, from inside the run, and stop it after a time limit.

There are two ways in, for the two kinds of command that are timed. `bilevel train --load .../probe.py ...`
notes whenever an outer step's metrics are added; `python -m tests.benchmarks.measure.probe MODULE ...` runs
one of the hand-written scripts and notes the same. Noting costs a fraction of a microsecond. Environment
variables say where the notes go, and after how many seconds the run is interrupted, as a user would, with
SIGINT.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOTES, LIMIT, BEGAN = "BENCH_NOTES", "BENCH_LIMIT", "BENCH_BEGAN"
"""Environment variables: a file, seconds, and when the process was started (`time.perf_counter`)."""
MARKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
"""The times after so many outer steps are noted."""


class Probe:
    """When outer steps were done, in seconds since the process was started."""

    def __init__(self, path: Path, limit: float, began: float) -> None:
        self.path, self.limit, self.began = path, limit, began
        self.times: list[float] = []
        self.stopped = False

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the method that adds an outer step to metrics.csv: note the time after each call."""

        @functools.wraps(function)
        def noted(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            if arguments[0].path.name != "metrics.csv":  # the evaluation at the end
                return result
            self.times.append(time.perf_counter() - self.began)
            if self.times[-1] > self.limit and not self.stopped:
                self.stopped = True
                os.kill(os.getpid(), signal.SIGINT)
            return result

        return noted

    def write(self) -> None:
        """Write what was noted; see `summary`."""
        self.path.write_text(json.dumps({**summary(self.times), "stopped": self.stopped}), encoding="utf-8")


def summary(times: list[float]) -> dict[str, Any]:
    """Say when steps were done, and how long one takes: the mean over the later half, checkpoints included.

    >>> summary([5.0, 6.0, 6.5, 7.0])
    {'steps': 4, 'marks': {1: 5.0, 3: 6.5}, 'last': 7.0, 'step': 0.5}
    """
    middle = len(times) // 2
    step = (times[-1] - times[middle - 1]) / (len(times) - middle) if middle else None
    marks = {mark: times[mark - 1] for mark in MARKS if mark <= len(times)}
    return {"steps": len(times), "marks": marks, "last": times[-1] if times else None, "step": step}


def probe() -> Probe:
    """Make the probe that the environment asks for; it writes when the process ends."""
    made = Probe(
        Path(os.environ[NOTES]), float(os.environ.get(LIMIT, "inf")), float(os.environ.get(BEGAN, "0"))
    )
    atexit.register(made.write)
    return made


def run_script(module: str, arguments: list[str]) -> None:
    """Run one of the hand-written scripts."""
    script = importlib.import_module("tests.benchmarks.peers.scripts.script")
    script.Table.add = probe().after(script.Table.add)
    sys.argv = [module, *arguments]
    with contextlib.suppress(KeyboardInterrupt):
        runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    run_script(sys.argv[1], sys.argv[2:])
elif NOTES in os.environ:  # loaded by `bilevel train --load`
    from bilevel.experiments._metrics import MetricsFile

    MetricsFile.add = probe().after(MetricsFile.add)  # type: ignore[method-assign]
