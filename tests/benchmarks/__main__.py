"""The command behind `make bench`: measure, keep the numbers, write the report."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tyro

from tests.benchmarks.experiments import EXPERIMENTS
from tests.benchmarks.growth import MANY_AGENTS
from tests.benchmarks.measure.compiling import measure_compiling
from tests.benchmarks.measure.growth import measure_growth
from tests.benchmarks.measure.machine import describe
from tests.benchmarks.measure.rounds import Effort, measure
from tests.benchmarks.measure.update_rules import measure_update_rules
from tests.benchmarks.measure.whole_runs import Where, measure_whole_runs
from tests.benchmarks.measure.worker import Worker
from tests.benchmarks.report.page import write_report
from tests.benchmarks.report.results import Results
from tests.benchmarks.whole_runs import WHOLE_RUNS

HERE = Path(__file__).parent
FAST = Path("runs") / "bench-fast"

Part = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Time the toolkit against TorchOpt, higher and JAX, and write a report."""

    fast: bool = False
    """Small sizes and short visits: does everything work? The numbers mean little."""
    only: tuple[str, ...] = ()
    """Which parts to measure (experiments, whole runs, growth, many agents, update rules, compiling,
    accuracy), replacing
    theirs in the numbers on disk; all but the optional ones if none is named."""
    before: Path | None = None
    """A checkout of another commit, whose whole runs are timed beside this one's."""
    budget: float = math.inf
    """Seconds after which no further part, whole run or setting of growth is begun; the same
    command, with a budget at the same commit, then measures what is missing."""
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
    about, deadline = describe(command()), time.perf_counter() + bench.budget
    done = begun(results, about)

    def keep(name: str, part: Part) -> None:
        results.parts[name] = {"about": about, **part}
        results.save(path)

    for name, run in {} if bench.report else chosen(bench, done, deadline, keep).items():
        if time.perf_counter() > deadline or (bench.budget < math.inf and name in done and not done[name]):
            continue
        keep(name, run())
    say(f"written: {write_report(results, folder)}")
    wrong = [
        note for name in results.parts for note in results.rows(name, "notes") if "ANOTHER GRADIENT" in note
    ]
    for note in wrong:
        say(note)
    return 1 if wrong else 0


def begun(results: Results, about: dict[str, Any]) -> dict[str, list[Any]]:
    """What this very commit has measured: the rows of whole runs and of growth, which may be gone on with.

    Other parts are whole: of these there are no rows.
    """
    commit = about["commit"]
    return {
        name: part.get("runs", part.get("growth", []))
        for name, part in results.parts.items()
        if part["about"]["commit"] == commit and not commit.endswith("+")
    }


def chosen(
    bench: Bench,
    done: Mapping[str, list[Any]] = MappingProxyType({}),
    deadline: float = math.inf,
    keep: Callable[[str, Part], None] = lambda name, part: None,
) -> dict[str, Callable[[], Part]]:
    """Give what is to be measured, by name, in order.

    Args:
        bench: what was asked for.
        done: rows of whole runs, and of growth, that need not be measured again.
        deadline: when, by `time.perf_counter`, no further one of these is begun.
        keep: is told of whole runs as they are made: (part, its rows so far).

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
    where = Where(
        caches=FAST.parent.resolve() / "bench-caches",
        before=bench.before and bench.before.resolve(),
        deadline=deadline,
    )
    for name, runs in WHOLE_RUNS.items():
        parts[name] = lambda runs=runs, name=name: measure_whole_runs(  # type: ignore[misc]
            runs,
            say,
            where,
            [] if bench.fast else list(done.get(name, [])),
            short=bench.fast,
            keep=lambda part: keep(name, part),
        )
    grown = [] if bench.fast else done.get("growth", [])
    parts["growth"] = lambda: measure_growth(say, grown, deadline, short=bench.fast)
    many = [] if bench.fast else done.get("many agents", [])
    parts["many agents"] = lambda: measure_growth(say, many, deadline, short=bench.fast, axes=MANY_AGENTS)
    parts["update rules"] = lambda: measure_update_rules(say, short=bench.fast)
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
