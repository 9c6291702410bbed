"""Run one command in this process as the shell would, and say what is wrong with how it answered."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from bilevel.cli import main

CODES = (0, 1, 2, 130)
"""Done, failed, a mistake in the arguments, stopped."""
LONGEST = 4000
"""Characters of a refusal; nobody reads more (help of all settings is no refusal)."""
ASKED_AGAIN = 2.0
"""Seconds after which a command is told to stop for the second time."""
PATIENCE = 60.0
"""Seconds after which it must have stopped."""


class Hang(BaseException):
    """A command did not stop when it was told to."""


@dataclass(frozen=True)
class Answer:
    """How a command answered."""

    code: int | None
    """Its exit code; None where it did not exit by itself."""
    out: str
    """What it printed."""
    err: str
    """What it said on standard error."""
    fault: str
    """What is wrong with that; "" where nothing is."""


def ask(arguments: list[str], *, seconds: float = 5.0) -> Answer:
    """Run `bilevel ARGUMENTS` in the current folder.

    A command that works longer than `seconds` is told to stop, as by Ctrl-C: much work is no fault, but not
    stopping is.

    Args:
        arguments: without the program's name.
        seconds: to work; 0: as long as it takes.
    """
    out, err = _stream("strict"), _stream("backslashreplace")  # as Python has them
    code: int | None = None
    fault = ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limited(seconds):
            main(arguments)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except Hang:
        fault = "it hangs: it did not stop when it was told to"
    except BaseException:  # noqa: BLE001 - whatever comes out of a command is told
        fault = f"a traceback:\n{traceback.format_exc()}"
    finally:
        torch.set_num_threads(1)
    said = _text(out), _text(err)
    return Answer(code, *said, fault or _fault(code, *said))


def _fault(code: int | None, out: str, err: str) -> str:
    if "Traceback (most recent call last)" in out + err:
        return f"a traceback:\n{(out + err)[-LONGEST:]}"
    if code not in CODES:
        return f"an exit code of {code}"
    if code != 0 and not err.strip():
        return f"an exit code of {code} without a word"
    if code in (1, 2) and len(err) > LONGEST:
        return f"a refusal of {len(err)} characters"
    return ""


def _stream(errors: str) -> io.TextIOWrapper:
    """A stream as of a terminal, with what Python does of text that is none."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.detach()
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(errors="backslashreplace")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, twice, as an impatient user does; then give it up."""
    if not seconds:
        yield
        return
    rung = 0

    def ring(number: int, frame: FrameType | None) -> Any:
        nonlocal rung
        rung += 1
        if rung > 2:
            raise Hang
        signal.setitimer(signal.ITIMER_REAL, ASKED_AGAIN if rung == 1 else PATIENCE)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, ring)
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, interrupted)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, with everything of this toolkit's that is kept outside of it."""
    kept = {name: os.environ.get(name) for name in ("BILEVEL_CACHE", "COLUMNS", "MPLBACKEND")}
    os.environ.update(BILEVEL_CACHE=str(folder / "cache"), COLUMNS="100", MPLBACKEND="agg")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def address_space(gigabytes: float) -> None:
    """Let this process have so much more memory than it has; what asks for more is refused by the system."""
    import resource  # noqa: PLC0415 - there is none on Windows

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limit = pages * resource.getpagesize() + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
