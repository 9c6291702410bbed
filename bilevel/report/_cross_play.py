"""Results of a tournament: each entrant's return against each other one, as a table and a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bilevel.core import counted
from bilevel.experiments import CrossPlay, Interval, Match, cross_play, write_text
from bilevel.report._style import save, style, wrapped
from bilevel.report._table import Column, ResultsTable, csv_text, number, percent, with_interval

MAX_NUMBERED = 12
"""Maximum number of entrants for which cells of the heat map show numbers."""
CELL = 1.15
"""Width and height of a cell in inches."""


def _interval(whole: Interval, *place: int) -> Interval:
    return Interval(whole.estimate[place], whole.low[place], whole.high[place])


def cross_play_table(matches: Sequence[Match], title: str = "") -> ResultsTable:
    """Build a table of a tournament: one row per pairing, the row's entrant first; means come first.

    Args:
        matches: every pair of entrants, in both orders of seats.
        title: title of the table.
    Returns:
        The table.

    >>> import numpy as np
    >>> won, lost = np.full((2, 3), -1.0), np.full((2, 3), -2.0)
    >>> pairs = {("x", "x"): won, ("x", "y"): won, ("y", "x"): lost, ("y", "y"): lost}
    >>> matches = [Match(*names, returns, np.ones(3)) for names, returns in pairs.items()]
    >>> print(cross_play_table(matches).to_markdown().splitlines()[2])
    | `x` | all | -1.250 [-1.250, -1.250] | 100.0 % |
    """
    found = cross_play(matches)
    defined = not np.isnan(found.cooperation).all()
    rows: list[tuple[Any, ...]] = []
    for row, label in enumerate(found.labels):
        cooperation = found.cooperation[row]
        rows.append((label, "all", _interval(found.mean, row), _known(cooperation.mean())))
        rows += [
            ("", other, _interval(found.returns, row, column), _known(cooperation[column]))
            for column, other in enumerate(found.labels)
        ]
    columns = [
        Column(heading="entrant", code=True),
        Column(heading="against"),
        Column(heading="return", form=with_interval, interval=True),
        Column(heading="cooperation", form=percent),
    ]
    seeds = matches[0].returns.shape[1]
    return ResultsTable(
        title=title,
        columns=columns if defined else columns[:3],
        rows=rows if defined else [row[:3] for row in rows],
        notes=[
            "Return of the entrant, mean of both seats: interquartile mean over "
            f"{counted(seeds, 'seed')}, 95 % bootstrap interval. All: its mean over all opponents, itself "
            f"included.{' Cooperation: of both agents.' if defined else ''}"
        ],
    )


def write_cross_play(
    matches: Sequence[Match], folder: Path, title: str, unit: str, first_seed: int = 0
) -> list[Path]:
    """Write a tournament's heat map and numbers.

    Args:
        matches: every pair of entrants, in both orders of seats.
        folder: created if it does not exist.
        title: title of the figure.
        unit: unit of returns.
        first_seed: seed of the first column of the matches' returns.
    Returns:
        The files written: cross_play.png; table.csv, a row for each pairing; seeds.csv, a row for each match
        and seed.

    >>> import numpy as np
    >>> from pathlib import Path
    >>> matches = [Match(a, b, np.full((2, 3), -1.0), np.ones(3)) for a in "xy" for b in "xy"]
    >>> [path.name for path in write_cross_play(matches, Path("report"), "x and y", "reward per step")]
    ['cross_play.png', 'table.csv', 'seeds.csv']
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        {
            "seat_0": match.first,
            "seat_1": match.second,
            "seed": first_seed + index,
            "return_0": match.returns[0, index],
            "return_1": match.returns[1, index],
            "cooperation": "" if np.isnan(match.cooperation[index]) else match.cooperation[index],
        }
        for match in matches
        for index in range(match.returns.shape[1])
    ]
    write_text(folder / "table.csv", cross_play_table(matches).to_csv())
    write_text(folder / "seeds.csv", csv_text(records))
    figure = save(cross_play_figure(cross_play(matches), title, unit), folder / "cross_play.png")
    return [figure, folder / "table.csv", folder / "seeds.csv"]


def cross_play_figure(found: CrossPlay, title: str, unit: str) -> Figure:
    """Draw each entrant's return against each other one, and its mean, as a heat map."""
    count = len(found.labels)
    values = np.column_stack((found.returns.estimate, found.mean.estimate))
    low = np.column_stack((found.returns.low, found.mean.low))
    high = np.column_stack((found.returns.high, found.mean.high))
    with style():
        figure = Figure(figsize=(3.6 + CELL * (count + 1), 2.6 + CELL * count))
        axes = figure.subplots()
        image = axes.imshow(values, cmap="viridis", aspect="auto")
        figure.colorbar(image, ax=axes, label=f"return of the row's entrant ({unit})")
        axes.axvline(count - 0.5, color="white", linewidth=4)
        axes.set_xticks(range(count + 1), [*found.labels, "mean"], rotation=35, ha="right")
        axes.set_yticks(range(count), found.labels)
        axes.set_xlabel("opponent")
        axes.set_ylabel("entrant")
        axes.grid(visible=False)
        middle = (values.min() + values.max()) / 2
        for (row, column), value in np.ndenumerate(values if count <= MAX_NUMBERED else values[:, :0]):
            text = f"{_short(value)}\n[{_short(low[row, column])}, {_short(high[row, column])}]"
            color = "white" if value < middle else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
        figure.suptitle(wrapped(title, figure.get_figwidth()), fontsize=12)
    return figure


def _short(value: float | np.ndarray) -> str:
    """A number in a cell, with two decimals if it is small."""
    return f"{float(value):z.2f}" if abs(float(value)) < 100 else number(value)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
