"""What the toolkit is to reach, and whether it did."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bilevel.core import counted
from tests.benchmarks.experiments import EXPERIMENTS, MILLION
from tests.benchmarks.report.results import Results
from tests.benchmarks.report.whole_runs import of_command, ratio, seconds_by_round, step_by_round
from tests.benchmarks.whole_runs import FEW, WHOLE_RUNS

OURS = "ours, compiled"
"""The variant that targets of speed are about: the generic step, through the public interface."""
SEGMENTS = "ours, segments sqrt(K), compiled"
LEAN = "ours, memory 180 MB, compiled"
"""As few steps taken again as states of so many bytes allow."""
PLAIN = ("autograd, one graph", "TorchOpt", "higher")
"""Who unrolls a network in one graph."""
LONG = 1000


@dataclass(frozen=True)
class Target:
    """One target and what was measured for it."""

    text: str
    bound: float
    """What is to be reached: at least, or at most."""
    measured: float | None
    """None: there is no number."""
    at_most: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Say "reached", "missed" or "not measured"."""
        if self.measured is None:
            return "not measured"
        good = self.measured <= self.bound if self.at_most else self.measured >= self.bound
        return "reached" if good else "**missed**"


SPEED: list[tuple[str, int, int, dict[str, float]]] = [
    ("unrolled", 1024, 10, {"TorchOpt": 30, "higher": 30, "JAX": 10}),
    ("unrolled", 1024, 100, {"TorchOpt": 30, "higher": 30, "JAX": 10}),
    ("unrolled", 1, 10, {"TorchOpt": 80, "JAX": 1}),
    ("unrolled", 8192, 10, {"TorchOpt": 30}),
    ("unrolled", 8192, 100, {"TorchOpt": 30}),
    ("policies", 8, 5, {"TorchOpt": 25, "TorchOpt stacked": 3.5, "JAX": 0.9}),
    ("policies", 32, 5, {"TorchOpt": 25, "TorchOpt stacked": 2.2, "JAX": 1.1}),
    ("policies", 128, 5, {"TorchOpt": 25, "TorchOpt stacked": 1.8, "JAX": 1.3}),
]
"""(experiment, size, K, library -> how many times its steps per second at least)."""


RATES: dict[str, float] = {
    "coin game": 20,
    "coin game, policies": 8,
    "coin game, deeper policies": 8,
    "cleanup 7x7": 2,
}
"""Experiment on a game -> million agent steps per second at least."""
PLAIN_LOOP, TUNED, BY_HIGHER = "plain loop, nothing learned above", "ours, unrolled", "higher, by hand"
STEP_COST: dict[str, float] = {
    TUNED: 3.5,
    f"{TUNED}, the model first": 3.5,
    "ours, finite-difference": 3.0,
    "ours, finite-difference, the model first": 3.0,
}
"""Variant of the tuner -> how many plain steps one of its training steps may cost."""
COPIES, PLAYED = 4096, 100
BESIDE_NUMPY = 50.0


DEFAULT, PACKAGED = "ours, default", "ours, default, package in the cache"
NEVER, FIRST = "ours, eager", "ours, compiled, nothing in the cache"
COMPILED = "ours, compiled, package in the cache"
BEFORE, BY_HAND, BY_JAX = "ours, before", "PyTorch by hand", "JAX by hand"
RUNS: list[tuple[str, str, int, str, float]] = [
    ("run: repeated dilemma", DEFAULT, 300, BY_HAND, 1.3),
    ("run: repeated dilemma", DEFAULT, 300, BY_JAX, 1.5),
    ("run: repeated dilemma", DEFAULT, 3000, BY_HAND, 1.0),
    ("run: repeated dilemma", DEFAULT, 30_000, BY_JAX, 1.5),
    ("run: repeated dilemma", PACKAGED, 30_000, BY_JAX, 1.0),
]
"""(runs, command, outer steps, another command, how many times the other's time at most)."""
FASTER: dict[str, float] = {"run: escape room": 1.8, "run: coin game": 1.8, "run: cleanup 7x7": 1.5}
"""Runs of 300 outer steps -> how many times faster than before at least."""
WHOLE_STEP: dict[str, str] = {
    "run: repeated dilemma": NEVER,
    "run: escape room": NEVER,
    "run: coin game": DEFAULT,
}
"""Runs -> the command whose outer step is held against that by hand."""
COMPILING: dict[str, float] = {"run: repeated dilemma": 15, "run: escape room": 20}
"""Runs -> CPU seconds that compiling their steps may take."""
GRAPHS: dict[str, Sequence[str]] = {
    "one graph: dilemma": ("ours, eager, the same steps", "ours, eager", "ours, eager, method tos"),
    "one graph: dilemma, truncated": ("ours, eager, the same steps",),
    "one graph: policies": ("ours, eager",),
    "one graph: network": ("ours, eager",),
}
"""Experiment with autograd written by hand -> what is held against it."""


