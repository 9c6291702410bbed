"""A study for a paper: figures as PDF, and tables for LaTeX."""

from __future__ import annotations

import re
from pathlib import Path

from bilevel import report
from bilevel.experiments import compare_runs, write_text
from bilevel.pages._entries import Content
from bilevel.pages._statistics import Aggregates, aggregates
from games.core import require


def write_paper(content: Content, folder: Path) -> list[Path]:
    """Write figures as PDF and tables for LaTeX (package booktabs): for each game, and over all games.

    Args:
        content: the runs (`collect`), two rows or more of each game.
        folder: folder of the files, with one for each game if there are several.

    Returns:
        The files written.

    Raises:
        ValueError: a game has one row only, or too few seeds.
        OSError: a file cannot be written.

    >>> from bilevel.experiments import compare
    >>> from bilevel.pages import collect
    >>> _ = compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="study")
    >>> [path.name for path in write_paper(collect([Path("study")]), Path("paper"))]
    ['curves.pdf', 'profile.pdf', 'sharing.pdf', 'table.tex']
    """
    for game in content.games:
        require(
            len(game.entries) > 1, f"{game.title} has one row only, and a paper's table compares two or more."
        )
    written: list[Path] = []
    for game in content.games:
        place = (
            folder if len(content.games) == 1 else folder / re.sub(r"[^a-z0-9-]+", "-", game.title).strip("-")
        )
        rows = compare_runs({entry.label: entry.run for entry in game.entries})
        theory = report.theory_of(game.game)
        written += report.write_comparison_figures(rows, place, theory, suffix=".pdf")
        written.append(place / "table.tex")
        write_text(written[-1], "\n".join(table.to_latex() for table in report.comparison_tables(rows)))
    overall = aggregates(content.games)
    if isinstance(overall, Aggregates):
        written.append(folder / "games.tex")
        write_text(written[-1], "\n".join(table.to_latex() for table in overall.tables))
    return written
