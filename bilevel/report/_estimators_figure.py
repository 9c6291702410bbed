"""Figure of a comparison of hypergradient estimators, and its numbers as CSV."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from bilevel.core import counted
from bilevel.hypergradient import COLUMNS, EstimatorMeasured, EstimatorRefused, HypergradientComparison
from bilevel.report._estimators import MEASURES, MeasureColumn, broken
from bilevel.report._style import BLUE, save_with_numbers, style, wrapped
from bilevel.report._table import csv_text

MEASURED_COLOR, REFUSED_COLOR = BLUE, "#767676"


class Panel(NamedTuple):
    title: str
    scale: str
    unit: str
    measure: MeasureColumn


PANELS = (
    Panel("relative error", "ratio of norms", "", MEASURES["error"]),
    Panel("relative variance", "ratio of squared norms", "", MEASURES["variance"]),
    Panel("time", "seconds", "s", MEASURES["time"]),
    Panel("peak memory", "bytes", "B", MEASURES["memory"]),
)


def draw_comparison(axes: Axes, comparison: HypergradientComparison, panel: Panel) -> None:
    """Draw one measure of every estimator on a log scale, best on the left; crosses do not apply.

    A value of 0 is an open mark at the left edge of the log scale.
    """
    measured = [row for row in comparison.rows if isinstance(row, EstimatorMeasured)]
    shown = [value for value in map(panel.measure.value, measured) if value > 0 and math.isfinite(value)]
    low, high = (min(shown), max(shown)) if shown else (0.1, 1.0)
    span = max(math.log10(high / low), 1.0)
    left, right = low / 10 ** (0.25 * span), high * 10 ** (0.75 * span)  # room for the numbers
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    for place, row in enumerate(comparison.rows):
        if isinstance(row, EstimatorRefused):
            axes.plot(left, place, "x", color=REFUSED_COLOR, clip_on=False, markersize=8)
            _label(axes, left, place, "does not apply", REFUSED_COLOR)
            continue
        value = panel.measure.value(row)
        finite = value > 0 and math.isfinite(value)
        at, face = (value, MEASURED_COLOR) if finite else (left, "white")
        axes.plot(at, place, "o", color=MEASURED_COLOR, markerfacecolor=face, clip_on=False, markersize=8)
        _label(axes, at, place, panel.measure.text(value), "black")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if right / left < 1e3 else (1,), numticks=4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(panel.unit) if panel.unit else lambda value, _: f"{value:g}")
    axes.set_title(panel.title)
    axes.set_xlabel(f"{panel.scale} (log scale)")
    axes.set_ylim(len(comparison.rows) - 0.5, -0.5)


def write_comparison(comparison: HypergradientComparison, folder: Path, title: str = "") -> list[Path]:
    """Write a figure of a comparison of estimators, and the numbers behind it.

    Args:
        comparison: result of `compare_hypergradients`.
        folder: created if it does not exist.
        title: title of the figure.
    Returns:
        The files written: estimators.png and estimators.csv.

    >>> from pathlib import Path
    >>> import torch
    >>> from bilevel.hypergradient import BilevelProblem, compare_hypergradients
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.tensor(0.0), None, torch.tensor(1.0)
    >>> comparison = compare_hypergradients(problem, *start, steps=2, estimators=["unrolled"])
    >>> [path.name for path in write_comparison(comparison, Path("report"))]
    ['estimators.png', 'estimators.csv']
    """
    with style():
        figure = Figure(figsize=(14, 1.9 + 0.5 * len(comparison.rows)))
        row = figure.subplots(1, len(PANELS), sharey=True)
        for axes, panel in zip(row, PANELS, strict=True):
            draw_comparison(axes, comparison, panel)
        row[0].set_yticks(range(len(comparison.rows)), [broken(row.estimator) for row in comparison.rows])
        steps = f"K = {counted(comparison.steps, 'inner step')}"
        figure.suptitle(wrapped(f"{title}, {steps}" if title else steps, figure.get_figwidth()))
    return save_with_numbers(figure, folder / "estimators.png", csv_text(comparison.records(), COLUMNS))


def _label(axes: Axes, at: float, place: int, text: str, color: str) -> None:
    axes.annotate(
        text, (at, place), (9, 0), textcoords="offset points", va="center", fontsize=11, color=color
    )
