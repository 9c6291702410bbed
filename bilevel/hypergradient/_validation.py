"""Checks of a problem: purity of its step, dependence of its losses on theta and phi."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bilevel.core import Step, Tensors, Tree, detach, leaves, paths, split_floating
from games.core import require

if TYPE_CHECKING:
    from bilevel.hypergradient._estimator import BilevelProblem
    from bilevel.hypergradient._rollout import Rollout

Found = TypeVar("Found")

_found: WeakKeyDictionary[Step, dict[Hashable, Any]] = WeakKeyDictionary()
"""The results of `once` for each step that is still in use."""


class ImpureStepError(ValueError):
    """Raised if a step gives a different result when it is repeated.

    >>> from bilevel.hypergradient import BilevelProblem, Unrolled
    >>> noisy = lambda theta, opt_state, phi, data: (theta + phi * torch.rand(()), opt_state)
    >>> problem = BilevelProblem(step=noisy, outer_loss=lambda theta, phi, data: theta)
    >>> Unrolled()(problem, torch.tensor(0.0), None, torch.tensor(1.0), steps=2)
    Traceback (most recent call last):
    bilevel.hypergradient...ImpureStepError: The step is not a pure function: taken twice from the same start
    it gave two results, so it draws, remembers or changes something in place (draw in inner_data instead).
    """


def once(what: str, step: Step, inputs: Tree, find: Callable[[], Found]) -> Found:
    """Compute the property `what` of a step once for each form of its inputs, while the step is in use."""
    tensors = [leaf for leaf in leaves(inputs) if isinstance(leaf, Tensor)]
    form = (what, *((leaf.shape, leaf.dtype, leaf.device) for leaf in tensors))
    try:
        known = _found.setdefault(step, {})
    except TypeError:  # neither hashable nor weakly referable: nothing is kept of it
        return find()
    if form not in known:
        known[form] = find()
    found: Found = known[form]
    return found


def require_pure(
    step: Step,
    state: tuple[Tree, Tree],
    phi: Tree,
    data: Tree,
    check: Callable[[tuple[Tree, Tree]], None] = lambda _: None,
) -> None:
    """Require a step to give the same result when it is taken twice; checked once for each form of inputs.

    Args:
        step: the step.
        state: (theta, opt_state).
        phi: the outer variables.
        data: the step's data.
        check: a further check of the result, (theta', opt_state').

    Raises:
        ImpureStepError: the results differ by more than rounding.

    >>> calls = []
    >>> step = lambda theta, opt_state, phi, data: (theta + phi, calls.append("call"))
    >>> require_pure(step, (torch.tensor(0.0), None), torch.tensor(1.0), data=None)
    >>> len(calls)
    2
    """

    def look() -> None:
        with torch.no_grad():
            first, again = (step(*state, phi, data) for _ in range(2))
        check(first)
        require_same(split_floating(first)[0], split_floating(again)[0])

    once("pure", step, (state, phi, data), look)


def require_same(first: Tensors, again: Tensors) -> None:
    """Raise ImpureStepError unless the floating leaves of two runs of one step agree but for rounding."""
    if not agree(first, again):
        raise ImpureStepError(
            "The step is not a pure function: taken twice from the same start it gave two results, so it "
            "draws, remembers or changes something in place (draw in inner_data instead)."
        )


def agree(first: Tensors, again: Tensors) -> bool:
    """True if two results are the same but for rounding.

    Args:
        first: floating tensors, each with the tolerance of the square root of its dtype's unit of rounding,
            relative to its largest entry.
        again: as many tensors, of the same shapes.

    >>> agree((torch.ones(2),), (torch.ones(2) + 1e-7,)), agree((torch.ones(2),), (torch.ones(2) + 0.1,))
    (True, False)
    """
    return all(close(*pair) for pair in zip(first, again, strict=True))


def close(first: Tensor, again: Tensor) -> bool:
    """True if two tensors are the same but for rounding, in units of the first one's largest finite entry."""
    tolerance = torch.finfo(first.dtype).eps ** 0.5
    scale = float(first.nan_to_num(nan=0, posinf=0, neginf=0).abs().max())
    return torch.allclose(first, again, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def all_zero(tensors: Sequence[Tensor]) -> bool:
    """True if every entry of all tensors is exactly zero (NaN is not).

    >>> all_zero([torch.zeros(2), torch.zeros(())]), all_zero([torch.tensor([0.0, torch.nan])])
    (True, False)
    """
    return not any(bool(tensor.any()) for tensor in tensors)


def connected(function: Callable[[Tree], Tree], variable: Tree) -> list[bool]:
    """For each floating leaf of `variable`, whether any floating result of `function` depends on it.

    The graph decides: a path whose derivative happens to be zero counts, a detached one does not.
    """
    flat, rebuild = split_floating(detach(variable))
    with torch.enable_grad():
        inputs = [leaf.clone().requires_grad_() for leaf in flat]
        outputs, _ = split_floating(function(rebuild(inputs)))
        roots = [output.sum() for output in outputs if output.requires_grad]
        if not roots:
            return [False] * len(inputs)
        gradients = torch.autograd.grad(roots, inputs, allow_unused=True)
    return [gradient is not None for gradient in gradients]


def require_outer_path(problem: BilevelProblem, theta: Tree, phi: Tree, outer_data: Tree) -> None:
    """Require the outer loss to depend on theta, where inner learning ended.

    Args:
        problem: the problem, for its outer loss.
        theta: the inner variables after K steps.
        phi: the outer variables.
        outer_data: the data of the outer loss.

    Raises:
        ValueError: no path of the graph leads from theta to the loss.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta.detach() * phi)
    >>> require_outer_path(problem, torch.tensor(0.0), torch.tensor(1.0), outer_data=None)
    Traceback (most recent call last):
    ValueError: The outer loss does not depend on theta, so inner learning cannot change it: compute it from
    the theta it is given, without detaching it.
    """
    require(
        any(connected(lambda variable: problem.outer_loss(variable, phi, outer_data), theta)),
        "The outer loss does not depend on theta, so inner learning cannot change it: compute it from the "
        "theta it is given, without detaching it.",
    )


def require_inner_path(rollout: Rollout) -> None:
    """Raise ValueError, naming the leaves, unless the first kept step or the outer loss depends on phi."""
    start, theta, phi = rollout.begin, rollout.end[0], rollout.kernels.phi
    problem, data = rollout.kernels.problem, rollout.inner_data[rollout.first]
    through_step = connected(lambda v: problem.step(*start, v, data), phi)
    directly = connected(lambda v: problem.outer_loss(theta, v, rollout.outer_data), phi)
    names = ", ".join(paths(phi))
    require(
        any(through_step) or any(directly),
        f"The inner loss does not depend on the outer variable: no path from phi ({names}) to the next "
        "theta, so the gradient would be zero whatever phi is; use phi in the loss that the step descends, "
        "without detaching it.",
    )
