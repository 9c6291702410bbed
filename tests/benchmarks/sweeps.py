"""A sweep of short runs by one worker and by several, beside a loop over the same runs in one process.

    python -m tests.benchmarks.sweeps

The loop trains each run by `bilevel.sweeps.work_on`, as a worker does, without processes and without a table.
Rounds are interleaved; ratios are of the medians, of whole commands from start to end.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

LOOP = """
import sys
from pathlib import Path

from bilevel.cli._sweep import parse_sweep
from bilevel.sweeps import work_on

sweep = parse_sweep(sys.argv[2:]).sweep_of(None)
for run in sweep.runs:
    work_on(str(run.create(Path(sys.argv[1])).path))
"""


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """Print seconds and ratios of a sweep of 24 runs."""

    game: str = "escape-room"
    """The game."""
    seeds: int = 8
    """Seeds of each run."""
    outer_steps: int = 200
    """Outer steps of each run."""
    workers: int = 2
    """Workers of the larger sweep."""
    rounds: int = 3
    """Rounds, each with the loop and both sweeps."""


def options(bench: Sweeps) -> list[str]:
    """The options of `bilevel sweep`: 24 combinations of three settings."""
    return [
        *("--games", bench.game, "--methods", "tos", "--seeds", str(bench.seeds)),
        *("--outer-steps", str(bench.outer_steps), "--set", "compile=never"),
        *("--sweep", "outer.learning-rate=0.01,0.03,0.1,0.3", "inner.learning-rate=0.1,0.3,1"),
        "own-share=0.5,0.9",
    ]


def main(bench: Sweeps) -> int:
    """Measure, and print a table; gives the exit code."""
    sweep = [sys.executable, "-m", "bilevel", "sweep", *options(bench)]
    commands = {
        "loop in one process": [sys.executable, "-c", LOOP, "OUT", *options(bench)],
        "sweep, 1 worker": [*sweep, "--workers", "1", "--out", "OUT"],
        f"sweep, {bench.workers} workers": [*sweep, "--workers", str(bench.workers), "--out", "OUT"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(bench.rounds):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as folder:
                out = str(Path(folder) / "sweep")
                began = time.perf_counter()
                subprocess.run(
                    [out if word == "OUT" else word for word in command], check=True, capture_output=True
                )
                seconds[name].append(time.perf_counter() - began)
    loop, one, several = map(statistics.median, seconds.values())
    for name, taken in seconds.items():
        print(f"{name}: {statistics.median(taken):.1f} s ({min(taken):.1f} to {max(taken):.1f})")
    print(f"{bench.workers} workers are {one / several:.2f} times as fast as one, ", end="")
    print(f"and {loop / several:.2f} times as fast as the loop.")
    print(f"One worker takes {100 * (one / loop - 1):.1f} % longer than the loop.")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Sweeps, description=__doc__)))
