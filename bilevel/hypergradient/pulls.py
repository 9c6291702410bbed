"""Vector-Jacobian products of one step and of the outer loss: what every reverse walk is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.hypergradient.base import BilevelProblem
from bilevel.step import Step
from bilevel.tree import Tensors, Tree, split_floating

Pull = Callable[..., tuple[Tensors, Tensors]]
"""A vector-Jacobian product: cotangents of a result -> cotangents of (the state, phi)."""


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
    require_objectives(loss, problem.several)
    return loss, pull


def require_objectives(loss: Tensor, several: bool) -> None:
    """Raise ValueError if there should be several objectives, but the loss has no axis to count them."""
    require(
        not several or loss.ndim >= 1,
        "With several=True the outer loss must have shape [objective, ...], but it is a single number.",
    )


def per_objective(function: Callable[..., Any], several: bool) -> Callable[..., Any]:
    """Run a function once for each objective (a first axis of all its arguments), or once if there is one."""
    return torch.vmap(function) if several else function


def sum_cotangent(loss: Tensor, several: bool) -> Tensor:
    """Give the cotangent of a sum; with several objectives, one of each sum: [objective, *loss.shape]."""
    if not several:
        return torch.ones_like(loss)
    count = loss.shape[0]
    chosen = torch.eye(count, dtype=loss.dtype, device=loss.device)
    return chosen.reshape(count, count, *[1] * (loss.ndim - 1)).expand(count, *loss.shape)


def push_step(
    step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree, tangents: tuple[Tensors, Tensors]
) -> Tensors:
    """Push tangents of (state, phi), [direction, *leaf.shape], through a step: those of its result.

    torch may give float32 states float64 tangents; they are rounded back.
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        theta, opt_state = rebuild(flat)
        return split_floating(step(theta, opt_state, rebuild_phi(flat_phi), data))[0]

    def push(*tangents: Tensors) -> Tensors:
        pushed: Tensors = torch.func.jvp(advance, (flat, flat_phi), tangents)[1]
        return tuple(tangent.to(leaf) for tangent, leaf in zip(pushed, flat, strict=True))

    carried: Tensors = torch.vmap(push)(*tangents)
    return carried


def held_pullback(
    step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree
) -> tuple[Tensors, Pull, Callable[[Tensors], Tensors]]:
    """Take one step of theta with the optimiser's state held.

    Args:
        step: the step.
        state: (theta, opt_state); the second is a constant.
        phi: the outer variables.
        data: what the step sees.

    Returns:
        the leaves of theta'; v -> (J' v, (d theta'/d phi)' v); and v -> J v, with J = d theta'/d theta.
    """
    flat, rebuild = split_floating(state[0])
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        return split_floating(step(rebuild(flat), state[1], rebuild_phi(flat_phi), data)[0])[0]

    result, pull = torch.func.vjp(advance, flat, flat_phi)[:2]
    # J v is the transpose of the transpose: it needs no forward mode, which loses float32 in places.
    push = torch.func.vjp(lambda v: pull(v)[0], tuple(map(torch.zeros_like, result)))[1]
    return result, pull, lambda v: push(v)[0]
