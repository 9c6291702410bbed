"""Whether a run's steps are compiled, and how they ran."""

from __future__ import annotations

from bilevel.compile import Compiled
from bilevel.methods import Learner, OuterLearner, State

DECIDED_AFTER = 5
"""Outer steps after which a run decides whether compiling saves time: the first ones are slower."""


def worth_compiling(learner: Learner, state: State, outer_steps: int) -> bool:
    """Whether compiled steps will save more time over the rest of a run than it takes to compile them.

    Args:
        learner: one whose steps are not compiled.
        state: where it stands.
        outer_steps: how many the run takes in all.
    """
    return False


def how_steps_run(learner: Learner) -> str:
    """How a learner's steps ran in this process: "compiled", "eagerly", or "" where none were to be compiled.

    Steps of which only some functions are compiled ran eagerly.
    """
    if not isinstance(learner, OuterLearner) or not isinstance(learner.hypergradient, Compiled):
        return ""
    from bilevel.compile.registry import how_it_runs  # the compiler, loaded where it is used

    return how_it_runs(learner.step)
