"""What follows from trials over seeds: a row for each measure and each way to set the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bilevel.experiment.improvement import paired_difference_interval
from bilevel.experiment.statistics import (
    FEWEST_SEEDS,
    Interval,
    interquartile_interval,
    interquartile_mean,
)
from bilevel.tasks.task import Measure
from bilevel.tasks.trial_files import Finished


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


def summarise(measures: Sequence[Measure], trials: Mapping[str, Sequence[Finished]]) -> list[Row]:
    """Summarise trials, measure by measure.

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
