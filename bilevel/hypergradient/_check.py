"""The check of an estimator against central finite differences of the K steps, or another reference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bilevel.core import (
    Tensors,
    Tree,
    cast_floating,
    counted,
    detach,
    leaves,
    paths,
    split_floating,
    structure,
)
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, Estimator
from bilevel.hypergradient._finite_difference import central_change
from bilevel.hypergradient._rollout import require_floating, roll_out
from bilevel.hypergradient._unrolled import Unrolled
from bilevel.hypergradient._validation import all_zero
from games.core import require

RANDOM_DIRECTIONS = 8

ReferenceName = Literal["finite-differences", "unrolled", "supplied"]


@dataclass(frozen=True)
class HypergradientCheck:
    """A hypergradient compared with finite differences; `str` gives their distance in one sentence.

    >>> from bilevel.hypergradient import BilevelProblem, OneStep, check_hypergradient
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.tensor(0.0), None, torch.tensor(1.0)
    >>> check = check_hypergradient(problem, *start, steps=2, estimator=OneStep())
    >>> check.passed, check.estimated, check.differences
    (False, tensor([0.5000], dtype=torch.float64), tensor([0.7500], dtype=torch.float64))
    """

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
    def below_noise(self) -> bool:
        """True if the gradient is too small relative to the rounding noise for a verdict."""
        return self.tolerance * self.size < self.error <= 10 * self.noise and self.size <= 10 * self.noise

    @property
    def passed(self) -> bool:
        """True if the difference is within the tolerance and the noise; not `below_noise`, not NaN."""
        return self.error <= self.tolerance * self.size + self.noise and not self.below_noise

    def __str__(self) -> str:
        name, estimated, difference = self.worst
        verdict = "agrees with" if self.passed else "DIFFERS from"
        if self.below_noise:
            verdict = f"is too small to be checked (rounding noise is {self.noise:.1e}) by"
        return (
            f"{self.estimator} {verdict} finite differences: "
            f"relative error {self.relative_error:.1e} over {counted(len(self.directions), 'direction')} "
            f"({self.tolerance:.1e} is allowed), cosine {self.cosine:.6f}, furthest apart at {name}: "
            f"{estimated:.6g} against {difference:.6g}."
        )


class Reference:
    """Derivatives of K steps along directions of phi, in float64, on the data of an estimate.

    By central finite differences, or from `supplied`, a known gradient in the form of an estimate's.
    Settings as in `check_hypergradient`.
    """

    surrogate = False
    """True if on fixed data the outer loss depends on theta by its derivative, not by its value; derivatives
    are then those of `Unrolled`."""

    def __init__(
        self,
        problem: BilevelProblem,
        start: tuple[Tree, Tree, Tree],
        *,
        steps: int,
        epsilon: float,
        max_entries: int,
        tolerance: float,
        supplied: Tree | None = None,
    ) -> None:
        for name, value in (("epsilon", epsilon), ("tolerance", tolerance)):
            require(math.isfinite(value) and value > 0, f"{name} must be a number above 0, not {value}.")
        require(max_entries >= 1, f"max_entries must be at least 1, not {max_entries}.")
        self.problem, self.start, self.steps = problem, start, steps
        self.epsilon, self.tolerance = epsilon, tolerance
        self.names, self.rows = _directions(start[2], max_entries)
        self._last: tuple[Any, Tensor] | None = None
        self._supplied: Tensor | None = None
        if supplied is not None:
            self._supplied = entries_of(in_float64(supplied)[0], problem.per_agent_objective)
            size = self.rows.shape[1]
            require(
                self._supplied.shape[-1] == size
                and self._supplied.ndim == 1 + int(problem.per_agent_objective),
                f"The reference must have the form of the gradient, with {size} entries"
                f"{' for each objective' if problem.per_agent_objective else ''}, "
                f"not shape {tuple(self._supplied.shape)}.",
            )

    @property
    def name(self) -> ReferenceName:
        """The source of the derivatives."""
        if self._supplied is not None:
            return "supplied"
        return "unrolled" if self.surrogate else "finite-differences"

    def detect_surrogate(self, draws: int, start_draw: Callable[[int], object]) -> None:
        """Set `surrogate` from the first draw with a slope; `start_draw` is called before each."""
        theta, opt_state, phi = self.start
        for draw in range(draws):
            start_draw(draw)
            run = roll_out(self.problem, theta, opt_state, phi, self.steps, keep=1)
            found = _is_surrogate(self.problem, run.end[0], phi, run.outer_data)
            if found is not None:
                self.surrogate = found
                return

    def check(self, estimate: Estimate, estimator: str) -> HypergradientCheck:
        differences, gradient = (
            self.values(estimate),
            entries_of(estimate.gradient, self.problem.per_agent_objective),
        )
        noise = self.rounding(estimate.outer_loss) * math.sqrt(differences.numel())
        return HypergradientCheck(
            estimator, self.names, gradient @ self.rows.T, differences, noise, self.tolerance
        )

    def rounding(self, loss: Tensor) -> float:
        """Bound of the rounding error of one difference of an outer loss of this size."""
        return 100 * torch.finfo(torch.float64).eps * float(loss.abs().sum()) / self.epsilon

    def values(self, estimate: Estimate) -> Tensor:
        """The derivatives on this estimate's data: [direction] or [objective, direction]."""
        if self._supplied is not None:
            return self._supplied @ self.rows.T
        data = estimate.inner_data, estimate.outer_data
        if self._last is None or not _same(self._last[0], data):
            replay = self.problem.replay(*data)
            if self.surrogate:
                gradient = Unrolled()(replay, *self.start, steps=self.steps).gradient
                self._last = data, entries_of(gradient, replay.per_agent_objective) @ self.rows.T
            else:
                self._last = data, self._by_differences(replay)
        return self._last[1]

    def _by_differences(self, replay: BilevelProblem) -> Tensor:
        theta, opt_state, phi = self.start
        flat, rebuild = split_floating(phi)
        sizes = [leaf.numel() for leaf in flat]

        def outer_loss(moved: Tensors) -> Tensors:
            phi = rebuild(moved)
            run = roll_out(replay, theta, opt_state, phi, self.steps)
            with torch.no_grad():
                loss = replay.outer_loss(run.end[0], phi, run.outer_data)
            return (entries_of(loss, replay.per_agent_objective).sum(-1),)

        slopes = []
        for direction in self.rows:
            parts = (self.epsilon * direction).split(sizes)
            shift = [part.view_as(leaf) for part, leaf in zip(parts, flat, strict=True)]
            slopes.append(central_change(outer_loss, flat, shift)[0] / (2 * self.epsilon))
        return torch.stack(slopes, -1)


