"""Implicit differentiation of the training loss's stationary point, around an ordinary loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.hypergradient import SOLVERS, System
from bilevel.loss_weights._look_ahead import LookAhead, LookAheadResult
from bilevel.loss_weights._torch_patches import require_second_derivative
from games.core import require, require_name

_GROWTH = 2.0
"""A series whose terms grow by more than this factor each is refused: plain descent would diverge, too."""


@dataclass(frozen=True)
class InverseHessian:
    """The implicit function theorem around an ordinary loop, at the model as it is.

    With L the weighted training loss of the step's batch, H its second derivative in the parameters theta
    (weight decay that is added to gradients included; AdamW's is not), and phi the outer parameters:

        H x = d L_val / d theta,   hypergradient = (partial L_val / partial phi) - (d2 L / d theta d phi)' x.

    No virtual step is taken. It is exact where the gradient of L is 0; elsewhere it is a direction. With
    "neumann" x = P sum_(k <= terms) (I - H P)^k v, where P scales each parameter: what `terms` + 1 further
    steps of plain descent from a stationary point would show, and less than the inverse while terms are few.
    The other solvers find H^-1 v; a network's H is rarely positive definite, as "cg" needs it, unless there
    is `damping`.

    A series takes two gradients for each term, and four more.

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
    """Of the series, after the first, 0 or more; for other solvers the most iterations, 1 or more."""
    solver: str = "neumann"
    """neumann, gmres, normal-cg or cg."""
    scale: float | None = None
    """P, above 0, below 2 over the largest curvature; None: each parameter's learning rate."""
    damping: float = 0.0
    """Added to H, times one, 0 or more."""
    tolerance: float = 0.0
    """Of the other solvers: stop at this relative residual, 0 or more."""

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

    def __call__(self, ahead: LookAhead) -> LookAheadResult:
        """Solve, at the model's parameters as they are, with the step's batch."""
        params = ahead.start()
        total = ahead.total(0, params, ahead.model.copy_buffers())
        if ahead.inspect:
            require_second_derivative(total)
            ahead.require_own_unread()
        buffers = ahead.model.copy_buffers()
        ahead.rewind(buffers)
        loss = ahead.outcome(params, buffers)
        free = [index for index, p in enumerate(params) if p.requires_grad]
        pulled = torch.autograd.grad(loss, [*(params[i] for i in free), *ahead.outer], allow_unused=True)
        found = torch.autograd.grad(total, [params[i] for i in free], create_graph=True, allow_unused=True)
        by_place = dict(zip(free, found, strict=True))
        hooked = ahead.optimizer.hooks([by_place.get(place) for place in range(len(params))])
        followed = [hooked[place] for place in free]
        # Optimizers leave a parameter without a gradient alone.
        moved = [place for place, slope in enumerate(followed) if slope is not None and slope.requires_grad]
        leaves = [params[free[place]] for place in moved]
        require(
            bool(leaves),
            "The training losses depend on no parameter of the optimizer: give it those that the model has.",
        )
        slope = _flat([followed[place] for place in moved], leaves)
        right = _flat([pulled[place] for place in moved], leaves).unsqueeze(0)

        def spread(each: list[float]) -> Tensor:
            """One number for each parameter, at each of its entries."""
            return _flat(
                [torch.full_like(p, each[free[i]]) for i, p in zip(moved, leaves, strict=True)], leaves
            )

        added = spread(ahead.optimizer.weight_decays) + self.damping

        def curve(rows: Tensor) -> Tensor:
            """Multiply by H."""
            image = torch.autograd.grad(slope, leaves, rows.squeeze(0), retain_graph=True, allow_unused=True)
            return _flat(image, leaves).unsqueeze(0) + added * rows

        if self.solver == "neumann":
            scale = (
                spread(ahead.optimizer.learning_rates)
                if self.scale is None
                else torch.full_like(slope, self.scale)
            )
            solution = self._series(curve, right, scale.detach())
        else:
            system = System(curve, curve)
            solution = SOLVERS[self.solver](system, right, self.tolerance, self.terms)
        mixed = torch.autograd.grad(slope, ahead.outer, -solution.squeeze(0), allow_unused=True)
        both = zip(pulled[len(free) :], mixed, strict=True)
        gradient: list[Tensor | None] = [a if b is None else b if a is None else a + b for a, b in both]
        return LookAheadResult(gradient, loss.detach())

    def _series(self, curve: Callable[[Tensor], Tensor], right: Tensor, scale: Tensor) -> Tensor:
        term, found = right, right
        for _ in range(self.terms):
            term = term - curve(scale * term)
            found = found + term
        growth = (float(term.norm()) / max(float(right.norm()), 1e-300)) ** (1 / max(self.terms, 1))
        require(
            not growth > _GROWTH,
            f"The Neumann series does not converge: each of its terms is {growth:.2g} times as long as the "
            "one before. Use a scale below 2 over the largest curvature of the training loss, or "
            'solver="normal-cg".',
        )
        return scale * found


def _flat(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """One row of all entries; zeros where there is no gradient."""
    pairs = zip(gradients, like, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
