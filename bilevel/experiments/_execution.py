"""Execution of a run in this process: compiled or eager steps, and the memory allocator."""

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
GLIBC_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MMAP_BYTES, MMAP_BYTES_BEFORE_2_35 = 2**31 - 1, 2**25
"""Largest mmap thresholds that glibc takes, now and before version 2.35."""
MAX_UNUSED = 2**30
"""Maximum number of unused bytes at the end of the heap."""

DECIDED_AFTER = 5
"""Outer steps before a run decides on compiling: the first ones are slower."""
LOADING = 0.2
"""Seconds to load compiled steps and their packages."""


def worth_compiling(learner: Learner, state: State, outer_steps: int) -> bool:
    """True if compiled steps would save more time over the rest of a run of `outer_steps` than compiling
    takes.

    One more estimate is timed and discarded; `forecast` predicts the cost of compiling, and cached packages
    only have to be loaded. Only whole solves in C are compiled automatically, as PyTorch's compiler takes a
    minute: the library is built here, and steps too large for C stay eager.
    """
    if not isinstance(learner, OuterLearner) or learner.play.draws:
        return False  # no hypergradient, or sampled episodes, for which there is no forecast
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
    if expected is None or expected.saved * spent <= LOADING:
        return False
    if expected.saved * spent - LOADING <= expected.seconds:
        return built_before(problem, *start)
    from bilevel.compile import build_solve

    return build_solve(problem, *start)


def execution_mode(learner: Learner) -> str:
    """Execution mode of a learner's steps: "compiled", "eagerly" (even in part), or "" if not decided yet."""
    if not isinstance(learner, OuterLearner) or not isinstance(learner.hypergradient, Compiled):
        return ""
    from bilevel.compile import how_it_runs

    if isinstance(learner.outer_update, CompiledFunction) and learner.outer_update.failed:
        return "eagerly"
    return how_it_runs(learner.step)


def keep_freed_memory() -> bool:
    """Configure glibc to keep freed memory for later tensors rather than return it to the kernel at once.

    By default glibc maps every tensor above 32 MiB (initially, above 128 KiB) anew and unmaps it when it is
    freed, so that all of its pages fault again. With both thresholds raised, freed memory stays in the heap,
    with up to 1 GiB unused at its end. Numbers do not depend on it, so it is a setting of the process, an
    environment variable, and not in config.json.

    Returns:
        True if glibc accepted the thresholds; False without glibc, with BILEVEL_MALLOC=system, and where the
        environment tunes glibc's malloc itself.

    Raises:
        ValueError: BILEVEL_MALLOC is neither keep nor system.

    Source:
        mallopt(3).

    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, BILEVEL_MALLOC="system"):
    ...     keep_freed_memory()
    False
    """
    choice = os.environ.get(MALLOC_VARIABLE, "keep")
    require(choice in ("keep", "system"), f"{MALLOC_VARIABLE} is keep or system, not {choice!r}.")
    tuned = any(name in os.environ for name in GLIBC_VARIABLES)
    tuned = tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if choice != "keep" or tuned or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) or mallopt(M_MMAP_THRESHOLD, MMAP_BYTES_BEFORE_2_35)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, MAX_UNUSED))
