"""Random search of each method's settings before a comparison, with equal numbers of trials.

Trial i draws its settings from the seed, the method and i alone, and is an ordinary run folder, so a search
that is interrupted, or continued with a larger budget, repeats nothing and reaches the same result.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilevel.experiments._comparison import Comparison, find_or_create, require_same_settings
from bilevel.experiments._config import LARGEST_SEED, MOST_SEEDS, RunConfig
from bilevel.experiments._files import write_text
from bilevel.experiments._results import Run, load_run
from bilevel.experiments._run import train
from bilevel.experiments._run_folder import RunFolder
from bilevel.experiments._search_space import SearchSpace, setting_of
from games.core import require

FOLDER = "tuning"
"""Folder of all trials within that of a comparison."""
FAILURE = "failure.txt"
"""File of a trial's folder: the message of the numerical error that ended it."""
TRIAL_SEEDS = 4
"""Default number of seeds of a trial."""


@dataclass(frozen=True)
class SearchTrial:
    """One trial of a search: a method with drawn settings.

    >>> from bilevel.experiments import Comparison, default_config
    >>> configs = {name: default_config("chicken", name) for name in ("selfish", "tos")}
    >>> _, trial = Search(Comparison(configs), budget=2).trials["tos"]
    >>> trial.config.seed, trial.config.seeds, list(trial.settings)
    (1000000, 4, ['inner.learning_rate', 'inner.entropy_coef', 'outer.learning_rate', 'own_share'])
    """

    label: str
    """The method's name in the comparison."""
    index: int
    """Number of the trial, from 0, the default settings."""
    config: RunConfig
    """The trial's run."""
    settings: Mapping[str, Any]
    """Drawn setting -> value."""

    @property
    def name(self) -> str:
        """Name of the trial's folder."""
        return f"trial-{self.index:03d}"

    def folder(self, out: Path) -> RunFolder:
        """The trial's run folder within that of the comparison."""
        return RunFolder(out / FOLDER / self.label / self.name)

    def welfare(self, out: Path) -> float | None:
        """Average the final welfare over seeds: minus infinity if the trial failed, None if unfinished."""
        folder = self.folder(out)
        if (folder.path / FAILURE).exists():
            return -math.inf
        return _score(load_run(folder)) if folder.finished else None


@dataclass(frozen=True)
class Search:
    """A search of the settings of each method of a comparison.

    Each method has the same number of trials. The first has the method's default settings; the settings of
    the others are drawn at random (`search_table` lists the ranges). The trial with the highest welfare of
    the final policies, a mean over its seeds, is chosen. The comparison has other seeds.

    Raises:
        ValueError: the budget or the number of seeds is out of range, or a label is tuning, the name of the
            folder of trials.

    Source:
        Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13 (2012).

    >>> from pathlib import Path
    >>> from bilevel.experiments import Comparison, configured, default_config
    >>> small = {"seeds": 3, "outer_steps": 2}
    >>> configs = {name: configured(default_config("chicken", name), small) for name in ("selfish", "tos")}
    >>> tuned = Search(Comparison(configs), budget=3, seeds=2).run(Path("tuned"))
    >>> len(tuned.welfare["tos"]), tuned.chosen("tos").index, list(tuned.folders(Path("tuned")))
    (3, 0, ['selfish', 'tos'])
    """

    comparison: Comparison
    """The comparison, with the default settings of its methods."""
    budget: int
    """Trials of each method, 1 or more."""
    seeds: int = TRIAL_SEEDS
    """Seeds of each trial, 1 or more."""
    pinned: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)
    """Label -> dotted names of settings that are not searched."""

    def __post_init__(self) -> None:
        for name, value in (("budget", self.budget), ("number of seeds", self.seeds)):
            require(
                type(value) is int and value >= 1,
                f"The {name} of a search must be a whole number, 1 or more, not {value!r}.",
            )
        require(self.seeds <= MOST_SEEDS, f"A search has {MOST_SEEDS} seeds or fewer, not {self.seeds}.")
        require(
            FOLDER not in self.comparison.configs,
            f"{FOLDER} is the folder of a search's trials: choose another label than {FOLDER}.",
        )
        first = next(iter(self.comparison.configs.values())).seed
        require(
            self.first_seed <= LARGEST_SEED,
            f"A search takes seeds from {MOST_SEEDS} above the comparison's, so its first seed must be "
            f"{LARGEST_SEED - MOST_SEEDS} or less, not {first}.",
        )

    @property
    def first_seed(self) -> int:
        """First seed of all trials, above every seed that the comparison can have."""
        return next(iter(self.comparison.configs.values())).seed + MOST_SEEDS

    def space(self, label: str) -> SearchSpace:
        """Build the space of the settings of a method that the search varies."""
        return SearchSpace(self.comparison.configs[label], self.pinned.get(label, ()))

    @functools.cached_property
    def trials(self) -> dict[str, list[SearchTrial]]:
        """Label -> its trials; ValueError if the environment steps of a method cannot be counted."""
        return {label: self._trials(label) for label in self.comparison.configs}

    def _trials(self, label: str) -> list[SearchTrial]:
        space, seed = self.space(label), self.comparison.configs[label].seed
        trials = []
        for index in range(self.budget):
            config = space.trial_config(index, seed)
            config = dataclasses.replace(config, seed=self.first_seed, seeds=self.seeds)
            values = {name: setting_of(config.method, name) for name in space.ranges if index > 0}
            trials.append(SearchTrial(label, index, config, values))
        return trials

    def require_same_settings(self, out: Path) -> None:
        """Raise ValueError, naming the settings, if a folder of the search has a run with different
        settings."""
        tuned = Tuned(self, {})
        for trial in itertools.chain(*self.trials.values()):
            require_same_settings(trial.folder(out), trial.config)
            require_same_settings(RunFolder(out / tuned.place(trial)), tuned.final_config(trial))

    def run(self, out: Path, listener: Callable[[SearchTrial, float], object] | None = None) -> Tuned:
        """Run the missing trials, one after the other, and choose the settings of each method.

        Args:
            out: folder of the comparison; trials are within, in tuning/LABEL/trial-NNN.
            listener: called with a trial and the finished fraction of its training, 1 when it is done.

        Raises:
            ValueError: a folder has a run with other settings (names them), before anything is trained.
            RunInterrupted, OSError: as for `train`; calling it again continues the search.
        """
        self.require_same_settings(out)
        tell = listener or (lambda trial, part: None)
        welfare = {
            label: tuple(_run_trial(trial, out, tell) for trial in trials)
            for label, trials in self.trials.items()
        }
        return Tuned(self, welfare)


