"""Curves over training with their intervals: welfare, cooperation, share kept, and reference levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bilevel.experiments import (
    FEWEST_SEEDS,
    RESAMPLES,
    Run,
    RunConfig,
    XAxis,
    interquartile_interval,
    interquartile_mean,
    welfare_levels,
)
from bilevel.report._levels import Level, draw_levels
from bilevel.report._style import looks, style, wrapped
from games.core import require_name

POINTS = 60
"""Maximum number of outer steps at which a curve is drawn, as intervals take time."""


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
        axes: the axes to draw on.
        x: points, [point].
        samples: values, [point, seed].
        look: Matplotlib's settings of the line; its color is also the band's.
        alpha: opacity of the band, from 0 to 1.
        resamples: bootstrap samples, 1 or more.

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


def draw_curves(
    axes: Axes,
    runs: Mapping[str, Run],
    metric: str,
    *,
    log: bool = True,
    x_axis: XAxis = "outer-steps",
    labels: Sequence[str] = (),
) -> None:
    """Draw one metric of runs over training, with `draw_band`.

    Args:
        axes: the axes to draw on.
        runs: label -> run.
        metric: name of the metric in `Run.curves`.
        log: draw the x axis on a log scale.
        x_axis: outer-steps, or environment-steps (`Run.environment_steps`), of which each seed has its own
            count: at x, a seed has the value of its last outer step that ended by then.
        labels: labels of all runs in the figure, if these are only some of them: each label has one look in
            all panels.

    Raises:
        ValueError: there is no such unit; or a run has no environment steps (with the reason).

    >>> import bilevel
    >>> from matplotlib.figure import Figure
    >>> settings = {"seeds": 3, "outer_steps": 2, "inner.episodes": 4, "inner.exact": False}
    >>> run, axes = bilevel.train("chicken", "tos", out="run", **settings), Figure().subplots()
    >>> draw_curves(axes, {"tos": run}, "welfare", x_axis="environment-steps")
    >>> axes.lines[0].get_xdata(), axes.get_xlabel()
    (array([ 8., 16.]), 'environment steps per seed (log scale)')
    """
    require_name(x_axis, get_args(XAxis), "x axis")
    of_label, first, last = looks(list(labels or runs)), np.inf, 2.0
    for label, results in runs.items():
        x, samples = curve_points(results, metric, x_axis, log=log)
        look = {**of_label[label], "label": label}
        if len(x) == 1:  # markers at distances leave out a line of one point
            del look["markevery"]
        draw_band(axes, x, samples, look, resamples=500)
        first, last = min(first, x[0]), max(last, x[-1])
    name = "outer step" if x_axis == "outer-steps" else "environment steps per seed"
    if not log:
        axes.set_xlim(0, last)
        axes.set_xlabel(name)
        return
    axes.set_xscale("log")
    axes.set_xlim(0.9 * first, 1.1 * last)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if last / first < 1000 else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1e5 else f"{value:.0e}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"{name} (log scale)")


def curve_points(
    results: Run, metric: str, x_axis: XAxis = "outer-steps", *, log: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the points at which a curve is drawn, at most `POINTS`, evenly spaced on its axis.

    Args:
        results, metric, log, x_axis: as for `draw_curves`.

    Returns:
        Numbers of steps, [point], and the values there, [point, seed].

    Raises:
        ValueError: the run has no environment steps (with the reason).

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=4, out="run")
    >>> curve_points(run, "welfare")[0]
    array([1, 2, 3, 4])
    """
    values, space = results.curves[metric], np.geomspace if log else np.linspace
    if x_axis == "outer-steps":
        steps = np.unique(space(1, len(values), POINTS).round().astype(int))
        return steps, values[steps - 1]
    counts = results.environment_steps
    begin = counts[0].max()  # from here to the last point all seeds have values
    x = np.unique(space(begin, max(begin, counts[-1].min()), min(POINTS, len(values))).round())
    at = [np.searchsorted(of_seed, x, side="right") - 1 for of_seed in counts.T]
    return x, np.stack([of_seed[rows] for of_seed, rows in zip(values.T, at, strict=True)], axis=-1)


