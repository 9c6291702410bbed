"""The command line: a thin front door."""

from __future__ import annotations

import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `bilevel ARGUMENTS` and exit: 0 done, 1 failed, 2 a mistake in the arguments, 130 interrupted.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    try:
        from bilevel.cli.app import run  # slow to import; Ctrl-C may come meanwhile

        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("Stopped before there was anything to save.", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)
