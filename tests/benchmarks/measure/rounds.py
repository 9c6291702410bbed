"""Time all variants of an experiment in interleaved rounds: A to Z, Z to A, A to Z."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.case import Case
from tests.benchmarks.experiments import Experiment
from tests.benchmarks.measure.agreement import reference_of, relative_error
from tests.benchmarks.measure.worker import Worker, WorkerError
from tests.benchmarks.variants import Variant

GRAPH_BYTES = 18.0
"""What a step of a network in one graph keeps, in bytes for each parameter (float32)."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 3
    seconds: float = 0.3
    """Of each visit."""
    least: int = 3
    """Calls of each visit."""


class Workers:
    """One worker for each (variant, number of cores), kept from case to case; closes them all at the end."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, int], Worker] = {}

    def get(self, variant: Variant, case: Case) -> Worker:
        """Give the worker, started if need be."""
        key = variant.name, case.threads
        if key not in self._workers:
            self._workers[key] = Worker(case.threads)
        return self._workers[key]

    def drop(self, variant: Variant, case: Case) -> None:
        """End one worker: it failed, or its visit is over."""
        worker = self._workers.pop((variant.name, case.threads), None)
        if worker is not None:
            worker.close()

    def close(self) -> None:
        """End all of them."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def measure(experiment: Experiment, effort: Effort, say: Say, *, short: bool) -> dict[str, list[Any]]:
    """Compare gradients, then time every case, then measure memory.

    Returns:
        "errors", "times", "memory": a row for each case and variant; "notes": what was left out, and why.
    """
    results: dict[str, list[Any]] = {"errors": [], "times": [], "memory": [], "notes": []}
    measured = []
    with _workers() as workers:
        present = _present(experiment, results["notes"])
        for case in experiment.cases(short=short):
            say(f"{experiment.name}: K = {case.steps}, {case.size} {experiment.count}")
            chosen = [variant for variant in experiment.runnable(case) if variant in present]
            label = {"experiment": experiment.name, "size": case.size, "steps": case.steps}
            agreeing = _compare(experiment, case, chosen, workers, label, results)
            results["times"] += _time(experiment, case, agreeing, workers, effort, label, results["notes"])
            measured.append((case, agreeing, label))
    for case, variants, label in measured if experiment.memory else []:
        say(f"{experiment.name}: memory, K = {case.steps}")
        results["memory"] += _memory(case, variants, label, results["notes"])
    return results


@contextlib.contextmanager
def _workers() -> Iterator[Workers]:
    workers = Workers()
    try:
        yield workers
    finally:
        workers.close()


def _present(experiment: Experiment, notes: list[str]) -> list[Variant]:
    present = []
    for variant in experiment.variants:
        reason = variant.missing()
        if reason is None:
            present.append(variant)
        else:
            notes.append(f"{experiment.name}: {variant.name} left out: {reason}.")
    return present


def _compare(
    experiment: Experiment,
    case: Case,
    variants: Sequence[Variant],
    workers: Workers,
    label: dict[str, Any],
    results: dict[str, list[Any]],
) -> list[Variant]:
    """Compute every variant's gradient in float64; gives those that agree with the reference."""
    compared = experiment.compared(case)
    reference = reference_of(variants)
    expected, _ = workers.get(reference, case).build(reference, compared)
    agreeing = []
    for variant in variants:
        if variant.same == math.inf:
            agreeing.append(variant)
            continue
        try:
            error = relative_error(workers.get(variant, case).build(variant, compared)[0], expected)
        except WorkerError as failure:
            results["notes"].append(f"{_where(label)}: {variant.name} failed: {failure}")
            workers.drop(variant, case)
            continue
        results["errors"].append(
            {**label, "variant": variant.name, "compared_steps": compared.steps, "error": error}
        )
        if error <= variant.same:
            agreeing.append(variant)
        else:
            results["notes"].append(f"{_where(label)}: {variant.name} gave ANOTHER GRADIENT ({error:.1e}).")
    return agreeing


def _time(
    experiment: Experiment,
    case: Case,
    variants: Sequence[Variant],
    workers: Workers,
    effort: Effort,
    label: dict[str, Any],
    notes: list[str],
) -> list[dict[str, Any]]:
    alone = case.steps >= experiment.alone_from
    if alone:
        workers.close()
    durations: dict[str, list[float]] = {variant.name: [] for variant in variants}
    first: dict[str, float] = {}
    running = list(variants)
    for turn in range(effort.rounds):
        for variant in running[:] if turn % 2 == 0 else running[::-1]:
            try:
                if alone:
                    _require_memory(variant, case)
                worker = workers.get(variant, case)
                if alone or turn == 0:
                    first[variant.name] = worker.build(variant, case)[1]
                seconds, least = (0.0, 1) if alone else (effort.seconds, effort.least)
                durations[variant.name] += worker.time(seconds, least)
            except WorkerError as failure:
                notes.append(f"{_where(label)}: {variant.name} was not timed: {failure}")
                running.remove(variant)
                workers.drop(variant, case)
            if alone:
                workers.drop(variant, case)
    return [
        {
            **label,
            "variant": variant.name,
            "library": variant.library,
            "threads": case.threads,
            "dtype": case.dtype,
        }
        | {"first_call": first[variant.name]}
        | summary(durations[variant.name])
        for variant in running
    ]


def summary(durations: Sequence[float]) -> dict[str, float | int]:
    """Median and quartiles of many calls, in seconds.

    >>> summary([4.0, 1.0, 2.0, 3.0, 5.0])
    {'median': 3.0, 'low': 2.0, 'high': 4.0, 'calls': 5}
    """
    low, median, high = np.quantile(durations, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "low": low, "high": high, "calls": len(durations)}


def _memory(
    case: Case, variants: Sequence[Variant], label: dict[str, Any], notes: list[str]
) -> list[dict[str, Any]]:
    """Measure peak memory, each variant in a fresh process and alone."""
    rows = []
    for variant in variants:
        try:
            _require_memory(variant, case)
            with Worker(case.threads) as worker:
                rows.append({**label, "variant": variant.name, "bytes": worker.memory(variant, case)})
        except WorkerError as failure:
            notes.append(f"{_where(label)}: memory of {variant.name} was not measured: {failure}")
    return rows


def _require_memory(variant: Variant, case: Case) -> None:
    """Raise WorkerError where a graph of all steps would not fit into the memory that is free."""
    if not (variant.keeps_graph and case.problem.startswith("network")):
        return
    needed = GRAPH_BYTES * case.steps * case.size * (case.size + 75)
    free = free_memory()
    if needed > 0.95 * free:
        raise WorkerError(f"it needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")


def free_memory() -> int:
    """Give what processes can still take, in bytes (Linux)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))


def _where(label: dict[str, Any]) -> str:
    return f"{label['experiment']}, K = {label['steps']}, size {label['size']}"
