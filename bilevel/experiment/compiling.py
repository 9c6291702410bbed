"""The decision whether a run's steps are compiled, and the record of how they ran."""

from __future__ import annotations

import time

from bilevel.compile import Compiled
from bilevel.methods import Learner, OuterLearner, State
from bilevel.streams import Purpose

DECIDED_AFTER = 5
"""Outer steps after which a run decides whether compiling saves time: the first ones are slower."""
LOADING = 0.2
"""Seconds that a process takes to load what compiled steps need, packages that are there included."""


def worth_compiling(learner: Learner, state: State, outer_steps: int) -> bool:
    """Whether compiled steps will save more time over the rest of a run than it takes to compile them.

    One more estimate is timed and thrown away; `forecast` gives the cost of compiling. Packages that are in
    the cache only have to be loaded. Games played in episodes are compiled on request alone.

    Args:
        learner: one whose steps are not compiled.
        state: where it stands.
        outer_steps: how many the run takes in all.
    """
    if not isinstance(learner, OuterLearner) or learner.play.draws:
        return False  # no hypergradient, or episodes, of which there is no forecast
    done, phase = int(state["outer_step"]), learner.course.phase
    left = sum(phase(step).moves != "policies" for step in range(done, outer_steps))
    problem = learner.problem_at(state, learner.streams(state, Purpose.TRAINING))
    start = state["theta"], state["opt_state"], state["phi"]
    steps, past = learner.course.steps(done), {"past": state["past"]} if "past" in state else {}
    began = time.perf_counter()
    learner.hypergradient(problem, *start, steps=steps, **past)
    spent = left * (time.perf_counter() - began)
    if spent < LOADING:
        return False
    from bilevel.compile.forecast import built_before, forecast  # the compiler, loaded where it is used

    expected = forecast(problem, *start)
    gain = 0.0 if expected is None else expected.saved * spent - LOADING
    if expected is None or gain <= 0:
        return False
    return gain > expected.seconds or built_before(problem, *start)


def how_steps_run(learner: Learner) -> str:
    """How a learner's steps ran in this process: "compiled", "eagerly", or "" where none were to be compiled.

    Steps of which only some functions are compiled ran eagerly.
    """
    if not isinstance(learner, OuterLearner) or not isinstance(learner.hypergradient, Compiled):
        return ""
    from bilevel.compile.registry import how_it_runs  # the compiler, loaded where it is used

    return how_it_runs(learner.step)
