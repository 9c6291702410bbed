"""Seconds until the first hypergradient: compiled anew, in a second process, and at another batch size."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.case import Case
from tests.benchmarks.experiments import EXPERIMENTS
from tests.benchmarks.measure.worker import Worker, WorkerError
from tests.benchmarks.variants import Variant

CACHE = "BILEVEL_CACHE"
"""The environment variable that names the folder of compiled packages."""

CORES = 2
"""One thread computes, as a short case does."""

FINDS = 9
"""How often packages are found again."""

Say = Callable[[str], None]


def compiled_cases(*, short: bool) -> list[tuple[str, Variant, Case]]:
    """List what is compiled: the first of ours in each experiment, in each form of its problem.

    Experiments on seeds give one case with many of them and one with a single seed; those on agents one for
    each number of agents; the rest one. In short, it is problem 1 with many seeds and the next experiment's
    first case.
    """
    listed = []
    for experiment in EXPERIMENTS.values():
        variant = next((v for v in experiment.variants if v.options.get("compiled")), None)
        if experiment.optional or variant is None or variant.missing() is not None:
            continue
        cases = {case.size: case for case in reversed(experiment.cases(short=short)) if case.steps <= 10}
        sizes = sorted(cases)
        if experiment.count == "seeds":
            sizes = [sizes[len(sizes) // 2], sizes[0]]
        listed += [(experiment.name, variant, cases[size]) for size in sizes]
    return [listed[0], listed[2]] if short else listed


def measure_compiling(say: Say, *, short: bool) -> dict[str, list[Any]]:
    """Measure every compiled case in two processes that share a cache folder, empty at first.

    Returns:
        "compiling": rows with the seconds of the first call when cold ("cold") and in a second process
        ("again"), those of a warm call ("warm"), those of a call in that process after it forgot what it had
        found ("found") and how many packages that loaded ("loaded"), and how many the cold call wrote
        ("packages");
        "reseeding": rows for other numbers of seeds after those; "notes".
    """
    cases = compiled_cases(short=short)
    if not cases:
        return {"compiling": [], "reseeding": [], "notes": ["compiling: no estimator can compile."]}
    results: dict[str, list[Any]] = {"compiling": [], "reseeding": [], "notes": []}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        rows = {}
        with Worker(1, {CACHE: folder}, cores=CORES) as worker:
            for name, variant, case in cases:
                say(f"compiling: {name}, {case.size}")
                before = packages(cache)
                seconds = _first_call(worker, variant, case, name, results["notes"])
                if seconds is None:
                    continue
                rows[name, case.size] = {"cold": seconds, "packages": len(packages(cache) - before)}
            results["reseeding"] = _reseed(worker, cache, short)
        with Worker(1, {CACHE: folder}, cores=CORES) as worker:
            for name, variant, case in cases:
                if (name, case.size) not in rows:
                    continue
                again = worker.build(variant, case)[1]
                row = rows[name, case.size] | {"again": again} | _find_again(worker)
                results["compiling"].append(
                    {"experiment": name, "size": case.size, "steps": case.steps} | row
                )
    return results


def _find_again(worker: Worker) -> dict[str, Any]:
    """Time warm calls and such that find their packages again, in turn: a long call varies by more than that
    takes."""
    warm, found, loaded = [], [], 0
    for _ in range(FINDS):
        warm.append(float(np.median(worker.time(0.02, 1))))
        seconds, loaded = worker.find_again()
        found.append(seconds)
    return {"warm": float(np.median(warm)), "found": float(np.median(found)), "loaded": loaded}


def packages(cache: Path) -> set[Path]:
    """List the compiled packages in a cache folder."""
    return {path for path in cache.rglob("*") if path.suffix in (".so", ".pt2")}


def _first_call(worker: Worker, variant: Variant, case: Case, name: str, notes: list[str]) -> float | None:
    try:
        return worker.build(variant, case)[1]
    except WorkerError as failure:
        notes.append(f"compiling: {name}, size {case.size} failed: {failure}")
        return None


def _reseed(worker: Worker, cache: Path, short: bool) -> list[dict[str, Any]]:
    """Run problem 1 with other numbers of seeds, and count the packages that this adds."""
    experiment = EXPERIMENTS["unrolled"]
    variant = next(v for v in experiment.variants if v.options.get("compiled"))
    base = next(case for name, _, case in compiled_cases(short=short) if name == experiment.name)
    rows = []
    for size in (base.size * 2, base.size * 3 + 1):
        before = packages(cache)
        _, seconds = worker.build(variant, dataclasses.replace(base, size=size))
        rows.append({"size": size, "first_call": seconds, "packages": len(packages(cache) - before)})
    return rows
