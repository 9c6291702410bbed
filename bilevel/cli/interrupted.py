"""Interrupts that come where Python cannot raise KeyboardInterrupt as usual."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """While entered, for imports: SIGINT ends the process, and a sentence says that nothing was done.

    A KeyboardInterrupt in the middle of an import may come out as anything. Outside the main thread, where
    Python allows no handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupting_again() -> Iterator[None]:
    """While entered: an interrupt that Python had to ignore comes once more."""
    reported, sys.unraisablehook = sys.unraisablehook, _interrupt_again
    try:
        yield
    finally:
        sys.unraisablehook = reported


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"Stopped before anything was done.\n")
    os._exit(INTERRUPTED)


def _interrupt_again(ignored: sys.UnraisableHookArgs) -> None:
    """Interrupt once more where Python had to ignore it, as in the callback of a weak reference."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.01, _thread.interrupt_main)  # not at once: here it would be ignored, too
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)
