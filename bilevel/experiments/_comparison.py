"""Comparisons: methods on one game under the same conditions, in one resumable folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bilevel.experiments._config import RunConfig, configured, load_config, named_config
from bilevel.experiments._measures import Compared, compare_runs
from bilevel.experiments._presets import preset
from bilevel.experiments._results import Run, group_joinable, join_runs, load_run, require_pandas
from bilevel.experiments._resumable import list_differences
from bilevel.experiments._run import Listener, train
from bilevel.experiments._run_folder import RunFolder, config_differences, create_run
from bilevel.experiments._statistics import require_seeds
from bilevel.methods import METHODS, Method, Placement
from games.core import Game, require

if TYPE_CHECKING:
    from pandas import DataFrame

USUAL = ("selfish", "prosocial", "fixed", "tos")
"""The default methods of a comparison."""
CONDITIONS = ("game_name", "game", "seeds", "evaluation_episodes")
"""Settings that compared runs share; `game` includes the horizon."""
LABEL = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""Labels are also folder names and prefixes of settings; lower case, as some file systems, and marl-eval,
ignore case."""


@dataclass(frozen=True)
class Comparison:
    """A run for each method, all under the same conditions.

    Raises:
        ValueError: there is one method only, a label has another form, there are too few seeds for an
            interval, the runs differ in the game, the seeds or the evaluation, or a method does not apply to
            the game (names those that do).

    >>> from pathlib import Path
    >>> from bilevel.experiments import default_config
    >>> comparison = Comparison({name: default_config("chicken", name) for name in ("selfish", "tos")})
    >>> [folder.path.as_posix() for folder in comparison.folders(Path("runs")).values()]
    ['runs/selfish', 'runs/tos']
    """

    configs: Mapping[str, RunConfig]
    """Label -> run; the first is the baseline of the others."""

    def __post_init__(self) -> None:
        count = len(self.configs)
        require(count >= 2, f"A comparison needs 2 methods or more, not {count}.")
        for label in self.configs:
            require(
                LABEL.fullmatch(label) is not None,
                f"A method is called by small letters, digits, - and _, not {label!r}: choose a label, as "
                "in mine=NAME.",
            )
        require_comparable(self.configs)
        for label, config in self.configs.items():
            _require_applies(label, config)

    def folders(self, path: Path) -> dict[str, RunFolder]:
        """Find or create a folder for each run within one folder; all or none.

        Raises:
            ValueError: as `find_or_create`.
        """
        for label, config in self.configs.items():
            _require_same(RunFolder(path / label), config)
        return {label: find_or_create(path / label, config) for label, config in self.configs.items()}


@dataclass(frozen=True, repr=False)
class ComparedRuns:
    """Methods compared on one game: their runs, and statistics over seeds.

    >>> from bilevel.experiments import compare
    >>> compared = compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs")
    >>> list(compared.runs), compared.runs["tos"].final["welfare"].shape
    (['selfish', 'tos'], (3,))
    """

    rows: tuple[Compared, ...]
    """One per method; the first is the baseline of the others."""
    path: Path | None = None
    """Folder of all runs."""

    @property
    def runs(self) -> dict[str, Run]:
        """Label -> run."""
        return {row.label: row.results for row in self.rows}

    def to_pandas(self) -> DataFrame:
        """Measures as a data frame, a row per method and seed; NaN where a measure is not defined.

        Raises:
            ValueError: pandas is not installed.
        """
        require_pandas()
        from pandas import DataFrame, concat  # noqa: PLC0415

        seed = self.rows[0].results.config.seed
        parts = [DataFrame({"method": row.label} | row.measures) for row in self.rows]
        for part in parts:
            part.insert(1, "seed", range(seed, seed + len(part)))
        return concat(parts, ignore_index=True)

    def __repr__(self) -> str:
        game = self.rows[0].results.config.game_name
        welfare = (
            f"{row.label} {interval.estimate:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
            for row in self.rows
            for interval in (row.intervals["welfare"],)
        )
        return f"ComparedRuns({game}, welfare with 95 % intervals: {'; '.join(welfare)})"


