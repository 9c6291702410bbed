"""The command line: a thin front door."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from bilevel.cli.streams import lenient_streams, one_line_warnings

INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `bilevel ARGUMENTS` and exit: 0 done, 1 failed, 2 a mistake in the arguments, 130 interrupted.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    with lenient_streams(), one_line_warnings():
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, _leave) if main_thread else None
    from bilevel.cli.app import run  # slow to import

    if before is not None:
        signal.signal(signal.SIGINT, before)
    reported, sys.unraisablehook = sys.unraisablehook, _interrupt_again
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED
    finally:
        sys.unraisablehook = reported


def _interrupt_again(ignored: sys.UnraisableHookArgs) -> None:
    """Interrupt once more where Python had to ignore it, as in the callback of a weak reference."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.01, _thread.interrupt_main)  # not at once: here it would be ignored, too
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Leave at once: a KeyboardInterrupt in the middle of an import may come out as anything."""
    with contextlib.suppress(OSError):
        os.write(2, b"Stopped before anything was done.\n")
    os._exit(INTERRUPTED)