def targets(results: Results) -> list[Target]:
    """List every target in turn."""
    return [
        *_runs(results),
        *_graphs(results),
        *_speed(results),
        *_memory(results),
        *_games(results),
        *_weighing(results),
        *_compiling(results),
        *_accuracy(results),
    ]


def _runs(results: Results) -> Iterator[Target]:
    """Whole runs, as users start them."""
    for name, command, steps, other, bound in RUNS:
        ours, theirs = (seconds_by_round(of_command(results, name, who), steps) for who in (command, other))
        text = f"{name}, {steps} outer steps: {command}, in times {other}"
        yield Target(text, bound, ratio(ours, theirs), True)
    for name, bound in FASTER.items():
        ours, theirs = (seconds_by_round(of_command(results, name, who), 300) for who in (DEFAULT, BEFORE))
        yield Target(f"{name}, 300 outer steps: faster than before", bound, ratio(theirs, ours))
    for name, command in WHOLE_STEP.items():
        ours, theirs = (step_by_round(of_command(results, name, who)) for who in (command, BY_HAND))
        yield Target(f"{name}: an outer step, eager, in times {BY_HAND}", 1.15, ratio(ours, theirs), True)
    packaged = step_by_round(of_command(results, "run: repeated dilemma", COMPILED))
    step = 1e3 * statistics.median(packaged.values()) if packaged else None
    yield Target("run: repeated dilemma: an outer step, compiled", 1.0, step, True, "ms")
    for name, bound in COMPILING.items():
        first, never = (
            [
                row["cpu"]
                for row in results.rows(name, "runs")
                if row["variant"] == who and row["outer_steps"] <= (WHOLE_RUNS[name].short or FEW)
            ]
            for who in (FIRST, NEVER)
        )
        cpu = statistics.median(first) - statistics.median(never) if first and never else None
        yield Target(f"{name}: compiling its steps, CPU time", bound, cpu, True, "s")


def _graphs(results: Results) -> Iterator[Target]:
    """Estimators by default, eager, against one graph of the same steps by hand."""
    for experiment, variants in GRAPHS.items():
        for variant in variants:
            ratios = [
                row["median"] / theirs
                for row in results.rows(experiment, "times")
                if row["variant"] == variant
                and (theirs := results.fastest(experiment, row["size"], row["steps"], "autograd"))
            ]
            text = f"{experiment}: {variant}, in times autograd by hand, the worst case"
            yield Target(text, 1.1, max(ratios, default=None), True)


def _speed(results: Results) -> Iterator[Target]:
    for experiment, size, steps, bounds in SPEED:
        learners = counted(size, "agent" if experiment == "policies" else "seed")
        ours = results.seconds(experiment, size, steps, OURS)
        for library, bound in bounds.items():
            theirs = results.fastest(experiment, size, steps, library)
            ratio = None if ours is None or theirs is None else theirs / ours
            yield Target(f"{experiment}, K = {steps}, {learners}: faster than {library}", bound, ratio)


def _memory(results: Results) -> Iterator[Target]:
    name = f"network, K = {LONG}"
    ours = results.memory("network", MILLION, SEGMENTS)
    mine = ours.get(LONG)
    yield Target(
        f"{name}, segments: memory over the model", 600, None if mine is None else mine / 1e6, True, "MB"
    )
    plain = [results.memory("network, far", MILLION, variant).get(LONG) for variant in PLAIN]
    least = min((used for used in plain if used is not None), default=None)
    lean = results.memory("network, far", MILLION, LEAN).get(LONG)
    ratio = None if lean is None or least is None else least / lean
    yield Target(f"{name}, in 180 MB of states: less memory than the leanest plain unroll", 30, ratio)
    times = [results.seconds("network, far", MILLION, LONG, variant) for variant in PLAIN]
    fastest = min((time for time in times if time is not None), default=None)
    time = results.seconds("network, far", MILLION, LONG, LEAN)
    slower = None if time is None or fastest is None else time / fastest
    yield Target(f"{name}, in 180 MB of states: time, in times the fastest plain unroll's", 1.3, slower, True)
    fit = fit_square_root(ours)
    yield Target("network: R^2 of memory = a + b sqrt(K)", 0.98, None if fit is None else fit[2], unit="")


