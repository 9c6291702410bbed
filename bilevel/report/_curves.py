"""Curves over training with their intervals: welfare, cooperation, shares kept, and levels among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bilevel.experiments import FEWEST_SEEDS, RESAMPLES, Run, interquartile_interval, interquartile_mean
from bilevel.report._style import GRAY, looks, style

POINTS = 60
"""A curve is drawn at this many outer steps at most: intervals take time, and eyes see no more."""
SAME = 1e-9
"""Levels that differ by less, or by less than this share of their height, are one."""
CROWDED = 0.08
"""Words take this share of what is drawn: they go below their line where a level is nearer, or curves are."""
LATE = POINTS // 2
"""Of so many last points of a curve: words stand at the right."""

Level = tuple[str, float]
"""What a height means, in words, and the height."""


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


def draw_welfare(
    axes: Axes, runs: Mapping[str, Run], levels: Sequence[Level] = (), *, log: bool = True
) -> None:
    """Draw `draw_curves` of the welfare, with the group optimum and the line of everybody defecting.

    Args:
        axes: where.
        runs: label -> run of one game.
        levels: of welfare that are marked besides.
        log: whether steps are on a logarithmic scale.
    """
    game = next(iter(runs.values())).config.game
    draw_curves(axes, runs, "welfare", log=log)
    axes.set_ylabel(f"welfare ({game.value_unit}, all agents)")
    known = [("group optimum", game.best_welfare), ("all defect", game.defection_welfare)]
    own = tuple((text, height) for text, height in known if height is not None)
    draw_levels(axes, [*own, *levels])
    axes.margins(y=0.12)
    _widen(axes)


def draw_levels(axes: Axes, levels: Sequence[Level]) -> None:
    """Mark heights among curves; what lies at the same height shares a line, and words keep out of the way.

    Args:
        axes: where; the curves are there already.
        levels: words and height; words that occur twice at a height are said once.
    """
    merged: list[tuple[list[str], float]] = []
    for text, height in sorted(levels, key=lambda level: -level[1]):
        last = merged[-1] if merged else None
        if last is not None and last[1] - height <= SAME * max(1.0, abs(height)):
            last[0].extend([text] if text not in last[0] else [])
        else:
            merged.append(([text], height))
    curves = np.concatenate([np.zeros(0), *(_last_points(line) for line in axes.lines)])
    room = CROWDED * np.ptp([*(height for _, height in merged), *curves]) if merged else 0.0
    above = np.inf
    for words, height in merged:
        higher, lower = (int(((gap >= 0) & (gap < room)).sum()) for gap in (curves - height, height - curves))
        below = higher > lower or above - height < room
        above = height
        axes.axhline(height, color=GRAY, linewidth=1, linestyle="--", zorder=1)
        axes.annotate(
            f"{', '.join(words)} {height:.4g}",
            (1, height),
            (0, -3 if below else 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            fontsize=10,
            color="#444444",
            zorder=1.5,  # behind the curves
        )


def draw_cooperation(axes: Axes, runs: Mapping[str, Run]) -> None:
    """Draw `draw_curves` of the share of cooperating actions."""
    draw_curves(axes, runs, "cooperation")
    axes.set_ylabel("cooperating actions")
    percent_axis(axes)


def draw_kept(axes: Axes, runs: Mapping[str, Run], levels: Sequence[Level]) -> None:
    """Draw the part of its own reward that an agent keeps, on average over agents, as it is learned.

    Args:
        axes: where.
        runs: label -> run whose agents share rewards.
        levels: shares to mark.
    """
    kept = {
        label: dataclasses.replace(run, curves={"kept": 1 - run.curves["given_away"]})
        for label, run in runs.items()
    }
    draw_curves(axes, kept, "kept")
    draw_levels(axes, levels)
    axes.set_ylabel("kept of one's own reward")
    percent_axis(axes, top=1.07)


def percent_axis(axes: Axes, top: float = 1.03) -> None:
    """Scale the vertical axis to shares from 0 to 1, as percentages."""
    axes.set_ylim(-0.03, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def panel_figure(drawings: Sequence[Callable[[Axes], None]], title: str, size: tuple[float, float]) -> Figure:
    """A figure of panels side by side, the legend of the first at the right, where it hides nothing.

    Args:
        drawings: one for each panel.
        title: above all of them.
        size: width and height, in inches.
    """
    with style():
        figure = Figure(figsize=size)
        panels = figure.subplots(1, len(drawings), squeeze=False)[0]
        for axes, draw in zip(panels, drawings, strict=True):
            draw(axes)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
        figure.suptitle(title, fontsize=12)
    return figure


def _last_points(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)[-LATE:]


def _widen(axes: Axes) -> None:
    """Keep an axis of equal values from being drawn at the scale of its rounding errors."""
    low, high = axes.get_ylim()
    if high - low < 1e-6 * max(1, abs(low), abs(high)):
        axes.set_ylim(low - 1, high + 1)
