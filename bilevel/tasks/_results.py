"""Results table of trials over seeds, and their final measures in a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from rich.console import Group

from bilevel.core import counted
from bilevel.experiments import (
    FEWEST_SEEDS,
    RESAMPLES,
    Interval,
    interquartile_mean,
    over_seeds,
    paired_difference_interval,
    write_text,
)
from bilevel.report import GRAY, Column, ResultsTable, folded, looks, with_interval
from bilevel.tasks._task import Measure, Trial

Trials = Mapping[str, Sequence[Trial]]  # weighting -> its trials, seed by seed; the same seeds for each


class Row(NamedTuple):
    """One measure under one weighting."""

    measure: str
    weighting: str
    mean: Interval | None
    """Interquartile mean over seeds; None if undefined in a trial; interval ends are NaN with few seeds."""
    difference: Interval | None
    """Paired difference from the first weighting; None for the first, or where undefined."""
    seeds: int
    seconds: float  # mean duration of a trial
    undefined: int  # trials in which the measure is undefined


SEEDS: Any = {"marker": "o", "markersize": 4, "markerfacecolor": "none", "markeredgecolor": GRAY}
"""Matplotlib's settings for the circles of seeds."""
SEEDS_BELOW = 0.3
"""Distance of these circles from their row."""

COLUMNS = {
    "measure": Column(heading="measure"),
    "weighting": Column(heading="weighting", code=True),
    "mean": Column(heading="mean [95 %]", name="estimate", form=with_interval, interval=True),
    "difference": Column(heading="difference [95 %]", name="difference", form=with_interval, interval=True),
    "seeds": Column(heading="seeds", form=str),
    "seconds": Column(heading="seconds", form=lambda seconds: f"{seconds:.1f}"),
}
"""Columns by the fields of a row."""


def summarize(measures: Sequence[Measure], trials: Trials) -> list[Row]:
    """Summarize trials by interquartile means over seeds, and paired differences of them.

    Args:
        measures: the task's measures.
        trials: weighting -> its trials, seed by seed; differences are from the first weighting.

    Returns:
        A row for each measure and weighting.

    >>> from bilevel.tasks import Measure, Trial
    >>> measures = [Measure("accuracy (%)", "of test images.", "higher")]
    >>> trials = {"uniform": [Trial({"accuracy (%)": 90.0})], "learned": [Trial({"accuracy (%)": 93.0})]}
    >>> rows = summarize(measures, trials)
    >>> float(rows[1].mean.estimate), float(rows[1].difference.estimate)
    (93.0, 3.0)
    """
    first, rows = next(iter(trials)), []
    for measure in measures:
        reference = _values(trials[first], measure.name)
        for weighting, runs in trials.items():
            values = _values(runs, measure.name)
            difference = None if weighting == first else _difference(values, reference)
            seconds, undefined = (
                float(np.mean([trial.seconds for trial in runs])),
                int(np.isnan(values).sum()),
            )
            mean = over_seeds(values)
            rows.append(Row(measure.name, weighting, mean, difference, len(runs), seconds, undefined))
    return rows


def _values(trials: Sequence[Trial], measure: str) -> np.ndarray:
    return np.array([trial.measures[measure] for trial in trials])


def _difference(values: np.ndarray, first: np.ndarray) -> Interval | None:
    if np.isnan(values).any() or np.isnan(first).any():
        return None
    if len(values) < FEWEST_SEEDS:
        estimate = interquartile_mean(values) - interquartile_mean(first)
        return Interval(estimate, np.array(np.nan), np.array(np.nan))
    return paired_difference_interval(values, first)


def _table(rows: Sequence[Row], *fields: str, title: str = "", notes: Sequence[str] = ()) -> ResultsTable:
    values = [[getattr(row, field) for field in fields] for row in rows]
    return ResultsTable(title=title, columns=[COLUMNS[field] for field in fields], rows=values, notes=notes)


def task_table(title: str, measures: Sequence[Measure], rows: Sequence[Row]) -> Group:
    """Tables for the terminal, 80 columns wide: one for each measure, then notes.

    Args:
        title: start of each table's title.
        measures: the task's measures.
        rows: result of `summarize`.

    Returns:
        Something that rich prints.

    >>> import rich
    >>> from bilevel.tasks import Measure, Trial, summarize
    >>> measures = [Measure("accuracy (%)", "of test images.", "higher")]
    >>> trials = {"uniform": [Trial({"accuracy (%)": 90.0})], "learned": [Trial({"accuracy (%)": 93.0})]}
    >>> rich.print(task_table("digits", measures, summarize(measures, trials)))
    digits, 1 seed: accuracy (%), higher is better
    weighting  mean [95 %]  difference [95 %]  seconds
    ──────────────────────────────────────────────────
    uniform         90.000                  -      0.0
    learned         93.000              3.000      0.0
    ...
    """
    parts: list[Any] = []
    for measure in measures:
        better = "" if measure.better == "neither" else f", {measure.better} is better"
        heading = f"{title}, {counted(rows[0].seeds, 'seed')}: {measure.name}{better}"
        own = [row for row in rows if row.measure == measure.name]
        parts += [_table(own, "weighting", "mean", "difference", "seconds", title=heading).to_rich(), ""]
    return Group(*parts, folded(table_notes(measures, rows)))


