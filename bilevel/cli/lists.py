"""`bilevel games` and `bilevel methods`."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Mapping

import games
from bilevel.errors import require
from bilevel.methods import METHODS


def list_games(arguments: list[str]) -> None:
    """Print every game with one line."""
    _require_none(arguments, "games")
    _print({name: games.entry(name).summary for name in games.names()})


def list_methods(arguments: list[str]) -> None:
    """Print every method with one line."""
    _require_none(arguments, "methods")
    _print({name: (inspect.getdoc(method) or "").splitlines()[0] for name, method in METHODS.items()})


def _print(rows: Mapping[str, str]) -> None:
    """Two columns, the second folded to the terminal; one line each where no terminal is."""
    margin = max(map(len, rows)) + 2
    for name, text in rows.items():
        line = f"{name:<{margin}}{text}"
        if sys.stdout.isatty():
            columns = max(shutil.get_terminal_size().columns, margin + 20)
            line = textwrap.fill(line, columns, subsequent_indent=" " * margin, break_on_hyphens=False)
        print(line)


def _require_none(arguments: list[str], command: str) -> None:
    require(
        arguments in ([], ["-h"], ["--help"]),
        f"bilevel {command} takes no options, but was given: {' '.join(arguments)}",
    )
