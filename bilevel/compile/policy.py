"""When to compile: always, never, or once it is won back."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections import OrderedDict
from typing import Any, cast

from bilevel.compile.functions import NotCompilableError, TreeForm
from bilevel.compile.kernels import CompiledKernels, CompileWarning
from bilevel.compile.plans import LOG
from bilevel.compile.registry import identity
from bilevel.hypergradient.base import BilevelProblem, Hypergradient
from bilevel.hypergradient.kernels import EagerKernels, Kernels
from bilevel.hypergradient.settings import Compile
from bilevel.tree import Tree

WORTH = 40_000
"""Inner steps after which compiling is won back: about two minutes of small eager steps."""

NEVER = -math.inf
"""Steps of a problem that cannot be compiled."""

_taken: OrderedDict[Any, float] = OrderedDict()
"""Steps of the problems that were last seen; infinitely many once they are compiled."""


def decide(wanted: Compile, steps: int) -> bool:
    """Whether to compile for a run that is known to take so many inner steps.

    >>> decide("auto", 1_000), decide("auto", 1_000_000), decide(True, 1)
    (False, True, True)
    """
    return steps >= WORTH if wanted == "auto" else bool(wanted)


def decided(estimator: Hypergradient, steps: int) -> Hypergradient:
    """The same estimator, with compile="auto" decided for a run that takes so many inner steps in all.

    What a run does then depends on nothing that this process did before: resumed, it goes on in the same way.

    Args:
        estimator: any; one without the setting is given back as it is.
        steps: how many inner steps the whole run takes.

    >>> from bilevel.hypergradient import OneStep
    >>> decided(OneStep(), 1_000_000)
    OneStep(compile=True)
    """
    if getattr(estimator, "compile", None) != "auto":
        return estimator
    settled: Any = estimator
    return cast(Hypergradient, dataclasses.replace(settled, compile=decide("auto", steps)))


def make_kernels(
    problem: BilevelProblem,
    start: tuple[Tree, Tree],
    phi: Tree,
    wanted: Compile,
    steps: int,
) -> Kernels:
    """Give the kernels of a problem, compiled or not.

    With "auto", what cannot be compiled runs eagerly, with one warning that says why.

    Args:
        problem: the step and the outer loss.
        start: (theta, opt_state).
        phi: the outer variables, detached.
        wanted: see `Compile`.
        steps: how many are about to be taken.

    Raises:
        ValueError: with compile=True, a leaf of the state or of the outer variables is no tensor.
    """
    if not settle(problem, wanted, steps):
        return EagerKernels(problem, phi)
    try:
        TreeForm.split(start, "theta and the optimiser's state")
        return CompiledKernels(problem, phi)
    except NotCompilableError as reason:
        if wanted != "auto":
            raise ValueError(f"This problem cannot be compiled: {reason}, or set compile=False.") from None
        _taken[_key(problem)] = NEVER
        warnings.warn(f"Steps run eagerly, not compiled: {reason}.", CompileWarning, stacklevel=2)
        return EagerKernels(problem, phi)


def settle(problem: BilevelProblem, wanted: Compile, steps: int) -> bool:
    """Whether to compile now; with "auto" this counts the steps that a problem has taken in this process."""
    if wanted != "auto":
        return wanted
    key = _key(problem)
    taken = _taken.pop(key, 0.0)
    _taken[key] = taken + steps if taken < WORTH else math.inf
    while len(_taken) > 64:
        _taken.popitem(last=False)
    if taken < WORTH:
        return False
    if taken < math.inf:
        LOG.info("%d steps were taken: from here on they are compiled.", taken)
    return True


def _key(problem: BilevelProblem) -> Any:
    return identity(problem.step), identity(problem.outer_loss)
