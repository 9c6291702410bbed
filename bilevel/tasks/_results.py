"""Trials over seeds as one table, in the terminal, as CSV and as Markdown, and as marks in a figure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
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
    interquartile_interval,
    interquartile_mean,
    paired_difference_interval,
    write_text,
)
from bilevel.report import MISSING, WIDTH, csv_text, empty_table, number, with_interval
from bilevel.tasks._task import Measure, Trial

Trials = Mapping[str, Sequence[Trial]]
"""Weighting -> its trials, seed by seed; the same seeds for each."""


class Row(NamedTuple):
    """One measure under one weighting."""

    measure: Measure
    weighting: str
    interval: Interval | None
    """The interquartile mean over seeds; None where some seed has none; ends are NaN with few seeds."""
    difference: Interval | None
    """From the first weighting, seed by seed; None for that one itself, and where either has none."""
    seeds: int
    undefined: int
    """Trials in which the measure makes no sense."""
    seconds: float
    """Of a trial, the mean."""


COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "mean [95 %]": lambda row: _cell(row.interval),
    "difference [95 %]": lambda row: _cell(row.difference),
    "seconds": lambda row: f"{row.seconds:.1f}",
}


def summarize(measures: Sequence[Measure], trials: Trials) -> list[Row]:
    """Summarize trials: a row for each measure and weighting."""
    first, rows = next(iter(trials)), []
    for measure in measures:
        scores = {
            weighting: np.array([trial.measures[measure.name] for trial in done])
            for weighting, done in trials.items()
        }
        for weighting, values in scores.items():
            difference = None if weighting == first else _difference(values, scores[first])
            undefined = int(np.isnan(values).sum())
            seconds = float(np.mean([trial.seconds for trial in trials[weighting]]))
            mean = interval_over_seeds(values)
            rows.append(Row(measure, weighting, mean, difference, len(values), undefined, seconds))
    return rows


def interval_over_seeds(values: np.ndarray) -> Interval | None:
    """The interquartile mean with its interval; with few seeds its ends are NaN; None where a value is.

    Args:
        values: [seed].
    """
    if np.isnan(values).any():
        return None
    if len(values) < FEWEST_SEEDS:
        return Interval(interquartile_mean(values), np.array(np.nan), np.array(np.nan))
    return interquartile_interval(values)


def _difference(values: np.ndarray, first: np.ndarray) -> Interval | None:
    if np.isnan(values).any() or np.isnan(first).any():
        return None
    if len(values) < FEWEST_SEEDS:
        estimate = interquartile_mean(values) - interquartile_mean(first)
        return Interval(estimate, np.array(np.nan), np.array(np.nan))
    return paired_difference_interval(values, first)


def task_table(title: str, rows: Sequence[Row]) -> Group:
    """A table to print, a part for each measure, with an explanation below; it fits 80 columns.

    Args:
        title: of the table.
        rows: of `summarize`.
    """
    parts: list[Any] = []
    for measure, group in _by_measure(rows):
        better = "" if measure.better == "neither" else f", {measure.better} is better"
        table = empty_table(f"{title}, {counted(rows[0].seeds, 'seed')}: {measure.name}{better}")
        table.add_column("weighting", overflow="fold")
        for column in COLUMNS:
            table.add_column(column, justify="right", overflow="fold")
        for row in group:
            table.add_row(row.weighting, *(cell(row) for cell in COLUMNS.values()))
        parts += [table, ""]
    return Group(*parts, "\n".join(textwrap.fill(sentence, WIDTH) for sentence in notes(rows)))


def notes(rows: Sequence[Row]) -> list[str]:
    """Sentences on the table's words, its intervals and its dashes."""
    seeds, first = rows[0].seeds, rows[0].weighting
    intervals = (
        f"brackets are 95 % percentile bootstrap intervals, seeds drawn again {RESAMPLES} times, with no "
        "correction for looking at several."
        if seeds >= FEWEST_SEEDS
        else f"for intervals it takes {FEWEST_SEEDS} or more."
    )
    sentences = [
        f"{measure.name[:1].upper()}{measure.name[1:]}: {measure.text}" for measure, _ in _by_measure(rows)
    ]
    sentences.append(f"Interquartile means over {counted(seeds, 'seed')}; {intervals}")
    if any(row.difference is not None for row in rows):
        sentences.append(
            f"Difference: from {first}; a seed means the same data for all, and is drawn again for both at "
            "once."
        )
    undefined: dict[str, list[str]] = {}
    for measure, group in _by_measure([row for row in rows if row.undefined]):
        listed = ", ".join(
            f"{row.weighting} ({row.undefined} of {counted(row.seeds, 'seed')})" for row in group
        )
        undefined.setdefault(listed, []).append(measure.name)
    sentences += [
        f"A dash: {' and '.join(names)} not defined for {listed}." for listed, names in undefined.items()
    ]
    return [*sentences, "Seconds: of a trial, the mean."]


def write_tables(rows: Sequence[Row], trials: Trials, first_seed: int, folder: Path) -> list[Path]:
    """Write table.csv, table.md and seeds.csv into a folder.

    Args:
        rows: of `summarize`.
        trials: of all weightings.
        first_seed: of the first trial.
        folder: it exists.

    Raises:
        OSError: a file cannot be written.
    """
    table = [
        {"measure": row.measure.name, "weighting": row.weighting}
        | _interval_record("estimate", row.interval)
        | _interval_record("difference", row.difference)
        | {"seeds": row.seeds, "seconds": row.seconds}
        for row in rows
    ]
    seeds = [
        {"weighting": weighting, "seed": seed}
        | {name: _or_empty(value) for name, value in trial.measures.items()}
        | {"seconds": trial.seconds}
        for weighting, done in trials.items()
        for seed, trial in enumerate(done, first_seed)
    ]
    cells = COLUMNS.values()
    markdown = [
        f"| measure | weighting | {' | '.join(COLUMNS)} |",
        f"|---|---|{'---:|' * len(COLUMNS)}",
        *(
            " | ".join((f"| {row.measure.name}", f"`{row.weighting}`", *(cell(row) for cell in cells))) + " |"
            for row in rows
        ),
        "",
        *(f"{sentence}\n" for sentence in notes(rows)),
    ]
    texts = {"table.csv": csv_text(table), "table.md": "\n".join(markdown), "seeds.csv": csv_text(seeds)}
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
    """Draw each weighting on a line: every seed, their interquartile mean, its 95 % interval.

    The interval is there from 3 seeds on, the mean where every seed has a number.

    Args:
        axes: to draw into.
        trials: of all weightings.
        measure: name.
        marks: weighting -> its look.

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
        interval = interval_over_seeds(values)
        if interval is not None:
            ends = np.nan_to_num([[interval.estimate - interval.low], [interval.high - interval.estimate]])
            axes.errorbar(float(interval.estimate), place, xerr=ends, fmt="o", capsize=4, **mean)
    axes.set_yticks(range(len(trials)), list(trials))
    axes.invert_yaxis()
    axes.set_xlabel(measure)


def _by_measure(rows: Sequence[Row]) -> list[tuple[Measure, list[Row]]]:
    return [(measure, list(group)) for measure, group in groupby(rows, key=lambda row: row.measure)]


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return MISSING
    return number(interval.estimate) if math.isnan(interval.low) else with_interval(interval)


def _interval_record(name: str, interval: Interval | None) -> dict[str, float | str]:
    values = ("", "", "") if interval is None else tuple(_or_empty(float(value)) for value in interval)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _or_empty(value: float) -> float | str:
    return "" if math.isnan(value) else value
