"""The decision whether a run's steps are compiled, and the record of how they ran."""

from __future__ import annotations

import time

from bilevel.compile import Compiled, CompiledFunction, differentiated_steps
from bilevel.core import Purpose
from bilevel.methods import Learner, OuterLearner, State

DECIDED_AFTER = 5
"""Outer steps after which a run decides whether compiling saves time: the first ones are slower."""
LOADING = 0.2
"""Seconds that a process takes to load what compiled steps need, packages that are there included."""


def worth_compiling(learner: Learner, state: State, outer_steps: int) -> bool:
    """Whether compiled steps will save more time over the rest of a run than it takes to compile them.

    One more estimate is timed and thrown away; `forecast` gives the cost of compiling. Packages that are in
    the cache only have to be loaded. Only whole solves in C are compiled unasked, so the library is built
    here: what turns out to be too large for C stays as it is, since PyTorch's compiler takes a minute.

    Args:
        learner: one whose steps are not compiled.
        state: where it stands.
        outer_steps: how many the run takes in all.
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


def how_steps_run(learner: Learner) -> str:
    """How a learner's steps ran in this process: "compiled", "eagerly", or "" where none were to be compiled.

    Steps of which only some functions are compiled ran eagerly.
    """
    if not isinstance(learner, OuterLearner) or not isinstance(learner.hypergradient, Compiled):
        return ""
    from bilevel.compile import how_it_runs

    if isinstance(learner.outer_update, CompiledFunction) and learner.outer_update.failed:
        return "eagerly"
    return how_it_runs(learner.step)
