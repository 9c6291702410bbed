"""Curves over training: interquartile means over seeds, with their intervals.

Learned weights of agents' losses over training: a panel for each term.

The figure of learned weights: what they were over training, and what they were learned from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bilevel.experiments import (
    FEWEST_SEEDS,
    RESAMPLES,
    Run,
    interquartile_interval,
    interquartile_mean,
    mean_weight,
)
from bilevel.loss_weights import History
from bilevel.report._style import BLACK, looks, save, style
from bilevel.sharing import TERMS
from games.core import require

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


def draw_curves(axes: Axes, runs: Mapping[str, Run], metric: str, *, log: bool = True) -> None:
    """Draw one metric over training: interquartile mean over seeds, with its 95 % interval from 3 seeds on.

    Args:
        axes: where.
        runs: label -> run; one that is a method's name has its color.
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


UNITS = {"policy": "of minus the return", "value": "of the critic's error", "entropy": "reward units per nat"}
"""Term -> what a weight of 1 counts, for axes."""


def weights_of_agents(results: Run) -> dict[str, Run]:
    """One run as many, the curves of each being one agent's loss weights; none where none were learned."""
    return {
        f"agent {agent}": dataclasses.replace(
            results, curves={term: results.curves[f"{term}_weight_{agent}"] for term in TERMS}
        )
        for agent in range(results.config.game.num_agents)
        if f"policy_weight_{agent}" in results.curves
    }


def weights_of_methods(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs that learned loss weights, their curves being the agents' mean of these."""
    found = {}
    for label, results in runs.items():
        means = {term: mean_weight(results.curves, term, results.config.game.num_agents) for term in TERMS}
        curves = {term: mean for term, mean in means.items() if mean is not None}
        if curves:
            found[label] = dataclasses.replace(results, curves=curves)
    return found


def loss_weight_figure(runs: Mapping[str, Run], title: str) -> Figure:
    """Draw the weights of each term over training.

    Args:
        runs: label -> run whose curves are named as `TERMS`: of `weights_of_agents` or `weights_of_methods`.
        title: above all panels.
    """
    with style():
        figure = Figure(figsize=(14.4, 4.6))
        parts = figure.subplots(1, len(TERMS))
        for axes, term in zip(parts, TERMS, strict=True):
            draw_curves(axes, runs, term, log=False)
            axes.set_title(f"{term}'s term")
            axes.set_ylabel(f"weight ({UNITS[term]})")
            low, high = axes.get_ylim()
            axes.set_ylim(min(0.0, low), high + 0.02 * (high or 1.0))
        handles, labels = parts[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
        figure.suptitle(title, fontsize=12)
    return figure


_HEIGHTS: dict[bool, dict[str, Any]] = {True: {"height_ratios": (2, 1)}, False: {}}


def write_weights_figure(history: History, path: Path) -> Path:
    """Draw the learned values, and below them the validation loss if there is one, against training steps.

    Args:
        history: a tuner's.
        path: of the file; its ending is the format.

    Raises:
        ValueError: there was no outer step yet.
    """
    require(len(history.steps) > 0, "There is nothing to draw yet: no outer step was taken.")
    with style():
        learned_from = any(loss is not None for loss in history.validation_loss)
        figure = Figure(figsize=(8, 6 if learned_from else 4))
        rows = figure.subplots(
            1 + learned_from, 1, sharex=True, squeeze=False, gridspec_kw=_HEIGHTS[learned_from]
        )
        above, below = rows[0, 0], rows[-1, 0]
        for name, look in looks(list(history.values)).items():
            above.plot(history.steps, history.values[name], label=name, **look)
        above.set_ylabel("learned value")
        above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        if learned_from:
            below.plot(history.steps, np.array(history.validation_loss, dtype=float), color=BLACK)
            below.set_ylabel("validation loss\nafter the look ahead")
        below.set_xlabel("step of training")
    return save(figure, path)
