"""What a command says: on streams that may fail, as progress is never worth a run, and in whole sentences."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class Lenient:
    """A text stream whose failures to write are ignored: its reader left, its disk is full, it is closed.

    Args:
        stream: what is written to; anything but writing is asked of it.

    >>> import io
    >>> closed = io.StringIO()
    >>> closed.close()
    >>> print("outer step 1 of 2", file=Lenient(closed), flush=True)
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if possible."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it is closed
            return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lenient_streams() -> Iterator[None]:
    """While entered, standard error never fails, and a standard stream that was closed leads nowhere.

    A process that starts with a closed standard stream would open its first file in that place, and what is
    meant for the stream would go into the file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # the lowest free place first
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - stays open
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    errors = sys.stderr
    sys.stderr = cast(TextIO, Lenient(errors))
    try:
        yield
    finally:
        sys.stderr = errors
        for stream in (sys.stdout, errors):
            _give_up_what_fails(stream)


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """While entered, the toolkit's own warnings are shown as their sentence alone, not with a line of code.

    >>> class OwnWarning(UserWarning):
    ...     __module__ = "bilevel.own"
    >>> with one_line_warnings():
    ...     warnings.formatwarning("Mind this.", OwnWarning, "file.py", 3)
    'Warning: Mind this.\\n'
    """
    before = warnings.formatwarning

    def shown(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category.__module__.partition(".")[0] in ("bilevel", "games"):
            return f"Warning: {message}\n"
        return before(message, category, filename, lineno, line)

    warnings.formatwarning = shown
    try:
        yield
    finally:
        warnings.formatwarning = before


def _give_up_what_fails(stream: TextIO) -> None:
    """Lead a stream that cannot be flushed nowhere: the interpreter flushes it once more when it ends."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
