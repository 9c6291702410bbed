"""Sweeps: runs over games, methods and values of settings, in one resumable folder."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from bilevel.experiments import (
    ResumableFolder,
    RunConfig,
    configured,
    default_config,
    from_settings,
    parse_json,
    require_label,
    uniform_of,
)
from bilevel.methods import METHODS
from bilevel.sweeps._axis import Axis, Between, axis_of
from bilevel.sweeps._sweep_run import SweepRun, place_of, trial_name
from games.core import require, require_name

SearchName = Literal["grid", "random", "optuna"]
"""Ways to combine the values of settings."""
FORMAT = "bilevel-sweep/1"
MOST_RUNS = 100_000


class SweepFolder(ResumableFolder):
    """Folder of a sweep: sweep.json, and a run folder for each run.

    >>> SweepFolder("sweep").config.as_posix()
    'sweep/sweep.json'
    """

    settings_file: ClassVar[str] = "sweep.json"
    content: ClassVar[str] = "a sweep"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Runs of methods on games, with a grid or draws of values of settings.

    Settings have the names that `train` knows: those of the run (`outer_steps`), of the game
    (`game.horizon`) and of methods (`outer.learning_rate`); a label of a method as a prefix restricts a
    setting to this method (`tos.own_share`).

    Raises:
        ValueError: a name or a setting is unknown (names the nearest) or out of range, a method does not
            apply to a game, or the sweep has no run or too many.

    >>> sweep = Sweep(
    ...     games=["chicken", "stag-hunt"],
    ...     methods={"tos": "tos", "selfish": "selfish"},
    ...     settings={"seeds": 4, "outer_steps": 20},
    ...     axes={"tos.outer.learning_rate": [0.1, 0.3]},
    ... )
    >>> [run.name for run in sweep.runs][:3]
    ['chicken/tos/outer.learning_rate=0.1', 'chicken/tos/outer.learning_rate=0.3', 'chicken/selfish/preset']
    """

    games: Sequence[str]
    """Names of games."""
    methods: Mapping[str, str]
    """Label -> name of a method."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Setting, perhaps with a label -> its value in all runs."""
    axes: Mapping[str, Any] = field(default_factory=dict)
    """Setting, perhaps with a label -> its values: a list, a range, or text (`read_axis`)."""
    search: SearchName = "grid"
    """grid: every combination of values; random: draws; optuna: draws that learn from finished runs."""
    trials: int | None = None
    """Number of draws for each game and method; None with a grid."""
    seeds_per_run: int | None = None
    """Seeds of each run, so that one combination of values is trained by several processes; None: all."""

    def __post_init__(self) -> None:
        require(len(self.games) > 0, "A sweep needs a game.")
        require(len(self.methods) > 0, "A sweep needs a method.")
        for name in self.games:
            require(list(self.games).count(name) == 1, f"The game {name} is there twice.")
        for label, name in self.methods.items():
            METHODS.require(name)
            require_label(label)
        require_name(self.search, get_args(SearchName), "search")
        object.__setattr__(self, "axes", {name: _axis(name, values) for name, values in self.axes.items()})
        for name in self.axes:
            require(name not in self.settings, f"{name} is both fixed and varied.")
        size = self.seeds_per_run
        require(
            size is None or (type(size) is int and size >= 1),
            f"The seeds of a run must be a whole number, 1 or more, not {size!r}.",
        )
        self._require_searchable()

    def _require_searchable(self) -> None:
        grid = self.search == "grid"
        require(
            not (grid and self.trials is not None),
            "A grid has as many runs as combinations of values: leave out the trials, or search at random.",
        )
        require(
            grid or (type(self.trials) is int and self.trials >= 1),
            f"A {self.search} search needs a number of trials, 1 or more, not {self.trials}.",
        )
        require(grid or len(self.axes) > 0, f"A {self.search} search needs a setting to vary.")
        for name, axis in self.axes.items():
            require(
                not (grid and isinstance(axis, Between)),
                f"A grid needs a list of values of {name}; a range is for a random or an optuna search.",
            )

    def _applies(self, name: str, label: str) -> bool:
        """True if a setting, perhaps with a label, is one of this method's runs."""
        first, dot, _ = name.partition(".")
        return not dot or first not in self.methods or first == label

    def own(self, settings: Mapping[str, Any], label: str) -> dict[str, Any]:
        """Select the settings of a method's runs, without its label."""
        return {
            name.removeprefix(f"{label}."): value
            for name, value in settings.items()
            if self._applies(name, label)
        }

    def config(self, game: str, label: str, values: Mapping[str, Any]) -> RunConfig:
        """Build the run of a method on a game with some values of its varied settings.

        Raises:
            ValueError: a setting is unknown or out of range, or the method does not apply to the game.
        """
        settings = self.own(self.settings, label) | dict(values)
        default = default_config(game, self.methods[label])
        try:
            config = configured(default, settings)
            config = from_settings(config.plain)  # of the right types
            config.require_applicable()
        except ValueError as error:
            raise ValueError(f"{label} on {game}: {error}{self._hint(settings, label)}") from error
        return config

    def _hint(self, settings: Mapping[str, Any], label: str) -> str:
        """Advice where a setting of all methods is refused by one."""
        common = [name for name in settings if f"{label}.{name}" not in {*self.settings, *self.axes}]
        if len(self.methods) == 1 or not common:
            return ""
        return f" (A setting of one method has its label before it, as in {label}.{common[-1]}.)"

    @functools.cached_property
    def runs(self) -> list[SweepRun]:
        """All runs, by game and method; of an optuna search, those known before it begins: none."""
        found: list[SweepRun] = []
        if self.search == "optuna":
            return found
        for game, label in itertools.product(self.games, self.methods):
            for place, values in self._points(game, label):
                found += self.split(game, label, place, values)
                require(len(found) <= MOST_RUNS, f"A sweep has {MOST_RUNS} runs or fewer.")
        return found

    def check(self) -> None:
        """Require every name, setting and value to be accepted; of a range, its bounds.

        Raises:
            ValueError: one is refused.

        >>> Sweep(games=["chicken"], methods={"tos": "tos"}, axes={"seed": [0, -1]}).check()
        Traceback (most recent call last):
        ValueError: tos on chicken: seed must be from 0 to 9223372036853775808, not -1.
        """
        for game, label in itertools.product(self.games, self.methods):
            for name, axis in self.own(self.axes, label).items():
                for value in (axis.low, axis.high) if isinstance(axis, Between) else axis.values:
                    self.config(game, label, {name: value})
        _ = self.runs or self.sample()

    def sample(self) -> list[SweepRun]:
        """Build as many runs as a search may have, with random draws."""
        return dataclasses.replace(self, search="random").runs

    def split(self, game: str, label: str, place: str, values: Mapping[str, Any]) -> list[SweepRun]:
        """Build the runs of one combination of values, several where seeds are split."""
        config = self.config(game, label, values)
        size = self.seeds_per_run or config.seeds
        if size >= config.seeds:
            return [SweepRun(game, label, values, place, config)]
        first, end = config.seed, config.seed + config.seeds
        parts = [(seed, min(size, end - seed)) for seed in range(first, end, size)]
        return [
            SweepRun(
                game,
                label,
                values,
                place,
                configured(config, {"seed": seed, "seeds": count}),
                f"seeds-{seed}-{seed + count - 1}",
            )
            for seed, count in parts
        ]

    def _points(self, game: str, label: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Combinations of values of a method on a game, each with its folder's name."""
        axes = self.own(self.axes, label)
        if not axes:
            yield "preset", {}
        elif self.search == "grid":
            for combination in itertools.product(*(axis.values for axis in axes.values())):
                values = dict(zip(axes, combination, strict=True))
                yield place_of(values), values
        else:
            for trial in range(self.trials or 0):
                yield (
                    trial_name(trial),
                    {
                        name: axis.draw(uniform_of(f"{game}/{label}/{trial}/{name}"))
                        for name, axis in axes.items()
                    },
                )

    @property
    def plain(self) -> dict[str, Any]:
        """The sweep in JSON form, as in sweep.json; launchers, which change no number, are not in it."""
        return {
            "format": FORMAT,
            "games": list(self.games),
            "methods": dict(self.methods),
            "settings": dict(self.settings),
            "axes": {name: _plain(axis) for name, axis in self.axes.items()},
            "search": self.search,
            "trials": self.trials,
            "seeds_per_run": self.seeds_per_run,
        }

    def create(self, out: Path) -> SweepFolder:
        """Find or create the sweep's folder.

        Raises:
            ValueError: the folder has something else, or another sweep (names what differs).
        """
        folder = SweepFolder(out)
        if folder.is_new:
            folder.create(self.plain, refusal=f"{out} exists, and is not a sweep: choose another folder.")
        elif not folder.config.exists():
            raise ValueError(f"{out} exists, and is not a sweep: choose another folder.")
        # trials may be added
        folder.require_same(load_sweep(folder).plain | {"trials": self.trials}, self.plain)
        return folder


def load_sweep(folder: SweepFolder | str | Path) -> Sweep:
    """Load a sweep from its folder.

    Raises:
        ValueError: there is no sweep, or its sweep.json is damaged.

    >>> from pathlib import Path
    >>> sweep = Sweep(games=["chicken"], methods={"tos": "tos"})
    >>> load_sweep(sweep.create(Path("sweep"))) == sweep
    True
    """
    folder = folder if isinstance(folder, SweepFolder) else SweepFolder(Path(folder))
    try:
        saved = parse_json(folder.config.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{folder.path} is not a sweep: it has no {folder.config.name}.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder.config} cannot be read as a sweep: {error}.") from error
    require(
        isinstance(saved, dict) and saved.get("format") == FORMAT,
        f"{folder.config} is not a sweep of the form {FORMAT}.",
    )
    try:
        return Sweep(**{name: value for name, value in saved.items() if name != "format"})
    except TypeError as error:
        raise ValueError(f"{folder.config} is not a sweep: {error}") from error


def _axis(name: str, values: Any) -> Axis:
    try:
        return axis_of(values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _plain(axis: Axis) -> Any:
    if isinstance(axis, Between):
        return {"low": axis.low, "high": axis.high, "log": axis.log}
    return json.loads(json.dumps(list(axis.values)))
