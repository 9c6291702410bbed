"""Reference pages of the command line and of the methods' settings, written from what `--help` says."""

from __future__ import annotations

import contextlib
import io
import os
import re
import textwrap
from pathlib import Path
from unittest.mock import patch

import generated
from docstrings import inline
from sphinx.application import Sphinx

from bilevel.cli import main
from bilevel.methods import METHODS
from bilevel.tasks import TASKS

WIDTH = "84"
"""Columns of the help texts."""
GAME = "escape-room"
LEADING = {
    "train": ["--game", GAME, "--method", "tos"],
    "compare": ["--game", GAME],
    "check": ["--game", GAME, "--method", "tos"],
    "theory": ["--game", "prisoners-dilemma"],
    "solve": ["--game", "rock-paper-scissors"],
    "play": [GAME],
    "evaluate": [],
}
"""Arguments before `--help`, for commands whose options depend on a game."""
PRINTING = ("methods", "hypergradients", "games", "tune")
"""Commands that need no arguments; their pages show what they print."""


def said(*arguments: str) -> str:
    """The output of a command."""
    out = io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        patch.dict(os.environ, {"COLUMNS": WIDTH}),
        contextlib.suppress(SystemExit),
    ):
        main(list(arguments))
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def commands() -> dict[str, str]:
    """Command -> its line in `bilevel --help`."""
    return dict(re.findall(r"(?m)^  (\w+)  +(\S.*)$", said("--help").partition("COMMAND --help")[0]))


def write_pages(app: Sphinx) -> None:
    """Write a page for each command and each method anew, into folders that git ignores."""
    listed = commands()
    pages = {
        "commands": {name: command_page(name, summary) for name, summary in listed.items()},
        "methods": {name: method_page(name) for name in METHODS},
    }
    pages["commands"]["index"] = index_page(
        "Command line",
        "Every command of ``bilevel``, as its ``--help`` has it. A mistake in the arguments exits with 2 and "
        "one sentence.",
        listed,
    )
    pages["methods"]["index"] = index_page(
        "Methods and their settings",
        "Every method of ``bilevel train --method``, with its settings on Escape Room; other games change "
        "those of the game.",
        {name: _first_line(method.__doc__) for name, method in METHODS.items()},
    )
    for folder, written in pages.items():
        texts = {f"{name}.rst": text for name, text in written.items()}
        generated.write(Path(app.srcdir, "reference", folder), texts)


def index_page(title: str, text: str, rows: dict[str, str]) -> str:
    """A table of pages."""
    table = "\n".join(
        f"   * - :doc:`{name} <{name}>`\n     - {' '.join(inline([line]))}" for name, line in rows.items()
    )
    contents = "\n".join(f"   {name}" for name in rows)
    return (
        f"{_title(title)}\n{text}\n\n.. list-table::\n   :widths: 25 75\n\n{table}\n\n"
        f".. toctree::\n   :hidden:\n\n{contents}\n"
    )


def command_page(name: str, summary: str) -> str:
    """The page of a command: its summary, its output without arguments where that is a list, and its help."""
    parts = [_title(f"bilevel {name}"), summary[0].upper() + summary[1:] + ".", ""]
    if name in PRINTING:
        parts += _block(f"bilevel {name}", said(name))
    if name == "tune":
        for task in TASKS:
            parts += _block(f"bilevel tune {task} --help", said(name, task, "--help"))
    elif name not in ("methods", "hypergradients"):
        arguments = [*LEADING.get(name, []), "--help"]
        parts += _block(f"bilevel {name} {' '.join(arguments)}", said(name, *arguments))
    if name == "train":
        parts += [
            "The options depend on the game and the method: :doc:`/reference/methods/index` has those of the",
            "",
        ]
        parts[-2] += " other methods."
    return "\n".join(parts)


def method_page(name: str) -> str:
    """The page of a method: its description and its settings."""
    method = METHODS[name]
    arguments = ["--game", GAME, "--method", name, "--help"]
    return "\n".join(
        [
            _title(f"{name}: settings of the method"),
            " ".join(inline([_first_line(method.__doc__)])),
            "",
            f"In Python: :py:obj:`bilevel.methods.{method.__name__}`.",
            "",
            *_block(f"bilevel train {' '.join(arguments)}", said("train", *arguments)),
        ]
    )


def _block(command: str, text: str) -> list[str]:
    lines = [f"   {part}".rstrip() for line in text.splitlines() for part in _wrapped(line)]
    return [".. code-block:: sh", "", f"   {command}", "", ".. code-block:: text", "", *lines, ""]


def _wrapped(line: str) -> list[str]:
    """A paragraph that no terminal has wrapped."""
    return textwrap.wrap(line, int(WIDTH)) if len(line) > int(WIDTH) else [line]


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages when the build begins."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
