"""`bilevel games` and `bilevel methods`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

import games
from bilevel.errors import require
from bilevel.methods import METHODS


def list_games(arguments: list[str]) -> None:
    """Print every game with one line."""
    _require_none(arguments, "games")
    _print((name, games.entry(name).summary) for name in games.names())


def list_methods(arguments: list[str]) -> None:
    """Print every method with one line."""
    _require_none(arguments, "methods")
    _print((name, (inspect.getdoc(method) or "").splitlines()[0]) for name, method in METHODS.items())


def _print(rows: Iterable[tuple[str, str]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def _require_none(arguments: list[str], command: str) -> None:
    require(
        not arguments or arguments[0] in ("-h", "--help"),
        f"bilevel {command} takes no options, but was given: {' '.join(arguments)}",
    )
