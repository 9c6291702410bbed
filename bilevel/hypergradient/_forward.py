"""The exact hypergradient of K steps by forward mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, batch_shape, split_floating
from bilevel.hypergradient._derivatives import require_objectives
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, StatelessEstimator
from bilevel.hypergradient._kernels import State, make_kernels
from bilevel.hypergradient._rollout import Rollout, require_floating, roll_out
from bilevel.hypergradient._validation import close, require_outer_path, require_pure
from games.core import require


@dataclass(frozen=True, kw_only=True, repr=False)
class Forward(StatelessEstimator):
    """Forward mode: d z_k / d phi is propagated through the steps, one tangent per entry of phi.

    With z_k = (theta_k, floating state_k) and z_k+1 = S(z_k, phi):

        Z_0 = 0,   Z_k+1 = (dS/dz_k) Z_k + dS/dphi,   dF/dphi = (partial F/partial phi) + Z_K' dF/dz_K.

    Bias: none; it is the gradient of `Unrolled`, summed in another order.
    Cost: K steps with a Jacobian-vector product for each entry of phi, batched; members of a batch (seeds)
    share tangents (see `batch_dims`), at the cost of the entries of ONE member.
    Memory: (theta and the optimizer's state) times 1 + the entries of phi, and each step's data, whatever K.
    In float32 a loss that mixes single numbers and tensors may get tangents in float64 from torch; they are
    rounded back after each step, but a matrix product inside the loss may refuse them: use float64 there.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, arXiv 1703.01785.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> zero = torch.tensor(0.0)
    >>> Forward()(problem, zero, None, torch.tensor(1.0), steps=2).gradient  # 1 - (1 - 0.5)^2
    tensor(0.7500)
    """

    max_entries: int | None = 100
    """Largest number of entries of phi (of one member, with `batch_dims`), at least 1; None: no limit."""
    batch_dims: int = 0
    """Number of leading axes of every leaf of phi that count independent members, at least 0; the outer loss
    must have them too, after the axis of its objectives if there are several."""

    def __post_init__(self) -> None:
        require(
            self.max_entries is None or self.max_entries >= 1,
            f"max_entries must be at least 1 or None, not {self.max_entries}.",
        )
        require(self.batch_dims >= 0, f"batch_dims must be at least 0, not {self.batch_dims}.")

    def _estimate(self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int) -> Estimate:
        require_floating(phi, "phi")
        directions = self._directions(phi)
        kernels = make_kernels(problem, phi)
        count, started = len(directions[0]), False
        tangents = tuple(leaf.new_zeros(count, *leaf.shape) for leaf in split_floating(start)[0])

        def carry(state: State, data: Tree) -> None:
            nonlocal tangents, started
            if not started:
                require_pure(problem.step, kernels.trees(state), phi, data)
                started = True
            tangents = kernels.jvp(state, data, tangents, directions)

        run = roll_out(problem, *start, phi, steps, keep=1, before_step=carry, kernels=kernels)
        require_outer_path(problem, run.end[0], phi, run.outer_data)
        loss, slopes = _outer_jvp(run, tangents, directions)
        return run.estimate(loss, self._gradient(run, loss, slopes, directions))

    def _directions(self, phi: Tree) -> Tensors:
        """The unit directions of phi, [direction, *leaf.shape]; with members, one more of random vectors."""
        batch = batch_shape(phi, self.batch_dims)
        flat, _ = split_floating(phi)
        sizes = [leaf[(0,) * self.batch_dims].numel() for leaf in flat]
        entries = sum(sizes)
        require(
            self.max_entries is None or entries <= self.max_entries,
            f"Forward carries one tangent for each entry of phi, and {entries} are more than max_entries, "
            f"{self.max_entries}: use Unrolled, or raise max_entries (None: no limit).",
        )
        device = flat[0].device
        rows = torch.eye(entries, dtype=torch.float64, device=device)
        rows = rows.reshape(entries, *[1] * len(batch), entries).expand(entries, *batch, entries)
        if self.batch_dims:
            generator = torch.Generator(device).manual_seed(0)
            own = torch.randn((1, *batch, entries), generator=generator, dtype=torch.float64, device=device)
            rows = torch.cat((rows, own))
        parts = rows.split(sizes, -1)
        return tuple(part.reshape((-1, *leaf.shape)).to(leaf) for part, leaf in zip(parts, flat, strict=True))

    def _gradient(self, run: Rollout, loss: Tensor, slopes: Tensor, directions: Tensors) -> Tensors:
        """Reshape the slopes [direction, *loss.shape] to phi's leaves."""
        phi, per_agent_objective = run.kernels.phi, run.kernels.problem.per_agent_objective
        batch = batch_shape(phi, self.batch_dims)
        kept = int(per_agent_objective) + self.batch_dims
        require(
            tuple(loss.shape[int(per_agent_objective) : kept]) == batch,
            f"With batch_dims={self.batch_dims} the outer loss must have the members' axes {batch} (after "
            f"that of its objectives, if there are several), but its shape is {tuple(loss.shape)}.",
        )
        slopes = slopes.flatten(kept + 1).sum(-1) if slopes.ndim > kept + 1 else slopes
        flat, _ = split_floating(phi)
        sizes = [leaf[(0,) * self.batch_dims].numel() for leaf in flat]
        by_entry = slopes[: sum(sizes)].movedim(0, -1)
        if self.batch_dims:
            own = torch.cat([d[-1].reshape(*batch, -1).to(slopes) for d in directions], -1)
            require(
                close((by_entry * own).sum(-1), slopes[-1]),
                "Members of the batch are not independent of each other, so they cannot share tangents: set "
                "batch_dims=0, or keep what mixes them (clipping by a common norm, say) to each member.",
            )
        front = slopes.shape[1 : 1 + int(per_agent_objective)]
        parts = by_entry.split(sizes, -1)
        return tuple(p.reshape((*front, *leaf.shape)).to(leaf) for p, leaf in zip(parts, flat, strict=True))


def _outer_jvp(run: Rollout, tangents: Tensors, directions: Tensors) -> tuple[Tensor, Tensor]:
    """The outer loss, and its tangents [direction, *loss.shape] by those of the end and of phi."""
    flat, rebuild = split_floating(run.end)
    flat_phi, rebuild_phi = split_floating(run.kernels.phi)
    problem = run.kernels.problem

    def outer(flat: Tensors, flat_phi: Tensors) -> Tensor:
        return problem.outer_loss(rebuild(flat)[0], rebuild_phi(flat_phi), run.outer_data)

    def along(*tangents: Tensors) -> Any:
        return torch.func.jvp(outer, (flat, flat_phi), tangents)[1]

    with torch.no_grad():
        loss = outer(flat, flat_phi)
        require_objectives(loss, problem.per_agent_objective)
        slopes: Tensor = torch.vmap(along)(tangents, directions)
        return loss, slopes
