"""`bilevel compare`: methods on one game under the same conditions, in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from bilevel import report
from bilevel.cli._method_settings import labeled_methods, methods_with_settings
from bilevel.cli._progress import resumable
from bilevel.cli._settings import read_settings, require_once, split_leading
from bilevel.cli._train import follow
from bilevel.experiments import (
    USUAL,
    Compared,
    Comparison,
    DtypeName,
    RunConfig,
    XAxis,
    compare_runs,
    load_comparison,
    preset,
    require_environment_steps,
    require_seeds,
    sizes,
)
from games.core import Game, require

DEFAULT_GAME = "escape-room"


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """A comparison of methods on a game."""

    game_name: Annotated[str, tyro.conf.arg(name="game", metavar="NAME")] = DEFAULT_GAME
    """Name of the game; `bilevel games` lists them."""
    game: Game
    """The game's settings."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL=]NAME ...")] = USUAL
    """Names of 2 methods or more; the first is the baseline of the others. `bilevel methods` lists them;
    labels allow a method twice."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL.]SETTING=VALUE ...")] = ()
    """Settings of methods, as tos.own-share=0.8; without a label, of all methods. `bilevel train --method
    NAME --help` lists them. Values of a list are separated by commas."""
    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FOLDER ...")] = ()
    """Finished runs of one game to compare instead of training; files are written only with --out."""
    seeds: int = RunConfig.seeds
    """Number of independent repetitions of every method, in one batch, 3 or more: seed, seed + 1, ..."""
    seed: int = RunConfig.seed
    """First random seed, a whole number from 0; results of a seed do not depend on the others,
    bit-for-bit."""
    outer_steps: int = RunConfig.outer_steps
    """Number of outer steps of every run, 1 or more."""
    checkpoint_every: int = RunConfig.checkpoint_every
    """Outer steps between checkpoints, 1 or more."""
    evaluation_episodes: int = RunConfig.evaluation_episodes
    """Fresh episodes per seed for evaluation of the final policies, 2 or more; unused if values are exact."""
    dtype: DtypeName = RunConfig.dtype
    """Floating type; auto: float64 for exact values, float32 for sampled episodes."""
    device: str = RunConfig.device
    """Torch device with random generators, for instance cpu or cuda:0."""
    threads: int = RunConfig.threads
    """CPU threads, from 1 to 1024."""
    x_axis: XAxis = "outer-steps"
    """Unit of the x axis of curves: outer steps, or environment steps per seed, all episodes of training
    included."""

    def __post_init__(self) -> None:
        require_seeds(self.seeds)

    @property
    def comparison(self) -> Comparison:
        """The runs, with the settings of each method; ValueError if these or `Comparison` refuse one."""
        own = ("methods", "set", "runs", "x_axis")
        shared = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in own}
        names = labeled_methods(self.methods)
        methods = methods_with_settings(self.game_name, names, self.set)
        return Comparison(
            {
                label: RunConfig(method_name=names[label], method=method, **shared)
                for label, method in methods.items()
            }
        )


def compare_command(arguments: list[str]) -> None:
    chosen, rest = split_leading("bilevel compare", arguments, names=("game",))
    settings = parse_compare(chosen.game or DEFAULT_GAME, rest)
    if settings.runs:
        alone = replace(settings, runs=(), x_axis="outer-steps") == parse_compare(DEFAULT_GAME, [])
        require(
            alone and chosen.game is None,
            "--runs takes no other option but --out, --x-axis and --load: finished runs have their own "
            "settings.",
        )
        rows = compare_runs(load_comparison(settings.runs))
        _require_x_axis(settings.x_axis, [row.results.config for row in rows])
        with resumable("Run the same command again."):
            _show(rows, chosen.out, settings.x_axis)
        return
    comparison = settings.comparison
    _require_x_axis(settings.x_axis, comparison.configs.values())
    out = chosen.out or Path("runs/compare") / settings.game_name
    folders = comparison.folders(out)
    with resumable("Run the same command again: what is done is kept."):
        results = {
            label: follow(folder, f"run {place} of {len(folders)}")
            for place, (label, folder) in enumerate(folders.items(), 1)
        }
        _show(compare_runs(results), out, settings.x_axis)


def _require_x_axis(x_axis: XAxis, configs: Iterable[RunConfig]) -> None:
    """Raise ValueError if curves by environment steps are wanted of a run that takes none."""
    if x_axis == "environment-steps":
        for config in configs:
            require_environment_steps(config)


def _show(rows: Sequence[Compared], out: Path | None, x_axis: XAxis) -> None:
    """Print the table; write figures and files into a folder, if there is one."""
    theory = report.theory_of(rows[0].results.config.game)
    written: list[Path] = []
    if out is not None:
        written = report.write_comparison_figures(rows, out, theory, x_axis=x_axis)
        written += report.write_comparison_files(rows, out, theory)
    Console(highlight=False).print(report.comparison_table(rows, theory))
    if out is not None:
        print(f"\nWritten to {out}: {', '.join(path.name for path in written)}")


def parse_compare(game_name: str, arguments: list[str]) -> CompareSettings:
    require_once(arguments, "methods", "set", "runs")
    game, _ = preset(game_name, USUAL[0])
    return read_settings(
        CompareSettings,
        arguments,
        prog="bilevel compare",
        description=(
            f"Compare methods on {game_name}: train those not trained yet, then print a table, and write "
            "figures and files.\n\n"
            "--game NAME chooses another game; the options below are those of this one. --out FOLDER is "
            "the folder of runs and files (default: runs/compare/GAME): finished runs in it with the "
            "same settings are reused, interrupted ones are resumed. --load FILE.py runs a file of "
            "yours that adds a game, a method or an estimator. docs/how-to/compare-methods.md says how to "
            "read the table."
        ),
        default=CompareSettings(game_name=game_name, game=game, **sizes(game)),
    )
