"""The walk back through the steps that a roll-out kept, one vector-Jacobian product at a time."""

from __future__ import annotations

import torch

from bilevel.hypergradient.base import BilevelProblem, Estimate
from bilevel.hypergradient.connection import all_zero, require_inner_path, require_outer_path
from bilevel.hypergradient.rollout import Rollout
from bilevel.tree import Tree, split_floating


def walk_back(problem: BilevelProblem, rollout: Rollout, phi: Tree) -> Estimate:
    """Add up what phi did in each step that was kept, from the last one back.

    Args:
        problem: the step and the outer loss.
        rollout: the steps that were taken; the walk ends at the first state it kept.
        phi: the outer variables, detached.

    Raises:
        ValueError: as for `Hypergradient`; or a step, taken again, gives another result: it is then no pure
            function.
    """
    kernels, states, outer_data = rollout.kernels, rollout.states, rollout.outer_data
    data = rollout.inner_data[rollout.first :]
    end = rollout.end
    with torch.no_grad():
        loss, cotangent, gradient = kernels.outer(states[-1], outer_data)
        if all_zero(cotangent):
            require_outer_path(problem, end[0], phi, outer_data)
        for k in reversed(range(len(data))):
            after = states[1] if k == 0 else None
            cotangent, gradient = kernels.pull(states[k], data[k], cotangent, gradient, after)
    if all_zero(gradient):
        require_inner_path(problem, rollout, phi)
    _, rebuild = split_floating(phi)
    return Estimate(*end, loss, rebuild(gradient), rollout.inner_data, outer_data)