def table_notes(measures: Sequence[Measure], rows: Sequence[Row]) -> list[str]:
    """Sentences that explain the table's measures, intervals and dashes."""
    seeds, first = rows[0].seeds, rows[0].weighting
    intervals = (
        f"brackets are 95 % percentile bootstrap intervals from {RESAMPLES} resamples of the seeds, without "
        "correction for multiple comparisons."
        if seeds >= FEWEST_SEEDS
        else f"intervals require {FEWEST_SEEDS} or more."
    )
    sentences = [f"{measure.name[:1].upper()}{measure.name[1:]}: {measure.text}" for measure in measures]
    sentences.append(f"Interquartile means over {counted(seeds, 'seed')}; {intervals}")
    if any(row.difference is not None for row in rows):
        sentences.append(
            f"Difference: from {first}, paired by seed: a seed has the same data under all weightings, and "
            "pairs are resampled together."
        )
    undefined: dict[str, list[str]] = {}
    for measure in measures:
        listed = ", ".join(
            f"{row.weighting} ({row.undefined} of {counted(row.seeds, 'seed')})"
            for row in rows
            if row.measure == measure.name and row.undefined
        )
        if listed:
            undefined.setdefault(listed, []).append(measure.name)
    dashes = [f"A dash: {' and '.join(names)} undefined for {where}." for where, names in undefined.items()]
    return [*sentences, *dashes, "Seconds: mean duration of a trial."]


def write_tables(
    measures: Sequence[Measure], rows: Sequence[Row], trials: Trials, first_seed: int, folder: Path
) -> list[Path]:
    """Write tables of all rows and of all trials into an existing folder.

    Args:
        measures: the task's measures.
        rows: result of `summarize`.
        trials: weighting -> its trials, seed by seed.
        first_seed: seed of the first trial.
        folder: receives table.csv, table.md and seeds.csv.

    Returns:
        The paths of the files.

    Raises:
        OSError: a file cannot be written.

    >>> from pathlib import Path
    >>> from bilevel.tasks import Measure, Trial, summarize
    >>> measures = [Measure("accuracy (%)", "of test images.", "higher")]
    >>> trials = {"uniform": [Trial({"accuracy (%)": 90.0})], "learned": [Trial({"accuracy (%)": 93.0})]}
    >>> paths = write_tables(measures, summarize(measures, trials), trials, 0, Path("."))
    >>> print(paths[2].read_text(), end="")
    weighting,seed,accuracy (%),seconds
    uniform,0,90.0,0.0
    learned,0,93.0,0.0
    """
    fields = ("measure", "weighting", "mean", "difference", "seconds")
    names = ("weighting", "seed", *(measure.name for measure in measures), "seconds")
    seeds = ResultsTable(
        columns=[Column(heading=name) for name in names],
        rows=[
            [weighting, seed, *trial.measures.values(), trial.seconds]
            for weighting, runs in trials.items()
            for seed, trial in enumerate(runs, first_seed)
        ],
    )
    texts = {
        "table.csv": _table(rows, *COLUMNS).to_csv(),
        "table.md": _table(rows, *fields, notes=table_notes(measures, rows)).to_markdown(),
        "seeds.csv": seeds.to_csv(),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def draw_final(axes: Axes, trials: Trials, measure: str) -> None:
    """Draw a measure of each weighting in a row: interquartile mean, 95 % interval, and seeds below."""
    for row, (weighting, look) in enumerate(looks(list(trials)).items()):
        values = _values(trials[weighting], measure)
        axes.plot(values, np.full(len(values), row + SEEDS_BELOW), linestyle="none", **SEEDS)
        interval = over_seeds(values)
        if interval is not None:
            axes.errorbar(
                float(interval.estimate),
                row,
                xerr=np.nan_to_num([[interval.estimate - interval.low], [interval.high - interval.estimate]]),
                linestyle="none",
                capsize=4,
                color=look["color"],
                marker=look["marker"],
                markersize=8,
            )
    axes.set_yticks(range(len(trials)), list(trials))
    axes.set_ylim(len(trials) - 0.4, -0.6)
    axes.set_xlabel(measure)
