"""`bilevel train`: one run, new or resumed."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys

from rich.console import Console

from bilevel import report
from bilevel.cli._method_settings import read_with_method
from bilevel.cli._progress import RunProgress, resumable
from bilevel.cli._settings import load_file, split_leading
from bilevel.experiments import (
    Run,
    RunConfig,
    RunFolder,
    create_run,
    default_config,
    extend_run,
    load_run,
    new_folder,
    train,
)
from bilevel.methods import hints_of
from games.core import require

DEFAULT_GAME, DEFAULT_METHOD = "escape-room", "tos"


def train_command(arguments: list[str]) -> None:
    """Train as the arguments say."""
    chosen, rest = split_leading("bilevel train", arguments, paths=("out", "resume"))
    for path in chosen.load:
        load_file(path)
    if chosen.resume is not None:
        steps, others = _split_steps(rest)
        require(
            not others and chosen.game is None and chosen.method is None and chosen.out is None,
            "--resume takes no other option but --load and --outer-steps: the run goes on with the settings "
            "in its own config.json.",
        )
        folder = RunFolder(chosen.resume)
        if steps is not None:
            extend_run(folder, steps)
    else:
        game, method = chosen.game or DEFAULT_GAME, chosen.method or DEFAULT_METHOD
        config = parse(default_config(game, method), rest)
        folder = create_run(config, chosen.out or new_folder(config))
    again = ["bilevel", "train", *(f"--load={path}" for path in chosen.load), "--resume", str(folder.path)]
    with resumable(f"Continue with: {shlex.join(again)}", folder):
        show(folder, follow(folder))


def _split_steps(arguments: list[str]) -> tuple[int | None, list[str]]:
    """Split off --outer-steps; None where it is absent."""
    parser = argparse.ArgumentParser(prog="bilevel train --resume", add_help=False, allow_abbrev=False)
    parser.add_argument("--outer-steps", "--outer_steps", type=int)
    chosen, others = parser.parse_known_args(arguments)
    return chosen.outer_steps, others


def follow(folder: RunFolder, place: str = "") -> Run:
    """Train and show how it goes; of a finished run only say that it is.

    Args:
        folder: of the run.
        place: among several, in words.
    """
    if folder.finished:
        results = load_run(folder)
        print(f"{folder.path} is finished already; nothing is trained again.", file=sys.stderr)
        return results
    with RunProgress(folder, place) as progress:
        return train(folder, listener=progress.show)


def show(folder: RunFolder, results: Run) -> None:
    """Write the figures, print the table and where everything is."""
    written = report.write_run_figures(folder, results)
    Console(highlight=False).print(report.results_table([results]))
    print(f"Figures: {', '.join(str(path) for path in written)}")
    print(f"Everything else: {folder.path}")


def parse(default: RunConfig, arguments: list[str]) -> RunConfig:
    """Read the settings of this game and this method from the command line.

    Args:
        default: the game and method, with their presets.
        arguments: what `split_leading` leaves.

    Raises:
        ValueError: a setting is out of range (one sentence).
        SystemExit: help was asked for (code 0), or an option is unknown or malformed (code 2; says which).
    """
    beside = ("game_name", "method_name", "method")
    others = {name: getattr(default, name) for name in hints_of(RunConfig) if name not in beside}
    method, changed = read_with_method(
        "bilevel train",
        arguments,
        default.method,
        others,
        kind=RunConfig,
        description=(
            f"Train {default.method_name} on {default.game_name}.\n\n"
            "--game NAME and --method NAME choose others (bilevel games, bilevel methods); the options below "
            "are those of this pair. --out FOLDER says where the run goes (default: a new folder in runs/); "
            "--resume FOLDER continues a run that was stopped, or, with --outer-steps N, any run until it "
            "has N in all. --load FILE.py runs a file of yours that adds a game, a method or an estimator of "
            "the hypergradient."
        ),
    )
    return dataclasses.replace(default, method=method, **changed)
