"""Whether a result depends on a variable at all: by the graph, not by the value of a derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bilevel.core import Tree, detach, paths, split_floating
from bilevel.hypergradient._estimator import BilevelProblem
from bilevel.hypergradient._rollout import Rollout
from games.core import require


def connected(function: Callable[[Tree], Tree], variable: Tree) -> list[bool]:
    """Say for each floating leaf of `variable` whether any floating result of `function` depends on it.

    A path that happens to have a derivative of zero counts; a detached one does not.

    >>> connected(lambda v: v["a"] * 0 + v["b"].detach(), {"a": torch.ones(1), "b": torch.ones(1)})
    [True, False]
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


def all_zero(tensors: Sequence[Tensor]) -> bool:
    """Whether every entry is exactly zero (NaN is not)."""
    return not any(bool(tensor.any()) for tensor in tensors)


def require_outer_path(problem: BilevelProblem, theta: Tree, phi: Tree, outer_data: Tree) -> None:
    """Raise ValueError unless the outer loss depends on theta.

    Args:
        problem: whose outer loss is looked at.
        theta: where inner learning ended.
        phi: the outer variables.
        outer_data: the data of the outer loss.
    """
    require(
        any(connected(lambda variable: problem.outer_loss(variable, phi, outer_data), theta)),
        "The outer loss does not depend on theta, so inner learning cannot change it: compute it from the "
        "theta it is given, without detaching it.",
    )


def require_inner_path(problem: BilevelProblem, rollout: Rollout, phi: Tree) -> None:
    """Raise ValueError, naming the leaves, unless the step or the outer loss depends on phi.

    Args:
        problem: whose step and outer loss are looked at.
        rollout: the steps that were taken; the first one kept is looked at.
        phi: the outer variables.
    """
    start, theta = rollout.begin, rollout.end[0]
    data = rollout.inner_data[rollout.first]
    through_step = connected(lambda v: problem.step(*start, v, data), phi)
    directly = connected(lambda v: problem.outer_loss(theta, v, rollout.outer_data), phi)
    names = ", ".join(paths(phi))
    require(
        any(through_step) or any(directly),
        f"The inner loss does not depend on the outer variable: no path from phi ({names}) to the next "
        "theta, so the gradient would be zero whatever phi is; use phi in the loss that the step descends, "
        "without detaching it.",
    )