def compare(
    game: str | Game,
    methods: Sequence[str] | Mapping[str, str | Method] = USUAL,
    *,
    out: str | Path | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> ComparedRuns:
    """Train methods on one game under the same conditions, and compare them over seeds.

    Args:
        game: a name, or a game of the catalogue with its settings changed.
        methods: names, or label -> name or method; the first is the baseline of the others.
        out: folder of all runs; finished runs in it with the same settings are not trained again. None: a
            folder in runs/compare by the name of the game.
        listener: called after every outer step of every run.
        settings: of all runs, as for `train`; of one method with its label as prefix, as
            `**{"tos.outer.learning_rate": 0.05}`.

    Returns:
        The runs, their measures and intervals, method by method.

    Raises:
        ValueError: as `train`, or there is one method only, or there are too few seeds for an interval.

    >>> compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs")
    ComparedRuns(chicken, welfare with 95 % intervals: selfish -1.08 [-1.563, -0.8239]; tos -0.659 [...])
    """
    labeled = methods if isinstance(methods, Mapping) else {name: name for name in methods}
    shared = {name: value for name, value in settings.items() if name.partition(".")[0] not in labeled}
    configs = {}
    for label, method in labeled.items():
        prefix = f"{label}."
        own = {name.removeprefix(prefix): settings[name] for name in settings if name.startswith(prefix)}
        own = {name if "." in name else f"method.{name}": value for name, value in own.items()}
        configs[label] = configured(named_config(game, method), shared | own)
    comparison = Comparison(configs)
    path = Path("runs", "compare", next(iter(configs.values())).game_name) if out is None else Path(out)
    runs = {label: train(folder, listener=listener) for label, folder in comparison.folders(path).items()}
    return ComparedRuns(tuple(compare_runs(runs)), path)


def find_or_create(path: Path, config: RunConfig) -> RunFolder:
    """Create a run's folder, or find the one that an earlier, perhaps interrupted, command left.

    Args:
        path: of the folder.
        config: the configuration, which a folder that exists must have.

    Returns:
        The folder, from which `train` starts or resumes the run.

    Raises:
        ValueError: as `create_run`; or the folder has no run, or one with other settings (names them).

    >>> from pathlib import Path
    >>> from bilevel.experiments import default_config
    >>> config = default_config("chicken", "tos")
    >>> find_or_create(Path("run"), config) == find_or_create(Path("run"), config)
    True
    """
    folder = RunFolder(path)
    if folder.is_new:
        return create_run(config, path)
    _require_same(folder, config)
    return folder


def _require_same(folder: RunFolder, config: RunConfig) -> None:
    """Raise ValueError, naming the settings, if the folder has a run with others."""
    if not folder.is_new:
        folder.require_same(load_config(folder.config).plain, config.plain)


def require_comparable(configs: Mapping[str, RunConfig]) -> None:
    """Require runs, label -> configuration, to have the same game, seeds and evaluation, and enough seeds.

    Raises:
        ValueError: they differ in these (names the settings), or there are fewer than 3 seeds.

    >>> import dataclasses
    >>> from bilevel.experiments import default_config
    >>> config = default_config("chicken", "tos")
    >>> require_comparable({"first": config, "second": dataclasses.replace(config, seeds=8)})
    Traceback (most recent call last):
    ValueError: second cannot be compared with first: they differ in seeds (8, not 32).
    """
    (first, config), *others = configs.items()
    for label, other in others:
        differing = config_differences(other, config)
        refused = {name: differing[name] for name in differing if name.partition(".")[0] in CONDITIONS}
        require(
            not refused,
            f"{label} cannot be compared with {first}: they differ in "
            f"{list_differences(refused, '({0}, not {1})')}.",
        )
    require_seeds(config.seeds)


def load_comparison(paths: Sequence[Path]) -> dict[str, Run]:
    """Load finished runs of one game from their folders, and join those that differ in seeds alone.

    Args:
        paths: folders of the runs, the baseline first.

    Returns:
        Label -> run. Labels are the methods' names, or the folders' where runs share a method.

    Raises:
        ValueError: there is one run only, or one twice, a folder has no finished run, or the runs cannot be
            compared (with the reason).

    >>> from bilevel.experiments import train
    >>> paths = [train("chicken", name, seeds=3, outer_steps=2, out=name).path for name in ("selfish", "tos")]
    >>> list(load_comparison(paths))
    ['selfish', 'tos']
    """
    resolved = [path.resolve() for path in paths]
    require(len(paths) >= 2, f"A comparison needs 2 runs or more, not {len(paths)}.")
    for path, absolute in zip(paths, resolved, strict=True):
        require(resolved.count(absolute) == 1, f"{path} is named twice: name every run once.")
    parts = [load_run(path) for path in paths]
    groups = group_joinable(parts)
    runs = [join_runs([parts[index] for index in group]) for group in groups]
    require(
        len(runs) >= 2, "A comparison needs 2 runs or more, and these are one: they differ in seeds alone."
    )
    labels: list[str] = [run.config.method_name for run in runs]
    for names in ([path.name for path in resolved], [str(path) for path in paths]):
        labels = labels if len(set(labels)) == len(labels) else [names[group[0]] for group in groups]
    by_label = dict(zip(labels, runs, strict=True))
    require_comparable({label: run.config for label, run in by_label.items()})
    return by_label


def applicable_methods(game_name: str, game: Game) -> list[str]:
    def applies(name: str) -> bool:
        try:
            preset(game_name, name)[1].build(game, Placement())
        except ValueError:
            return False
        return True

    return list(filter(applies, METHODS))


def _require_applies(label: str, config: RunConfig) -> None:
    try:
        config.require_applicable()
    except ValueError as error:
        names = applicable_methods(config.game_name, config.game)
        others = [name for name in names if name != config.method_name]
        raise ValueError(
            f"{label} does not apply to {config.game_name}: {error} Other methods that apply: "
            f"{', '.join(others) or 'none'}."
        ) from error
