"""Implicit differentiation: the hypergradient at the fixed point of inner learning, by one linear solve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, batch_shape, split_floating
from bilevel.hypergradient._derivatives import outer_gradients
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, StatelessEstimator
from bilevel.hypergradient._kernels import Kernels, State
from bilevel.hypergradient._rollout import Rollout, roll_out
from bilevel.hypergradient._solvers import SOLVERS, System
from bilevel.hypergradient._validation import require_pure
from games.core import require, require_name


class Rows:
    """Layout of theta as rows, [system, *members, unknown], and as leaves, [system, *leaf.shape]."""

    def __init__(self, theta: Tree, batch_dims: int) -> None:
        self._batch = batch_shape(theta, batch_dims)
        self._leaves, _ = split_floating(theta)

    def pack(self, flat: Tensors) -> Tensor:
        return torch.cat([leaf.reshape(len(leaf), *self._batch, -1) for leaf in flat], -1)

    def unpack(self, rows: Tensor) -> Tensors:
        sizes = [leaf.numel() // math.prod(self._batch) for leaf in self._leaves]
        parts = zip(rows.split(sizes, -1), self._leaves, strict=True)
        return tuple(part.reshape((len(rows), *leaf.shape)).to(leaf) for part, leaf in parts)


class LinearizedStep:
    """A step theta -> theta' on rows, at a fixed state of the optimizer, with J = d theta'/d theta."""

    def __init__(self, kernels: Kernels, state: State, data: Tree, rows: Rows) -> None:
        linear = kernels.linearize(state, data)
        pairs = zip(linear.result, split_floating(kernels.trees(state)[0])[0], strict=True)
        self.move = rows.pack(tuple((new - old).unsqueeze(0) for new, old in pairs))
        """theta' - theta, [1, *members, unknown]."""
        self.system = System(
            lambda v: v - rows.pack(linear.jvp(rows.unpack(v))),
            lambda v: v - rows.pack(linear.vjp(rows.unpack(v))[0]),
        )
        """I - J."""
        self.phi_vjp: Callable[[Tensor], Tensors] = lambda v: linear.vjp(rows.unpack(v))[1]
        """v -> (d theta'/d phi)' v, [system, *leaf.shape] for each leaf of phi."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Implicit(StatelessEstimator):
    """Implicit differentiation of the fixed point of inner learning with respect to phi, by a linear solver.

    With J = d theta'/d theta of one more step at theta_K, at a fixed state of the optimizer:

        (I - J)' v = dF/dtheta,   dF/dphi = (partial F/partial phi) + (d theta'/d phi)' v.

    Fixing the state is exact for momentum, Adam and RMSProp, whose fixed point does not depend on it: the
    state is then a preconditioner that cancels (while the joint map of theta and Adam's state is degenerate:
    its second moment vanishes at the fixed point). Where the fixed point does depend on the state (decoupled
    weight decay beside Adam with a large epsilon), which is tested with the state halved, it is refused.

    Bias: of the order of theta's distance from the fixed point, plus the solver's residual times |v|. The
    step is taken with the last step's data.
    Cost: K steps, and one or two Jacobian products for each iteration of the solver ("normal-cg": two), for
    the gradient and, unless `max_distance` is infinite, for the distance.
    Memory: a few times theta, whatever K, and each step's data; "gmres": `iterations` times theta.
    Several objectives, and members (see `batch_dims`), are solved for in one batch, each to the tolerance.
    A torch training loop, whose step is not a pure function, takes `bilevel.loss_weights.InverseHessian`: the
    same solvers on one batch's Hessian, since there is no step to linearize.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Rajeswaran et al., Meta-learning with implicit gradients, arXiv 1909.04630; Lorraine et al.,
        Optimizing millions of hyperparameters by implicit differentiation, arXiv 1911.02590; Grazzi et al.,
        On the iteration complexity of hypergradient computation, arXiv 2006.16218.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> zero = torch.tensor(0.0)
    >>> Implicit()(problem, zero, None, torch.tensor(1.0), steps=20).gradient
    tensor(1.)
    """

    solver: str = "gmres"
    """"gmres" or "normal-cg" for any step; "cg" where J is symmetric (one loss, descended by one rate);
    "neumann" where the step contracts: it takes exactly `iterations` terms, and with an infinite tolerance
    stops there (at a fixed point that is `Truncated`)."""
    tolerance: float | None = None
    """The relative residual that every system must reach, above 0; None is the dtype's precision to the
    power 2/3 (4e-11 in float64, 2e-5 in float32)."""
    iterations: int = 100
    """The largest number of iterations of the solver, at least 1."""
    max_distance: float = 1e-3
    """Largest distance of theta_K from the fixed point, in units of theta's norm (the greater of start and
    end), above 0, judged by a Newton step; infinite accepts anything."""
    batch_dims: int = 0
    """Number of leading axes of every leaf of theta that count independent members, at least 0."""

    def __post_init__(self) -> None:
        require_name(self.solver, SOLVERS, "solver")
        require(
            self.tolerance is None or self.tolerance > 0, f"tolerance must be above 0, not {self.tolerance}."
        )
        require(self.iterations >= 1, f"iterations must be at least 1, not {self.iterations}.")
        require(self.max_distance > 0, f"max_distance must be above 0, not {self.max_distance}.")
        require(self.batch_dims >= 0, f"batch_dims must be at least 0, not {self.batch_dims}.")

    def _estimate(self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int) -> Estimate:
        run = roll_out(problem, *start, phi, steps, keep=1)
        end, data = run.end, run.inner_data[-1]
        require_pure(problem.step, end, phi, data)
        rows = Rows(start[0], self.batch_dims)
        with torch.no_grad():
            loss, cotangent, gradient = outer_gradients(problem, end, phi, run.outer_data)
            run.require_outer_path(cotangent)
            if not problem.per_agent_objective:
                cotangent = tuple(leaf.unsqueeze(0) for leaf in cotangent)
            right = rows.pack(cotangent[: len(split_floating(start[0])[0])])
            linear = LinearizedStep(run.kernels, run.states[-1], data, rows)
            if self.solver == "cg":
                _require_symmetric(linear.system, right)
            if math.isfinite(self.max_distance):
                self._require_near(run, rows, linear, start[0])
            through_steps = linear.phi_vjp(self._solve(linear, right))
        pairs = zip(gradient, through_steps, strict=True)
        return run.estimate(loss, tuple(direct + through.reshape(direct.shape) for direct, through in pairs))

    def _solve(self, linear: LinearizedStep, right: Tensor) -> Tensor:
        """Solve (I - J)' v = right to the tolerance."""
        system, tolerance = linear.system.transposed(), self._tolerance(right)
        # Half of it, since rounding parts the residual that a solver updates from the true one.
        solution = SOLVERS[self.solver](system, right, tolerance / 2, self.iterations)
        residual = float(system.residual(solution, right).max())
        require(
            residual <= tolerance,
            f"The solver {self.solver} did not converge: after {self.iterations} iterations at most the "
            f"relative residual is {residual:.2g}, above the tolerance of {tolerance:.2g}; raise iterations, "
            "or the tolerance.",
        )
        return solution

    def _tolerance(self, right: Tensor) -> float:
        return self.tolerance or torch.finfo(right.dtype).eps ** (2 / 3)

    def _require_near(self, rollout: Rollout, rows: Rows, linear: LinearizedStep, start: Tree) -> None:
        """Raise ValueError unless a Newton step is short, with the optimizer's state as it is and halved."""
        theta, opt_state = rollout.end
        norms = [
            rows.pack(tuple(leaf.detach().unsqueeze(0) for leaf in split_floating(tree)[0])).norm(dim=-1)
            for tree in (start, theta)
        ]
        size = torch.maximum(*norms)

        def distance(at: LinearizedStep) -> float:
            newton = SOLVERS[self.solver](at.system, at.move, self._tolerance(at.move) / 2, self.iterations)
            length = newton.norm(dim=-1)
            return float(torch.where(length == 0, 0, length / size).max())

        found = distance(linear)
        require(
            found <= self.max_distance,
            f"Implicit needs the step's fixed point, but theta is about {found:.2g} times its own size away "
            f"from it, and max_distance is {self.max_distance:.2g}: take more steps, or raise it.",
        )
        floating, rebuild = split_floating(opt_state)
        if not floating:
            return
        elsewhere = rollout.kernels.start(theta, rebuild([leaf / 2 for leaf in floating]))
        found = distance(LinearizedStep(rollout.kernels, elsewhere, rollout.inner_data[-1], rows))
        require(
            found <= self.max_distance,
            "Implicit fixes the optimizer's state, but here the fixed point depends on it: with the state "
            f"halved it lies {found:.2g} times theta's size away (decoupled weight decay does that): use "
            "Unrolled, or another inner optimizer.",
        )


def _require_symmetric(system: System, like: Tensor) -> None:
    """Compare u'Mw with w'Mu for random u and w, rows like `like`."""
    generator = torch.Generator(like.device).manual_seed(0)
    # The same for all rows, so that none of them depends on how many there are.
    draws = torch.empty(2, like.shape[-1], dtype=like.dtype, device=like.device)
    u, w = (draw.normal_(generator=generator).expand_as(like) for draw in draws)
    u_image, w_image = system.apply(u), system.apply(w)
    difference = ((u * w_image).sum(-1) - (w * u_image).sum(-1)).abs()
    size = u.norm(dim=-1) * w_image.norm(dim=-1) + w.norm(dim=-1) * u_image.norm(dim=-1)
    found = float((difference / size).max())
    require(
        found <= torch.finfo(like.dtype).eps ** 0.5,
        f"Conjugate gradient needs a symmetric Jacobian, but this step's is not (u'Jw and w'Ju differ by "
        f'{found:.2g} of their size), as with agents that learn at once: use solver="gmres" or "normal-cg".',
    )
