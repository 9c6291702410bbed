"""Where trials end, seed by seed: what the figures of several tasks draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from bilevel.tasks.summary import over_seeds
from bilevel.tasks.task import Trial


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
