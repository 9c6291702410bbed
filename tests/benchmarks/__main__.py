"""The command behind `make bench`: measure, keep the numbers, write the report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from tests.benchmarks.experiments import EXPERIMENTS
from tests.benchmarks.measure.compiling import measure_compiling
from tests.benchmarks.measure.machine import describe
from tests.benchmarks.measure.rounds import Effort, measure
from tests.benchmarks.measure.worker import Worker
from tests.benchmarks.report.page import write_report
from tests.benchmarks.report.results import Results

HERE = Path(__file__).parent
FAST = Path("runs") / "bench-fast"

Part = dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Time the toolkit against TorchOpt, higher and JAX, and write a report."""

    fast: bool = False
    """Small sizes and short visits: does everything work? The numbers mean little."""
    only: tuple[str, ...] = ()
    """Which parts to measure (experiments, compiling, accuracy), replacing theirs in the numbers on disk; all
    but the optional ones if none is named."""
    out: Path | None = None
    """The folder of results.json, RESULTS.md and the figures; the benchmarks' own, with --fast
    runs/bench-fast."""
    report: bool = False
    """Measure nothing: write the report again from the numbers on disk."""


def main(bench: Bench) -> int:
    """Run; gives the exit code: 1 if a gradient differed, which the report names."""
    if sys.platform != "linux":
        raise SystemExit("The benchmarks bind processes to cores and read /proc: they need Linux.")
    folder = bench.out or (FAST if bench.fast else HERE)
    path = folder / "results.json"
    results = Results.load(path)
    for name, run in {} if bench.report else chosen(bench).items():
        results.parts[name] = {"about": describe(command()), **run()}
        results.save(path)
    say(f"written: {write_report(results, folder)}")
    wrong = [
        note for name in results.parts for note in results.rows(name, "notes") if "ANOTHER GRADIENT" in note
    ]
    for note in wrong:
        say(note)
    return 1 if wrong else 0


def chosen(bench: Bench) -> dict[str, Callable[[], Part]]:
    """Give what is to be measured, by name, in order.

    Raises:
        ValueError: a name is unknown.
    """
    effort = Effort(seconds=0.05, least=2) if bench.fast else Effort()
    parts: dict[str, Callable[[], Part]] = {
        "accuracy": measure_accuracy,
        "compiling": lambda: measure_compiling(say, short=bench.fast),
    }
    for name, experiment in EXPERIMENTS.items():
        parts[name] = lambda experiment=experiment: measure(experiment, effort, say, short=bench.fast)  # type: ignore[misc]
    for name in bench.only:
        if name not in parts:
            raise ValueError(f"There is nothing called {name!r} to measure; there are {', '.join(parts)}.")
    optional = {name for name, experiment in EXPERIMENTS.items() if experiment.optional}
    return {
        name: run
        for name, run in parts.items()
        if (name in bench.only if bench.only else name not in optional)
    }


def measure_accuracy() -> Part:
    """Measure the estimators' errors, in a process of their own."""
    say("accuracy")
    with Worker(1) as worker:
        return {"accuracy": worker.call("tests.benchmarks.measure.accuracy:measure_accuracy")}


def command() -> str:
    """What was typed, as far as the program can know."""
    return " ".join(["python -m tests.benchmarks", *sys.argv[1:]])


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Bench)))
