"""Forecast of what compiling a problem costs and saves, before anything is built."""

from __future__ import annotations

from typing import NamedTuple

from bilevel.compile import _cache as cache
from bilevel.compile._c_compiler import find_compiler
from bilevel.compile._functions import Members
from bilevel.compile._operations import count_operations
from bilevel.compile._program import package_key
from bilevel.compile._solve import flatten_inputs, solve_requests
from bilevel.core import Tree
from bilevel.hypergradient import BilevelProblem, Kernels

SMALL_ENTRIES = 200
"""Entries of one member up to which a problem is expected to be written out in C."""
FIXED, EACH = 0.1, 0.005
"""Seconds of CPU to trace and compile a solve and an outer update, and for each operation of a step and its
derivatives: measured on the catalogue's exact games (174 to 317 operations, 0.5 to 2.0 s)."""
SAVED = 0.8
"""The share of an estimate's time that C saves: 0.8 to 0.99 on exact games."""


class Forecast(NamedTuple):
    """The forecast cost and benefit of compiling a problem."""

    seconds: float
    """CPU time to build its packages."""
    saved: float
    """The share of an estimate's time that compiled steps save, 0 to 1."""


def forecast(problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree) -> Forecast | None:
    """Estimate what compiling a problem costs and saves, without building, tracing or loading anything.

    Problems with known data and few entries for each member can be written out in C, which pays off soon.
    Others, such as games sampled in episodes, go to PyTorch's own compiler: a minute or more, which Escape
    Room, for one, never recovers.

    Args:
        problem, theta, opt_state, phi: as for `Estimator.estimate`.

    Returns:
        Seconds of CPU time to build the packages, and the share of an estimate's time that they save, 0 to 1;
        None where the problem is not expected to be written out in C, or this machine has no C compiler.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> forecast(problem, torch.zeros(1), None, torch.ones(1))
    Forecast(seconds=0.1..., saved=0.8)
    """
    inputs = flatten_inputs(problem, theta, opt_state, phi, 1)
    if inputs is None:
        return None
    flat = inputs.leaves(1)
    entries = sum(leaf.numel() for leaf in flat) / (Members.of(flat).count or 1)
    try:
        find_compiler()
    except OSError:
        return None
    if entries > SMALL_ENTRIES or flat[0].device.type != "cpu":
        return None
    kernels = Kernels(problem, phi)

    def one_step() -> None:
        after, vjp = kernels.vjp((theta, opt_state), problem.inner_data(None, None, 0))
        _, cotangent, gradient = kernels.outer(after, problem.outer_data(None, None))
        vjp(cotangent, gradient)

    return Forecast(FIXED + EACH * count_operations(one_step), SAVED)


def built_before(problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree) -> bool:
    """True if the package of a problem that has a `forecast` is in the cache.

    Args:
        problem, theta, opt_state, phi: as for `forecast`.

    >>> from bilevel.compile import build_solve
    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + 2 * phi) / 3, opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.zeros(1), None, torch.ones(1)
    >>> built_before(problem, *start), build_solve(problem, *start), built_before(problem, *start)
    (False, True, True)
    """
    inputs = flatten_inputs(problem, theta, opt_state, phi, 1)
    if inputs is None:
        return False
    request = solve_requests(inputs, Members.of((*inputs.state, *inputs.phi)))
    keys = [package_key(form, each) for each in request for form in each.forms]
    return any(key is not None and cache.find(key) is not None for key in keys)
