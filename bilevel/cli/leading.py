"""The options that are read first: they decide which other options there are at all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def split_leading(
    prog: str,
    arguments: Sequence[str],
    *,
    names: Sequence[str] = ("game", "method"),
    paths: Sequence[str] = ("out",),
) -> tuple[argparse.Namespace, list[str]]:
    """Split off options that name something, --load (which may be repeated), and options that name a path.

    Args:
        prog: the command, for what it says of a mistake.
        arguments: the command line after it.
        names: the options that take a word.
        paths: the options that take a path.

    Returns:
        these, as attributes (None where one is absent, of `load` an empty list), and the other arguments.

    Raises:
        SystemExit: one of these has no value (code 2).

    >>> chosen, rest = split_leading("bilevel train", ["--game", "jungle", "--seeds", "2"])
    >>> chosen.game, chosen.out, rest
    ('jungle', None, ['--seeds', '2'])
    """
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}")
    parser.add_argument("--load", type=Path, action="append", default=[])
    for name in paths:
        parser.add_argument(f"--{name}", type=Path)
    return parser.parse_known_args(arguments)


def split_name(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split off the name, of a game or a task, that stands before all options; None where there is none.

    >>> split_name(["jungle", "--seed", "2"]), split_name(["--seed", "2"])
    (('jungle', ['--seed', '2']), (None, ['--seed', '2']))
    """
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], list(arguments[1:])
    return None, list(arguments)
