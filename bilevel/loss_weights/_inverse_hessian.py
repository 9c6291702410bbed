"""Implicit differentiation at the training loss's stationary point, for an ordinary training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.hypergradient import SOLVERS, System
from bilevel.loss_weights._lifted import accumulated
from bilevel.loss_weights._look_ahead import LookAheadResult, VirtualSteps
from bilevel.loss_weights._torch_patches import require_second_derivative
from games.core import require, require_name

_GROWTH = 2.0  # largest growth of the terms of a series; beyond it plain descent would diverge, too


@dataclass(frozen=True)
class InverseHessian:
    """Hypergradient by the implicit function theorem at the current model of an ordinary training loop.

    With L the weighted training loss of the step's batch, H its Hessian with respect to the parameters theta
    (including weight decay that is added to gradients, but not AdamW's), and phi the outer parameters:

        H x = d L_val / d theta,   hypergradient = (partial L_val / partial phi) - (d2 L / d theta d phi)' x.

    It takes no virtual step; it is exact where the gradient of L is 0, and elsewhere only a direction. With
    "neumann" x = P sum_(k <= terms) (I - H P)^k v, where P scales each parameter: the effect of `terms` + 1
    steps of plain descent from a stationary point, an underestimate of the inverse with few terms. The other
    solvers find H^-1 v; "cg" needs a positive definite H, which a network rarely has without `damping`. A
    series takes two gradients for each term, and four more.

    Raises:
        ValueError: a setting is out of range; in a step, the series grows, or conjugate gradient meets
            negative curvature.

    Source:
        Navon et al., Auxiliary learning by implicit differentiation, arXiv 2007.02693; Lorraine et al.,
        Optimizing millions of hyperparameters by implicit differentiation, arXiv 1911.02590.

    >>> InverseHessian(solver="cg", terms=50, tolerance=1e-6)
    InverseHessian(terms=50, solver='cg', scale=None, damping=0.0, tolerance=1e-06)
    """

    terms: int = 3
    """Terms of the series after the first, 0 or more; maximum iterations of other solvers, 1 or more."""
    solver: str = "neumann"
    """neumann, gmres, normal-cg or cg."""
    scale: float | None = None
    """P, above 0, below 2 over the largest curvature; None: each parameter's learning rate."""
    damping: float = 0.0
    """Multiple of the identity added to H, 0 or more."""
    tolerance: float = 0.0
    """Relative residual at which the other solvers stop, 0 or more."""

    def __post_init__(self) -> None:
        require_name(self.solver, SOLVERS, "solver")
        minimum = 0 if self.solver == "neumann" else 1
        require(
            isinstance(self.terms, int) and self.terms >= minimum,
            f"terms must be a whole number, {minimum} or more with {self.solver}, not {self.terms}.",
        )
        require(
            self.scale is None or (math.isfinite(self.scale) and self.scale > 0),
            f"scale must be a number above 0, or None for the learning rate, not {self.scale}.",
        )
        for name in ("damping", "tolerance"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, f"{name} must be a number, 0 or more, not {value}.")

    def __call__(self, ahead: VirtualSteps) -> LookAheadResult:
        """Solve at the model's parameters with the step's batch."""
        params = ahead.start()
        total = ahead.total(0, params, ahead.model.copy_buffers())
        if ahead.inspect:
            require_second_derivative(total)
            if ahead.shared is not None:
                ahead.model.require_own_unread(ahead.before, lambda: [each() for each in ahead.losses[0]])
        buffers = ahead.model.copy_buffers()
        ahead.rewind(buffers)
        loss = ahead.outcome(params, buffers)
        free = [index for index, p in enumerate(params) if p.requires_grad]
        inputs = [params[index] for index in free]
        outcome_gradient = torch.autograd.grad(loss, [*inputs, *ahead.outer], allow_unused=True)
        gradient_of = dict(
            zip(free, torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True), strict=True)
        )
        hooked = ahead.optimizer.hooks([gradient_of.get(index) for index in range(len(params))])
        # optimizers leave a parameter without a gradient alone
        updated = [index for index in free if (g := hooked[index]) is not None and g.requires_grad]
        leaves = [params[index] for index in updated]
        require(
            bool(leaves),
            "The training losses depend on no parameter of the optimizer: give it those that the model has.",
        )
        gradient = _flat([hooked[index] for index in updated], leaves)
        cotangents = dict(zip(free, outcome_gradient, strict=False))
        right = _flat([cotangents[index] for index in updated], leaves).unsqueeze(0)
        groups = [group for group in ahead.optimizer.param_groups for _ in group["params"]]

        def spread(numbers: Sequence[float]) -> Tensor:
            """Repeat one number per parameter at each of its entries."""
            return _flat([torch.full_like(params[index], numbers[index]) for index in updated], leaves)

        decoupled = ahead.optimizer.rule.decoupled
        decays = [
            0.0
            if decoupled or group.get("decoupled_weight_decay", False)
            else float(group.get("weight_decay", 0.0))
            for group in groups
        ]
        added = spread(decays) + self.damping

        def hessian_product(rows: Tensor) -> Tensor:
            """Multiply by H."""
            image = torch.autograd.grad(
                gradient, leaves, rows.squeeze(0), retain_graph=True, allow_unused=True
            )
            return _flat(image, leaves).unsqueeze(0) + added * rows

        if self.solver == "neumann":
            rates = [float(group["lr"]) for group in groups]
            scale = spread(rates) if self.scale is None else torch.full_like(gradient, self.scale)
            solution = self._series(hessian_product, right, scale.detach())
        else:
            solution = SOLVERS[self.solver](
                System(hessian_product, hessian_product), right, self.tolerance, self.terms
            )
        mixed = torch.autograd.grad(gradient, ahead.outer, -solution.squeeze(0), allow_unused=True)
        return LookAheadResult(accumulated([outcome_gradient[len(free) :], mixed]), loss.detach())

    def _series(self, hessian_product: Callable[[Tensor], Tensor], right: Tensor, scale: Tensor) -> Tensor:
        term, total = right, right
        for _ in range(self.terms):
            term = term - hessian_product(scale * term)
            total = total + term
        growth = (float(term.norm()) / max(float(right.norm()), 1e-300)) ** (1 / max(self.terms, 1))
        require(
            not growth > _GROWTH,
            f"The Neumann series does not converge: each of its terms is {growth:.2g} times as long as the "
            "one before. Use a scale below 2 over the largest curvature of the training loss, or "
            'solver="normal-cg".',
        )
        return scale * total


def _flat(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """All entries in one row; zeros where there is no gradient."""
    pairs = zip(gradients, like, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
