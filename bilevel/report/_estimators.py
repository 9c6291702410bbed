"""Hypergradient estimators side by side: a table, a figure, and a file of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator
from rich.console import Group

from bilevel.core import counted
from bilevel.hypergradient import (
    COLUMNS,
    REFERENCES,
    EstimatorMeasured,
    EstimatorRefused,
    HypergradientComparison,
)
from bilevel.report._style import BLUE, save_with_numbers, style
from bilevel.report._table import Column, ResultsTable, csv_text, folded

MAX_NAME = 19
"""Longer names of estimators are broken, in characters."""

NOTE = (
    "Relative error: of the greater of the two norms. Inside: the part of directions whose reference lies "
    "in the estimate's own 95 % interval. Variance: trace of the covariance over {resamples} draws of all "
    "that is random, over the squared norm of their mean; near {resamples} or above, that mean is noise. "
    "Time: the median of {resamples} runs, after a first. Memory: the most bytes of tensors alive above the "
    "start. Calls: of the step; one call for a whole batch of samples counts once."
)


def ratio(value: float) -> str:
    """A pure number in two digits.

    >>> [ratio(value) for value in (0.0, 4.47e-9, 0.157, 62.4, 1e4, float("inf"))]
    ['0', '4.5e-09', '0.16', '62', '1.0e+04', 'inf']
    """
    return f"{value:.2g}" if not value or not math.isfinite(value) or 0.01 <= value < 999 else f"{value:.1e}"


def duration(seconds: float) -> str:
    """A duration in three digits.

    >>> duration(0.0471)
    '47.1 ms'
    """
    return _three_digits(seconds, "s")


def memory(size: float) -> str:
    """A number of bytes in three digits; kB is 1000 bytes.

    >>> memory(26344)
    '26.3 kB'
    """
    return _three_digits(size, "B")


def estimators_table(comparison: HypergradientComparison, title: str = "") -> Group:
    """A table to print: a row for each estimator, then the reasons of those that do not apply.

    Args:
        comparison: what was measured.
        title: what was compared on.
    """
    table = ResultsTable(title=title, columns=TABLE, rows=list(map(_cells, comparison.rows)))
    reasons = [f"{row.estimator} does not apply: {row.reason}" for row in comparison.refused]
    notes = REFERENCES[comparison.reference], folded([NOTE.format(resamples=comparison.resamples)])
    return Group(table.to_rich(), "", *reasons, *([""] if reasons else []), *notes)


def _cells(row: EstimatorMeasured | EstimatorRefused) -> tuple[Any, ...]:
    if isinstance(row, EstimatorRefused):
        return broken(row.estimator), "refused"
    return (
        broken(row.estimator),
        row.check.relative_error,
        row.inside_interval,
        row.check.cosine,
        row.relative_variance,
        row.seconds,
        row.peak_bytes,
        row.step_calls,
    )


def broken(name: str) -> str:
    """Break a long text form after its name and between its settings."""
    if len(name) <= MAX_NAME:
        return name
    return name.replace("(", "(\n  ", 1).replace(", ", ",\n  ")


def _three_digits(value: float, unit: str) -> str:
    """A number with the prefix that brings it between 1 and 1000."""
    if not value:
        return f"0 {unit}"
    digits, exponent = f"{value:.2e}".split("e")  # rounded first: 999.9 is 1.00 of the next prefix
    power = min(max(int(exponent) // 3, -3), 4)
    scaled = float(f"{digits}e{int(exponent) - 3 * power}")
    whole = unit == "B" and power == 0
    places = 0 if whole else max(0, 2 - int(exponent) + 3 * power)
    prefix = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}[power]
    return f"{scaled:.{places}f} {prefix}{unit}"


FORMS: dict[str, Callable[[Any], str]] = {
    "error": ratio,
    "inside": lambda share: f"{100 * share:.0f} %",
    "cosine": lambda cosine: f"{cosine:z.3f}",
    "variance": ratio,
    "time": duration,
    "memory": memory,
    "calls": str,
}
TABLE = (
    Column(heading="estimator", min_width=MAX_NAME),
    *(Column(heading=heading, form=form, wrap=False) for heading, form in FORMS.items()),
)

MEASURED_COLOR, REFUSED_COLOR = BLUE, "#767676"


class Panel(NamedTuple):
    """One measure, as a part of the figure."""

    title: str
    scale: str
    unit: str
    value: Callable[[EstimatorMeasured], float]
    text: Callable[[float], str]


PANELS = (
    Panel("relative error", "ratio of norms", "", lambda row: row.check.relative_error, ratio),
    Panel("relative variance", "ratio of squared norms", "", lambda row: row.relative_variance, ratio),
    Panel("time", "seconds", "s", lambda row: row.seconds, duration),
    Panel("peak memory", "bytes", "B", lambda row: row.peak_bytes, memory),
)


def draw_comparison(axes: Axes, comparison: HypergradientComparison, panel: Panel) -> None:
    """Draw one measure of every estimator on a log scale, best on the left; a cross is one that refused.

    A value of 0 has no place on a log scale: it is an open mark at the left edge.

    Args:
        axes: where.
        comparison: what was measured.
        panel: of `PANELS`.
    """
    values = {
        place: panel.value(row)
        for place, row in enumerate(comparison.rows)
        if isinstance(row, EstimatorMeasured)
    }
    shown = [value for value in values.values() if value > 0 and math.isfinite(value)]
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
        value = values[place]
        finite = value > 0 and math.isfinite(value)
        at, face = (value, MEASURED_COLOR) if finite else (left, "white")
        axes.plot(at, place, "o", color=MEASURED_COLOR, markerfacecolor=face, clip_on=False, markersize=8)
        _label(axes, at, place, panel.text(value), "black")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if right / left < 1e3 else (1,), numticks=4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(panel.unit) if panel.unit else lambda value, _: f"{value:g}")
    axes.set_title(panel.title)
    axes.set_xlabel(f"{panel.scale} (log scale)")
    axes.set_ylim(len(comparison.rows) - 0.5, -0.5)


def write_comparison(comparison: HypergradientComparison, folder: Path, title: str = "") -> list[Path]:
    """Write a figure and the numbers behind it.

    Args:
        comparison: what was measured.
        folder: where; made if it is not there.
        title: what was compared on.

    Returns:
        the files written: estimators.png and estimators.csv.

    Raises:
        OSError: a file cannot be written.
    """
    with style():
        figure = Figure(figsize=(14, 1.9 + 0.5 * len(comparison.rows)))
        row = figure.subplots(1, len(PANELS), sharey=True)
        for axes, panel in zip(row, PANELS, strict=True):
            draw_comparison(axes, comparison, panel)
        row[0].set_yticks(range(len(comparison.rows)), [broken(row.estimator) for row in comparison.rows])
        steps = f"K = {counted(comparison.steps, 'inner step')}"
        figure.suptitle(f"{title}, {steps}" if title else steps)
    return save_with_numbers(figure, folder / "estimators.png", csv_text(comparison.records(), COLUMNS))


def _label(axes: Axes, at: float, place: int, text: str, color: str) -> None:
    axes.annotate(
        text, (at, place), (9, 0), textcoords="offset points", va="center", fontsize=11, color=color
    )
