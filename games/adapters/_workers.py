"""Copies in worker processes, which step their shares at the same time."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import signal
import traceback
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper
from numpy.typing import NDArray

from games.adapters._copy import Description, MakeCopy, Seen, UnsuitableEnvironmentError, joined
from games.adapters._pools import LocalCopies
from games.core import CopyError

PATIENCE = 5.0
"""Seconds that a worker is given to close its environments before it is ended."""

IDLE = -1
"""What stands for a copy's number while none is being stepped."""


class WorkerCopies:
    """Copies shared out among worker processes; see `Pool`.

    The processes are spawned, so nothing of this one's state is in them. They end with `close`, when the pool
    is no longer referred to, and when this process ends.

    Args:
        make_copy: makes one; anything that cloudpickle can send, closures included.
        copies: how many.
        workers: how many processes, at most as many as copies.

    Raises:
        UnsuitableEnvironmentError: a copy refuses its environment.
        CopyError: the environment's code raised something, or took its process down.
    """

    def __init__(self, make_copy: MakeCopy, copies: int, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        shares = [share.tolist() for share in np.array_split(np.arange(copies), workers)]
        self._workers = [_Worker(context, make_copy, share) for share in shares]
        self._dismiss = weakref.finalize(self, _dismiss, self._workers)
        with contextlib.ExitStack() as unless_all_open:
            unless_all_open.callback(self.close)
            self._descriptions: list[list[Description]] = self._answers()
            unless_all_open.pop_all()

    def describe(self) -> list[Description]:
        """What each copy says of itself."""
        return [description for share in self._descriptions for description in share]

    def start(self, seeds: Sequence[int | None]) -> Seen:
        """Start an episode in each copy that has a seed; see `Pool`."""
        for worker in self._workers:
            worker.ask("start", [seeds[number] for number in worker.numbers])
        return joined(self._answers())

    def play(self, actions: NDArray[Any]) -> Seen:
        """Step each copy that is not over; see `Pool`."""
        for worker in self._workers:
            worker.ask("play", actions[worker.numbers])
        return joined(self._answers())

    def close(self) -> None:
        """End the processes; a second time does nothing."""
        self._dismiss()

    def _answers(self) -> list[Any]:
        """Every worker's answer; all are awaited before a failure is raised: none is still stepping then."""
        return [_checked(answer) for answer in [worker.answer() for worker in self._workers]]


class _Worker:
    """One process and what it takes to talk to it."""

    def __init__(self, context: SpawnContext, make_copy: MakeCopy, numbers: list[int]) -> None:
        self.numbers = numbers
        self._requests = 0
        # Shared memory, not a message: it must still tell after the process has been killed.
        self._at = context.RawValue(ctypes.c_int, IDLE)
        self._connection, far_end = context.Pipe()
        carried = CloudpickleWrapper(make_copy)  # type: ignore[type-var]  # it carries any function
        self._process = context.Process(
            target=_serve, args=(carried, numbers, self._at, far_end), daemon=True
        )
        self._process.start()
        far_end.close()  # so that its end is seen when the process is gone

    def ask(self, method: str, *arguments: Any) -> None:
        """Send a request; if the process is gone, `answer` says so."""
        self._requests += 1
        with contextlib.suppress(ConnectionError):
            self._connection.send((self._requests, method, arguments))

    def answer(self) -> Any:
        """Wait for the answer to the last request: a result, or the exception that came instead."""
        request = None
        while request != self._requests:  # an interrupt may have left earlier answers behind
            try:
                request, answer = self._connection.recv()
            except (EOFError, ConnectionError):
                self._process.join(PATIENCE)
                return CopyError(self._obituary())
        return answer

    def leave(self) -> None:
        """Wait until the process has ended, or end it."""
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._connection.close()

    def _obituary(self) -> str:
        at, code = self._at.value, self._process.exitcode
        copies = f"copies {self.numbers[0]} to {self.numbers[-1]}"
        if at != IDLE:
            return f"Copy {at} failed: it took down the worker process of {copies} (exit code {code})."
        return (
            f"The worker process of {copies} died (exit code {code}); a script that uses workers must guard "
            "what it runs by: if __name__ == '__main__'."
        )


def _checked(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _dismiss(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.ask("close")
    for worker in workers:
        worker.leave()


def _serve(make_copy: MakeCopy, numbers: list[int], at: ctypes.c_int, connection: Connection) -> None:
    """What a worker process does: answer requests until it is told to close, or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle

    def watch(number: int) -> None:
        at.value = number

    def attempt(work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            answer = work(*arguments)
        except (UnsuitableEnvironmentError, CopyError) as error:
            error.add_note(f"In the worker process:\n{traceback.format_exc()}")
            answer = error
        at.value = IDLE
        return answer

    copies = attempt(LocalCopies, make_copy, numbers, watch)
    serving = isinstance(copies, LocalCopies)
    connection.send((0, copies.describe() if serving else copies))
    with contextlib.suppress(EOFError, ConnectionError):
        while serving:
            request, method, arguments = connection.recv()
            connection.send((request, attempt(getattr(copies, method), *arguments)))
            serving = method != "close"
