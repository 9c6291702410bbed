"""What compiling a problem would cost and save, before anything is built."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bilevel.compile import cache
from bilevel.compile.c_compiler import find_compiler
from bilevel.compile.cost import SAVED, expected_seconds
from bilevel.compile.forms import Form, Members
from bilevel.compile.functions import NotCompilableError, TreeForm
from bilevel.compile.kernels import CompiledKernels
from bilevel.compile.operations import count_operations
from bilevel.compile.program import package_key
from bilevel.compile.solve import take_apart, wanted_solves
from bilevel.hypergradient.base import BilevelProblem
from bilevel.hypergradient.kernels import EagerKernels
from bilevel.tree import Tree

SMALL_ENTRIES = 200
"""Entries of one member up to which a graph is expected to be written out as C."""


class Forecast(NamedTuple):
    """What to expect of compiling a problem."""

    seconds: float
    """CPU time to build its packages."""
    saved: float
    """The share of an estimate's time that compiled steps save, 0 to 1."""


def forecast(problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree) -> Forecast | None:
    """Expect what compiling a problem costs and saves; nothing is built, traced or loaded.

    One step is differentiated. Data are drawn, if the problem draws them.

    Args:
        problem: the step and the outer loss.
        theta: the inner variables at the start.
        opt_state: the optimizer's state at the start.
        phi: the outer variables.

    Returns:
        the forecast; None where the problem cannot be compiled, or this machine has no C compiler.
    """
    data, last = problem.inner_data(theta, phi, 0), problem.outer_data(theta, phi)
    try:
        find_compiler()
        split = [TreeForm.split(tree, "the inputs")[0] for tree in (theta, opt_state, phi, data, last)]
    except (NotCompilableError, OSError):
        return None
    kernels = EagerKernels(problem, phi)

    def one_step() -> None:
        after, pull = kernels.vjp((theta, opt_state), data)
        _, cotangent, gradient = kernels.outer(after, last)
        pull(cotangent, gradient)

    flat = [leaf for leaves in split for leaf in leaves]
    form: Form = "rows" if _entries_of_a_member(flat) <= SMALL_ENTRIES else "plain"
    return Forecast(expected_seconds(count_operations(one_step), form), SAVED[form])


def built_before(problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree) -> bool:
    """Whether the package of a problem's whole solve lies in the cache, or, where it has none, of its step.

    Args:
        problem: as for `forecast`, like the rest.
        theta: the inner variables at the start.
        opt_state: the optimizer's state at the start.
        phi: the outer variables.
    """
    given = take_apart(problem, theta, opt_state, phi, 1)
    if given is not None:
        wanted = wanted_solves(given, Members.of((*given.state, *given.phi)))
    else:
        kernels, data = CompiledKernels(problem, phi), problem.inner_data(theta, phi, 0)
        taken = TreeForm.split(data, "the data")
        wanted = [kernels.wanted("step", kernels.start(theta, opt_state), taken, ())]
    keys = [package_key(form, each) for each in wanted for form in each.forms]
    return any(key is not None and cache.find(key) is not None for key in keys)


def _entries_of_a_member(flat: list[Tensor]) -> float:
    return sum(leaf.numel() for leaf in flat) / (Members.of(flat).count or 1)
