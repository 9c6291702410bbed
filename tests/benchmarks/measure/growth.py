"""Time an outer step, and measure its peak of memory, while one setting grows."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bilevel.experiments import RunConfig, default_config
from tests.benchmarks.growth import AXES, Axis
from tests.benchmarks.measure.worker import Worker, WorkerError, peak, reset_peak

Say = Callable[[str], None]


def measure_growth(
    say: Say,
    done: Sequence[Mapping[str, Any]],
    deadline: float = math.inf,
    *,
    short: bool,
    axes: Sequence[Axis] = AXES,
) -> dict[str, list[Any]]:
    """Measure every point of every axis, each in a process of its own on one core.

    Args:
        say: told of every point.
        done: rows of an earlier call, which stay.
        deadline: when, by `time.perf_counter`, no further axis is begun.
        short: only a few points: does it work?
        axes: what grows.

    Returns:
        "growth": rows with the axis, its value, seconds and bytes; "notes": what failed.
    """
    results: dict[str, list[Any]] = {"growth": list(done), "notes": []}
    measured = {row["axis"] for row in done}
    for axis in axes[:1] if short else axes:
        if axis.name in measured:
            continue
        if time.perf_counter() > deadline:
            results["notes"].append("growth: settings are missing; the same command measures them.")
            break
        for value in axis.values[:2] if short else axis.values:
            say(f"growth: {axis.name}, {value}")
            try:
                with Worker(1) as worker:
                    found = worker.call(
                        "tests.benchmarks.measure.growth:point", axis, value, 0.05 if short else 0.5
                    )
            except WorkerError as error:
                results["notes"].append(f"growth: {axis.name} = {value} was not measured: {error}")
                continue
            results["growth"].append({"axis": axis.name, "value": value, **found})
    return results


def point(axis: Axis, value: int, seconds: float) -> dict[str, float]:
    """Measure one point, in a fresh process.

    Args:
        axis: what grows.
        value: how large it is.
        seconds: for how long outer steps are timed; three at least.

    Returns:
        "seconds" of an outer step, the median, and "cpu", that of its CPU time; "bytes", the peak of resident
        memory above the process with the learner's state; "resident", the peak of the whole process.
    """
    config = with_settings(default_config(axis.game, "tos"), {**axis.fixed, axis.setting: value})
    learner = config.method.build(config.game, config.placement)
    state, _ = learner.update(learner.init(0))  # loads what loads late
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = reset_peak()
    durations: list[float] = []
    computing: list[float] = []
    began = time.perf_counter()
    while len(durations) < 3 or time.perf_counter() - began < seconds:
        start, busy = time.perf_counter(), time.process_time()
        state, _ = learner.update(state)
        durations.append(time.perf_counter() - start)
        computing.append(time.process_time() - busy)
    highest = peak()
    return {
        "seconds": float(np.median(durations)),
        "cpu": float(np.median(computing)),
        "bytes": highest - before,
        "resident": highest,
    }


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Replace settings by the command line's names.

    >>> with_settings(default_config("escape-room", "tos"), {"game.agents": 4, "seeds": 2}).game.agents
    4
    """
    for name, value in settings.items():
        head, _, tail = name.partition(".")
        changes: dict[str, Any] = {name: value}
        if head == "game":
            changes = {"game": dataclasses.replace(config.game, **{tail: value})}
        elif tail:
            changes = {"method": config.method.with_settings({name: value})}
        config = dataclasses.replace(config, **changes)
    return config