@dataclass(frozen=True)
class Tuned:
    """Result of a search: the welfare of all trials, and the settings of each method's best one.

    >>> from bilevel.experiments import Comparison, default_config
    >>> configs = {name: default_config("chicken", name) for name in ("selfish", "tos")}
    >>> tuned = Tuned(Search(Comparison(configs), budget=2), {"selfish": (-1.5, -2.0), "tos": (-1.5, 0.0)})
    >>> [tuned.chosen(label).name for label in configs]
    ['trial-000', 'trial-001']
    """

    search: Search
    """The search."""
    welfare: Mapping[str, tuple[float, ...]]
    """Label -> mean welfare over seeds of each trial; minus infinity if it failed."""

    def chosen(self, label: str) -> SearchTrial:
        """Return the trial of a method with the highest welfare; of equal trials, the first."""
        welfare = self.welfare[label]
        return self.search.trials[label][welfare.index(max(welfare))]

    @property
    def comparison(self) -> Comparison:
        """The comparison, with the chosen settings of each method."""
        return Comparison({label: self.final_config(self.chosen(label)) for label in self.welfare})

    def final_config(self, trial: SearchTrial) -> RunConfig:
        """The run of the comparison with a trial's settings."""
        before = self.search.comparison.configs[trial.label]
        return dataclasses.replace(trial.config, seed=before.seed, seeds=before.seeds)

    def place(self, trial: SearchTrial) -> str:
        """Name of the folder of the comparison's run with a trial's settings.

        It is LABEL for the default settings, which an earlier comparison may have trained, and
        LABEL-trial-NNN for others, so that a search with a larger budget may choose differently.
        """
        return f"{trial.label}-{trial.name}" if trial.index else trial.label

    def folders(self, out: Path) -> dict[str, RunFolder]:
        """Find or create the folders of the comparison's runs, label -> folder; all or none.

        Raises:
            ValueError: as for `find_or_create`.
        """
        places = {label: self.place(self.chosen(label)) for label in self.welfare}
        return self.comparison.folders(out, places)


def _run_trial(trial: SearchTrial, out: Path, tell: Callable[[SearchTrial, float], object]) -> float:
    """Run a trial unless it is done: its welfare."""
    welfare = trial.welfare(out)
    if welfare is not None:
        return welfare
    folder = find_or_create(trial.folder(out).path, trial.config)
    total = trial.config.outer_steps
    try:
        welfare = _score(train(folder, listener=lambda done, _: tell(trial, 0.99 * done / total)))
    except FloatingPointError as error:
        write_text(folder.path / FAILURE, f"{error}\n")
        welfare = -math.inf
    tell(trial, 1.0)
    return welfare


def _score(run: Run) -> float:
    welfare = float(run.final["welfare"].mean())
    return welfare if math.isfinite(welfare) else -math.inf
