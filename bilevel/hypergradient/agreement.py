"""Is an outer gradient right? Ask finite differences, on the data that the estimator saw."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.hypergradient.base import BilevelProblem, Hypergradient
from bilevel.hypergradient.rollout import roll_out
from bilevel.hypergradient.unrolled import Unrolled
from bilevel.tree import Tree, cast_floating, detach, leaves, paths, split_floating

_EXACT = Unrolled()
_RANDOM_DIRECTIONS = 8


@dataclass(frozen=True)
class HypergradientCheck:
    """An outer gradient beside finite differences; `str` says in one sentence how far apart they are."""

    estimator: str
    """Which estimator was checked."""
    directions: tuple[str, ...]
    """Along what the derivatives were taken: entries of phi, or random directions."""
    estimated: Tensor
    """Derivatives by the estimator, [direction]; with several objectives [objective, direction]."""
    differences: Tensor
    """The same by central finite differences."""
    noise: float
    """What rounding alone may make of the norm of their difference."""
    tolerance: float
    """The relative error that is allowed."""

    @property
    def error(self) -> float:
        """The norm of the difference."""
        return float((self.estimated - self.differences).norm())

    @property
    def size(self) -> float:
        """The greater of the two norms."""
        return float(torch.maximum(self.estimated.norm(), self.differences.norm()))

    @property
    def relative_error(self) -> float:
        """The norm of the difference over the greater of the two norms; 0 where both are 0."""
        return self.error / self.size if self.size else 0.0

    @property
    def cosine(self) -> float:
        """The cosine of the angle between the two; 1 where both are 0, and 0 where one is."""
        norms = self.estimated.norm() * self.differences.norm()
        return float((self.estimated * self.differences).sum() / norms) if norms else float(not self.size)

    @property
    def worst(self) -> tuple[str, float, float]:
        """Where they differ most: the direction, the estimate, the finite difference."""
        place = int((self.estimated - self.differences).abs().argmax())
        name = self.directions[place % len(self.directions)]
        if self.estimated.ndim > 1:
            name += f" of objective {place // len(self.directions)}"
        return name, float(self.estimated.flatten()[place]), float(self.differences.flatten()[place])

    @property
    def drowned(self) -> bool:
        """Whether the gradient is so small that rounding noise hides if the two agree."""
        return self.tolerance * self.size < self.error <= 10 * self.noise and self.size <= 10 * self.noise

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance and the rounding noise; drowned or NaN is not."""
        return self.error <= self.tolerance * self.size + self.noise and not self.drowned

    def __str__(self) -> str:
        name, estimated, difference = self.worst
        verdict = "agrees with" if self.passed else "DIFFERS from"
        if self.drowned:
            verdict = f"is too small to be checked (rounding noise is {self.noise:.1e}) by"
        return (
            f"{self.estimator} {verdict} finite differences: "
            f"relative error {self.relative_error:.1e} over {len(self.directions)} directions "
            f"({self.tolerance:.1e} is allowed), cosine {self.cosine:.6f}, most at {name}: {estimated:.6g} "
            f"against {difference:.6g}."
        )


def _finite_differences(
    problem: BilevelProblem,
    start: tuple[Tree, Tree],
    phi: Tree,
    directions: Tensor,
    steps: int,
    epsilon: float,
) -> Tensor:
    """Central differences along each row of `directions`: [direction] or [objective, direction]."""
    flat, rebuild = split_floating(phi)
    ends = list(itertools.accumulate(leaf.numel() for leaf in flat))

    def outer_loss(shift: Tensor) -> Tensor:
        parts = shift.tensor_split(ends[:-1])
        moved = rebuild([leaf + part.view_as(leaf) for leaf, part in zip(flat, parts, strict=True)])
        rollout = roll_out(problem, *start, moved, steps)
        with torch.no_grad():
            loss = problem.outer_loss(rollout.states[-1][0], moved, rollout.outer_data)
        return _row(loss, problem.several).sum(-1)

    shifts = [epsilon * direction for direction in directions]
    return torch.stack([(outer_loss(s) - outer_loss(-s)) / (2 * epsilon) for s in shifts], -1)


def _row(tree: Tree, several: bool) -> Tensor:
    """Join the leaves to one vector: [entry]; with several objectives [objective, entry]."""
    return torch.cat([leaf.reshape(*leaf.shape[: int(several)], -1) for leaf in leaves(tree)], -1)


def _directions(phi: Tree, max_entries: int) -> tuple[tuple[str, ...], Tensor]:
    """Name the directions and give them as rows: unit vectors, or random ones if phi has too many entries."""
    flat = leaves(phi)
    size, device = sum(leaf.numel() for leaf in flat), flat[0].device
    if size <= max_entries:
        entries = (
            f"{path}{list(index) if index else ''}"
            for path, leaf in zip(paths(phi), flat, strict=True)
            for index in itertools.product(*map(range, leaf.shape))
        )
        return tuple(entries), torch.eye(size, dtype=torch.float64, device=device)
    names = tuple(f"random direction {k}" for k in range(_RANDOM_DIRECTIONS))
    generator = torch.Generator(device).manual_seed(0)
    draws = torch.randn(len(names), size, generator=generator, dtype=torch.float64, device=device)
    return names, draws / draws.norm(dim=1, keepdim=True)
