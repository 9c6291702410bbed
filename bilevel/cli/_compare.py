"""`bilevel compare`: methods on one game under the same conditions, in one table."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from bilevel import report
from bilevel.cli._config_file import read_with_config_file
from bilevel.cli._method_settings import labeled_configs, labeled_methods, names_of_settings
from bilevel.cli._progress import TrialProgress, resumable
from bilevel.cli._settings import graph_rules, read_settings, require_once, split_leading
from bilevel.cli._train import follow
from bilevel.core import counted
from bilevel.experiments import (
    TRIAL_SEEDS,
    USUAL,
    Compared,
    Comparison,
    DtypeName,
    RunConfig,
    Search,
    SearchTrial,
    Tuned,
    XAxis,
    compare_runs,
    load_comparison,
    preset,
    require_environment_steps,
    require_seeds,
    search_table,
    sizes,
    within_environment_steps,
)
from bilevel.trackers import require_trackers
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
    """Names of two or more methods, of which the first is the baseline; `bilevel methods` lists them. With
    labels, a method may appear more than once."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL.]SETTING=VALUE ...")] = ()
    """Settings of methods, such as tos.own-share=0.8; without a label, of all methods. `bilevel train
    --method NAME --help` lists them. Separate the values of a list by commas."""
    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FOLDER ...")] = ()
    """Folders of finished runs of one game, to compare instead of training; files are written only with
    --out."""
    seeds: int = RunConfig.seeds
    """Number of independent repetitions of every method, 3 or more, with seeds seed, seed + 1, ..."""
    seed: int = RunConfig.seed
    """First random seed, a nonnegative integer; results of a seed are bit-for-bit the same in any batch."""
    outer_steps: int = RunConfig.outer_steps
    """Number of outer steps of every run, 1 or more."""
    environment_steps: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None
    """Environment steps of training per seed, the same for every method, instead of a number of outer steps:
    each method takes as many outer steps as they allow. All episodes of training count, each to the game's
    horizon, also those for outer losses and metrics. Methods that learn from exact values keep
    --outer-steps."""
    tune: Annotated[int | None, tyro.conf.arg(metavar="BUDGET")] = None
    """Number of trials per method, 1 or more, of a search over the method's settings before the comparison;
    settings of --set are not searched. The first trial has the default settings; the others draw from the
    ranges above."""
    tune_seeds: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = TRIAL_SEEDS
    """Number of seeds of each trial, 1 or more: seed + 1000000, seed + 1000001, ..., which differ from those
    of the comparison."""
    checkpoint_every: int = RunConfig.checkpoint_every
    """Outer steps between checkpoints, 1 or more."""
    evaluation_episodes: int = RunConfig.evaluation_episodes
    """Fresh episodes per seed to evaluate the final policies on, 2 or more; unused if values are exact."""
    dtype: DtypeName = RunConfig.dtype
    """Floating-point type; auto: float64 for exact values, float32 for sampled episodes."""
    device: str = RunConfig.device
    """Torch device, for instance cpu or cuda:0; it must support random generators."""
    threads: int = RunConfig.threads
    """CPU threads, from 1 to 1024."""
    track: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Trackers that every run reports to: tensorboard, wandb, mlflow (docs/how-to/trackers.md)."""
    x_axis: Annotated[XAxis | None, tyro.conf.arg(metavar="{outer-steps,environment-steps}")] = None
    """Unit of the x axis of curves: outer steps, or environment steps of training per seed. None: environment
    steps if --environment-steps applies to all methods, else outer steps."""

    def __post_init__(self) -> None:
        require_seeds(self.seeds)
        require(
            self.tune is None or self.tune >= 1,
            f"--tune takes a number of trials, 1 or more, not {self.tune}.",
        )
        require(
            self.tune is not None or self.tune_seeds == TRIAL_SEEDS,
            "--tune-seeds are the seeds of a search: give its trials, as in --tune 16.",
        )

    @property
    def comparison(self) -> Comparison:
        """The runs, with the settings of each method; ValueError if these or `Comparison` refuse one."""
        configs = labeled_configs(self, self.methods, self.set)
        comparison = Comparison(configs)
        if self.environment_steps is None:
            return comparison
        require(
            self.outer_steps == RunConfig.outer_steps or any(config.exact for config in configs.values()),
            "--environment-steps sets the outer steps of each method, and none here learns from exact "
            "values: leave out --outer-steps.",
        )
        return Comparison(
            {
                label: within_environment_steps(config, self.environment_steps)
                for label, config in configs.items()
            }
        )

    def search(self, comparison: Comparison) -> Search | None:
        """Build the search of the methods' settings; None without --tune."""
        if self.tune is None:
            return None
        pinned = names_of_settings(self.game_name, labeled_methods(self.methods), self.set)
        return Search(comparison, self.tune, self.tune_seeds, pinned)


def compare_command(arguments: list[str]) -> None:
    read_with_config_file("compare", arguments, _read)()


