"""Table of a comparison of hypergradient estimators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Group

from bilevel.hypergradient import REFERENCES, EstimatorMeasured, EstimatorRefused, HypergradientComparison
from bilevel.report._table import Column, ResultsTable, folded

MAX_NAME = 19
"""Maximum length of an estimator's name on one line."""

NOTE = (
    "Error: norm of the difference from the reference, relative to the larger of the two norms. In CI: "
    "fraction of directions whose reference lies in the estimate's own 95 % confidence interval. "
    "Variance: trace of the covariance over {resamples} independent draws, relative to the squared norm "
    "of their mean; near {resamples} or above, that mean is noise. Time: median of {resamples} runs after "
    "a warm-up run. Memory: peak bytes of tensors above those at the start. Calls: of the step; a batch "
    "of samples counts as one."
)


def ratio(value: float) -> str:
    """Format a dimensionless number in two digits.

    >>> [ratio(value) for value in (0.0, 4.47e-9, 0.157, 62.4, 1e4, float("inf"))]
    ['0', '4.5e-09', '0.16', '62', '1.0e+04', 'inf']
    """
    return f"{value:.2g}" if not value or not math.isfinite(value) or 0.01 <= value < 999 else f"{value:.1e}"


def three_digits(value: float, unit: str) -> str:
    """Format a number in three digits, with an SI prefix that brings it between 1 and 1000 (1 kB: 1000 B).

    >>> three_digits(0.0471, "s"), three_digits(26344, "B")
    ('47.1 ms', '26.3 kB')
    """
    if not value:
        return f"0 {unit}"
    digits, exponent = f"{value:.2e}".split("e")  # rounded first: 999.9 is 1.00 of the next prefix
    power = min(max(int(exponent) // 3, -3), 4)
    scaled = float(f"{digits}e{int(exponent) - 3 * power}")
    whole = unit == "B" and power == 0
    places = 0 if whole else max(0, 2 - int(exponent) + 3 * power)
    prefix = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}[power]
    return f"{scaled:.{places}f} {prefix}{unit}"


class MeasureColumn(NamedTuple):
    value: Callable[[EstimatorMeasured], Any]
    text: Callable[[Any], str]


MEASURES = {
    "error": MeasureColumn(lambda row: row.check.relative_error, ratio),
    "in CI": MeasureColumn(lambda row: row.inside_interval, lambda share: f"{100 * share:.0f} %"),
    "cosine": MeasureColumn(lambda row: row.check.cosine, lambda cosine: f"{cosine:z.3f}"),
    "variance": MeasureColumn(lambda row: row.relative_variance, ratio),
    "time": MeasureColumn(lambda row: row.seconds, lambda seconds: three_digits(seconds, "s")),
    "memory": MeasureColumn(lambda row: row.peak_bytes, lambda size: three_digits(size, "B")),
    "calls": MeasureColumn(lambda row: row.step_calls, str),
}


def estimators_table(comparison: HypergradientComparison, title: str = "") -> Group:
    """Build a table for a terminal: a row for each estimator, then the reasons of those that do not apply.

    Args:
        comparison: result of `compare_hypergradients`.
        title: title of the table.
    Returns:
        Something that rich prints.

    >>> import rich
    >>> from bilevel.hypergradient import BilevelProblem, compare_hypergradients
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.tensor(0.0), None, torch.tensor(1.0)
    >>> comparison = compare_hypergradients(problem, *start, steps=2, estimators=["unrolled"])
    >>> rich.print(estimators_table(comparison))
    estimator ...
    unrolled ...
    """
    columns = [
        Column(heading="estimator", min_width=MAX_NAME),
        *(Column(heading=name, form=measure.text, wrap=False) for name, measure in MEASURES.items()),
    ]
    table = ResultsTable(title=title, columns=columns, rows=list(map(_cells, comparison.rows)))
    reasons = [f"{row.estimator} does not apply: {row.reason}" for row in comparison.refused]
    notes = REFERENCES[comparison.reference], folded([NOTE.format(resamples=comparison.resamples)])
    return Group(table.to_rich(), "", *reasons, *([""] if reasons else []), *notes)


def _cells(row: EstimatorMeasured | EstimatorRefused) -> tuple[Any, ...]:
    if isinstance(row, EstimatorRefused):
        return broken(row.estimator), "refused"
    return broken(row.estimator), *(measure.value(row) for measure in MEASURES.values())


def broken(name: str) -> str:
    """Break a long text form after its name and between its settings.

    >>> print(broken("truncated(steps=5, tail=2)"))
    truncated(
      steps=5,
      tail=2)
    """
    if len(name) <= MAX_NAME:
        return name
    return name.replace("(", "(\n  ", 1).replace(", ", ",\n  ")
