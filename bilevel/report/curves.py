"""Curves over training: interquartile means over seeds, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from bilevel.experiment.folder import Results
from bilevel.experiment.statistics import FEWEST_SEEDS, interquartile_interval
from bilevel.report.style import looks

POINTS = 60
"""A curve is drawn at this many outer steps at most: intervals take time, and eyes see no more."""


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
        if values.shape[1] < FEWEST_SEEDS:
            axes.plot(steps + 1, values[steps].mean(-1), **look)
            continue
        interval = interquartile_interval(values[steps], resamples=500)
        axes.plot(steps + 1, interval.estimate, **look)
        axes.fill_between(steps + 1, interval.low, interval.high, color=look["color"], alpha=0.2, linewidth=0)
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