def draw_welfare(
    axes: Axes,
    runs: Mapping[str, Run],
    levels: Sequence[Level] = (),
    *,
    log: bool = True,
    x_axis: XAxis = "outer-steps",
    labels: Sequence[str] = (),
) -> None:
    """Draw curves of welfare, with the welfare optimum and the welfare of mutual defection.

    Args:
        axes: the axes to draw on.
        runs: label -> run, all on one game.
        levels: labels and heights of further levels, in the game's units.
        log: draw the x axis on a log scale.
        x_axis: unit of the x axis, as for `draw_curves`.
        labels: of all runs in the figure, as for `draw_curves`.

    >>> from matplotlib.figure import Figure
    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> axes = Figure().subplots()
    >>> draw_welfare(axes, {"tos": run}, levels=[("equal shares", -1.0)])
    >>> axes.get_ylabel()
    'welfare (reward per episode, all agents)'
    """
    config = next(iter(runs.values())).config
    draw_curves(axes, runs, "welfare", log=log, x_axis=x_axis, labels=labels)
    axes.set_ylabel(f"welfare ({config.game.value_unit}, all agents)")
    draw_levels(axes, [*known_levels(config, "welfare"), *levels])
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    if high - low < 1e-6 * max(1, abs(low), abs(high)):  # equal values, up to rounding
        axes.set_ylim(low - 1, high + 1)


def known_levels(config: RunConfig, metric: str) -> list[Level]:
    """Known levels of a metric: its value at the welfare optimum, and at mutual defection."""
    known = {
        "welfare": welfare_levels(config.game, exact=config.exact),
        "cooperation": (config.game.best_cooperation, None),
    }
    named = zip(("welfare optimum", "mutual defection"), known[metric], strict=True)
    return [(label, height) for label, height in named if height is not None]


def draw_cooperation(
    axes: Axes,
    runs: Mapping[str, Run],
    *,
    x_axis: XAxis = "outer-steps",
    labels: Sequence[str] = (),
) -> None:
    """Draw curves of the cooperation rate, with a line for that of the welfare optimum, if known."""
    draw_curves(axes, runs, "cooperation", x_axis=x_axis, labels=labels)
    axes.set_ylabel("cooperation rate")
    levels = known_levels(next(iter(runs.values())).config, "cooperation")
    draw_levels(axes, levels, lambda rate: f"{100 * rate:.4g} %")
    percent_axis(axes, top=1.1 if any(height > 0.95 for _, height in levels) else 1.03)


def draw_kept(
    axes: Axes,
    runs: Mapping[str, Run],
    levels: Sequence[Level],
    *,
    x_axis: XAxis = "outer-steps",
    labels: Sequence[str] = (),
) -> None:
    """Draw the mean own share of runs that share rewards, and `levels`."""
    kept = {
        label: dataclasses.replace(run, curves={**run.curves, "kept": 1 - run.curves["given_away"]})
        for label, run in runs.items()
    }
    draw_curves(axes, kept, "kept", x_axis=x_axis, labels=labels)
    draw_levels(axes, levels)
    axes.set_ylabel("share of own reward kept")
    percent_axis(axes, top=1.07)


def percent_axis(axes: Axes, top: float = 1.03) -> None:
    axes.set_ylim(-0.03, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def panel_figure(
    rows: Sequence[Sequence[Callable[[Axes], None]]], title: str, size: tuple[float, float]
) -> Figure:
    """Draw rows of panels, each with the legend of its first at the right; the size is in inches.

    The panels of a column have the same limits.
    """
    with style():
        figure = Figure(figsize=size)
        panels = figure.subplots(len(rows), len(rows[0]), squeeze=False)
        for row, drawings in zip(panels, rows, strict=True):
            for axes, draw in zip(row, drawings, strict=True):
                draw(axes)
            handles, labels = row[0].get_legend_handles_labels()
            if labels:
                row[-1].legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for column in panels.T if len(rows) > 1 else ():
            _equal_limits(column)
        figure.suptitle(wrapped(title, size[0]), fontsize=12)
    return figure


def _equal_limits(panels: Sequence[Axes]) -> None:
    """Set the limits of all panels with data to the union of their limits."""
    drawn = [axes for axes in panels if axes.has_data()]
    widths, heights = (np.array([getattr(axes, f"get_{x}lim")() for axes in drawn]) for x in "xy")
    for axes in drawn:
        axes.set_xlim(widths.min(), widths.max())
        axes.set_ylim(heights.min(), heights.max())
