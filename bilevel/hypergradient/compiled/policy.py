"""When to compile: always, never, or once it is won back."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from bilevel.hypergradient.base import BilevelProblem
from bilevel.hypergradient.compiled.functions import NotCompilableError
from bilevel.hypergradient.compiled.kernels import CompiledKernels
from bilevel.hypergradient.compiled.program import LOG
from bilevel.hypergradient.compiled.registry import identity
from bilevel.hypergradient.kernels import EagerKernels, Kernels
from bilevel.hypergradient.settings import Compile
from bilevel.tree import Tree

WORTH = 40_000
"""Inner steps after which compiling is won back: about two minutes of small eager steps."""

_taken: OrderedDict[Any, int] = OrderedDict()


def decide(wanted: Compile, steps: int) -> bool:
    """Whether to compile for a run that is known to take so many inner steps.

    >>> decide("auto", 1_000), decide("auto", 1_000_000), decide(True, 1)
    (False, True, True)
    """
    return steps >= WORTH if wanted == "auto" else bool(wanted)


def make_kernels(problem: BilevelProblem, phi: Tree, wanted: Compile, steps: int) -> Kernels:
    """Give the kernels of a problem, compiled or not.

    Args:
        problem: the step and the outer loss.
        phi: the outer variables, detached.
        wanted: see `Compile`.
        steps: how many are about to be taken.

    Raises:
        ValueError: with compile=True, the outer variables are no tensors.
    """
    if not settle(problem, wanted, steps):
        return EagerKernels(problem, phi)
    try:
        return CompiledKernels(problem, phi)
    except NotCompilableError as reason:
        raise ValueError(f"This problem cannot be compiled: {reason}, or set compile=False.") from None


def settle(problem: BilevelProblem, wanted: Compile, steps: int) -> bool:
    """Whether to compile now; with "auto" this counts the steps that a problem has taken in this process."""
    if wanted != "auto":
        return wanted
    key = identity(problem.step), identity(problem.outer_loss)
    taken = _taken.pop(key, 0)
    _taken[key] = taken + steps
    while len(_taken) > 64:
        _taken.popitem(last=False)
    if taken < WORTH:
        return False
    if taken - steps < WORTH:
        LOG.info("%d steps were taken: from here on they are compiled.", taken)
    return True
