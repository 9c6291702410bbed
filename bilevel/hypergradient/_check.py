"""The check of one estimator against central finite differences of the K steps."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, cast_floating, counted, detach, leaves, paths, split_floating
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, Estimator
from bilevel.hypergradient._finite_difference import central_change
from bilevel.hypergradient._rollout import roll_out
from bilevel.hypergradient._unrolled import Unrolled
from games.core import require

RANDOM_DIRECTIONS = 8


class Directions(NamedTuple):
    """Directions of phi along which derivatives are taken."""

    names: tuple[str, ...]
    rows: Tensor
    """Unit vectors over all entries of phi, float64 [direction, entry]."""


@dataclass(frozen=True)
class HypergradientCheck:
    """A hypergradient beside finite differences; `str` says in one sentence how far apart they are."""

    estimator: str
    """The estimator that was checked."""
    directions: tuple[str, ...]
    """The names of the directions: entries of phi, or random directions."""
    estimated: Tensor
    """Derivatives by the estimator, [direction]; with several objectives [objective, direction]."""
    differences: Tensor
    """The same by central finite differences."""
    noise: float
    """Bound of the norm of their difference by rounding alone."""
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
        """The direction in which they differ most, the estimate and the finite difference there."""
        place = int((self.estimated - self.differences).abs().argmax())
        name = self.directions[place % len(self.directions)]
        if self.estimated.ndim > 1:
            name += f" of objective {place // len(self.directions)}"
        return name, float(self.estimated.flatten()[place]), float(self.differences.flatten()[place])

    @property
    def drowned(self) -> bool:
        """True if the gradient is too small beside the rounding noise for a verdict."""
        return self.tolerance * self.size < self.error <= 10 * self.noise and self.size <= 10 * self.noise

    @property
    def passed(self) -> bool:
        """True if the difference is within the tolerance and the rounding noise; not if drowned or NaN."""
        return self.error <= self.tolerance * self.size + self.noise and not self.drowned

    def __str__(self) -> str:
        name, estimated, difference = self.worst
        verdict = "agrees with" if self.passed else "DIFFERS from"
        if self.drowned:
            verdict = f"is too small to be checked (rounding noise is {self.noise:.1e}) by"
        return (
            f"{self.estimator} {verdict} finite differences: "
            f"relative error {self.relative_error:.1e} over {counted(len(self.directions), 'direction')} "
            f"({self.tolerance:.1e} is allowed), cosine {self.cosine:.6f}, furthest apart at {name}: "
            f"{estimated:.6g} against {difference:.6g}."
        )


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Central finite differences of the K steps, on fixed data; settings as of `check_hypergradient`."""

    epsilon: float = 1e-5
    max_entries: int = 64
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("epsilon", "tolerance"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, f"{name} must be a number above 0, not {value}.")
        require(self.max_entries >= 1, f"max_entries must be at least 1, not {self.max_entries}.")

    def directions(self, phi: Tree) -> Directions:
        """The unit vectors, or random directions if phi has too many entries."""
        flat = leaves(phi)
        size, device = sum(leaf.numel() for leaf in flat), flat[0].device
        if size <= self.max_entries:
            leaf_names = ["phi"] if isinstance(phi, Tensor) else paths(phi)
            entries = (
                f"{name}{list(index) if index else ''}"
                for name, leaf in zip(leaf_names, flat, strict=True)
                for index in itertools.product(*map(range, leaf.shape))
            )
            return Directions(tuple(entries), torch.eye(size, dtype=torch.float64, device=device))
        generator = torch.Generator(device).manual_seed(0)
        draws = torch.randn(RANDOM_DIRECTIONS, size, generator=generator, dtype=torch.float64, device=device)
        names = tuple(f"random direction {k}" for k in range(RANDOM_DIRECTIONS))
        return Directions(names, draws / draws.norm(dim=1, keepdim=True))

    def take(
        self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, directions: Tensor, steps: int
    ) -> Tensor:
        """Slopes of the outer loss along `directions`: [direction] or [objective, direction]."""
        flat, rebuild = split_floating(phi)
        sizes = [leaf.numel() for leaf in flat]

        def outer_loss(moved: Tensors) -> Tensors:
            phi = rebuild(moved)
            rollout = roll_out(problem, *start, phi, steps)
            with torch.no_grad():
                loss = problem.outer_loss(rollout.end[0], phi, rollout.outer_data)
            return (entries_of(loss, problem.several).sum(-1),)

        slopes = []
        for direction in directions:
            parts = (self.epsilon * direction).split(sizes)
            shift = [part.view_as(leaf) for part, leaf in zip(parts, flat, strict=True)]
            slopes.append(central_change(outer_loss, flat, shift)[0] / (2 * self.epsilon))
        return torch.stack(slopes, -1)

    def rounding(self, loss: Tensor) -> float:
        """Bound of the rounding error of one difference of an outer loss of this size."""
        return 100 * torch.finfo(torch.float64).eps * float(loss.abs().sum()) / self.epsilon

    def check(
        self,
        estimate: Estimate,
        differences: Tensor,
        directions: Directions,
        *,
        estimator: str,
        several: bool,
    ) -> HypergradientCheck:
        """Compare an estimate with differences."""
        return HypergradientCheck(
            estimator=estimator,
            directions=directions.names,
            estimated=entries_of(estimate.gradient, several) @ directions.rows.T,
            differences=differences,
            noise=self.rounding(estimate.outer_loss) * math.sqrt(differences.numel()),
            tolerance=self.tolerance,
        )


