"""What is shown while something long goes on: a bar in a terminal, or a few plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_LINES = 10
"""So many lines tell how something goes where there is no terminal."""


def make_bar(*columns: ProgressColumn) -> Progress | None:
    """A bar on standard error with the time that went by and what is left; None where no terminal is.

    Args:
        columns: what stands between the bar and the times.
    """
    console = Console(stderr=True)
    if not console.is_interactive:
        return None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        *columns,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
    )


def line_due(done: int, total: int) -> bool:
    """Whether one of `PLAIN_LINES` lines, evenly spaced and the last one at the end, tells of this part.

    Args:
        done: which one, counted from 1.
        total: how many there are.

    >>> [done for done in range(1, 26) if line_due(done, 25)]
    [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    """
    return PLAIN_LINES * done // total > PLAIN_LINES * (done - 1) // total
