"""Curves over training with their intervals: welfare, cooperation, share kept, and reference levels."""

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
from bilevel.report._style import GRAY, looks, style, wrapped

POINTS = 60
"""Maximum number of outer steps at which a curve is drawn, as intervals take time."""
SAME = 1e-9
"""Relative difference up to which levels are merged."""
LABEL_HEIGHT = 0.08
"""Height of a level's label as a share of the drawn range."""

Level = tuple[str, float]
"""A label and its height."""


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
        alpha: of the band, from 0 to 1.
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


def draw_curves(axes: Axes, runs: Mapping[str, Run], metric: str, *, log: bool = True) -> None:
    """Draw one metric of runs over training, with `draw_band`.

    Args:
        axes: the axes to draw on.
        runs: label -> run.
        metric: name of the metric, a key of `Run.curves`.
        log: use a log scale of outer steps.

    >>> from matplotlib.figure import Figure
    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> axes = Figure().subplots()
    >>> draw_curves(axes, {"tos": run}, "cooperation", log=False)
    >>> len(axes.lines), axes.get_xlabel()
    (1, 'outer step')
    """
    of_label = looks(list(runs))
    for label, results in runs.items():
        values = results.curves[metric]
        space = np.geomspace if log else np.linspace
        steps = np.unique(space(1, len(values), POINTS).round().astype(int)) - 1
        look = {**of_label[label], "label": label}
        if len(steps) == 1:  # markers at distances leave out a line of one point
            del look["markevery"]
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
    """Draw curves of welfare, with the welfare optimum and the welfare of mutual defection.

    Args:
        axes: the axes to draw on.
        runs: label -> run, all on one game.
        levels: labels and heights of further levels, in the game's units.
        log: use a log scale of outer steps.

    >>> from matplotlib.figure import Figure
    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> axes = Figure().subplots()
    >>> draw_welfare(axes, {"tos": run}, levels=[("equal shares", -1.0)])
    >>> axes.get_ylabel()
    'welfare (reward per episode, all agents)'
    """
    game = next(iter(runs.values())).config.game
    draw_curves(axes, runs, "welfare", log=log)
    axes.set_ylabel(f"welfare ({game.value_unit}, all agents)")
    known = [("welfare optimum", game.best_welfare), ("mutual defection", game.defection_welfare)]
    own = tuple((text, height) for text, height in known if height is not None)
    draw_levels(axes, [*own, *levels])
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    if high - low < 1e-6 * max(1, abs(low), abs(high)):  # equal values, up to rounding
        axes.set_ylim(low - 1, high + 1)


def draw_levels(axes: Axes, levels: Sequence[Level]) -> None:
    """Mark levels among the curves drawn before: one line per height, labels in free space."""
    merged: list[tuple[list[str], float]] = []
    for text, height in sorted(levels, key=lambda level: -level[1]):
        last = merged[-1] if merged else None
        if last is not None and last[1] - height <= SAME * max(1.0, abs(height)):
            last[0].extend([text] if text not in last[0] else [])
        else:
            merged.append(([text], height))
    ends = (np.asarray(line.get_ydata(), dtype=float)[-POINTS // 2 :] for line in axes.lines)
    curves = np.concatenate([np.zeros(0), *ends])  # beside the labels, which are at the right
    room = LABEL_HEIGHT * np.ptp([*(height for _, height in merged), *curves]) if merged else 0.0
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
    draw_curves(axes, runs, "cooperation")
    axes.set_ylabel("cooperation rate")
    percent_axis(axes)


def draw_kept(axes: Axes, runs: Mapping[str, Run], levels: Sequence[Level]) -> None:
    """Draw the mean own share of runs that share rewards, and `levels`."""
    kept = {
        label: dataclasses.replace(run, curves={"kept": 1 - run.curves["given_away"]})
        for label, run in runs.items()
    }
    draw_curves(axes, kept, "kept")
    draw_levels(axes, levels)
    axes.set_ylabel("share of own reward kept")
    percent_axis(axes, top=1.07)


def percent_axis(axes: Axes, top: float = 1.03) -> None:
    axes.set_ylim(-0.03, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def panel_figure(drawings: Sequence[Callable[[Axes], None]], title: str, size: tuple[float, float]) -> Figure:
    """Draw panels side by side, with the legend of the first at the right; the size is in inches."""
    with style():
        figure = Figure(figsize=size)
        panels = figure.subplots(1, len(drawings), squeeze=False)[0]
        for axes, draw in zip(panels, drawings, strict=True):
            draw(axes)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
        figure.suptitle(wrapped(title, size[0]), fontsize=12)
    return figure
