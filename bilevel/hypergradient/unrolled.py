"""The exact gradient of K steps, walked back one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.hypergradient.base import BilevelProblem, Estimate
from bilevel.hypergradient.connection import all_zero, require_inner_path, require_outer_path
from bilevel.hypergradient.rollout import roll_out
from bilevel.step import Step
from bilevel.tree import Tensors, Tree, detach, split_floating

Pull = Callable[..., tuple[Tensors, Tensors]]
"""A vector-Jacobian product: cotangents of a result -> cotangents of (the state, phi)."""


@dataclass(frozen=True)
class Unrolled:
    """Reverse mode through all K steps, with each step computed again on the way back.

    With z_k = (theta_k, floating state_k), z_k+1 = S(z_k, phi):

        a_K = dF/dz_K,   a_k = (dS/dz_k)' a_k+1,   dF/dphi = (partial F/partial phi) + sum_k (dS/dphi)' a_k+1.

    Bias: none, for the objective after K steps with the data that were drawn (whether drawing itself
    depends on theta or phi is a matter of the loss).
    Cost: about 3 K steps: K forward, K again with their vector-Jacobian products.
    Memory: K + 1 times (theta and the optimiser's state), each step's data, and the graph of one step.
    Several objectives share one walk back, batched over their cotangents.

    Source:
        Maclaurin et al., Gradient-based hyperparameter optimization through reversible learning, arXiv
        1502.03492; Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, arXiv
        1703.01785.

    >>> from bilevel.optimisers import sgd
    >>> from bilevel.step import inner_step
    >>> inner = sgd(0.25)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
    ...     outer_loss=lambda theta, phi, data: theta,
    ... )
    >>> zero = torch.tensor(0.0)
    >>> Unrolled()(problem, zero, inner.init(zero), torch.tensor(1.0), steps=2).gradient  # 1 - (1 - 0.5)^2
    tensor(0.7500)
    """

    def __call__(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Estimate:
        """Learn for K steps and walk back; see `Hypergradient` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result: it is then no pure function.
        """
        phi = detach(phi)
        rollout = roll_out(problem, theta, opt_state, phi, steps)
        end, outer_data = rollout.states[-1], rollout.outer_data
        batched = torch.vmap if problem.several else _alone
        with torch.no_grad():
            loss, pull = outer_pullback(problem, end, phi, outer_data)
            cotangent, gradient = batched(pull)(_ones(loss, problem.several))
            if all_zero(cotangent):
                require_outer_path(problem, end[0], phi, outer_data)
            for k in reversed(range(steps)):
                result, pull = step_pullback(problem.step, rollout.states[k], phi, rollout.inner_data[k])
                if k == 0:
                    _require_pure(split_floating(rollout.states[1])[0], result)
                cotangent, through_step = batched(pull)(cotangent)
                gradient = tuple(map(torch.add, gradient, through_step))
        if all_zero(gradient):
            require_inner_path(problem, rollout, phi)
        _, rebuild = split_floating(phi)
        return Estimate(*end, loss, rebuild(gradient), rollout.inner_data, outer_data)


def step_pullback(step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree) -> tuple[Tensors, Pull]:
    """Take one step together with its vector-Jacobian product.

    Args:
        step: the step.
        state: (theta, opt_state); integer leaves of the optimiser's state are constants.
        phi: the outer variables.
        data: what the step sees; a constant.

    Returns:
        the floating leaves of (theta', opt_state'), and the map from their cotangents to those of the
        floating leaves of (theta, opt_state) and of phi.
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        theta, opt_state = rebuild(flat)
        return split_floating(step(theta, opt_state, rebuild_phi(flat_phi), data))[0]

    result, pull = torch.func.vjp(advance, flat, flat_phi)[:2]
    return result, pull


def outer_pullback(
    problem: BilevelProblem, state: tuple[Tree, Tree], phi: Tree, data: Tree
) -> tuple[Tensor, Pull]:
    """Compute the outer loss together with its vector-Jacobian product.

    Args:
        problem: whose outer loss.
        state: (theta_K, opt_state_K); the second has no part in the loss, so its cotangents are zero.
        phi: the outer variables.
        data: what the outer loss sees; a constant.

    Returns:
        the loss, and the map from its cotangent to those of the floating leaves of the state and of phi.

    Raises:
        ValueError: there should be several objectives, but the loss has no axis to count them.
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)

    def outer(flat: Tensors, flat_phi: Tensors) -> Tensor:
        return problem.outer_loss(rebuild(flat)[0], rebuild_phi(flat_phi), data)

    loss, pull = torch.func.vjp(outer, flat, flat_phi)[:2]
    require(
        not problem.several or loss.ndim >= 1,
        "With several=True the outer loss must have shape [objective, ...], but it is a single number.",
    )
    return loss, pull


def _alone(pull: Pull) -> Pull:
    return pull


def _ones(loss: Tensor, several: bool) -> Tensor:
    """The cotangent of a sum; with several objectives, one of each sum: [objective, *loss.shape]."""
    if not several:
        return torch.ones_like(loss)
    count = loss.shape[0]
    chosen = torch.eye(count, dtype=loss.dtype, device=loss.device)
    return chosen.reshape(count, count, *[1] * (loss.ndim - 1)).expand(count, *loss.shape)


def _require_pure(first: Tensors, again: Tensors) -> None:
    """Compare two runs of one step; rounding may differ (compiled, or on a GPU), nothing else may."""
    for before, after in zip(first, again, strict=True):
        tolerance = torch.finfo(before.dtype).eps ** 0.5
        scale = float(before.nan_to_num(nan=0, posinf=0, neginf=0).abs().max())
        close = torch.allclose(before, after, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
        require(
            close,
            "The step is not a pure function: taken twice from the same start it gave two results, so it "
            "draws, remembers or changes something in place (draw in inner_data instead).",
        )
