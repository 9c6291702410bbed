"""Output of commands: streams whose failures never stop a run, one-line warnings and errors."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO, cast

FAILED = 1


class Stopped(Exception):  # noqa: N818 - most often the user's wish
    """Early end of a command, with a sentence for the user and the process's exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def unusable(error: OSError) -> str:
    """Describe a file that could not be used, and the reason, in one sentence."""
    place = f" {error.filename}:" if error.filename else ""
    return f"A file could not be used:{place} {error.strerror or error}."


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_rows(rows: Mapping[str, str]) -> None:
    """Print two columns, the second folded to the terminal; one line each if it is not a terminal."""
    margin = max(map(len, rows)) + 2
    for name, text in rows.items():
        line = f"{name:<{margin}}{text}"
        if sys.stdout.isatty():
            columns = max(shutil.get_terminal_size().columns, margin + 20)
            line = textwrap.fill(line, columns, subsequent_indent=" " * margin, break_on_hyphens=False)
        print(line)


class Lenient:
    """A text stream whose failures to write are ignored: its reader left, its disk is full, it is closed.

    >>> import io
    >>> closed = io.StringIO()
    >>> closed.close()
    >>> print("outer step 1 of 2", file=Lenient(closed), flush=True)
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it is closed
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Ignore failures of standard error, and replace closed standard streams by the null device.

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
            _redirect_if_failing(stream)


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Show the toolkit's own warnings as their sentence alone, without a line of code.

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


def _redirect_if_failing(stream: TextIO) -> None:
    """Redirect a stream that cannot be flushed: the interpreter flushes it once more when it ends."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
