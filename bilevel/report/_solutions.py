"""NashConv of learning rules over time, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bilevel.report._estimators import broken
from bilevel.report._table import Column, ResultsTable, exact_number


class Solution(NamedTuple):
    """NashConv of a learning rule's iterates at recorded steps.

    >>> Solution((1, 10), last=[1.0, 0.5], average=[1.0, 0.1]).steps
    (1, 10)
    """

    steps: Sequence[int]
    """Recorded steps, 1 or more."""
    last: ArrayLike
    """NashConv of the last iterates, [record] or [record, start], in the game's units."""
    average: ArrayLike
    """NashConv of the average iterates, [record] or [record, start], in the game's units."""
    values: ArrayLike | None = None
    """The first agent's expected payoff under the average iterates, as `average`, in the game's units."""


def nash_conv_table(solutions: Mapping[str, Solution]) -> ResultsTable:
    """Build a table of NashConv, the median over starts, at powers of ten and at the last step.

    Args:
        solutions: rule -> its NashConv.
    Returns:
        The table, with each rule's name in its first row.

    >>> solution = Solution((1, 5, 10, 12), [1, 0.5, 0.2, 0.1], [1, 0.4, 0.1, 0.05], [0, 0, 0, 0])
    >>> print(nash_conv_table({"psro": solution}).to_csv(), end="")
    rule,steps,NashConv of last iterate,NashConv of average,value of average
    psro,1,1.0,1.0,0.0
    ,10,0.2,0.1,0.0
    ,12,0.1,0.05,0.0
    """
    headings = ("NashConv of\nlast iterate", "NashConv of\naverage", "value of\naverage")
    rows = []
    starts = max(np.shape(solution.last)[1:] or (1,) for solution in solutions.values())[0]
    for name, solution in solutions.items():
        curves = [quartiles(curve)[1] for curve in solution[1:] if curve is not None]
        label = broken(name)
        for place, step in enumerate(solution.steps):
            if step == solution.steps[-1] or str(step).rstrip("0") == "1":
                rows.append((label, step, *(float(curve[place]) for curve in curves)))
                label = ""
    columns = [
        Column(heading="rule", wrap=True),
        Column(heading="steps", form=str),
        *(Column(heading=heading, form=exact_number) for heading in headings),
    ]
    notes = [f"NashConv and values are medians over {starts} starts."] if starts > 1 else []
    return ResultsTable(columns=columns, rows=rows, notes=notes)


def quartiles(curve: ArrayLike) -> NDArray[np.float64]:
    """Lower quartile, median and upper quartile over starts, [3, record], of [record] or [record, start].

    >>> quartiles([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])[:, 0]
    array([1.5, 2. , 2.5])
    """
    values = np.asarray(curve, dtype=np.float64)
    return np.quantile(values.reshape(len(values), -1), (0.25, 0.5, 0.75), axis=1)
