"""NashConv of learning rules over time, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bilevel.report._solutions import Solution, quartiles
from bilevel.report._style import looks, save, style, wrapped

SIZE = (10, 4.4)
"""Size of the figure in inches, without its legend."""
LEGEND_COLUMNS = 3
CUT = "\nlines end below 1e-12"
ROUNDING = 1e-12
"""Largest NashConv that counts as 0, and has no place on a log scale."""


def write_nash_conv(solutions: Mapping[str, Solution], path: Path, title: str = "") -> Path:
    """Write a figure of NashConv over time, on log scales: last iterates, and beside them averages.

    Lines are medians over starts, bands reach from the lower to the upper quartile. NashConv of 1e-12 or
    less is rounding, and ends a line.

    Args:
        solutions: rule -> its NashConv.
        path: path of the file; its extension determines the format.
        title: title of the figure.
    Returns:
        The path.

    >>> from pathlib import Path
    >>> from bilevel.report import Solution
    >>> solution = Solution((1, 10, 100), [1, 0.5, 0.2], [1, 0.1, 0.01])
    >>> write_nash_conv({"psro": solution}, Path("nash_conv.png")).exists()
    True
    """
    lines = -(-len(solutions) // LEGEND_COLUMNS)
    curves = {
        "last iterate": {name: (one.steps, one.last) for name, one in solutions.items()},
        "average iterate": {name: (one.steps, one.average) for name, one in solutions.items()},
    }
    with style():
        figure = Figure(figsize=(SIZE[0], SIZE[1] + 0.3 * lines))
        row = figure.subplots(1, 2, sharey=True)
        cut = False
        for axes, (iterate, drawn) in zip(row, curves.items(), strict=True):
            cut = _draw(axes, drawn) or cut
            axes.set_title(iterate)
        row[0].set_ylabel(f"NashConv (units of payoff){CUT if cut else ''}")
        handles, labels = row[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=11)
        figure.suptitle(wrapped(title, SIZE[0]))
    return save(figure, path)


def _draw(axes: Axes, curves: Mapping[str, tuple[Sequence[int], ArrayLike]]) -> bool:
    """Draw curves over steps on log scales; True if one is cut."""
    cut = False
    for name, look in looks(list(curves)).items():
        steps, (low, median, high) = curves[name][0], quartiles(curves[name][1])
        shown = median > ROUNDING
        cut |= not shown.all()
        if (low < high).any():
            within = low > ROUNDING
            axes.fill_between(steps, low, high, where=within, color=look["color"], alpha=0.2, linewidth=0)
        axes.plot(steps, np.where(shown, median, np.nan), label=name.replace("(", "\n(", 1), **look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    return cut
