"""The options that are read first: they decide which other options there are at all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def split_leading(
    prog: str, arguments: Sequence[str], *, paths: Sequence[str] = ("out",)
) -> tuple[argparse.Namespace, list[str]]:
    """Split off --game, --method, --load (which may be repeated) and options that name a path.

    Args:
        prog: the command, for what it says of a mistake.
        arguments: the command line after it.
        paths: the names of options that take a path.

    Returns:
        these, as attributes (None where one is absent, of `load` an empty list), and the other arguments.

    Raises:
        SystemExit: one of these has no value (code 2).

    >>> chosen, rest = split_leading("bilevel train", ["--game", "jungle", "--seeds", "2"])
    >>> chosen.game, chosen.out, rest
    ('jungle', None, ['--seeds', '2'])
    """
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--game")
    parser.add_argument("--method")
    parser.add_argument("--load", type=Path, action="append", default=[])
    for name in paths:
        parser.add_argument(f"--{name}", type=Path)
    return parser.parse_known_args(arguments)
