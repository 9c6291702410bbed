"""Run whole commands, each a process of its own on one core, and note what they take: interleaved rounds."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import probe
from tests.benchmarks.measure.machine import commit_of
from tests.benchmarks.whole_runs import FEW, Command, WholeRuns

Say = Callable[[str], None]
Row = dict[str, Any]
ROOT = Path(__file__).parents[3]
SMALL = ("--seeds", "2")
"""Options of a short measurement, of `bilevel train` and of the scripts alike."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where whole runs find what they need."""

    caches: Path
    """The folder of the warm caches."""
    before: Path | None = None
    """A checkout of another commit, which "ours, before" runs."""
    deadline: float = math.inf
    """When, by `time.perf_counter`, no further run is begun."""


@dataclass(frozen=True)
class Job:
    """One run to be made."""

    command: Command
    outer_steps: int
    round: int


def rounds_of(runs: WholeRuns, *, short: bool) -> Iterator[list[Job]]:
    """List the jobs of each round: what fills caches, short runs, then each length, forth and back."""
    filling, others = (
        [command for command in runs.commands if (command.cache == "fill") == fills]
        for fills in (True, False)
    )
    if short:
        yield [Job(command, runs.short or 3, 0) for command in others]
        return
    yield [Job(command, length, 0) for command in filling for length in command.lengths]
    if runs.short:
        yield [Job(command, runs.short, 0) for command in others]
    for length in sorted({length for command in others for length in command.lengths}):
        for turn in range(runs.rounds if length <= FEW else 1):
            jobs = [Job(command, length, turn) for command in others if length in command.lengths]
            if length <= runs.longest:
                yield jobs if turn % 2 == 0 else jobs[::-1]


def measure_whole_runs(
    runs: WholeRuns,
    say: Say,
    where: Where,
    done: list[Row],
    *,
    short: bool,
    keep: Callable[[dict[str, Any]], object] = dict,
) -> dict[str, Any]:
    """Make what is missing of the runs, until the deadline.

    Args:
        runs: which.
        say: told of every run.
        where: what they need.
        done: rows of an earlier call, which stay.
        short: one round of small games over a few outer steps: does it work?
        keep: is told of what there is after each run, so that nothing is lost if this process is ended.

    Returns:
        "runs": a row for each run; "notes": what failed, what is left out, and whether rounds are missing;
        "before": the commit of the other checkout.
    """
    rows, notes = list(done), []
    known = {(row["variant"], row["outer_steps"], row["round"]) for row in rows}
    present = []
    for command in runs.commands:
        reason = missing(command, where)
        if reason is None and not (short and command.cache != "empty"):  # compiling takes long
            present.append(command)
        elif reason is not None:
            notes.append(f"{runs.name}: {command.name} left out: {reason}.")
    before = {} if where.before is None else {"before": commit_of(where.before)}
    for jobs in rounds_of(runs, short=short):
        wanted = [
            job
            for job in jobs
            if job.command in present and (job.command.name, job.outer_steps, job.round) not in known
        ]
        for job in wanted:
            if time.perf_counter() > where.deadline:
                notes.append(f"{runs.name}: runs are missing; the same command makes them.")
                break
            say(f"{runs.name}: {job.command.name}, {job.outer_steps} outer steps, round {job.round + 1}")
            try:
                rows.append(run(runs, job, where, short=short))
            except RunError as error:
                notes.append(f"{runs.name}: {job.command.name}, {job.outer_steps} steps: {error}")
            keep({"runs": rows, "notes": notes, **before})
    return {"runs": rows, "notes": list(dict.fromkeys(notes)), **before}


def missing(command: Command, where: Where) -> str | None:
    """Say why a command cannot run here; None: it can."""
    if command.library == "before" and where.before is None:
        return "--before names no other checkout"
    return command.missing()


class RunError(RuntimeError):
    """A run that failed, in its last words."""


def run(runs: WholeRuns, job: Job, where: Where, *, short: bool) -> Row:
    """Make one run.

    Args:
        runs: the game.
        job: the command and the outer steps.
        where: what it needs.
        short: whether the game is small.

    Returns:
        a row: how long it took in all (None: it was stopped), until its last outer step, and for each of its
        later steps; CPU seconds with those of child processes; the peak of resident memory in bytes.

    Raises:
        RunError: it failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        notes, log = folder / "notes.json", folder / "log.txt"
        cache = prepared_cache(runs, job.command, where, folder)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "BILEVEL_CACHE": str(cache),
            probe.NOTES: str(notes),
            probe.LIMIT: str(limit_of(runs, job)),
        }
        here = where.before if job.command.library == "before" else ROOT
        environment["PYTHONPATH"] = str(here)
        arguments = command_line(runs, job, folder, short=short)
        core = min(os.sched_getaffinity(0))
        with log.open("wb") as output:
            began = time.perf_counter()
            environment[probe.BEGAN] = repr(began)
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=output,
                stderr=output,
                env=environment,
                cwd=here,  # `python -m` looks there first
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # before any library counts the cores
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        if not notes.exists():
            raise RunError(last_words(log, process.returncode))
        noted = json.loads(notes.read_text(encoding="utf-8"))
        if process.returncode != 0 and not noted["stopped"]:
            raise RunError(last_words(log, process.returncode))
    return {
        "variant": job.command.name,
        "library": job.command.library,
        "outer_steps": job.outer_steps,
        "round": job.round,
        "seconds": None if noted["stopped"] else seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": 1024 * usage.ru_maxrss,
        **{name: noted[name] for name in ("steps", "marks", "last", "step")},
    }


def limit_of(runs: WholeRuns, job: Job) -> float:
    """Seconds after which a run is stopped."""
    if job.outer_steps <= runs.short or job.command.cache == "fill":
        return math.inf
    return runs.limit if job.outer_steps <= FEW else runs.long_limit


def command_line(runs: WholeRuns, job: Job, folder: Path, *, short: bool) -> list[str]:
    """Say what Python is to run, writing into a folder."""
    script, small = job.command.script, SMALL if short else ()
    steps = ["--outer-steps", str(job.outer_steps), *small]
    if script is not None:
        module = f"tests.benchmarks.peers.scripts.{script}"
        options = runs.short_script_options if short else ()
        return [
            "-m",
            "tests.benchmarks.measure.probe",
            module,
            *steps,
            "--out",
            f"{folder}/metrics.csv",
            *options,
            *job.command.options,
        ]
    options = runs.short_options if short else runs.options
    game = ["--game", runs.game, "--method", "tos", "--load", probe.__file__, "--out", f"{folder}/run"]
    return ["-m", "bilevel", "train", *game, *steps, *options, *job.command.options]


def prepared_cache(runs: WholeRuns, command: Command, where: Where, folder: Path) -> Path:
    """The folder of compiled packages that a command is to find.

    Raises:
        RunError: there should be packages, and there are none.
    """
    if command.cache == "empty":
        return folder / "cache"
    filled = where.caches / "".join(letter if letter.isalnum() else "-" for letter in runs.name)
    if command.cache == "fill":
        shutil.rmtree(filled, ignore_errors=True)
    elif not filled.exists():
        raise RunError("no run has filled the cache")
    return filled


def last_words(log: Path, code: int) -> str:
    """What a failed run printed last."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return f"exit code {code}: {said[-1] if said else 'it said nothing'}"
