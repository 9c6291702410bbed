"""Stop between two steps, not within one."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that ask to stop; Windows has no SIGHUP."""
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Interruption:
    """While entered, signals that ask to stop are remembered in `signal`, and said at once on standard error.

    A second one is obeyed at once, as KeyboardInterrupt; but not SIGHUP, which a terminal that closes may
    send twice, and systemd after SIGTERM. A signal that the process was told to ignore, as by `nohup`, stays
    ignored. Outside the main thread, where Python allows no handlers, nothing is changed.

    >>> with Interruption() as interruption:
    ...     signal.raise_signal(signal.SIGINT)
    ...     interruption.signal == signal.SIGINT
    True
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if not self.signal:
            self.signal = number
            _say(number)
        elif signal.Signals(number).name != "SIGHUP":
            raise KeyboardInterrupt


def _say(number: int) -> None:
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    sentence = (
        f"{name}: stopping after this outer step, and saving it. A second one stops at once: what came after "
        "the last checkpoint is then trained again."
    )
    # RuntimeError: the signal came while standard error was being written
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        print(sentence, file=sys.stderr, flush=True)
