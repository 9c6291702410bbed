"""Is an outer gradient right? And which estimator suits this problem? Ask finite differences."""

from __future__ import annotations

from types import EllipsisType
from typing import Any, overload

from bilevel.errors import require
from bilevel.hypergradient.agreement import Differences, HypergradientCheck, in_float64
from bilevel.hypergradient.base import BilevelProblem, Hypergradient
from bilevel.hypergradient.compare import Estimators, compare_hypergradients
from bilevel.hypergradient.comparison import HypergradientComparison
from bilevel.hypergradient.unrolled import Unrolled
from bilevel.tree import Tree

__all__ = ["HypergradientCheck", "check_hypergradient"]

_EXACT = Unrolled()


@overload
def check_hypergradient(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    *,
    steps: int,
    estimator: Hypergradient = ...,
    epsilon: float = ...,
    max_entries: int = ...,
    tolerance: float = ...,
) -> HypergradientCheck: ...
@overload
def check_hypergradient(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    *,
    steps: int,
    estimators: Estimators | None,
    epsilon: float = ...,
    max_entries: int = ...,
    tolerance: float = ...,
    **comparison: Any,
) -> HypergradientComparison: ...
def check_hypergradient(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    *,
    steps: int,
    estimator: Hypergradient = _EXACT,
    estimators: Estimators | EllipsisType | None = ...,
    epsilon: float = 1e-5,
    max_entries: int = 64,
    tolerance: float = 1e-6,
    **comparison: Any,
) -> HypergradientCheck | HypergradientComparison:
    """Compare an estimator, or several, with central finite differences of the same K steps, in float64.

    The estimator runs first, and its data are replayed in every difference. Inputs are converted to float64;
    what the step and the losses close over must be able to follow. It is a loop over the directions, with
    2 K steps for each.

    Args:
        problem: as for the estimator, like the next three and `steps`.
        theta: the inner variables at the start.
        opt_state: the optimiser's state at the start.
        phi: the outer variables.
        steps: K, at least 1.
        estimator: what to check.
        estimators: instead of `estimator`, several of them (None: all there are), whose errors, noise, time
            and memory are compared: see `compare_hypergradients`, which takes the remaining arguments.
        epsilon: the step of a difference, in units of phi, above 0. The error is about epsilon^2 times the
            third derivative: choose it well below the scale on which the steps bend (Adam bends on its own
            epsilon).
        max_entries: phi is checked entry by entry up to this many, at least 1; beyond, along 8 random
            directions of length 1, always the same ones.
        tolerance: the relative error that is allowed, above 0.
        comparison: further arguments of `compare_hypergradients`, with `estimators` only.

    Raises:
        ValueError: a setting is out of range, or the one estimator refuses the problem.

    >>> from bilevel.optimisers import momentum
    >>> from bilevel.step import inner_step
    >>> inner = momentum(0.1)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: theta**4 - phi.sin() * theta, inner),
    ...     outer_loss=lambda theta, phi, data: theta**2,
    ... )
    >>> theta, phi = torch.tensor(0.5), torch.tensor(1.0)
    >>> check_hypergradient(problem, theta, inner.init(theta), phi, steps=3).passed
    True
    >>> both = ["unrolled", "truncated(steps=1)"]
    >>> compared = check_hypergradient(problem, theta, inner.init(theta), phi, steps=3, estimators=both)
    >>> [row.check.passed for row in compared.measured]
    [True, False]
    """
    settings: dict[str, Any] = {"epsilon": epsilon, "max_entries": max_entries, "tolerance": tolerance}
    if not isinstance(estimators, EllipsisType):
        require(estimator is _EXACT, "Give either estimator or estimators, not both.")
        return compare_hypergradients(
            problem, theta, opt_state, phi, steps=steps, estimators=estimators, **settings, **comparison
        )
    require(not comparison, f"Only a comparison takes {', '.join(comparison)}: give estimators.")
    differences = Differences(**settings)
    theta, opt_state, phi = in_float64(theta, opt_state, phi)
    estimate = estimator(problem, theta, opt_state, phi, steps=steps)
    replay = problem.replay(estimate.inner_data, estimate.outer_data)
    directions = differences.directions(phi)
    found = differences.take(replay, (theta, opt_state), phi, directions.rows, steps)
    return differences.check(estimate, found, directions, estimator=repr(estimator), several=problem.several)
