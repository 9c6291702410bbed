"""`compare`: methods on one game trained and compared in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bilevel.experiments._comparison import Comparison
from bilevel.experiments._config import configured, named_config
from bilevel.experiments._environment_steps import within_environment_steps
from bilevel.experiments._measures import Compared, compare_runs
from bilevel.experiments._results import Run, require_pandas
from bilevel.experiments._run import Listener, train
from bilevel.experiments._tuning import TRIAL_SEEDS, Search, Tuned
from bilevel.methods import Method
from games.core import Game

if TYPE_CHECKING:
    from pandas import DataFrame

USUAL = ("selfish", "prosocial", "fixed", "tos")
"""The default methods of a comparison."""


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
    tuned: Tuned | None = None
    """The search of the methods' settings, if there was one."""

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
    environment_steps: int | None = None,
    tune: int | None = None,
    tune_seeds: int = TRIAL_SEEDS,
    listener: Listener | None = None,
    **settings: Any,
) -> ComparedRuns:
    """Train methods on one game under the same conditions, and compare them over seeds.

    Args:
        game: a name, or a game of the catalogue with its settings changed.
        methods: names, or label -> name or method; the first is the baseline of the others.
        out: folder of all runs; finished runs in it with the same settings are not trained again. None: a
            folder in runs/compare by the name of the game.
        environment_steps: environment steps of training, per seed, instead of a number of outer steps, which
            `within_environment_steps` derives for each method; methods that learn from exact values keep
            their outer steps. None: all methods have the same number of outer steps.
        tune: trials of a search of each method's own settings before the comparison (`Search`), on other
            seeds; those among `settings` are not searched. None: no search.
        tune_seeds: seeds of each trial.
        listener: called after every outer step of every run, trials excepted.
        settings: settings of all runs, as for `train`; those of one method have its label as a prefix, as in
            `**{"tos.outer.learning_rate": 0.05}`.

    Returns:
        The runs, their measures and intervals, method by method.

    Raises:
        ValueError: as for `train`, or there is one method only, there are too few seeds for an interval, the
            search's budget is out of range, or the environment steps do not suffice for an outer step.

    >>> compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs")
    ComparedRuns(chicken, welfare with 95 % intervals: selfish -1.08 [-1.563, -0.8239]; tos -0.659 [...])
    """
    labeled = methods if isinstance(methods, Mapping) else {name: name for name in methods}
    shared = {name: value for name, value in settings.items() if name.partition(".")[0] not in labeled}
    configs, pinned = {}, {}
    for label, method in labeled.items():
        prefix = f"{label}."
        own = {name.removeprefix(prefix): settings[name] for name in settings if name.startswith(prefix)}
        own = {name if "." in name else f"method.{name}": value for name, value in own.items()}
        config = configured(named_config(game, method), shared | own)
        configs[label] = (
            config if environment_steps is None else within_environment_steps(config, environment_steps)
        )
        pinned[label] = {name.removeprefix("method.") for name in shared | own}
    comparison = Comparison(configs)
    path = Path("runs", "compare", next(iter(configs.values())).game_name) if out is None else Path(out)
    tuned = None if tune is None else Search(comparison, tune, tune_seeds, pinned).run(path)
    folders = comparison.folders(path) if tuned is None else tuned.folders(path)
    runs = {label: train(folder, listener=listener) for label, folder in folders.items()}
    return ComparedRuns(tuple(compare_runs(runs)), path, tuned)
