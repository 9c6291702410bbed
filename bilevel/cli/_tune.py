"""`bilevel tune`: a task with several losses under several weightings, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from bilevel.cli._output import print_rows
from bilevel.cli._progress import TrialProgress, resumable
from bilevel.cli._settings import load_file, read_settings, split_leading, split_name
from bilevel.core import counted
from bilevel.experiments import MOST_THREADS
from bilevel.tasks import (
    TASKS,
    MissingPackage,
    Study,
    make_task,
    open_folder,
    run_study,
    summarize,
    task_table,
    write_tables,
)
from games.core import require

OWN = ("weightings", "seeds", "seed", "threads", "out", "load")
"""Options of the command itself, which no setting of a task may be called."""


@dataclass(frozen=True, kw_only=True)
class Tune:
    """The trials, and the task's settings."""

    weightings: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Weightings of the losses; others are compared with the first. None: all of the task's."""
    seeds: int = Study.seeds
    """Trials with each, 1 or more; from 3 on there are intervals."""
    seed: int = Study.seed
    """Of the first trial, a whole number from 0; the others count on from it."""
    threads: int = 1
    """CPU threads, from 1 to 1024; sums may round differently with another number."""
    settings: Annotated[Any, tyro.conf.arg(name="")]
    """Of the task."""

    def __post_init__(self) -> None:
        require(
            1 <= self.threads <= MOST_THREADS,
            f"threads must be from 1 to {MOST_THREADS}, not {self.threads}.",
        )


def tune_command(arguments: list[str]) -> None:
    """Do the trials that are missing, then print the table, and write figure and files; or list the tasks.

    Raises:
        ValueError: there is no such task or weighting, a setting is out of range, a package is
            missing, or the folder holds other trials.
        FloatingPointError: a loss became infinite or undefined.
        Stopped: it was interrupted, or a file could not be used.
    """
    name, options = split_name(arguments)
    chosen, rest = split_leading("bilevel tune", options, names=())
    for path in chosen.load:
        load_file(path)
    if name is None:
        require(
            rest in ([], ["-h"], ["--help"]),
            f"The task comes first, as in bilevel tune {next(iter(TASKS))} {' '.join(rest)}",
        )
        list_tasks()
        return
    study, threads = parse_tune(name, rest)
    torch.set_num_threads(threads)
    out = chosen.out or Path("runs/tune") / name
    with resumable("Run the same command again: what is done is kept."):
        open_folder(study, out)
        run(study, out)


def run(study: Study, out: Path) -> None:
    """Do the missing trials and show the results of all; `open_folder` was called with the folder."""
    total = len(study.trials)
    done = total - len(study.missing(out))
    there = f" ({done} of {total} trials are there already)" if done else ""
    seeds = counted(study.seeds, "seed")
    line = f"{study.task_name}: {', '.join(study.weightings)}; {seeds} each, in {out}{there}"
    with TrialProgress(line, total, done) as progress:
        trials = run_study(study, out, progress.show)
    measures = study.task.measures
    rows = summarize(measures, trials)
    study.task.draw(trials, out / "figure.png")
    written = [*write_tables(measures, rows, trials, study.seed, out), out / "figure.png"]
    Console(highlight=False).print(task_table(study.task_name, measures, rows))
    print(f"\nWritten to {out}: {', '.join(path.name for path in written)}")


def list_tasks() -> None:
    """Print every task with one line."""
    print_rows({name: _summary(name) for name in TASKS})
    print("\nbilevel tune TASK --help lists a task's settings and its weightings.")


def parse_tune(name: str, arguments: list[str]) -> tuple[Study, int]:
    """Read the trials from the command line.

    Args:
        name: of the task.
        arguments: what `split_leading` leaves.

    Returns:
        the trials, and the number of CPU threads.

    Raises:
        ValueError: a name is unknown, a setting is out of range, or --weightings is there twice.
        SystemExit: help was asked for (code 0), or an option is unknown or malformed (code 2; says which).
    """
    task = make_task(name)
    defaults = task.settings()
    for setting in OWN:
        require(not hasattr(defaults, setting), f"A setting of {name} is called {setting}, as an option is.")
    times = sum(word == "--weightings" or word.startswith("--weightings=") for word in arguments)
    require(times < 2, f"--weightings is there {times} times: put everything after one --weightings.")
    require(
        not any(word == "--weights" or word.startswith("--weights=") for word in arguments),
        "--weights is now called --weightings.",
    )
    lines = "\n".join(f"  {weighting}: {line}" for weighting, line in task.weightings.items())
    chosen = read_settings(
        Tune,
        arguments,
        prog=f"bilevel tune {name}",
        description=(
            f"{task.summary}\n\nWeightings of the losses (--weightings):\n{lines}\n\n"
            f"--out FOLDER says where trials, table and figure go (default: runs/tune/{name}): trials "
            "that are there, with the same settings, are used as they are. --load FILE.py runs a file of "
            "yours that adds a task. docs/tasks.md says more."
        ),
        default=Tune(settings=defaults),
    )
    study = Study(
        task_name=name,
        task=task,
        settings=chosen.settings,
        weightings=chosen.weightings,
        seeds=chosen.seeds,
        seed=chosen.seed,
    )
    return study, chosen.threads


def _summary(name: str) -> str:
    try:
        return make_task(name).summary
    except MissingPackage as missing:
        return str(missing)