def _games(results: Results) -> Iterator[Target]:
    for name, bound in RATES.items():
        rate = results.rate(name, COPIES, PLAYED, "ours, eager")
        text = f"{name}, {COPIES} copies: agent steps per second"
        yield Target(text, bound, None if rate is None else rate / 1e6, unit="million")
    mine, one = (
        results.rate("coin game", COPIES, PLAYED, name)
        for name in ("ours, eager", "NumPy, one copy at a time")
    )
    ratio = None if mine is None or one is None else mine / one
    yield Target("coin game: faster than NumPy, one copy at a time", BESIDE_NUMPY, ratio)


def _weighing(results: Results) -> Iterator[Target]:
    """A training step with weights that are learned, in times the plain loop's, and beside higher."""
    for size in EXPERIMENTS["tuner"].sizes:
        plain, higher = (results.seconds("tuner", size, 1, name) for name in (PLAIN_LOOP, BY_HIGHER))
        for name, bound in STEP_COST.items():
            time = results.seconds("tuner", size, 1, name)
            cost = None if time is None or plain is None else time / plain
            yield Target(f"tuner, {size} units: {name}, in plain steps", bound, cost, True)
        time = results.seconds("tuner", size, 1, TUNED)
        ratio = None if time is None or higher is None else higher / time
        yield Target(f"tuner, {size} units: faster than higher by hand", 1, ratio)
    for size in EXPERIMENTS["tuner, memory"].sizes:
        ours, theirs = (results.memory("tuner, memory", size, name).get(1) for name in (TUNED, BY_HIGHER))
        ratio = None if not ours or not theirs else ours / theirs
        yield Target(f"tuner, {size} units: memory, in times higher's by hand", 1.1, ratio, True)


def fit_square_root(memory: dict[int, int]) -> tuple[float, float, float] | None:
    """Fit memory = a + b sqrt(K) by least squares; None with fewer than three K.

    Returns:
        a, b, and R^2.

    >>> [round(number, 6) for number in fit_square_root({1: 5, 4: 7, 9: 9})]
    [3.0, 2.0, 1.0]
    """
    if len(memory) < 3:
        return None
    roots, used = np.sqrt(list(memory)), np.array(list(memory.values()), dtype=float)
    design = np.stack((np.ones_like(roots), roots), 1)
    (constant, slope), *_ = np.linalg.lstsq(design, used, rcond=None)
    rest = float(np.square(used - design @ (constant, slope)).sum())
    return float(constant), float(slope), 1 - rest / float(np.square(used - used.mean()).sum())


def _compiling(results: Results) -> Iterator[Target]:
    rows = results.rows("compiling", "compiling")
    cold = max((row["cold"] for row in rows), default=None)
    yield Target("compiling: the slowest case, cold", 70, cold, True, "s")
    first = rows[0]["again"] if rows else None
    yield Target("compiling: first package of a second process", 3, first, True, "s")
    further = [1e3 * per_package(row) for row in rows[1:]]
    yield Target(
        "compiling: each further package, the slowest case", 20, max(further, default=None), True, "ms"
    )
    reseeded = results.rows("compiling", "reseeding")
    built = sum(row["packages"] for row in reseeded) if reseeded else None
    yield Target("compiling: packages built for other numbers of seeds", 0, built, True, "")


def per_package(row: dict[str, float]) -> float:
    """Seconds of a call that finds and loads its packages above a warm one, for each package."""
    return max(0.0, row["found"] - row["warm"]) / max(1, row["loaded"])


def _accuracy(results: Results) -> Iterator[Target]:
    for row in results.rows("accuracy", "accuracy"):
        text = f"{row['estimator']}: {row['against']}"
        yield Target(text, row["most"], row["error"] if math.isfinite(row["error"]) else None, True, "")
