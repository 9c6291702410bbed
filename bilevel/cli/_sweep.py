"""`bilevel sweep`: runs over games, methods and values of settings, by several processes."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
import tyro
from rich.console import Console

from bilevel import report
from bilevel.cli._config_file import ConfigFile, split_config_file
from bilevel.cli._method_settings import labeled_methods
from bilevel.cli._output import FAILED, Stopped
from bilevel.cli._progress import TrialProgress, resumable
from bilevel.cli._settings import load_file, read_settings, require_once, split_leading
from bilevel.core import counted, fits, spelled
from bilevel.experiments import DtypeName, RunConfig
from bilevel.sweeps import (
    FixedWork,
    Launcher,
    LocalLauncher,
    OptunaWork,
    Outcome,
    Prepare,
    RayLauncher,
    SearchName,
    SlurmLauncher,
    Status,
    Sweep,
    SweepInterrupted,
    SweepRun,
    Work,
    points_of,
    read_axis,
    read_literal,
)
from bilevel.trackers import request_tracking, require_trackers
from games.core import require, require_name

AGAIN = "Run the same command again: what is done is kept."
TIMED_STEPS = 3
"""Outer steps that --dry-run times, after one that it does not."""
RUN_OPTIONS = (
    "seeds",
    "seed",
    "outer_steps",
    "checkpoint_every",
    "evaluation_episodes",
    "dtype",
    "device",
    "threads",
)


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """Runs over games, methods and values of settings."""

    games: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ("escape-room",)
    """Names of games; `bilevel games` lists them."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL=]NAME ...")] = ("tos",)
    """Names of methods; `bilevel methods` lists them. With labels, a method may appear more than once."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL.]SETTING=VALUE ...")] = ()
    """Settings of all runs, such as inner.episodes=64 or game.horizon=10; with a label, of one method."""
    sweep: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL.]SETTING=VALUES ...")] = ()
    """Settings that vary, such as outer.learning-rate=0.01,0.1; values that contain commas are separated by
    semicolons. For random search also ranges: 0.001..1, or 0.001..1:log for log-uniform draws."""
    search: SearchName = "grid"
    """grid: every combination of values; random: draws; optuna: draws that learn from finished runs, of which
    hopeless ones are pruned."""
    trials: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Number of draws for each game and method, with random and optuna search."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Number of independent repetitions of every combination, 1 or more. None: the game's default."""
    seed: int | None = None
    """First random seed, a nonnegative integer. None: 0."""
    seeds_per_run: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Seeds of each run, so that several processes share the seeds of a combination. None: all, which is
    fastest on one core, as seeds are trained in one batch."""
    outer_steps: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Number of outer steps of every run, 1 or more. None: the game's default."""
    checkpoint_every: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Outer steps between checkpoints, 1 or more. None: 50."""
    evaluation_episodes: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Fresh episodes per seed to evaluate the final policies on, 2 or more. None: the game's default."""
    dtype: DtypeName = RunConfig.dtype
    """Floating-point type; auto: float64 for exact values, float32 for sampled episodes."""
    device: str = RunConfig.device
    """Torch device, for instance cpu or cuda:0; it must support random generators."""
    threads: int = RunConfig.threads
    """CPU threads of each run, from 1 to 1024."""
    launcher: Literal["local", "slurm", "ray"] = "local"
    """local: processes on this machine; slurm: jobs, through submitit; ray: tasks, on this machine or a
    cluster."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Maximum number of runs at a time. None: with local, the cores divided by the threads of each run; with
    slurm and ray, 100."""
    slurm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PARAMETER=VALUE ...")] = ()
    """Parameters of submitit's executor, such as timeout_min=240 slurm_partition=cpu cpus_per_task=2;
    cluster=local tries it with processes on this machine."""
    ray: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PARAMETER=VALUE ...")] = ()
    """Parameters of ray: address=auto, a cluster's address instead of this machine; cpus=1 and gpus=0.5, of
    each run."""
    track: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Trackers that every run reports to: tensorboard, wandb, mlflow (docs/how-to/trackers.md)."""
    dry_run: bool = False
    """Print the runs, and an estimate of their duration from a few steps, and train nothing."""

    def sweep_of(self, file: ConfigFile | None) -> Sweep:
        """Build the sweep; ValueError if a name or a setting is refused."""
        axes: dict[str, Any] = {}
        for text in self.sweep:
            name, values = _split(text, "--sweep", "outer.learning-rate=0.01,0.1")
            try:
                axes[name] = read_axis(values)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        if file is not None:
            axes = {_underscored(name): values for name, values in file.tables["sweep"].items()} | axes
        fixed = dict(_split(text, "--set", "inner.steps=5") for text in self.set)
        settings = {name: read_literal(value) for name, value in fixed.items()}
        if file is not None:
            settings = {_underscored(name): value for name, value in file.tables["set"].items()} | settings
        chosen = {name: getattr(self, name) for name in RUN_OPTIONS}
        defaults = {name: getattr(RunConfig, name) for name in ("dtype", "device", "threads")}
        settings |= {
            name: value for name, value in chosen.items() if value is not None and value != defaults.get(name)
        }
        return Sweep(
            games=list(self.games),
            methods=labeled_methods(self.methods),
            settings=settings,
            axes=axes,
            search=self.search,
            trials=self.trials,
            seeds_per_run=self.seeds_per_run,
        )

    def build_launcher(self, out: Path) -> Launcher:
        """Build the launcher; ValueError if its package is missing, or a parameter is unknown."""
        for name in {"slurm", "ray"} - {self.launcher}:
            require(
                not getattr(self, name),
                f"--{name} is for --launcher {name}, and this one is {self.launcher}.",
            )
        if self.launcher == "slurm":
            parameters = _parameters(self.slurm, "--slurm", "timeout_min=240")
            cluster = parameters.pop("cluster", "slurm")
            return SlurmLauncher(self.workers or 100, parameters, out, cluster)
        if self.launcher == "ray":
            parameters = _parameters(self.ray, "--ray", "address=auto")
            for name in parameters:
                require_name(name, ("address", "cpus", "gpus"), "parameter of ray")
            return RayLauncher(self.workers or 100, **({"cpus": self.threads} | parameters))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return LocalLauncher(max(1, cores // self.threads) if self.workers is None else self.workers)


def sweep_command(arguments: list[str]) -> None:
    """Train the missing runs, print the table, and write files."""
    chosen, rest = split_leading("bilevel sweep", arguments, names=())
    file, rest = split_config_file(rest)
    settings = parse_sweep(rest, file)
    with contextlib.nullcontext() if file is None else file.named_in_errors():
        sweep = settings.sweep_of(file)
        sweep.check()
    out = chosen.out or Path("runs/sweep")
    launcher = settings.build_launcher(out)
    require_trackers(settings.track)
    if settings.dry_run:
        _print_plan(sweep, launcher.workers, out)
        return
    prepare = functools.partial(load_files, tuple(str(path.resolve()) for path in chosen.load))
    with resumable("Run the same command again: what is done is kept."):
        sweep.create(out)
        work = OptunaWork(sweep, out) if sweep.search == "optuna" else FixedWork(sweep, out)
        failed = _train(work, out, launcher, prepare if chosen.load else None, settings.track)
    points = points_of(work.runs(), out)
    written = report.write_sweep_files(points, out)
    Console(highlight=False).print(report.sweep_tables(points))
    print(f"\nWritten to {out}: {', '.join(path.name for path in written)}")
    if failed:
        first, outcome = next(iter(failed.items()))
        raise Stopped(
            f"{counted(len(failed), 'run')} of {work.total} failed; the first is {out / first}: "
            f"{outcome.message} The same command tries again.",
            FAILED,
        )


def load_files(paths: Sequence[str]) -> None:
    """Run the files of --load, in a worker."""
    for path in paths:
        load_file(Path(path))


def _train(
    work: Work, out: Path, launcher: Launcher, prepare: Prepare | None, trackers: Sequence[str]
) -> dict[str, Outcome]:
    """Train the runs that are not done, and show the progress: the runs that failed, by name."""
    there = work.done
    already = f" ({there} of {work.total} are there already)" if there else ""
    workers = counted(min(launcher.workers, max(1, work.total - there)), "worker")
    line = f"Sweep of {counted(work.total, 'run')} by {workers}, in {out}{already}"
    by_path: dict[str, SweepRun] = {}

    def paths() -> Iterator[str]:
        for run in work.missing():
            folder = run.create(out)
            request_tracking(folder, trackers)
            path = str(folder.path.resolve())
            by_path[path] = run
            yield path

    failed: dict[str, Outcome] = {}
    with TrialProgress(line, work.total, there, noun="run", plural="runs") as progress:
        try:
            for path, outcome in launcher.launch(paths(), prepare):
                run = by_path[path]
                work.record(run, outcome)
                if outcome.status is Status.FAILED:
                    failed[run.name] = outcome
                progress.show(run.name, 1.0)
        except SweepInterrupted as stop:
            raise Stopped(f"Stopped. The runs in progress are saved. {AGAIN}", 128 + stop.signal) from None
        except KeyboardInterrupt:
            raise Stopped(f"Stopped. {AGAIN}", 128 + signal.SIGINT) from None
    return failed


@torch.no_grad()
def _print_plan(sweep: Sweep, workers: int, out: Path) -> None:
    """Print all runs, and an estimate of their duration; of an optuna search, as many as it may have."""
    runs = sweep.sample() if sweep.search == "optuna" else sweep.runs
    seconds: dict[tuple[str, str], float] = {}
    total = 0.0
    for run in runs:
        key = run.game, run.label
        name = out / run.name
        if key not in seconds:
            seconds[key] = _seconds_of_a_step(run.config)
        total += seconds[key] * run.config.outer_steps
        print(f"{name}: {counted(run.config.seeds, 'seed')}, {run.config.outer_steps} outer steps")
    parallel = total / min(workers, len(runs))
    print(
        f"{counted(len(runs), 'run')}, about {_duration(total)} of computation, {_duration(parallel)} with "
        f"{counted(workers, 'worker')}: estimated from {TIMED_STEPS} outer steps of each method "
        "on each game, without compilation and evaluation."
    )


def _seconds_of_a_step(config: RunConfig) -> float:
    learner = replace(config).build_learner()
    state, _ = learner.update(learner.init(config.seed))
    began = time.perf_counter()
    for _ in range(TIMED_STEPS):
        state, _ = learner.update(state)
    return (time.perf_counter() - began) / TIMED_STEPS


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def parse_sweep(arguments: list[str], file: ConfigFile | None = None) -> SweepSettings:
    """Read the options of the command line and, below them, of a file."""
    require_once(arguments, "games", "methods", "set", "sweep", "track")
    default = SweepSettings()
    if file is not None:
        default = _from_file(file)
    return read_settings(
        SweepSettings,
        arguments,
        prog="bilevel sweep",
        description=(
            "Train methods on games with a grid, or random draws, of values of settings: a run folder for "
            "each combination, trained by several processes; a table and files.\n\n"
            "--out FOLDER is the folder of the sweep (default: runs/sweep). The same command resumes it: "
            "finished runs are kept, interrupted ones continue from their last checkpoints, failed ones are "
            "tried again. --config FILE.toml reads options from a file, in which [set] and [sweep] are "
            "tables of settings; those of the command line come on top. --load FILE.py runs your own file, "
            "which registers a game, a method or an estimator. docs/how-to/sweeps.md has examples."
        ),
        default=default,
    )


def _from_file(file: ConfigFile) -> SweepSettings:
    """Default settings from a file: its options, with one game or method as a list of one."""
    singular = {"game": "games", "method": "methods"}
    options = {singular.get(name, name): value for name, value in file.options.items()}
    hints = get_type_hints(SweepSettings, include_extras=True)
    known = {name for name in SweepSettings.__dataclass_fields__ if name not in ("set", "sweep")}
    with file.named_in_errors():
        for name in options:
            require_known_option(name, known)
        values: dict[str, Any] = {
            name: tuple(value if isinstance(value, list) else [value])
            if name in ("games", "methods", "track")
            else value
            for name, value in options.items()
        }
        for name, value in values.items():
            hint = hints[name]
            require(fits(value, hint), f"{name} must be of the type {spelled(hint)}, but it is {value!r}.")
        return SweepSettings(**values)


def require_known_option(name: str, known: set[str]) -> None:
    """Raise ValueError, naming the nearest, if a file has an option that the command lacks."""
    require_name(name.replace("_", "-"), [each.replace("_", "-") for each in sorted(known)], "option")


def _split(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    require(bool(equals and name), f"{option} takes [LABEL.]SETTING=VALUE, such as {example}, not {text!r}.")
    return _underscored(name), value


def _parameters(words: Sequence[str], option: str, example: str) -> dict[str, Any]:
    """Parse parameters of a launcher, NAME=VALUE."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        require(bool(equals and name), f"{option} takes PARAMETER=VALUE, such as {example}, not {word!r}.")
        found[name] = read_literal(value)
    return found


def _underscored(name: str) -> str:
    """Settings are written with hyphens or underscores, labels as they are."""
    label, dot, setting = name.partition(".")
    return f"{label}{dot}{setting.replace('-', '_')}" if dot else name.replace("-", "_")