def in_float64(*trees: Tree) -> tuple[Tree, ...]:
    """Detach trees and convert their floating tensors to float64."""
    return tuple(cast_floating(detach(tree), torch.float64) for tree in trees)


def entries_of(tree: Tree, several: bool) -> Tensor:
    """Join the leaves to one vector: [entry]; with several objectives [objective, entry]."""
    return torch.cat([leaf.reshape(*leaf.shape[: int(several)], -1) for leaf in leaves(tree)], -1)


_EXACT = Unrolled()


def check_hypergradient(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    *,
    steps: int,
    estimator: Estimator = _EXACT,
    epsilon: float = 1e-5,
    max_entries: int = 64,
    tolerance: float = 1e-6,
) -> HypergradientCheck:
    """Compare an estimator with central finite differences of the same K steps, in float64.

    The estimator runs first, and its data are replayed in every difference, in a loop over the directions
    with 2 K steps each. Inputs are converted to float64; tensors in closures of the step and the losses must
    be able to follow. `compare_hypergradients` measures several estimators.

    Args:
        problem, theta, opt_state, phi, steps: as for `Estimator.estimate`.
        estimator: the estimator to check.
        epsilon: the step of a difference, in units of phi, above 0. The error is about epsilon^2 times the
            third derivative: choose it well below the scale on which the steps bend (Adam bends on its own
            epsilon).
        max_entries: phi is moved entry by entry up to this many, at least 1; beyond, along 8 random
            directions of length 1, always the same ones.
        tolerance: the relative error that is allowed, above 0.

    Raises:
        ValueError: a setting is out of range, or the estimator refuses the problem.

    >>> step = lambda theta, opt_state, phi, data: (theta - 0.1 * (4 * theta**3 - phi.sin()), opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta**2)
    >>> check_hypergradient(problem, torch.tensor(0.5), None, torch.tensor(1.0), steps=3).passed
    True
    """
    differences = Differences(epsilon=epsilon, max_entries=max_entries, tolerance=tolerance)
    theta, opt_state, phi = in_float64(theta, opt_state, phi)
    estimate = estimator(problem, theta, opt_state, phi, steps=steps)
    replay = problem.replay(estimate.inner_data, estimate.outer_data)
    directions = differences.directions(phi)
    found = differences.take(replay, (theta, opt_state), phi, directions.rows, steps)
    return differences.check(estimate, found, directions, estimator=repr(estimator), several=problem.several)
