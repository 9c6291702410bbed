"""Runs as rows: interquartile means with 95 % intervals.

How tables look in a terminal.

Records as the text of a CSV file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table

from bilevel.experiments import (
    FEWEST_SEEDS,
    Interval,
    Run,
    interquartile_interval,
    interquartile_mean,
    share_of_optimum,
)

WIDTH = 80
"""Sentences are folded to this many signs, and tables fit into them."""


def empty_table(title: str = "") -> Table:
    """A table without rows or columns yet, a rule under its head and no edges.

    Args:
        title: what stands above it; nothing if it is empty.
    """
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


COLUMNS = {"welfare [95 % interval]": 26, "optimum": 8, "cooperation": 11, "given": 7, "seconds": 7}
"""What a row says, and how wide."""

MISSING = "-"
"""What stands where there is no number."""

CAPTION = """\
Interquartile means over seeds, intervals by bootstrap. Welfare: of all agents.
Optimum: 0 % is what everybody defecting earns, 100 % the best the group can do.
Given: the part of its reward that an agent does not keep."""


def number(value: float | np.ndarray) -> str:
    """A number in up to seven signs: three decimals while there is room for them.

    >>> [number(value) for value in (2 / 3, -1e-9, -123.456, 123456.7, -1234567.0)]
    ['0.667', '0.000', '-123.46', '123457', '-1.2e+06']
    """
    size = abs(float(value))
    if size >= 999_999.5:
        return f"{float(value):.1e}"
    places = next((places for places, limit in ((3, 100), (2, 1000), (1, 10_000)) if size < limit), 0)
    return f"{float(value):z.{places}f}"


def with_interval(interval: Interval | None) -> str:
    """An estimate with its interval.

    >>> import numpy as np
    >>> with_interval(Interval(np.array(1.0), np.array(-0.5), np.array(2.0)))
    '1.000 [-0.500, 2.000]'
    """
    if interval is None:
        return MISSING
    return f"{number(interval.estimate)} [{number(interval.low)}, {number(interval.high)}]"


def percent(value: float | np.ndarray) -> str:
    """A share as a percentage.

    >>> percent(0.1234)
    '12.3 %'
    """
    return f"{100 * float(value):z.1f} %"


def cells(results: Run) -> dict[str, str]:
    """One run's row: column -> text; a dash where the game or the method does not know the word."""
    welfare, final = results.final["welfare"], results.final
    middle = interquartile_mean(welfare)
    text = number(middle)
    if len(welfare) >= FEWEST_SEEDS:
        interval = interquartile_interval(welfare)
        text += f" [{number(interval.low)}, {number(interval.high)}]"
    share = share_of_optimum(results.config.game, middle)
    cooperation, given = (
        percent(interquartile_mean(final[name])) if name in final else "-"
        for name in ("cooperation", "given_away")
    )
    values = (
        text,
        "-" if share is None else percent(share),
        cooperation,
        given,
        f"{results.seconds:.1f}",
    )
    return dict(zip(COLUMNS, values, strict=True))


def results_table(runs: Sequence[Run]) -> Group:
    """A table to print, one row per run, a part per game; it fits a terminal of 80 columns."""
    tables: dict[str, Table] = {}
    for results in runs:
        name = results.config.game_name
        tables.setdefault(name, _new_table(name))
        tables[name].add_row(results.config.method_name, *cells(results).values())
    return Group(*(part for table in tables.values() for part in (table, "")), CAPTION)


def _new_table(title: str) -> Table:
    table = empty_table(title)
    table.add_column("method", overflow="fold")
    for column, width in COLUMNS.items():
        table.add_column(column, justify="right", max_width=width, overflow="fold")
    return table


def csv_text(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Write a line for the columns' names, then one for each record; lines end in a line feed alone.

    Args:
        records: column -> value, the same columns in each; one or more, unless `columns` says which.
        columns: their order; None: that of the first record.

    Raises:
        ValueError: a record has a column that is not among them.

    >>> csv_text([{"method": "tos", "welfare": 8.5}, {"method": "a, b", "welfare": None}])
    'method,welfare\\ntos,8.5\\n"a, b",\\n'
    >>> csv_text([], ["method", "welfare"])
    'method,welfare\\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]) if columns is None else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
