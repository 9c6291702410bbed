"""What follows from trials over seeds: a row for each measure and each way to set the weights.

Where trials end, seed by seed: what the figures of several tasks draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from bilevel.experiments import (
    FEWEST_SEEDS,
    Interval,
    interquartile_interval,
    interquartile_mean,
    paired_difference_interval,
)
from bilevel.tasks._study import Finished
from bilevel.tasks._task import Measure, Trial


class Row(NamedTuple):
    """One measure under one way to set the weights."""

    measure: Measure
    """What is measured."""
    weighting: str
    """How the weights are set."""
    interval: Interval | None
    """The interquartile mean over seeds; None where some seed has none; ends are NaN with few seeds."""
    difference: Interval | None
    """From the first way, seed by seed; None for that one itself, and where either has none."""
    seeds: int
    """How many trials."""
    undefined: int
    """In how many of them the measure makes no sense."""
    seconds: float
    """Of a trial, the mean."""


def summarize(measures: Sequence[Measure], trials: Mapping[str, Sequence[Finished]]) -> list[Row]:
    """Summarize trials, measure by measure.

    Args:
        measures: of the task.
        trials: way to set the weights -> its trials; the same seeds for each, the first is compared with.
    """
    first = next(iter(trials))
    rows = []
    for measure in measures:
        scores = {
            name: np.array([finished.trial.measures[measure.name] for finished in done])
            for name, done in trials.items()
        }
        for name, values in scores.items():
            against = None if name == first else _difference(values, scores[first])
            seconds = float(np.mean([finished.seconds for finished in trials[name]]))
            undefined = int(np.isnan(values).sum())
            rows.append(Row(measure, name, over_seeds(values), against, len(values), undefined, seconds))
    return rows


def over_seeds(values: np.ndarray) -> Interval | None:
    """The interquartile mean with its interval; with few seeds its ends are NaN; None where a value is.

    Args:
        values: [seed].
    """
    if np.isnan(values).any():
        return None
    if len(values) < FEWEST_SEEDS:
        return _point(interquartile_mean(values))
    return interquartile_interval(values)


def _difference(values: np.ndarray, first: np.ndarray) -> Interval | None:
    if np.isnan(values).any() or np.isnan(first).any():
        return None
    if len(values) < FEWEST_SEEDS:
        return _point(interquartile_mean(values) - interquartile_mean(first))
    return paired_difference_interval(values, first)


def _point(estimate: np.ndarray) -> Interval:
    return Interval(estimate, np.array(np.nan), np.array(np.nan))


class Marks(NamedTuple):
    """Matplotlib's settings for one way to set the weights."""

    seeds: Mapping[str, Any]
    """Of the marks of seeds."""
    mean: Mapping[str, Any]
    """Of the interquartile mean and its interval."""


def draw_final(
    axes: Axes, trials: Mapping[str, Sequence[Trial]], measure: str, marks: Callable[[str], Marks]
) -> None:
    """Draw each way to set the weights on a line: every seed, their interquartile mean, its 95 % interval.

    The interval is there from 3 seeds on, the mean where every seed has a number.

    Args:
        axes: where.
        trials: way to set the weights -> its trials, seed by seed.
        measure: name of what is drawn.
        marks: how a way is drawn.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> trials = {"equal": [Trial({"error": 1.0}, {}), Trial({"error": 2.0}, {})]}
    >>> draw_final(axes, trials, "error", lambda way: Marks({"marker": "o"}, {"color": "red"}))
    >>> [text.get_text() for text in axes.get_yticklabels()]
    ['equal']
    """
    for place, (way, some) in enumerate(trials.items()):
        values = np.array([trial.measures[measure] for trial in some])
        seeds, mean = marks(way)
        axes.plot(values, np.full(len(values), place), linestyle="none", **seeds)
        interval = over_seeds(values)
        if interval is not None:
            ends = np.nan_to_num([[interval.estimate - interval.low], [interval.high - interval.estimate]])
            axes.errorbar(float(interval.estimate), place, xerr=ends, fmt="o", capsize=4, **mean)
    axes.set_yticks(range(len(trials)), list(trials))
    axes.invert_yaxis()
    axes.set_xlabel(measure)
