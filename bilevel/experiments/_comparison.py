"""Comparisons: methods on one game under the same conditions, in one resumable folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bilevel.experiments._config import RunConfig, load_config
from bilevel.experiments._presets import preset
from bilevel.experiments._results import Run, group_joinable, join_runs, load_run
from bilevel.experiments._resumable import list_differences
from bilevel.experiments._run_folder import RunFolder, config_differences, create_run
from bilevel.experiments._statistics import require_seeds
from bilevel.methods import METHODS, Placement
from games.core import Game, require

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
            require_label(label)
        require_comparable(self.configs)
        for label, config in self.configs.items():
            _require_applies(label, config)

    def folders(self, path: Path, names: Mapping[str, str] | None = None) -> dict[str, RunFolder]:
        """Find or create a folder for each run within one folder; all or none.

        Args:
            path: the folder.
            names: label -> name of its folder; None: the labels.

        Raises:
            ValueError: as for `find_or_create`.
        """
        paths = {label: path / (label if names is None else names[label]) for label in self.configs}
        for label, config in self.configs.items():
            require_same_settings(RunFolder(paths[label]), config)
        return {label: find_or_create(paths[label], config) for label, config in self.configs.items()}


def require_label(label: str) -> None:
    """Require the label of a method to be usable as the name of a folder and a prefix of settings.

    Raises:
        ValueError: it has another form.

    >>> require_label("My ToS")
    Traceback (most recent call last):
    ValueError: A method is called by small letters, digits, - and _, not 'My ToS': choose a label, as in
    mine=NAME.
    """
    require(
        LABEL.fullmatch(label) is not None,
        f"A method is called by small letters, digits, - and _, not {label!r}: choose a label, as in "
        "mine=NAME.",
    )


def find_or_create(path: Path, config: RunConfig) -> RunFolder:
    """Create a run's folder, or find the one that an earlier, perhaps interrupted, command left.

    Args:
        path: path of the folder.
        config: the configuration, which a folder that exists must have.

    Returns:
        The folder, from which `train` starts or resumes the run.

    Raises:
        ValueError: as for `create_run`; or the folder has no run, or one with other settings (names them).

    >>> from pathlib import Path
    >>> from bilevel.experiments import default_config
    >>> config = default_config("chicken", "tos")
    >>> find_or_create(Path("run"), config) == find_or_create(Path("run"), config)
    True
    """
    folder = RunFolder(path)
    if folder.is_new:
        return create_run(config, path)
    require_same_settings(folder, config)
    return folder


def require_same_settings(folder: RunFolder, config: RunConfig) -> None:
    """Raise ValueError, naming the settings, if the folder has a run with different settings.

    >>> from bilevel.experiments import RunFolder, default_config
    >>> require_same_settings(RunFolder("new"), default_config("chicken", "tos"))
    """
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
