"""The commands, and what becomes of a user's mistake: one sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

import bilevel
from bilevel.cli.demo import demo
from bilevel.cli.lists import list_games, list_methods
from bilevel.cli.train import train_command
from bilevel.errors import require_name
from bilevel.experiment.run import RunInterrupted


@dataclass(frozen=True)
class Command:
    """One word of the command line."""

    run: Callable[[list[str]], object]
    summary: str


COMMANDS = {
    "train": Command(train_command, "train a method on a game, many seeds at once; or resume a run"),
    "demo": Command(demo, "two dilemmas, four methods: a table and figures in a minute or two"),
    "games": Command(list_games, "list the games"),
    "methods": Command(list_methods, "list the methods"),
}


def run(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(usage())
            return 0
        if arguments[0] == "--version":
            print(bilevel.__version__)
            return 0
        name, *rest = arguments
        require_name(name, COMMANDS, "command")
        COMMANDS[name].run(rest)
    except ValueError as error:
        return _say(str(error), 2)
    except RunInterrupted as stop:
        return _say(f"{stop} Continue with: bilevel train --resume {stop.folder}", 128 + stop.signal)
    except FloatingPointError as error:
        return _say(str(error), 1)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        return _say(f"A file could not be used:{place}: {error.strerror or error}.", 1)
    return 0


def usage() -> str:
    """What `bilevel --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "bilevel: learn what to share, together with the policies.",
            "",
            "usage: bilevel COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "bilevel COMMAND --help says more; for train, name the game and the method first:",
            "  bilevel train --game escape-room --method tos --help",
        ]
    )


def _say(sentence: str, code: int) -> int:
    Console(stderr=True, highlight=False).print(sentence, markup=False, soft_wrap=True)
    return code
