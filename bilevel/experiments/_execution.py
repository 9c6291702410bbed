"""Execution of a run in this process: compiled or eager steps, and memory that is kept when freed."""

from __future__ import annotations

import ctypes
import os
import platform
import time

from bilevel.compile import Compiled, CompiledFunction, differentiated_steps
from bilevel.core import Purpose
from bilevel.methods import Learner, OuterLearner, State
from games.core import require

MALLOC_VARIABLE = "BILEVEL_MALLOC"
"""The environment variable that says who decides: bilevel ("keep", the default) or the system ("system")."""
MALLOC_CHOICES = ("keep", "system")
GLIBC_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Environment variables with which users tune glibc themselves: then nothing is changed."""

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_TENSOR = 2**31 - 1
"""From how many bytes on a tensor is mapped by itself: the most that mallopt takes."""
MAX_UNUSED = 2**30
"""Most bytes that stay unused at the end of the heap."""
MAX_BEFORE_2_35 = 2**25
"""The most that earlier versions of glibc take for it."""

DECIDED_AFTER = 5
"""Outer steps after which a run decides whether compiling saves time: the first ones are slower."""
LOADING = 0.2
"""Seconds that a process takes to load what compiled steps need, packages that are there included."""


def worth_compiling(learner: Learner, state: State, outer_steps: int) -> bool:
    """True if compiled steps will save more time over the rest of a run than it takes to compile them.

    One more estimate is timed and thrown away; `forecast` gives the cost of compiling. Packages that are in
    the cache only have to be loaded. Only whole solves in C are compiled unasked, so the library is built
    here: what turns out to be too large for C stays as it is, since PyTorch's compiler takes a minute.

    Args:
        learner: one whose steps are not compiled.
        state: of the learner.
        outer_steps: of the run in all.
    """
    if not isinstance(learner, OuterLearner) or learner.play.draws:
        return False  # no hypergradient, or episodes, of which there is no forecast
    done, phase = int(state["outer_step"]), learner.schedule.phase
    steps = learner.schedule.steps(done)
    if differentiated_steps(learner.hypergradient, state["phi"], steps) is None:
        return False  # an estimator that takes its steps one by one
    left = sum(phase(step).moves != "policies" for step in range(done, outer_steps))
    problem = learner.problem_at(state, learner.streams(state, Purpose.TRAINING))
    start = state["theta"], state["opt_state"], state["phi"]
    began = time.perf_counter()
    learner.hypergradient(problem, *start, steps=steps)
    spent = left * (time.perf_counter() - began)
    if spent < LOADING:
        return False
    from bilevel.compile import built_before, forecast

    expected = forecast(problem, *start)
    gain = 0.0 if expected is None else expected.saved * spent - LOADING
    if expected is None or gain <= 0:
        return False
    if gain <= expected.seconds:
        return built_before(problem, *start)
    from bilevel.compile import build_solve

    return build_solve(problem, *start)


def execution_mode(learner: Learner) -> str:
    """The execution of a learner's steps in this process: "compiled", "eagerly", or "" if no choice was made.

    Steps of which only some functions are compiled ran eagerly.
    """
    if not isinstance(learner, OuterLearner) or not isinstance(learner.hypergradient, Compiled):
        return ""
    from bilevel.compile import how_it_runs

    if isinstance(learner.outer_update, CompiledFunction) and learner.outer_update.failed:
        return "eagerly"
    return how_it_runs(learner.step)


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for later tensors rather than return it to the kernel at once.

    By default glibc maps every tensor above 32 MiB (at first, above 128 KiB) afresh and unmaps it when it is
    freed, so that each page of it faults again: half of the CPU time of a run with large observations. With
    both thresholds raised, freed memory stays in the heap, of which up to 1 GiB may stay unused at its end.
    Numbers do not depend on it. It is a setting of the process, not of a run: hence an environment variable,
    BILEVEL_MALLOC=system, and not a setting in config.json, leaves everything as the system has it.

    Returns:
        Whether glibc took the thresholds: False without glibc, with BILEVEL_MALLOC=system, and where the
        environment tunes glibc's malloc itself.

    Raises:
        ValueError: BILEVEL_MALLOC is neither keep nor system.

    Source:
        mallopt(3).
    """
    choice = os.environ.get(MALLOC_VARIABLE, MALLOC_CHOICES[0])
    require(choice in MALLOC_CHOICES, f"{MALLOC_VARIABLE} is keep or system, not {choice!r}.")
    tuned = any(name in os.environ for name in GLIBC_VARIABLES[:2]) or "glibc.malloc" in os.environ.get(
        GLIBC_VARIABLES[2], ""
    )
    if choice != "keep" or tuned or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(M_MMAP_THRESHOLD, LARGEST_TENSOR) or mallopt(M_MMAP_THRESHOLD, MAX_BEFORE_2_35)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, MAX_UNUSED))
