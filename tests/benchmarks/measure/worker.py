"""A process of its own for each variant: no library's threads, memory or caches reach another's numbers.

This module and what it imports are light, so that a worker can bind itself to its cores before any library
counts them: JAX and OpenMP size their thread pools by the cores that the process may use.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.benchmarks.case import Case
from tests.benchmarks.variants import Variant


class WorkerError(RuntimeError):
    """What went wrong inside a worker, in its words."""


PATIENCE = 900
"""Seconds after which a process that does not answer is given up."""


class Worker:
    """The near end of a worker process; every method waits for its answer."""

    def __init__(
        self, threads: int, environment: Mapping[str, str] | None = None, *, cores: int | None = None
    ) -> None:
        """Start it.

        Args:
            threads: with how many threads it computes.
            environment: variables to set before any library loads.
            cores: on how many cores it may run; None: one for each thread.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, threads, cores or threads, dict(environment or {})), daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def build(self, variant: Variant, case: Case) -> tuple[Any, float]:
        """Build a variant and run it once: its gradient, a NumPy array, and the seconds of that first run."""
        answer: tuple[Any, float] = self._ask("build", variant, case)
        return answer

    def find_again(self) -> tuple[float, int]:
        """Forget every package that was found, and run the variant built last: seconds, packages loaded."""
        answer: tuple[float, int] = self._ask("find_again")
        return answer

    def time(self, seconds: float, least: int) -> list[float]:
        """Time the variant built last: seconds of each call, for so long and for so many calls at least."""
        answer: list[float] = self._ask("time", seconds, least)
        return answer

    def memory(self, variant: Variant, case: Case) -> int:
        """Measure the peak of resident memory above that of the process with the model, in bytes."""
        answer: int = self._ask("memory", variant, case)
        return answer

    def call(self, function: str, *arguments: Any) -> Any:
        """Call module:function."""
        return self._ask("call", function, *arguments)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()

    def _ask(self, *question: Any) -> Any:
        try:
            self._connection.send(question)
            if not self._connection.poll(PATIENCE):
                self._process.kill()
                raise WorkerError(f"it gave no answer for {PATIENCE} s")
            failed, answer = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(10)
            code = self._process.exitcode
            raise WorkerError(f"the process died (exit code {code}; -9: out of memory)") from error
        if failed:
            raise WorkerError(answer)
        return answer


def serve(connection: Connection, threads: int, cores: int, environment: dict[str, str]) -> None:
    """Answer questions until the other end closes.

    Args:
        connection: questions (name, *arguments) come in, (failed, answer) goes out.
        threads: with how many threads it computes.
        cores: on how many cores the process may run.
        environment: variables to set before any library loads.
    """
    os.environ.update(environment)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if threads > 1:
        # JAX 0.10's pool, else as large as the cores, waits for itself for ever in a batched solve.
        os.environ.setdefault("NPROC", str(2 * threads))
    bench = Bench(threads)
    while True:
        try:
            name, *arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = (False, getattr(bench, name)(*arguments))
        except Exception as error:  # noqa: BLE001 - it is told at the other end
            traceback.print_exc()
            answer = (True, f"{type(error).__name__}: {error}".splitlines()[0])
        connection.send(answer)


class Bench:
    """The far end: builds and times one variant at a time."""

    def __init__(self, threads: int) -> None:
        self._torch = importlib.import_module("torch")
        self._torch.set_num_threads(threads)
        warnings.filterwarnings("ignore", category=FutureWarning)  # TorchOpt's, of its own age
        warnings.filterwarnings("error", message=".* runs eagerly, not compiled")  # or it would be timed
        self._run: Any = None
        self._call = 0.0
        """Seconds of a call, as far as known."""

    def build(self, variant: Variant, case: Case) -> tuple[Any, float]:
        """See `Worker`."""
        self._run = None
        gc.collect()
        self._torch.set_default_dtype(getattr(self._torch, case.dtype))  # TorchOpt computes in it
        self._run = variant.build(case)
        start = time.perf_counter()
        gradient = self._run()
        seconds = self._call = time.perf_counter() - start
        return importlib.import_module("tests.benchmarks.measure.agreement").as_array(gradient), seconds

    def find_again(self) -> tuple[float, int]:
        """See `Worker`."""
        program = importlib.import_module("bilevel.compile._program")
        program.forget()
        start = time.perf_counter()
        self._run()
        return time.perf_counter() - start, len(program._loaded)

    def time(self, seconds: float, least: int) -> list[float]:
        """See `Worker`; one call before the clock starts, the garbage collector off.

        Calls of a second and more are not repeated to warm up, and none for more than ten times the seconds.
        """
        run, clock = self._run, time.perf_counter
        if self._call < 1:
            run()
        durations: list[float] = []
        gc.collect()
        gc.disable()
        try:
            begin = clock()
            while not durations or _goes_on(len(durations), clock() - begin, seconds, least):
                start = clock()
                run()
                durations.append(clock() - start)
        finally:
            gc.enable()
        self._call = min(durations)
        return durations

    def memory(self, variant: Variant, case: Case) -> int:
        """See `Worker`; call it first thing in a fresh process."""
        self.build(variant, Case(**{**vars(case), "steps": 2}))  # loads what loads late
        self._run = None
        self._run = variant.build(case)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # or what building left behind would be used again, uncounted
        before = reset_peak()
        self._run()
        return peak() - before

    def call(self, function: str, *arguments: Any) -> Any:
        """See `Worker`."""
        module, name = function.split(":")
        return getattr(importlib.import_module(module), name)(*arguments)


def _goes_on(calls: int, elapsed: float, seconds: float, least: int) -> bool:
    return elapsed < seconds or (calls < least and elapsed < 10 * seconds)


def reset_peak() -> int:
    """Let the kernel forget the peak of resident memory; gives what is resident now, in bytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Give the peak of resident memory since `reset_peak`, in bytes (Linux)."""
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))
