"""Competitive gradient descent: the equilibrium of the agents' local bilinear game."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.core import Losses, Tree, leaves, split_floating, under_transform
from bilevel.hypergradient import SOLVERS, System
from bilevel.update_rules._derivatives import derivatives
from games.core import require


def competitive(
    losses: Losses, theta: Tree, rate: float = 1.0, *, tolerance: float = 1e-6, iterations: int = 100
) -> Tree:
    """Direction d of competitive gradient descent: (I + rate H_o) d = xi, by GMRES for each member.

    The step -rate d is the Nash equilibrium of the game that expands each loss to its bilinear terms, with a
    penalty of |step|^2 / (2 rate) for each agent. As `rate` goes to 0, d tends to `simultaneous_gradient`.
    It is not the limit of `hola`. The hypergradient is implicit: of the solution, not of the iterations.
    Needs: the others' losses, differentiated twice; as many products with H_o as iterations.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        theta: parameters of all agents, a nest of tensors [..., agent, *].
        rate: eta of the source; use it as the learning rate of sgd for the source's method.
        tolerance: relative size of the residual at which iterations end.
        iterations: their maximum; no more are needed than agents have parameters.
    Returns:
        The direction to descend, like theta.
    Raises:
        ValueError: inside a transform of torch.func, where iterations cannot be counted by the residual; or
            the residual is still above 100 times the tolerance (says so).
    Source:
        Schaefer and Anandkumar, Competitive gradient descent, arXiv 1905.12103.

    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return own * others.flip(-1) * torch.tensor([1.0, -1.0])
    >>> competitive(losses, torch.tensor([1.0, 2.0]), rate=0.5).round(decimals=3).abs()
    tensor([2., 0.])
    """
    require(
        not under_transform(),
        "The update rule competitive solves a linear system iteratively, which neither compiled steps nor "
        "transforms of torch.func support: train without compilation (--compile never), and choose an "
        "unrolled or truncated hypergradient.",
    )
    at = derivatives(losses, theta)

    def operator(product: Callable[[Tree], Tree]) -> Callable[[Tensor], Tensor]:
        return lambda row: row + rate * _rows(product(_like(row, theta, at.batch_dims)), at.batch_dims)

    system = System(operator(at.interaction), operator(at.transposed_interaction))
    right = _rows(at.xi, at.batch_dims)
    with torch.no_grad():
        fixed = right.detach()
        rows = SOLVERS["gmres"](system, fixed, tolerance, iterations)
        missed = float(system.residual(rows, fixed).max())
    require(
        missed <= 100 * tolerance,
        f"GMRES left a residual of {missed:.1g} in the update rule competitive after {iterations} "
        "iterations: allow more iterations, or take a smaller rate.",
    )
    if torch.is_grad_enabled():
        residual: Any = _Solution.apply(right - system.apply(rows), system, tolerance, iterations)  # type: ignore[no-untyped-call]
        rows = rows + residual
    return _like(rows, theta, at.batch_dims)


class _Solution(torch.autograd.Function):
    """M^-1 r where r is 0 but for its derivatives: 0, with the derivatives of the solution."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, system: System, tolerance: float, iterations: int) -> Tensor:
        ctx.solve = lambda cotangent: SOLVERS["gmres"](system.transposed(), cotangent, tolerance, iterations)
        return torch.zeros_like(residual)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.solve(cotangents[0]), None, None, None


def _rows(tree: Tree, batch_dims: int) -> Tensor:
    return torch.cat([leaf.flatten(batch_dims) for leaf in leaves(tree)], -1)


def _like(rows: Tensor, tree: Tree, batch_dims: int) -> Tree:
    flat, rebuild = split_floating(tree)
    sizes = [leaf.shape[batch_dims:].numel() for leaf in flat]
    parts = rows.split(sizes, -1)
    return rebuild([part.reshape(leaf.shape) for part, leaf in zip(parts, flat, strict=True)])
