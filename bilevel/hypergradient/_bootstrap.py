"""Bootstrapped hypergradients: the outer loss is the distance from a target that learning itself reaches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import Step, Tree, is_floating, leaves
from bilevel.hypergradient._estimator import BilevelProblem, FixedData, FromState
from games.core import require

Matching = Callable[[Tree, Tree, tuple[Tree, ...]], Tensor]
"""(target, theta_K, data of each further step) -> distance of theta_K from target, of any shape, summed."""


class Bootstrap(NamedTuple):
    """The outer data of a bootstrapped problem, without gradients.

    >>> from bilevel.hypergradient import BilevelProblem, Unrolled, bootstrapped
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> problem = bootstrapped(problem, steps=2)
    >>> estimate = Unrolled()(problem, torch.tensor(0.0), None, torch.tensor(1.0), steps=1)
    >>> bootstrap: Bootstrap = estimate.outer_data
    >>> bootstrap.target, bootstrap.theta
    (tensor(0.8750), tensor(0.7500))
    """

    target: Tree
    """theta_K+L."""
    theta: Tree
    """theta_K+L-1, after all steps with the outer variables: learning continues here."""
    opt_state: Tree
    """The optimizer's state there."""
    data: tuple[Tree, ...]
    """The data of each further step."""


def half_square(target: Tree, theta: Tree, data: tuple[Tree, ...] = ()) -> Tensor:
    """Half the squared Euclidean distance of all parameters, a `Matching`.

    Args:
        target: theta_K+L, a nest of floating tensors.
        theta: theta_K, of the same form.
        data: not used.

    Returns:
        The distance, a scalar.

    >>> half_square({"weight": torch.ones(2)}, {"weight": torch.zeros(2)})
    tensor(1.)
    """
    pairs = zip(leaves(target), leaves(theta), strict=True)
    squares = [(own - aim).square().sum() for aim, own in pairs if is_floating(own)]
    return torch.stack(squares).sum() / 2


def bootstrapped(
    problem: BilevelProblem,
    *,
    steps: int,
    target_step: Step | None = None,
    matching: Matching = half_square,
    data: Callable[[Tree, Tree, int], Tree] | None = None,
) -> BilevelProblem:
    """Replace the outer loss by the distance of theta_K from a bootstrapped target.

    The target is reached from theta_K, without gradients, by L further steps, of which the last may follow
    another objective, usually the plain one of the agent without what the outer variables add:

        F(phi) = matching(theta_K+L, theta_K(phi)), the target held constant.

    The horizon grows to K + L steps, while only K are differentiated, by any estimator. The distance can be
    measured where it matters: KL divergences of policies instead of parameters.

    Args:
        problem: the step and its data; its outer loss is not used.
        steps: L, the further steps, at least 1.
        target_step: the last of them; None: a step of the problem, as the others.
        matching: distance of theta_K from the target; for policies pass, for instance, the mean over the
            observations in the data of `bilevel.agents.divergence` from the target's logits.
        data: (theta, phi, l) -> data of further step l, from 0 to L - 1; None: the problem's, which must then
            be the same in every step.

    Returns:
        The problem, whose outer data are a `Bootstrap`.

    Raises:
        ValueError: `steps` is below 1, or `data` is missing although the problem's data differ by step.

    Source:
        Flennerhag et al., Bootstrapped meta-learning, arXiv 2109.04504.

    theta shrinks by 1 - phi in each step, so theta_2 = 0.81 and theta_5 = 0.59049:

    >>> from bilevel.hypergradient import BilevelProblem, Unrolled
    >>> step = lambda theta, opt_state, phi, data: ((1 - phi) * theta, opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start, phi = torch.tensor(1.0), torch.tensor(0.1)
    >>> Unrolled()(bootstrapped(problem, steps=3), start, None, phi, steps=2).gradient
    tensor(-0.3951)
    """
    require(steps >= 1, f"A bootstrapped target needs steps of at least 1, not {steps}.")
    require(
        data is not None or isinstance(problem.inner_data, FixedData),
        "The data of the problem differ from step to step: give those of the further steps, too (data=...).",
    )
    draw = problem.inner_data if data is None else data
    last = problem.step if target_step is None else target_step

    def extend(theta: Tree, opt_state: Tree, phi: Tree) -> Bootstrap:
        seen = []
        for place in range(steps - 1):
            seen.append(draw(theta, phi, place))
            theta, opt_state = problem.step(theta, opt_state, phi, seen[-1])
        seen.append(draw(theta, phi, steps - 1))
        target, _ = last(theta, opt_state, phi, seen[-1])
        return Bootstrap(target, theta, opt_state, tuple(seen))

    return dataclasses.replace(
        problem, outer_loss=partial(_distance, matching=matching), outer_data=FromState(extend)
    )


def _distance(theta: Tree, phi: Tree, data: Bootstrap, *, matching: Matching) -> Tensor:
    return matching(data.target, theta, data.data)
