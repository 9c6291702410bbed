"""Trials over seeds as one results table, and as marks in a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from bilevel.report import Column, ResultsTable, folded, with_interval
from bilevel.tasks._task import Measure, Trial

Trials = Mapping[str, Sequence[Trial]]
"""Weighting -> its trials, seed by seed; the same seeds for each."""


class Row(NamedTuple):
    """One measure under one weighting."""

    measure: str
    weighting: str
    mean: Interval | None
    """The interquartile mean over seeds; None where some seed has none; ends are NaN with few seeds."""
    difference: Interval | None
    """From the first weighting, seed by seed; None for that one itself, and where either has none."""
    seeds: int
    seconds: float
    """Of a trial, the mean."""
    undefined: int
    """Trials in which the measure makes no sense."""


COLUMNS = {
    "measure": Column(heading="measure"),
    "weighting": Column(heading="weighting", code=True),
    "mean": Column(heading="mean [95 %]", name="estimate", form=with_interval, interval=True),
    "difference": Column(heading="difference [95 %]", name="difference", form=with_interval, interval=True),
    "seeds": Column(heading="seeds", form=str),
    "seconds": Column(heading="seconds", form=lambda seconds: f"{seconds:.1f}"),
}
"""By the fields of a row."""


def summarize(measures: Sequence[Measure], trials: Trials) -> list[Row]:
    """Summarize trials: a row for each measure and weighting."""
    first, rows = next(iter(trials)), []
    for measure in measures:
        scores = {
            weighting: np.array([trial.measures[measure.name] for trial in done])
            for weighting, done in trials.items()
        }
        for weighting, values in scores.items():
            rows.append(
                Row(
                    measure=measure.name,
                    weighting=weighting,
                    mean=over_seeds(values),
                    difference=None if weighting == first else _difference(values, scores[first]),
                    seeds=len(values),
                    seconds=float(np.mean([trial.seconds for trial in trials[weighting]])),
                    undefined=int(np.isnan(values).sum()),
                )
            )
    return rows


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
    """A table to print, a part for each measure, with an explanation below; it fits 80 columns.

    Args:
        title: of the table.
        measures: of the task.
        rows: of `summarize`.
    """
    parts: list[Any] = []
    for measure in measures:
        better = "" if measure.better == "neither" else f", {measure.better} is better"
        heading = f"{title}, {counted(rows[0].seeds, 'seed')}: {measure.name}{better}"
        own = [row for row in rows if row.measure == measure.name]
        parts += [_table(own, "weighting", "mean", "difference", "seconds", title=heading).to_rich(), ""]
    return Group(*parts, folded(table_notes(measures, rows)))


def table_notes(measures: Sequence[Measure], rows: Sequence[Row]) -> list[str]:
    """Sentences on the table's words, its intervals and its dashes."""
    seeds, first = rows[0].seeds, rows[0].weighting
    intervals = (
        f"brackets are 95 % percentile bootstrap intervals, seeds drawn again {RESAMPLES} times, with no "
        "correction for looking at several."
        if seeds >= FEWEST_SEEDS
        else f"for intervals it takes {FEWEST_SEEDS} or more."
    )
    sentences = [f"{measure.name[:1].upper()}{measure.name[1:]}: {measure.text}" for measure in measures]
    sentences.append(f"Interquartile means over {counted(seeds, 'seed')}; {intervals}")
    if any(row.difference is not None for row in rows):
        sentences.append(
            f"Difference: from {first}; a seed means the same data for all, and is drawn again for both at "
            "once."
        )
    undefined: dict[str, list[str]] = {}
    for measure in measures:
        missing = [row for row in rows if row.measure == measure.name and row.undefined]
        listed = ", ".join(
            f"{row.weighting} ({row.undefined} of {counted(row.seeds, 'seed')})" for row in missing
        )
        if listed:
            undefined.setdefault(listed, []).append(measure.name)
    sentences += [
        f"A dash: {' and '.join(names)} not defined for {listed}." for listed, names in undefined.items()
    ]
    return [*sentences, "Seconds: of a trial, the mean."]


def write_tables(
    measures: Sequence[Measure], rows: Sequence[Row], trials: Trials, first_seed: int, folder: Path
) -> list[Path]:
    """Write table.csv, table.md and seeds.csv into a folder.

    Args:
        measures: of the task.
        rows: of `summarize`.
        trials: of all weightings.
        first_seed: of the first trial.
        folder: it exists.

    Raises:
        OSError: a file cannot be written.
    """
    fields = ("measure", "weighting", "mean", "difference", "seconds")
    names = ("weighting", "seed", *(measure.name for measure in measures), "seconds")
    seeds = ResultsTable(
        columns=[Column(heading=name) for name in names],
        rows=[
            [weighting, seed, *trial.measures.values(), trial.seconds]
            for weighting, done in trials.items()
            for seed, trial in enumerate(done, first_seed)
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


class Marks(NamedTuple):
    """Matplotlib's settings for one weighting."""

    seeds: Mapping[str, Any]
    """Of the marks of seeds."""
    mean: Mapping[str, Any]
    """Of the interquartile mean and its interval."""


def draw_final(axes: Axes, trials: Trials, measure: str, marks: Callable[[str], Marks]) -> None:
    """Draw a measure of each weighting on a line: every seed, their interquartile mean, its 95 % interval.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> trials = {"equal": [Trial({"error": 1.0}), Trial({"error": 2.0})]}
    >>> draw_final(axes, trials, "error", lambda weighting: Marks({"marker": "o"}, {"color": "red"}))
    >>> [text.get_text() for text in axes.get_yticklabels()]
    ['equal']
    """
    for place, (weighting, done) in enumerate(trials.items()):
        values = np.array([trial.measures[measure] for trial in done])
        seeds, mean = marks(weighting)
        axes.plot(values, np.full(len(values), place), linestyle="none", **seeds)
        interval = over_seeds(values)
        if interval is not None:
            ends = np.nan_to_num([[interval.estimate - interval.low], [interval.high - interval.estimate]])
            axes.errorbar(float(interval.estimate), place, xerr=ends, fmt="o", capsize=4, **mean)
    axes.set_yticks(range(len(trials)), list(trials))
    axes.invert_yaxis()
    axes.set_xlabel(measure)
