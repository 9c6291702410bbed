"""The command line: a thin layer over the packages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bilevel.cli._app import INTERRUPTED, interrupting_again, run
from bilevel.cli._output import lenient_streams, one_line_warnings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `bilevel ARGUMENTS` and exit: 0 done, 1 failed, 2 a mistake in the arguments, 130 interrupted.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    with lenient_streams(), one_line_warnings(), interrupting_again():
        try:
            code = run(list(sys.argv[1:] if arguments is None else arguments))
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            code = INTERRUPTED
    sys.exit(code)