def _directions(phi: Tree, max_entries: int) -> tuple[tuple[str, ...], Tensor]:
    """Names and unit vectors, float64 [direction, entry]: entries of phi, or random if these are many."""
    require_floating(phi, "phi")
    flat = leaves(phi)
    size, device = sum(leaf.numel() for leaf in flat), flat[0].device
    if size <= max_entries:
        leaf_names = ["phi"] if isinstance(phi, Tensor) else paths(phi)
        entries = (
            f"{name}{list(index) if index else ''}"
            for name, leaf in zip(leaf_names, flat, strict=True)
            for index in itertools.product(*map(range, leaf.shape))
        )
        return tuple(entries), torch.eye(size, dtype=torch.float64, device=device)
    generator = torch.Generator(device).manual_seed(0)
    draws = torch.randn(RANDOM_DIRECTIONS, size, generator=generator, dtype=torch.float64, device=device)
    names = tuple(f"random direction {k}" for k in range(RANDOM_DIRECTIONS))
    return names, draws / draws.norm(dim=1, keepdim=True)


def _is_surrogate(problem: BilevelProblem, theta: Tree, phi: Tree, data: Tree) -> bool | None:
    """True if the outer loss has a slope in theta that its value does not follow; None if it has no slope."""
    flat, rebuild = split_floating(theta)

    def outer(*flat: Tensor) -> Tensor:
        return problem.outer_loss(rebuild(flat), phi, data)

    with torch.no_grad():
        loss, vjp = torch.func.vjp(outer, *flat)[:2]
        slope: tuple[Tensor, ...] = vjp(torch.ones_like(loss))
        if all_zero(slope):
            return None
        length = torch.stack([leaf.norm() for leaf in slope]).norm()
        moved = [leaf + 0.01 * along / length for leaf, along in zip(flat, slope, strict=True)]
        return torch.equal(outer(*moved), loss)


def _same(first: Tree, second: Tree) -> bool:
    """True if two trees hold the same tensors or objects."""

    def equal(one: object, other: object) -> bool:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return one.dtype == other.dtype and torch.equal(one, other)
        return one is other

    return structure(first) == structure(second) and all(map(equal, leaves(first), leaves(second)))


def in_float64(*trees: Tree) -> tuple[Tree, ...]:
    """Detach trees and convert their floating tensors to float64.

    >>> in_float64(torch.ones(1), {"steps": torch.tensor(3)})
    (tensor([1.], dtype=torch.float64), {'steps': tensor(3)})
    """
    return tuple(cast_floating(detach(tree), torch.float64) for tree in trees)


def entries_of(tree: Tree, per_agent_objective: bool) -> Tensor:
    """Join the leaves to one vector: [entry]; with several objectives [objective, entry]."""
    return torch.cat([leaf.reshape(*leaf.shape[: int(per_agent_objective)], -1) for leaf in leaves(tree)], -1)


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
    work with float64. `compare_hypergradients` measures several estimators.

    Args:
        problem, theta, opt_state, phi, steps: as for `Estimator.estimate`.
        estimator: the estimator to check.
        epsilon: the step of a difference, in units of phi, above 0. The error is about epsilon^2 times the
            third derivative: choose it well below the scale on which the derivative of a step changes (for
            Adam, its own epsilon).
        max_entries: maximum number of entries of phi, at least 1, that are perturbed one by one; with more,
            differences are along 8 random directions of length 1, the same in every call.
        tolerance: the relative error that is allowed, above 0.

    Returns:
        Both derivatives along each direction, their distance, and the verdict `passed`.

    Raises:
        ValueError: a setting is out of range, or the estimator refuses the problem.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: (theta - 0.1 * (4 * theta**3 - phi.sin()), opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta**2)
    >>> check_hypergradient(problem, torch.tensor(0.5), None, torch.tensor(1.0), steps=3).passed
    True
    """
    start = in_float64(theta, opt_state, phi)
    reference = Reference(
        problem, start, steps=steps, epsilon=epsilon, max_entries=max_entries, tolerance=tolerance
    )
    return reference.check(estimator(problem, *reference.start, steps=steps), repr(estimator))
