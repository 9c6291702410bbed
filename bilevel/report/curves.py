"""Curves over training: interquartile means over seeds, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bilevel.experiment.folder import Results
from bilevel.experiment.statistics import FEWEST_SEEDS, RESAMPLES, interquartile_interval, interquartile_mean
from bilevel.report.style import looks

POINTS = 60
"""A curve is drawn at this many outer steps at most: intervals take time, and eyes see no more."""


def draw_band(
    axes: Axes,
    x: np.ndarray,
    samples: np.ndarray,
    look: Mapping[str, Any],
    *,
    alpha: float = 0.2,
    resamples: int = RESAMPLES,
) -> Line2D:
    """Draw the interquartile mean over seeds as a line, and from 3 seeds on its 95 % interval as a band.

    Args:
        axes: where.
        x: the points, [point].
        samples: values, [point, seed].
        look: Matplotlib's settings of the line; its color is also the band's.
        alpha: of the band, from 0 to 1.
        resamples: bootstrap samples, 1 or more.

    Returns:
        the line.

    Raises:
        ValueError: there are 3 seeds or more, and a value is not finite.

    >>> from matplotlib.figure import Figure
    >>> line = draw_band(Figure().subplots(), np.arange(2), np.arange(8.0).reshape(2, 4), {"color": "red"})
    >>> line.get_ydata()
    array([1.5, 5.5])
    """
    (line,) = axes.plot(x, interquartile_mean(samples), **look)
    if samples.shape[-1] >= FEWEST_SEEDS:
        interval = interquartile_interval(samples, resamples=resamples)
        axes.fill_between(x, interval.low, interval.high, color=look["color"], alpha=alpha, linewidth=0)
    return line


def draw_curves(axes: Axes, runs: Mapping[str, Results], metric: str, *, log: bool = True) -> None:
    """Draw one metric over training: interquartile mean over seeds, with its 95 % interval from 3 seeds on.

    Args:
        axes: where.
        runs: label -> run; one that is a method's name has its colour.
        metric: column of metrics.csv.
        log: whether outer steps are on a logarithmic axis; else they begin at 0.
    """
    of_label = looks(list(runs))
    for label, results in runs.items():
        values = results.curves[metric]
        space = np.geomspace if log else np.linspace
        steps = np.unique(space(1, len(values), POINTS).round().astype(int)) - 1
        look = {**of_label[label], "label": label}
        if len(steps) == 1:  # a line of one point does not show
            look["marker"] = "o"
        draw_band(axes, steps + 1, values[steps], look, resamples=500)
    last = max(len(results.curves[metric]) for results in runs.values())
    if not log:
        axes.set_xlim(0, last)
        axes.set_xlabel("outer step")
        return
    axes.set_xscale("log")
    axes.set_xlim(0.9, 1.1 * max(last, 2))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("outer step (log scale)")
