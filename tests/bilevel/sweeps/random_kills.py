"""A sweep that is killed at random moments, again and again: its table must equal that of one left alone.

`python -m tests.bilevel.sweeps.random_kills --kills 30` prints what was killed, and compares the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = (
    *("sweep", "--games", "chicken", "stag-hunt", "--methods", "tos", "--seeds", "3"),
    *("--checkpoint-every", "5", "--workers", "2", "--set", "compile=never"),
    *("--sweep", "outer.learning-rate=0.1,0.3"),
)
FILES = ("table.csv", "seeds.csv")


def run_with_kills(
    folder: Path,
    kills: int,
    *,
    outer_steps: int,
    seed: int = 0,
    others: tuple[str, ...] = (),
    longest: float = 2.0,
) -> list[str]:
    """Run a sweep in a folder, kill it or a process of its launcher at random moments, and finish it.

    Half of the victims are workers, which are the last to start; the others are drawn from all processes,
    such as the server that forks them, or the scheduler of Ray.

    Args:
        folder: an empty folder, which gets `killed`, the sweep, and `whole`, one that was left alone.
        kills: number of kills; a sweep that ends before is begun anew, in a further folder.
        outer_steps: outer steps of each of its four runs.
        seed: seed of the moments.
        others: further options, such as those of another launcher.
        longest: the longest time between two kills, in seconds.

    Returns:
        A line for each kill.

    Raises:
        AssertionError: a table differs.
    """
    draw, told, place = random.Random(seed), [], 0
    words = [sys.executable, "-m", "bilevel", *SWEEP, "--outer-steps", str(outer_steps), *others]
    process: subprocess.Popen[bytes] | None = None
    while len(told) < kills:
        if process is None or process.poll() is not None:
            if process is not None and process.returncode == 0:
                place += 1
            out = folder / f"killed-{place}"
            process = subprocess.Popen([*words, "--out", out.name], cwd=folder, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(out.glob("*/*/*/metrics.csv")):
            time.sleep(0.05)
        time.sleep(draw.uniform(0, longest))
        if process.poll() is not None:
            continue
        processes = _descendants(process.pid)
        target = draw.choice([process.pid, *processes[-2:], *draw.sample(processes, min(1, len(processes)))])
        what = "sweep" if target == process.pid else _name(target)
        number = draw.choice([signal.SIGKILL, signal.SIGTERM]) if what == "sweep" else signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, number)
            told.append(f"{what} of {out.name}: {signal.Signals(number).name}")
        if what == "sweep":
            process.wait()
    if process is not None:
        process.wait()
    subprocess.run([*words, "--out", "whole"], cwd=folder, check=True, capture_output=True)
    for out in sorted(folder.glob("killed-*")):
        subprocess.run([*words, "--out", out.name], cwd=folder, check=True, capture_output=True)
        for name in FILES:
            assert (out / name).read_bytes() == (folder / "whole" / name).read_bytes(), (
                f"{out / name} differs"
            )
    return told


def _descendants(pid: int) -> list[int]:
    """Processes that a process has started, and theirs, by number."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return sorted(found[1:])


def _name(pid: int) -> str:
    """The name of a process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "an ended process"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--outer-steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds between two kills, at most")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = run_with_kills(
            Path(folder),
            chosen.kills,
            outer_steps=chosen.outer_steps,
            seed=chosen.seed,
            others=tuple(chosen.options),
            longest=chosen.longest,
        )
    print(*told, f"{len(told)} kills: the tables are identical.", sep="\n")


if __name__ == "__main__":
    main()
