"""Load the metrics of a large study: 100 runs of 10 000 outer steps with 20 seeds.

    python -m tests.benchmarks.loading

One run is trained, and copied by links. Each round loads all of its metrics in a fresh process, from the
Parquet copies.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

import bilevel

LOAD = """
import sys
import time

from bilevel.experiments import load_study

began = time.perf_counter()
frame = load_study(sys.argv[1]).to_pandas()
print(f"{time.perf_counter() - began:.1f} s: {len(frame)} rows, {frame.shape[1]} columns")
"""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Print how long a study loads."""

    runs: int = 100
    """Runs of the study."""
    outer_steps: int = 10_000
    """Outer steps of each run."""
    seeds: int = 20
    """Seeds of each run."""
    rounds: int = 5
    """How often it is loaded."""


def main(bench: Loading) -> int:
    """Measure, and print a line for each round; gives the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "run-0"
        bilevel.train("chicken", "tos", seeds=bench.seeds, outer_steps=bench.outer_steps, out=first)
        for number in range(1, bench.runs):
            shutil.copytree(
                first, Path(folder) / f"run-{number}", copy_function=lambda a, b: Path(b).hardlink_to(a)
            )
        for _ in range(bench.rounds):
            subprocess.run([sys.executable, "-c", LOAD, folder], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Loading, description=__doc__)))
