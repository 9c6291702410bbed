"""Copies in worker processes, which step in parallel."""

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

CLOSE_TIMEOUT = 5.0  # seconds for a worker to close its environments before it is terminated
IDLE = -1  # in place of a copy's number while none is being stepped


class WorkerPool:
    """Copies distributed over spawned processes, at most one process for each copy.

    `make_copy` may be anything that cloudpickle can pickle, closures included. The processes end with
    `close`, when the pool is no longer referred to, and when this process ends. UnsuitableEnvironmentError
    and CopyError are raised as by `LocalPool`, and CopyError if a copy crashes its process.
    """

    def __init__(self, make_copy: MakeCopy, copies: int, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        shares = [share.tolist() for share in np.array_split(np.arange(copies), workers)]
        self._workers = [_Worker(context, make_copy, share) for share in shares]
        self._shut_down = weakref.finalize(self, _shut_down, self._workers)
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
        self._shut_down()

    def _results(self) -> CopyResult:
        return CopyResult(*(np.concatenate(part) for part in zip(*self._answers(), strict=True)))

    def _answers(self) -> list[Any]:
        """Every worker's answer, all awaited before an error is raised, so that none is still stepping."""
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
        # Shared memory rather than a message, so that it can be read after the process has been killed.
        self._current = context.RawValue(ctypes.c_int, IDLE)
        self._connection, far_end = context.Pipe()
        pickled = CloudpickleWrapper(make_copy)  # type: ignore[type-var]  # it takes any function
        self._process = context.Process(
            target=_serve, args=(pickled, numbers, self._current, far_end), daemon=True
        )
        self._process.start()
        far_end.close()  # so that the end of the process closes the connection

    def ask(self, method: str, *arguments: Any) -> None:
        """Send a request; if the process is gone, `answer` says so."""
        self._requests += 1
        with contextlib.suppress(ConnectionError):
            self._connection.send((self._requests, method, arguments))

    def answer(self) -> Any:
        """Wait for the answer to the last request: a result, or the exception raised instead."""
        request = None
        while request != self._requests:  # an interrupt may have left earlier answers behind
            try:
                request, answer = self._connection.recv()
            except (EOFError, ConnectionError):
                self._process.join(CLOSE_TIMEOUT)
                return CopyError(self._death_message())
        return answer

    def join(self) -> None:
        """Wait until the process has ended, or terminate it."""
        self._process.join(CLOSE_TIMEOUT)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._connection.close()

    def _death_message(self) -> str:
        current, code = self._current.value, self._process.exitcode
        copies = f"copies {self.numbers[0]} to {self.numbers[-1]}"
        if current != IDLE:
            return f"Copy {current} failed: it took down the worker process of {copies} (exit code {code})."
        return (
            f"The worker process of {copies} died (exit code {code}); a script that uses workers must guard "
            "what it runs by: if __name__ == '__main__'."
        )


def _shut_down(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.ask("close")
    for worker in workers:
        worker.join()


def _serve(make_copy: MakeCopy, numbers: list[int], current: ctypes.c_int, connection: Connection) -> None:
    """Answer requests until closed, or until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle

    def watch(number: int) -> None:
        current.value = number

    def attempt(work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            answer = work(*arguments)
        except (UnsuitableEnvironmentError, CopyError) as error:
            error.add_note(f"In the worker process:\n{traceback.format_exc()}")
            answer = error
        current.value = IDLE
        return answer

    pool = attempt(LocalPool, make_copy, numbers, watch)
    serving = isinstance(pool, LocalPool)
    connection.send((0, pool.describe() if serving else pool))
    with contextlib.suppress(EOFError, ConnectionError):
        while serving:
            request, method, arguments = connection.recv()
            connection.send((request, attempt(getattr(pool, method), *arguments)))
            serving = method != "close"