def _read(arguments: list[str]) -> Callable[[], None]:
    """Read the options, and return what trains and compares the methods."""
    chosen, rest = split_leading("bilevel compare", arguments, names=("game",))
    settings = parse_compare(chosen.game or DEFAULT_GAME, rest)
    if settings.runs:
        alone = replace(settings, runs=(), x_axis=None) == parse_compare(DEFAULT_GAME, [])
        require(
            alone and chosen.game is None,
            "--runs takes no other option but --out, --x-axis and --load: finished runs have their own "
            "settings.",
        )
        return functools.partial(_compare_runs, settings, chosen.out)
    comparison = settings.comparison
    exact = [label for label, config in comparison.configs.items() if config.exact]
    x_axis = settings.x_axis or _default_x_axis(settings.environment_steps, exact)
    _require_x_axis(x_axis, comparison.configs.values())
    search = settings.search(comparison)
    out = chosen.out or Path("runs/compare") / settings.game_name
    notes = _environment_notes(settings.environment_steps, exact, len(comparison.configs))
    require_trackers(settings.track)
    return functools.partial(_train, comparison, search, out, x_axis, notes, settings.track)


def _compare_runs(settings: CompareSettings, out: Path | None) -> None:
    """Compare finished runs."""
    rows = compare_runs(load_comparison(settings.runs))
    x_axis = settings.x_axis or "outer-steps"
    _require_x_axis(x_axis, [row.results.config for row in rows])
    with resumable("Run the same command again."):
        _show(rows, out, x_axis)


def _train(
    comparison: Comparison,
    search: Search | None,
    out: Path,
    x_axis: XAxis,
    notes: Sequence[str],
    trackers: Sequence[str],
) -> None:
    """Search settings, train the methods, and compare them."""
    with resumable("Run the same command again: what is done is kept."):
        tuned = None if search is None else _tune(search, out)
        folders = comparison.folders(out) if tuned is None else tuned.folders(out)
        results = {
            label: follow(folder, f"run {place} of {len(folders)}", trackers)
            for place, (label, folder) in enumerate(folders.items(), 1)
        }
        _show(compare_runs(results), out, x_axis, tuned, notes)


def _tune(search: Search, out: Path) -> Tuned:
    """Run the missing trials of a search, and show the progress."""
    search.require_same_settings(out)
    trials = list(itertools.chain(*search.trials.values()))
    done = sum(trial.welfare(out) is not None for trial in trials)
    there = f" ({done} of {len(trials)} trials are there already)" if done else ""
    each = f"{counted(search.budget, 'trial')} of {counted(search.seeds, 'seed')} each"
    line = f"Search of settings: {', '.join(search.trials)}; {each}, in {out / 'tuning'}{there}"
    with TrialProgress(line, len(trials), done) as progress:

        def show(trial: SearchTrial, part: float) -> None:
            progress.show(f"{trial.label}, {trial.name}", part, trial.config.outer_steps)

        return search.run(out, show)


def _default_x_axis(environment_steps: int | None, exact: Sequence[str]) -> XAxis:
    return "outer-steps" if environment_steps is None or exact else "environment-steps"


def _require_x_axis(x_axis: XAxis, configs: Iterable[RunConfig]) -> None:
    """Raise ValueError if curves by environment steps are wanted of a run that takes none."""
    if x_axis == "environment-steps":
        for config in configs:
            require_environment_steps(config)


def _environment_notes(environment_steps: int | None, exact: Sequence[str], methods: int) -> list[str]:
    """Note on equal environment steps, and on the methods that take none."""
    if environment_steps is None:
        return []
    equal = (
        f"Outer steps: as many as {environment_steps} environment steps of training per seed allow. Every "
        "episode counts to the horizon, also for outer losses and metrics; table.csv has the environment "
        "steps actually taken, until episodes ended, as a mean over seeds."
    )
    which = "All methods" if len(exact) == methods else ", ".join(exact)
    kept = f"{which}: outer steps from --outer-steps, because exact values take no environment steps."
    return ([equal] if len(exact) < methods else []) + ([kept] if exact else [])


def _show(
    rows: Sequence[Compared],
    out: Path | None,
    x_axis: XAxis,
    tuned: Tuned | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print the table; write figures and files into a folder, if there is one."""
    theory = report.theory_of(rows[0].results.config.game)
    written: list[Path] = []
    if out is not None:
        written = report.write_comparison_figures(rows, out, theory, x_axis=x_axis)
        written += report.write_comparison_files(rows, out, theory)
        written += report.write_tuning_files(tuned, out)
    console = Console(highlight=False)
    console.print(report.comparison_table(rows, theory, notes))
    if tuned is not None:
        console.print("", report.tuning_table(tuned).to_rich())
    if out is not None:
        print(f"\nWritten to {out}: {', '.join(path.name for path in written)}")


def parse_compare(game_name: str, arguments: list[str]) -> CompareSettings:
    require_once(arguments, "methods", "set", "runs", "track")
    game, _ = preset(game_name, USUAL[0])
    return read_settings(
        CompareSettings,
        arguments,
        prog="bilevel compare",
        description=(
            f"Compare methods on {game_name}: train them, print a table, and write figures and files.\n\n"
            f"--game NAME chooses another game; the options below are those of {game_name}. --out FOLDER is "
            "the folder of runs and files (default: runs/compare/GAME): finished runs in it with the "
            "same settings are reused, interrupted ones are resumed. --load FILE.py runs your own "
            "file, which registers a game, a method or an estimator. --config FILE.toml reads options from "
            "a file (docs/how-to/sweeps.md); those of the command line come on top. "
            "docs/how-to/compare-methods.md explains the table.\n\n"
            f"Ranges of the settings that --tune searches, by method:\n{_ranges()}"
        ),
        default=CompareSettings(game_name=game_name, game=game, **sizes(game)),
        rules=graph_rules(),
    )


def _ranges() -> str:
    return "\n".join(f"  {method}: {setting}, {within}" for method, setting, within in search_table())
