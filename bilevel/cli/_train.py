"""`bilevel train`: one run, new or resumed."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Sequence

from rich.console import Console

from bilevel import report
from bilevel.cli._config_file import read_with_config_file
from bilevel.cli._method_settings import read_with_method
from bilevel.cli._output import tell
from bilevel.cli._progress import RunProgress, resumable
from bilevel.cli._settings import require_once, split_leading
from bilevel.experiments import (
    Run,
    RunConfig,
    RunFolder,
    XAxis,
    create_run,
    default_config,
    extend_run,
    load_run,
    new_folder,
    require_environment_steps,
    train,
)
from bilevel.methods import Metrics, hints_of
from bilevel.trackers import request_tracking, require_trackers, tracking
from games.core import require

DEFAULT_GAME, DEFAULT_METHOD = "escape-room", "tos"


def train_command(arguments: list[str]) -> None:
    read_with_config_file("train", arguments, _read)()


def _read(arguments: list[str]) -> Callable[[], None]:
    """Read the options, and return what trains the run."""
    chosen, rest = split_leading(
        "bilevel train", arguments, names=("game", "method", "x-axis"), paths=("out", "resume")
    )
    trackers, rest = split_trackers(rest)
    x_axis = read_x_axis(chosen.x_axis)
    if chosen.resume is not None:
        parser = argparse.ArgumentParser(prog="bilevel train --resume", add_help=False, allow_abbrev=False)
        parser.add_argument("--outer-steps", "--outer_steps", type=int)
        resumed, others = parser.parse_known_args(rest)
        require(
            not others and chosen.game is None and chosen.method is None and chosen.out is None,
            "--resume takes no other option but --load, --outer-steps, --x-axis and --track: the run goes on "
            "with the settings in its own config.json.",
        )
        folder = RunFolder(chosen.resume)
        if x_axis == "environment-steps":
            require_environment_steps(folder.load_config())
        if resumed.outer_steps is not None:
            extend_run(folder, resumed.outer_steps)
    else:
        game, method = chosen.game or DEFAULT_GAME, chosen.method or DEFAULT_METHOD
        config = parse(default_config(game, method), rest)
        if x_axis == "environment-steps":
            require_environment_steps(config)
        folder = create_run(config, chosen.out or new_folder(config))
    again = ["bilevel", "train", *(f"--load={path}" for path in chosen.load), "--resume", str(folder.path)]

    def run() -> None:
        with resumable(f"Continue with: {shlex.join(again)}", folder):
            show(folder, follow(folder, trackers=trackers), x_axis)

    return run


def split_trackers(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split --track NAME ... off, and require the trackers to be installed."""
    require_once(arguments, "track")
    parser = argparse.ArgumentParser(prog="bilevel train", add_help=False, allow_abbrev=False)
    parser.add_argument("--track", nargs="+", default=[])
    chosen, rest = parser.parse_known_args(arguments)
    require_trackers(chosen.track)
    return chosen.track, rest


def follow(folder: RunFolder, place: str = "", trackers: Sequence[str] = ()) -> Run:
    """Train, track and show the progress, with the run's position among several.

    A finished run is only loaded.
    """
    if folder.finished:
        results = load_run(folder)
        tell(f"{folder.path} is finished already; nothing is trained again.")
        return results
    request_tracking(folder, trackers)
    with RunProgress(folder, place) as progress, tracking(folder) as tracked:

        def listen(done: int, metrics: Metrics) -> None:
            progress.show(done, metrics)
            tracked.log(done, metrics)

        run = train(folder, listener=listen)
        tracked.finish(run)
    return run


def read_x_axis(text: str | None) -> XAxis:
    """Read the unit of the x axis of curves; None: outer steps."""
    if text is None or text == "outer-steps":
        return "outer-steps"
    require(text == "environment-steps", f"--x-axis is outer-steps or environment-steps, not {text!r}.")
    return "environment-steps"


def show(folder: RunFolder, results: Run, x_axis: XAxis = "outer-steps") -> None:
    written = report.write_run_figures(folder, results, x_axis=x_axis)
    Console(highlight=False).print(report.results_table([results]))
    print(f"Figures: {', '.join(str(path) for path in written)}")
    print(f"Everything else: {folder.path}")


def parse(default: RunConfig, arguments: list[str]) -> RunConfig:
    """Read settings that differ from the defaults; ValueError and SystemExit as `read_with_method`."""
    beside = ("game_name", "method_name", "method")
    others = {name: getattr(default, name) for name in hints_of(RunConfig) if name not in beside}
    method, changed = read_with_method(
        "bilevel train",
        arguments,
        default.method,
        others,
        kind=RunConfig,
        description=(
            f"Train {default.method_name} on {default.game_name}.\n\n--game NAME and --method NAME choose "
            "another game and method (bilevel games, bilevel methods), with other options than those below. "
            "--out FOLDER is the folder of the run (default: a new one in runs/). --resume FOLDER resumes "
            "an interrupted run; with --outer-steps N, it extends a run to N outer steps in total. --x-axis "
            "environment-steps plots curves over environment steps instead of outer steps. --track NAME ... "
            "reports it to trackers: tensorboard, wandb, mlflow (docs/how-to/trackers.md). --load FILE.py "
            "runs your own file, which registers a game, a method or an estimator of the hypergradient. "
            "--config FILE.toml reads options from a file (docs/how-to/sweeps.md); those of the command line "
            "come on top."
        ),
    )
    return dataclasses.replace(default, method=method, **changed)
