"""`bilevel tune`: comparison of weightings of a task's losses, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from bilevel.cli._output import print_rows
from bilevel.cli._progress import TrialProgress, resumable
from bilevel.cli._settings import read_settings, require_current, require_once, split_leading, split_name
from bilevel.core import counted
from bilevel.experiments import MOST_THREADS
from bilevel.tasks import (
    TASKS,
    BatchTask,
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
"""Options of the command itself, which are not allowed as names of a task's settings."""
RENAMED = {
    "weights": "weightings",
    "batch": "batch_size",
    "classes": "num_classes",
    "clean": "clean_size",
    "controller_hidden": "controller_hidden_size",
    "copies": "num_envs",
    "epochs": "update_epochs",
    "hidden": "hidden_size",
    "labeled": "labeled_size",
    "mixtures": "num_mixtures",
    "pool": "pool_size",
    "shrink": "downsample",
    "train": "train_size",
    "truncate": "bptt_steps",
    "validation": "validation_size",
    "weight_hidden": "weight_hidden_size",
    "window": "rollout_steps",
}
"""Options of an earlier version -> their current names."""


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Settings of the trials, and of the task."""

    weightings: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Weightings of the losses; the first is the baseline of the others. None: all of the task's."""
    seeds: int = Study.seeds
    """Number of trials of each weighting, 1 or more; 3 or more for intervals."""
    seed: int = Study.seed
    """Random seed of the first trial, a nonnegative integer; later trials have the next seeds."""
    threads: int = 1
    """CPU threads, from 1 to 1024; their number can change the rounding of sums."""
    settings: Annotated[Any, tyro.conf.arg(name="")]
    """Settings of the task."""

    def __post_init__(self) -> None:
        require(
            1 <= self.threads <= MOST_THREADS,
            f"threads must be from 1 to {MOST_THREADS}, not {self.threads}.",
        )


def tune_command(arguments: list[str]) -> None:
    """Run the missing trials, print the table, and write figure and files; or list the tasks."""
    name, options = split_name(arguments)
    chosen, rest = split_leading("bilevel tune", options, names=())
    if name is None:
        require(
            rest in ([], ["-h"], ["--help"]),
            f"The task comes first, as in bilevel tune {next(iter(TASKS))} {' '.join(rest)}",
        )
        print_rows({task: _summary(task) for task in TASKS})
        print("\nbilevel tune TASK --help lists a task's settings and its weightings.")
        return
    study, threads = parse_tune(name, rest)
    torch.set_num_threads(threads)
    with resumable("Run the same command again: what is done is kept."):
        _run(study, chosen.out or Path("runs/tune") / name)


def _run(study: Study, out: Path) -> None:
    open_folder(study, out)
    total = len(study.trials)
    together = {weighting: len(some) for weighting, some in study.batches(out)}
    done = total - len(study.missing(out))
    there = f" ({done} of {total} trials are there already)" if done else ""
    seeds = counted(study.seeds, "seed")
    line = f"{study.task_name}: {', '.join(study.weightings)}; {seeds} each, in {out}{there}"
    steps = getattr(study.settings, "steps", None)
    steps = steps if isinstance(steps, int) else None
    with TrialProgress(line, total, done) as progress:

        def show(weighting: str, seed: int, part: float) -> None:
            words = f"{weighting}, seed {seed}"
            if isinstance(study.task, BatchTask):
                words = f"{weighting}, {counted(together[weighting], 'seed')}"
            progress.show(words, part, steps, together[weighting])

        trials = run_study(study, out, show)
    measures = study.task.measures
    rows = summarize(measures, trials)
    study.task.draw(trials, out / "figure.png")
    drawn = [path for path in (out / "figure.png", out / "figure.gif") if path.exists()]
    written = [*write_tables(measures, rows, trials, study.seed, out), *drawn]
    Console(highlight=False).print(task_table(study.task_name, measures, rows))
    print(f"\nWritten to {out}: {', '.join(path.name for path in written)}")


def parse_tune(name: str, arguments: list[str]) -> tuple[Study, int]:
    task = make_task(name)
    defaults = task.settings()
    for setting in OWN:
        require(not hasattr(defaults, setting), f"A setting of {name} is called {setting}, as an option is.")
    require_once(arguments, "weightings")
    for before, now in RENAMED.items():
        if not hasattr(defaults, before) and (now in OWN or hasattr(defaults, now)):
            require_current(arguments, f"--{before}".replace("_", "-"), f"--{now}".replace("_", "-"))
    lines = "\n".join(f"  {weighting}: {line}" for weighting, line in task.weightings.items())
    chosen = read_settings(
        Tune,
        arguments,
        prog=f"bilevel tune {name}",
        description=(
            f"{task.summary}\n\nWeightings of the losses (--weightings):\n{lines}\n\n"
            f"--out FOLDER is the folder of trials, table and figure (default: runs/tune/{name}): trials "
            "in it with the same settings are reused. --load FILE.py runs your own "
            "file, which registers a task. docs/studies/tasks.md explains the tasks."
        ),
        default=Tune(settings=defaults),
    )
    shared = {one: getattr(chosen, one) for one in ("settings", "weightings", "seeds", "seed")}
    return Study(task_name=name, task=task, **shared), chosen.threads


def _summary(name: str) -> str:
    try:
        return make_task(name).summary
    except MissingPackage as missing:
        return str(missing)
