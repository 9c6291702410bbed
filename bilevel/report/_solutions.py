"""NashConv of learning rules over time, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

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
    """NashConv of the last iterates, [record], in the game's units."""
    average: ArrayLike
    """NashConv of the average iterates, [record], in the game's units."""
    values: ArrayLike | None = None
    """The first agent's expected payoff under the average iterates, [record], in the game's units."""


def nash_conv_table(solutions: Mapping[str, Solution]) -> ResultsTable:
    """Build a table of NashConv: a row for each rule, at powers of ten and at the last step.

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
    for name, solution in solutions.items():
        curves = [np.asarray(curve, dtype=float) for curve in solution[1:] if curve is not None]
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
    return ResultsTable(columns=columns, rows=rows)
