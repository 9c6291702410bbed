"""Studies: all runs in a folder, such as that of a comparison or a sweep, as one data frame."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bilevel.experiments._config import RunConfig
from bilevel.experiments._metrics import read_metrics
from bilevel.experiments._parquet import read_parquet, write_parquet
from bilevel.experiments._results import Run, load_run, require_checksum, require_pandas
from bilevel.experiments._resumable import flat_settings
from bilevel.experiments._run_folder import RunFolder, read_summary
from bilevel.experiments._tuning import FOLDER as SEARCH
from games.core import require, require_name

if TYPE_CHECKING:
    from pandas import DataFrame

Part = Literal["curves", "final"]
SEEDS = ("seed", "seeds")
"""Settings that are columns of their own, or in none."""


@dataclass(frozen=True)
class StudyRuns:
    """All runs in a folder and the folders within it.

    >>> import bilevel
    >>> _ = bilevel.compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="study")
    >>> study = load_study("study")
    >>> list(study.finished), study.to_pandas().shape[0]
    (['selfish', 'tos'], 12)
    """

    path: Path
    """The folder."""
    configs: Mapping[str, RunConfig]
    """Path of each run within the folder -> its settings."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Path of each run whose settings cannot be read -> the reason; only with `lenient`."""

    def folder(self, name: str) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / name)

    @property
    def finished(self) -> list[str]:
        """Runs that are finished."""
        return [name for name in self.configs if self.folder(name).finished]

    @property
    def varied(self) -> list[str]:
        """Dotted names of the settings that differ between runs, but for game, method and seeds."""
        plain = [flat_settings(config.plain) for config in self.configs.values()]
        names = dict.fromkeys(name for settings in plain for name in settings)
        others = (*SEEDS, "game_name", "method_name")
        return [
            name for name in names if name not in others and len({repr(each.get(name)) for each in plain}) > 1
        ]

    def load(self) -> dict[str, Run]:
        """Load all finished runs: path within the folder -> run.

        Raises:
            ValueError: a file is damaged (names it).
        """
        return {name: load_run(self.folder(name)) for name in self.finished}

    def to_pandas(self, part: Part = "curves", metrics: Sequence[str] | None = None) -> DataFrame:
        """Metrics of all finished runs in one data frame.

        Large metrics files are read from their Parquet copies where pyarrow is installed (the extra
        `parquet`): a study of 100 runs with 10 000 outer steps of 20 seeds takes seconds. The first call
        makes missing copies.

        Args:
            part: `curves`, a row per run, outer step and seed, or `final`, a row per run and seed, measured
                on fresh episodes after training.
            metrics: names of the metrics; None: all that are numbers, and NaN where a run lacks one.

        Returns:
            Data frame with the columns run, game and method (categories), each setting that differs between
            runs, outer_step (of `curves`), seed, and the metrics.

        Raises:
            ValueError: pandas is not installed, no run is finished, no run has one of the metrics (names the
                nearest), or a file is damaged (names it).
        """
        require(part in ("curves", "final"), f"part must be curves or final, not {part!r}.")
        require_pandas()
        import pandas as pd  # noqa: PLC0415

        names = self.finished
        require(len(names) > 0, f"No run in {self.path} is finished.")
        configs = [self.configs[name] for name in names]
        sizes = [(config, config.outer_steps if part == "curves" else 1) for config in configs]
        rows = [count * config.seeds for config, count in sizes]
        ends = np.cumsum([0, *rows])
        index = np.repeat(np.arange(len(names), dtype=np.int32), rows)
        frame: dict[str, Any] = {
            "run": _categories(names, index),
            "game": _categories([config.game_name for config in configs], index),
            "method": _categories([config.method_name for config in configs], index),
        }
        plain = [flat_settings(config.plain) for config in configs]
        for setting in self.varied:
            frame[setting] = pd.Series([settings.get(setting) for settings in plain]).to_numpy()[index]
        if part == "curves":
            frame["outer_step"] = np.concatenate(
                [np.repeat(np.arange(count, dtype=np.int32), config.seeds) for config, count in sizes]
            )
        frame["seed"] = np.concatenate(
            [np.tile(np.arange(config.seed, config.seed + config.seeds), count) for config, count in sizes]
        )
        return pd.DataFrame(frame | self._columns(names, part, metrics, ends), copy=False)

    def _columns(
        self, names: Sequence[str], part: Part, metrics: Sequence[str] | None, ends: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Metrics of runs, one below the other, where rows `ends[i]` to `ends[i + 1]` are of the i-th run."""
        columns: dict[str, np.ndarray] = {}
        lock = threading.Lock()

        def read(number: int) -> set[str]:
            # into the columns at once: memory for all runs is taken a single time
            name, rows = names[number], slice(ends[number], ends[number + 1])
            found = _metrics_of(self.folder(name), self.configs[name], part, metrics)
            for metric, values in found.items():
                with lock:
                    column = columns.setdefault(metric, np.empty(ends[-1]))
                column[rows] = values.reshape(-1)
            return set(found)

        with ThreadPoolExecutor() as pool:
            present = list(pool.map(read, range(len(names))))
        for number, found in enumerate(present):
            for metric in columns.keys() - found:
                columns[metric][ends[number] : ends[number + 1]] = np.nan
        wanted = list(columns) if metrics is None else list(metrics)
        for metric in set(wanted) - set(columns):
            every = [_metrics_of(self.folder(name), self.configs[name], part, None) for name in names]
            require_name(metric, dict.fromkeys(known for found in every for known in found), "metric")
        return {metric: columns[metric] for metric in wanted}


def load_study(folder: str | Path, *, lenient: bool = False) -> StudyRuns:
    """Find all runs in a folder and the folders within it, finished or not.

    Trials of a search (`compare --tune`) are left out.

    Args:
        folder: the folder.
        lenient: list runs whose settings cannot be read as damaged, and accept that there is no run yet.

    Raises:
        ValueError: there is no such folder; or, unless lenient, no run in it, or the settings of a run are
            damaged (names the file).

    >>> import bilevel
    >>> _ = bilevel.train("chicken", "tos", seeds=3, outer_steps=2, out="study/first")
    >>> load_study("study").to_pandas("final", metrics=["welfare"]).columns.tolist()
    ['run', 'game', 'method', 'seed', 'welfare']
    """
    path = Path(folder)
    require(path.is_dir(), f"There is no folder {path}.")
    found: dict[str, RunConfig] = {}
    damaged: dict[str, str] = {}
    for run in _runs_in(path):
        name = run.path.relative_to(path).as_posix()
        try:
            found[name] = run.load_config()
        except (ValueError, OSError) as error:
            if not lenient:
                raise
            damaged[name] = str(error)
    require(lenient or len(found) > 0, f"There is no run in {path}: a run is a folder with a config.json.")
    return StudyRuns(path, found, damaged)


def _runs_in(path: Path) -> Iterator[RunFolder]:
    """Folders of runs within a folder, by name; without those within a run, and trials of a search."""
    folder = RunFolder(path)
    if folder.config.is_file():
        yield folder
        return
    with contextlib.suppress(PermissionError):
        for inner in sorted(path.iterdir()):
            if inner.is_dir() and not inner.is_symlink() and inner.name != SEARCH:
                yield from _runs_in(inner)


def _metrics_of(
    folder: RunFolder, config: RunConfig, part: Part, names: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Read metrics of a finished run, [outer step, seed], from the Parquet copy if there is one."""
    path = folder.metrics if part == "curves" else folder.evaluation
    digest = read_summary(folder.summary)[1].get(path.name, "")
    found = read_parquet(path, digest, config.seeds, names)
    if found is None:
        require_checksum(folder, path.name, digest)
        every = read_metrics(path)
        with contextlib.suppress(OSError):  # a folder of somebody else, or a full disk
            write_parquet(path, every, digest)
        found = every if names is None else {name: every[name] for name in names if name in every}
    steps = config.outer_steps if part == "curves" else 1
    require(
        all(values.shape == (steps, config.seeds) for values in found.values()),
        f"{path} does not belong to this run, which has {steps} steps of {config.seeds} seeds.",
    )
    return found


def _categories(values: Sequence[str], index: np.ndarray) -> Any:
    """One value for each run as a categorical column of all rows."""
    import pandas as pd  # noqa: PLC0415

    names = list(dict.fromkeys(values))
    codes = np.array([names.index(value) for value in values], dtype=np.int32)
    return pd.Categorical.from_codes(codes[index], names, validate=False)
