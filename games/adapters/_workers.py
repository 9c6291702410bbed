"""Batches of copies in worker processes, which step their shares at the same time."""

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

from games.adapters._copies import CopyResult, Description, LocalPool, MakeCopy, UnsuitableEnvironmentError
from games.core import CopyError

CLOSE_TIMEOUT = 5.0  # seconds that a worker is given to close its environments before it is ended
IDLE = -1  # in place of a copy's number while none is being stepped


class WorkerPool:
    """Copies shared out among spawned processes, at most one process for each copy.

    `make_copy` may be anything that cloudpickle can send, closures included. The processes end with `close`,
    when the pool is no longer referred to, and when this process ends. UnsuitableEnvironmentError and
    CopyError are raised as by `LocalPool`, and CopyError where a copy took its process down.
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
        return [description for share in self._descriptions for description in share]

    def reset(self, seeds: Sequence[int | None]) -> CopyResult:
        for worker in self._workers:
            worker.ask("reset", [seeds[number] for number in worker.numbers])
        return self._results()

    def step(self, actions: NDArray[Any]) -> CopyResult:
        for worker in self._workers:
            worker.ask("step", actions[worker.numbers])
        return self._results()

    def close(self) -> None:
        self._dismiss()

    def _results(self) -> CopyResult:
        return CopyResult(*(np.concatenate(part) for part in zip(*self._answers(), strict=True)))

    def _answers(self) -> list[Any]:
        """Every worker's answer; all are awaited before a failure is raised: none is still stepping then."""
        answers = [worker.answer() for worker in self._workers]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


class _Worker:
    """One process and the connection to it."""

    def __init__(self, context: SpawnContext, make_copy: MakeCopy, numbers: list[int]) -> None:
        self.numbers = numbers
        self._requests = 0
        # Shared memory, not a message: it must still tell after the process has been killed.
        self._at = context.RawValue(ctypes.c_int, IDLE)
        self._connection, far_end = context.Pipe()
        pickled = CloudpickleWrapper(make_copy)  # type: ignore[type-var]  # it takes any function
        self._process = context.Process(
            target=_serve, args=(pickled, numbers, self._at, far_end), daemon=True
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
                self._process.join(CLOSE_TIMEOUT)
                return CopyError(self._death_message())
        return answer

    def join(self) -> None:
        """Wait until the process has ended, or end it."""
        self._process.join(CLOSE_TIMEOUT)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._connection.close()

    def _death_message(self) -> str:
        at, code = self._at.value, self._process.exitcode
        copies = f"copies {self.numbers[0]} to {self.numbers[-1]}"
        if at != IDLE:
            return f"Copy {at} failed: it took down the worker process of {copies} (exit code {code})."
        return (
            f"The worker process of {copies} died (exit code {code}); a script that uses workers must guard "
            "what it runs by: if __name__ == '__main__'."
        )


def _dismiss(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.ask("close")
    for worker in workers:
        worker.join()


def _serve(make_copy: MakeCopy, numbers: list[int], at: ctypes.c_int, connection: Connection) -> None:
    """Answer requests until told to close, or until the parent process is gone."""
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

    pool = attempt(LocalPool, make_copy, numbers, watch)
    serving = isinstance(pool, LocalPool)
    connection.send((0, pool.describe() if serving else pool))
    with contextlib.suppress(EOFError, ConnectionError):
        while serving:
            request, method, arguments = connection.recv()
            connection.send((request, attempt(getattr(pool, method), *arguments)))
            serving = method != "close"
