"""Inner learning with many perturbed outer variables in one batch, of which only the ends are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.core import Step, Tensors, Tree, leaves, split_floating
from bilevel.hypergradient._connection import all_zero
from bilevel.hypergradient._derivatives import outer_gradients
from bilevel.hypergradient._estimator import BilevelProblem
from bilevel.hypergradient._kernels import make_kernels
from bilevel.hypergradient._rollout import Rollout
from games.core import require


def learn_samples(
    problem: BilevelProblem,
    states: tuple[Tree, Tree],
    phi: Tree,
    samples: tuple[Tensors | None, Tensors],
    inner_data: tuple[Tree, ...],
    outer_data: Tree,
) -> tuple[Tensors, Tensor]:
    """Take the same K steps, on the same data, for many outer variables in one batch (`torch.vmap`).

    Operations that torch cannot batch run one sample after the other, and torch warns of the lost speed: of
    TorchOpt's optimizers this concerns those with second moments (adam, rmsprop), of ours none.

    Args:
        problem: the step, the outer loss, and what takes the steps.
        states: (theta, opt_state) where all start, unless `samples` holds their own; integer leaves are
            always these.
        phi: outer variables, for their form alone.
        samples: the floating leaves of each sample's (theta, opt_state), or None, and of its phi, all
            [sample, *leaf].
        inner_data: the data of each step.
        outer_data: the data of the outer loss.

    Returns:
        the floating leaves of every sample's (theta_K, opt_state_K), and its outer loss, [sample, ...].

    >>> def step(theta, opt_state, phi, data):
    ...     return theta * phi, opt_state
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: -theta)
    >>> one, two_phi = torch.tensor(1.0), (torch.tensor([2.0, 3.0]),)
    >>> learn_samples(problem, (one, None), one, (None, two_phi), inner_data=(None, None), outer_data=None)
    ((tensor([4., 9.]),), tensor([-4., -9.]))
    """
    flat, rebuild_state = split_floating(states)
    rebuild_phi = split_floating(phi)[1]
    own, perturbed = samples
    many = dataclasses.replace(problem, step=OverSamples(problem.step))
    with torch.no_grad():
        kernels = make_kernels(many, rebuild_phi(perturbed))
        state = kernels.start(*rebuild_state(own or repeated(flat, len(perturbed[0]))))
        for data in inner_data:
            state = kernels.advance(state, data)
        ends = split_floating(kernels.trees(state))[0]

        def outer(flat: Tensors, flat_phi: Tensors) -> Tensor:
            return problem.outer_loss(rebuild_state(flat)[0], rebuild_phi(flat_phi), outer_data)

        losses: Tensor = torch.vmap(outer)(ends, perturbed)
    return ends, losses


@dataclass(frozen=True)
class OverSamples:
    """A step of many samples: floating leaves have them as their first axis, data serve all.

    >>> many = OverSamples(lambda theta, opt_state, phi, data: (theta * phi + data, opt_state))
    >>> many(torch.ones(3), None, torch.arange(3.0), torch.tensor(1.0))
    (tensor([1., 2., 3.]), None)
    """

    step: Step
    """The step of one sample."""

    def __call__(self, theta: Tree, opt_state: Tree, phi: Tree, data: Tree) -> tuple[Tree, Tree]:
        """Take the step for all samples in one batch."""
        flat, rebuild_state = split_floating((theta, opt_state))
        flat_phi, rebuild_phi = split_floating(phi)
        rebuild_after: list[Callable[[Tensors], Tree]] = []

        def one(flat: Tensors, flat_phi: Tensors) -> Tensors:
            theta, opt_state = rebuild_state(flat)
            floating, rebuild = split_floating(self.step(theta, opt_state, rebuild_phi(flat_phi), data))
            rebuild_after.append(rebuild)
            return floating

        results = torch.vmap(one)(flat, flat_phi)
        after: tuple[Tree, Tree] = rebuild_after[0](results)
        return after


def require_value(problem: BilevelProblem, center: Rollout, ends: Tensors, phi: Tree) -> None:
    """Raise ValueError if the outer loss's value is blind to theta on data drawn once, and its slope is not.

    So it is with a surrogate of sampled returns (DiCE): its derivative holds the whole story, its value only
    what was sampled. An estimator by values would take no notice of inner learning at all.

    Args:
        problem: whose outer loss is looked at.
        center: the unperturbed run.
        ends: what `learn_samples` gave.
        phi: the outer variables.
    """
    end, data = center.end, center.outer_data
    rebuild = split_floating(end)[1]
    moved = rebuild([leaf[0] for leaf in ends])[0]
    if all(map(torch.equal, leaves(end[0]), leaves(moved))):
        return
    with torch.no_grad():
        loss, slope, _ = outer_gradients(problem, (end[0], None), phi, data)
        if torch.equal(problem.outer_loss(moved, phi, data), loss):
            require(
                all_zero(slope),
                "On data drawn once the outer loss has a derivative by theta, but its value does not change "
                "with theta, as with a surrogate of sampled returns: let every sample draw its own data "
                "(Evolution(members=True, fresh_data=True)).",
            )


def repeated(flat: Tensors, count: int) -> Tensors:
    """Show each leaf `count` times along a new first axis, without a copy.

    A state that `torch.vmap` counts as shared is enough for pure steps, but not for optimizers that add to
    a scaled copy of it in place, as TorchOpt's do.
    """
    return tuple(leaf.expand(count, *leaf.shape) for leaf in flat)
