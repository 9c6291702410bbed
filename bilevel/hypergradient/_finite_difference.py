"""The effect of phi on the last step by central differences, without a derivative of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, split_floating
from bilevel.hypergradient._derivatives import outer_gradients
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, StatelessEstimator
from bilevel.hypergradient._rollout import Rollout, roll_out
from bilevel.hypergradient._smoothing import count_members, repeated
from games.core import require


@dataclass(frozen=True, kw_only=True, repr=False)
class FiniteDifference(StatelessEstimator):
    """Central differences of the last step with respect to phi; applies to any step, similar to DARTS.

    With v = dF/dtheta_K and S the last step, taken from (theta_K-1, state_K-1), for each entry j of phi:

        dF/dphi_j = partial F/partial phi_j + <v, S(phi + epsilon u_j) - S(phi - epsilon u_j)> / (2 epsilon).

    It tends to `OneStep` as epsilon goes to 0. DARTS, whose step is plain descent on one loss, S = theta -
    alpha grad_theta L, differences grad_phi L between theta + e v and theta - e v instead: the same mixed
    product, since d/dphi <v, S> = -alpha d/dphi d/de L(theta + e v, phi) at e = 0, in two gradients whatever
    the size of phi. That needs L, which a general step (momentum, Adam, several agents) does not have.

    Bias: epsilon^2 / 6 times the third derivative along each entry, and rounding of about (unit of rounding)
    |theta| |v| / epsilon. For K > 1 also the effect of phi in all steps but the last, and through the
    optimizer's state. No variance but that of the data.
    Cost: K steps, one backward pass of the outer loss, and 2 steps for each entry of phi (of one member's).
    Memory: `chunk_size` times 2 theta; nothing grows with K but the data.
    Several objectives share the differences.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Liu et al., DARTS: Differentiable architecture search, arXiv 1806.09055, equations 7 and 8.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: 3 * theta)
    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> gradient = FiniteDifference()(problem, zero, None, one, steps=1).gradient
    >>> round(gradient.item(), 3)  # 3 x 1/2
    1.5
    """

    epsilon: float | None = None
    """Half the width of a difference, above 0, in units of phi; None: the cube root of the unit of rounding
    of phi's dtype (6e-6 in float64, 5e-3 in float32), best where phi and third derivatives are about 1."""
    members: bool = False
    """The first axis of every leaf of theta and phi counts members that learn independently (seeds): their
    differences are then taken all at once, for the cost of one member."""
    max_entries: int = 1024
    """Largest number of entries of phi (of one member), at least 1: each costs two steps."""
    chunk_size: int = 64
    """Entries differenced in one batch, at least 1: more takes more memory."""

    def __post_init__(self) -> None:
        require(
            self.epsilon is None or (math.isfinite(self.epsilon) and self.epsilon > 0),
            f"epsilon must be a number above 0, or None, not {self.epsilon}.",
        )
        for name in ("max_entries", "chunk_size"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, not {value}.")

    def _estimate(self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int) -> Estimate:
        run = roll_out(problem, *start, phi, steps, keep=1)
        run.require_pure()
        members = count_members(self.members, start[0], phi) or 1
        flat = split_floating(phi)[0]
        sizes = [leaf.numel() // members for leaf in flat]
        entries = sum(sizes)
        require(
            entries <= self.max_entries,
            f"FiniteDifference takes two steps for each of the {entries} entries of phi, and max_entries is "
            f"{self.max_entries}: raise it, or use Unrolled.",
        )
        with torch.no_grad():
            loss, cotangent, direct = outer_gradients(problem, (run.end[0], None), phi, run.outer_data)
            run.require_outer_path(cotangent)
            slope = _slopes(run, sizes, cotangent, members, self.epsilon)
            index = torch.arange(entries, device=flat[0].device)
            states = repeated(split_floating(run.begin)[0], entries)
            along = torch.vmap(slope, chunk_size=self.chunk_size)(index, states)  # [entry, objective, member]
        pairs = zip(direct, along.movedim(0, -1).split(sizes, -1), strict=True)
        return run.estimate(loss, tuple(now + part.reshape(now.shape) for now, part in pairs))


def _slopes(
    run: Rollout, sizes: list[int], cotangent: Tensors, members: int, epsilon: float | None
) -> Callable[[Tensor, Tensors], Tensor]:
    """The map (entry of phi, leaves of the state) -> slope of <v, S>, [objective, member]."""
    flat, rebuild = split_floating(run.kernels.phi)
    rebuild_state = split_floating(run.begin)[1]
    ends = split_floating(run.end[0])[0]
    along = [v.reshape(-1, members, end.numel() // members) for v, end in zip(cotangent, ends, strict=True)]
    widths = [torch.finfo(leaf.dtype).eps ** (1 / 3) if epsilon is None else epsilon for leaf in flat]

    def slope(index: Tensor, flat_state: Tensors) -> Tensor:
        place = torch.arange(sum(sizes), device=index.device) == index
        units = [
            part.to(leaf.dtype).expand(members, -1).reshape(leaf.shape)
            for part, leaf in zip(place.split(sizes), flat, strict=True)
        ]
        theta, opt_state = rebuild_state(flat_state)

        def step(moved: Tensors) -> Tensors:
            after = run.kernels.problem.step(theta, opt_state, rebuild(moved), run.inner_data[-1])
            return split_floating(after[0])[0]

        shift = [width * unit for width, unit in zip(widths, units, strict=True)]
        change = [leaf.reshape(members, -1) for leaf in central_change(step, flat, shift)]
        rise = sum(torch.einsum("omq,mq->om", v, c) for v, c in zip(along, change, strict=True))
        apart = sum(2 * width * unit.sum() / members for width, unit in zip(widths, units, strict=True))
        return torch.as_tensor(rise / apart)

    return slope


def central_change(
    function: Callable[[Tensors], Tensors], flat: Sequence[Tensor], shift: Sequence[Tensor]
) -> Tensors:
    """The change of a function's results from flat - shift to flat + shift."""
    ahead, behind = (
        function(tuple(combine(leaf, by) for leaf, by in zip(flat, shift, strict=True)))
        for combine in (torch.add, torch.sub)
    )
    return tuple(map(torch.sub, ahead, behind))
