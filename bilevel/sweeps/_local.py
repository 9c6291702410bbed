"""Launcher of worker processes on this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from bilevel.sweeps._launcher import Prepare, require_workers
from bilevel.sweeps._server import worker_context
from bilevel.sweeps._work import Outcome, Status, work_on

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
MOST_DEATHS = 3
"""Workers that one run may lose before it counts as failed."""


class SweepInterrupted(Exception):  # noqa: N818 - not an error: everything is saved
    """Raised when a signal stops a sweep; the runs in progress have saved their checkpoints.

    >>> SweepInterrupted(15).signal
    15
    """

    def __init__(self, number: int) -> None:
        super().__init__("Stopped; nothing is lost.")
        self.signal = number


@dataclass(frozen=True)
class LocalLauncher:
    """Processes on this machine, each of which works on one run after the other.

    A worker that is killed is replaced, and its run resumes from the last checkpoint.

    Raises:
        ValueError: there are fewer than 1 workers.

    >>> LocalLauncher(workers=0)
    Traceback (most recent call last):
    ValueError: The number of workers must be a whole number, 1 or more, not 0.
    """

    workers: int = 1
    """Number of processes."""

    def __post_init__(self) -> None:
        require_workers("workers", self.workers)

    def launch(self, paths: Iterable[str], prepare: Prepare | None = None) -> Iterator[tuple[str, Outcome]]:
        """Work on runs, and yield each with its outcome when it ends, finished or failed.

        Args:
            paths: folders of the runs; the next one is asked for when a worker is free.
            prepare: called once in each worker.

        Raises:
            SweepInterrupted: SIGINT, SIGTERM or SIGHUP was received; the runs have saved checkpoints.
            KeyboardInterrupt: a second signal; the last checkpoints remain.
        """
        with _Pool(self.workers, prepare) as pool:
            yield from pool.outcomes(paths)


class _Waiting:
    """Runs that wait for a worker: those to be done again, then the others."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths, self.again = iter(paths), list[str]()

    def next(self) -> str | None:
        return self.again.pop() if self.again else next(self._paths, None)


class _Worker:
    """A process, the connection to it, and the run that it works on."""

    def __init__(self, context: Any, prepare: Prepare | None) -> None:
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(other, prepare), daemon=True)
        self.process.start()
        other.close()
        self.path: str | None = None

    def assign(self, path: str) -> None:
        self.path = path
        with contextlib.suppress(OSError):  # it has died: noticed when its outcome is awaited
            self.connection.send(path)

    def stop(self, number: int) -> None:
        if self.process.pid is not None and self.process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def close(self) -> None:
        self.connection.close()
        self.process.join()


class _Pool:
    """Workers of a sweep, and the signals that stop them."""

    def __init__(self, count: int, prepare: Prepare | None) -> None:
        self._context = worker_context()
        self._count, self._prepare = count, prepare
        self._workers: list[_Worker] = []
        self._signals: list[int] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> _Pool:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.stop(signal.SIGTERM)
        for worker in self._workers:
            worker.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._signals:
            for worker in self._workers:
                worker.stop(signal.SIGKILL)
            raise KeyboardInterrupt
        self._signals.append(number)
        for worker in self._workers:
            worker.stop(signal.SIGTERM)

    def outcomes(self, paths: Iterable[str]) -> Iterator[tuple[str, Outcome]]:
        """Work on all runs; see `LocalLauncher.launch`."""
        waiting, deaths = _Waiting(paths), Counter[str]()
        while not self._signals:
            self._fill(waiting)
            if not self._busy:
                return
            for worker in self._ready():
                path, outcome = worker.path, self._receive(worker)
                assert path is not None
                deaths[path] += outcome is None
                if outcome is None and deaths[path] >= MOST_DEATHS:
                    killed = f"Its process was killed {deaths[path]} times: is there enough memory?"
                    outcome = Outcome(Status.FAILED, killed)
                if outcome is None or outcome.status is Status.INTERRUPTED:
                    waiting.again.append(path)  # its process alone was killed or stopped, or all of them
                else:
                    yield path, outcome
        while self._busy:
            for worker in self._ready():
                self._receive(worker)
        raise SweepInterrupted(self._signals[0])

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.path is not None]

    def _fill(self, waiting: _Waiting) -> None:
        """Give each idle worker a run; start workers while there are fewer than wanted."""
        while len(self._busy) < self._count and (path := waiting.next()) is not None:
            idle = next((worker for worker in self._workers if worker.path is None), None)
            if idle is None:
                idle = _Worker(self._context, self._prepare)
                self._workers.append(idle)
            idle.assign(path)

    def _ready(self) -> list[_Worker]:
        """Wait for workers that have an outcome, or have died."""
        by_connection: dict[Any, _Worker] = {worker.connection: worker for worker in self._busy}
        return [by_connection[connection] for connection in wait(list(by_connection))]

    def _receive(self, worker: _Worker) -> Outcome | None:
        """Receive a worker's outcome; None, and the worker is removed, if it has died."""
        worker.path = None
        try:
            outcome: Outcome = worker.connection.recv()
        except (EOFError, OSError):
            self._workers.remove(worker)
            worker.close()
            return None
        return outcome


def _serve(connection: Connection, prepare: Prepare | None) -> None:
    """Work on the runs whose folders come through a connection, until it closes or the parent ends."""
    for name in ("SIGINT", "SIGHUP"):  # a terminal sends them to all; the parent sends SIGTERM
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    with contextlib.suppress(EOFError, OSError):
        while True:
            path = connection.recv()
            connection.send(work_on(path))


def _follow_parent() -> None:
    """Stop this process, which saves its run, when the parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
