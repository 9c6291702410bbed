"""This toolkit, through its public interface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from bilevel.compile import Compiled
from bilevel.core import inner_step_per_agent
from bilevel.hypergradient import (
    BilevelProblem,
    Estimator,
    Evolution,
    FixedData,
    Forward,
    Implicit,
    RecordedData,
    Truncated,
    Unrolled,
)
from bilevel.methods import OuterLearner, Placement, StepInputs, ToS
from bilevel.optimizers import GradientTransformation, make_optimizer
from tests.benchmarks.case import Case, Run
from tests.benchmarks.peers.draws import SAMPLES, SIGMA
from tests.benchmarks.problems import dilemma
from tests.benchmarks.problems.named import make_setting
from tests.benchmarks.problems.setting import Optimizer, Setting

ESTIMATORS: dict[str, tuple[type, dict[str, Any]]] = {
    "unrolled": (Unrolled, {}),
    "truncated": (Truncated, {}),
    "forward": (Forward, {"batch_dims": 1}),
    "forward, one member": (Forward, {}),
    "implicit": (Implicit, {"batch_dims": 1, "max_distance": math.inf}),
    "evolution": (Evolution, {"members": True, "samples": SAMPLES, "sigma": SIGMA}),
}


def make_estimator(name: str, *, compiled: bool, **settings: Any) -> Estimator:
    """Build an estimator that is certainly compiled, or certainly not."""
    make, fixed = ESTIMATORS[name]
    made: Estimator = make(**fixed, **settings)
    return Compiled(made) if compiled else made


def inner_optimizer(optimizer: Optimizer) -> GradientTransformation:
    """Build this toolkit's optimizer of a problem."""
    settings: dict[str, dict[str, Any]] = {
        "sgd": {},
        "momentum": {"decay": optimizer.decay},
        "adam": {"epsilon": optimizer.epsilon, "betas": optimizer.betas},
    }
    return make_optimizer(optimizer.name, learning_rate=optimizer.rate, **settings[optimizer.name])


def bilevel_problem(setting: Setting, inner: GradientTransformation, steps: int) -> BilevelProblem:
    """Build a problem as this toolkit takes it, with data for so many steps."""
    return BilevelProblem(
        step=inner_step_per_agent(setting.loss, inner),
        outer_loss=setting.outer_loss,
        inner_data=source(setting.data, steps),
    )


def source(data: Sequence[Any], steps: int) -> FixedData | RecordedData:
    """Say that data are known beforehand, as whoever has them all would."""
    if len(data) == 1:
        return FixedData(data[0])
    return RecordedData(tuple(data[k % len(data)] for k in range(steps)))


def run(
    case: Case,
    *,
    estimator: str = "unrolled",
    compiled: bool = False,
    problem: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Build one of our variants: an estimator on the problem as functions of tensors.

    Args:
        case: what is solved.
        estimator: name in `ESTIMATORS`.
        compiled: whether the steps are compiled.
        problem: options of the problem.
        settings: of the estimator.
    """
    setting = make_setting(case, **(problem or {}))
    inner = inner_optimizer(setting.optimizer)
    estimate = make_estimator(estimator, compiled=compiled, **settings)
    solved, state = bilevel_problem(setting, inner, case.steps), inner.init(setting.theta)
    return lambda: estimate(solved, setting.theta, state, setting.phi, steps=case.steps).gradient


def tos(case: Case, *, compiled: bool = False) -> Run:
    """Build the dilemma through the method `tos`, entropy bonus (of weight 0) and all."""
    setting = make_setting(case)
    placement = Placement(seeds=case.size, dtype=getattr(torch, case.dtype))
    method = ToS().with_settings(
        {"inner.optimizer": "sgd", "inner.learning_rate": dilemma.RATE, "inner.steps": case.steps}
    )
    learner = cast(OuterLearner, method.build(dilemma.GAME, placement))
    problem = learner.problem(torch.Generator(), StepInputs((), torch.zeros((), dtype=placement.dtype)))
    estimate = make_estimator("unrolled", compiled=compiled)
    state = learner.optimizer.init(setting.theta)
    return lambda: estimate(problem, setting.theta, state, setting.phi, steps=case.steps).gradient
