"""The reference of a comparison: finite differences, or `Unrolled` where values are blind to theta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from bilevel.core import Tree, leaves, split_floating, structure
from bilevel.hypergradient._check import Differences, entries_of, in_float64
from bilevel.hypergradient._estimator import BilevelProblem, Estimate
from bilevel.hypergradient._rollout import roll_out
from bilevel.hypergradient._unrolled import Unrolled
from bilevel.hypergradient._validation import all_zero
from games.core import require

ReferenceName = Literal["finite-differences", "unrolled", "given"]


class Reference:
    """Derivatives of a problem along directions of phi, in float64, on the data of an estimate.

    `given` is the gradient, shaped like an estimate's, where it is known otherwise.
    """

    blind = False
    """True if on fixed data the outer loss depends on theta by its derivative, not by its value; derivatives
    are then those of `Unrolled`."""

    def __init__(
        self,
        problem: BilevelProblem,
        start: tuple[Tree, Tree, Tree],
        *,
        steps: int,
        differences: Differences,
        given: Tree | None,
    ) -> None:
        self.problem, self.start, self.steps, self.differences = problem, start, steps, differences
        self.directions = differences.directions(start[2])
        self._last: tuple[Any, Tensor] | None = None
        self._given: Tensor | None = None
        if given is not None:
            self._given = entries_of(in_float64(given)[0], problem.several)
            size = self.directions.rows.shape[1]
            require(
                self._given.shape[-1] == size and self._given.ndim == 1 + int(problem.several),
                f"The reference must have the form of the gradient, with {size} entries"
                f"{' for each objective' if problem.several else ''}, not shape {tuple(self._given.shape)}.",
            )

    @property
    def name(self) -> ReferenceName:
        """The source of the derivatives."""
        if self._given is not None:
            return "given"
        return "unrolled" if self.blind else "finite-differences"

    def detect_blindness(self, draws: int, begin: Callable[[int], object]) -> None:
        """Set `blind` from the first draw with a slope; `begin(draw)` comes before each."""
        theta, opt_state, phi = self.start
        for draw in range(draws):
            begin(draw)
            run = roll_out(self.problem, theta, opt_state, phi, self.steps, keep=1)
            found = _is_blind(self.problem, run.end[0], phi, run.outer_data)
            if found is not None:
                self.blind = found
                return

    def values(self, estimate: Estimate) -> Tensor:
        """The derivatives on this estimate's data: [direction] or [objective, direction]."""
        if self._given is not None:
            return self._given @ self.directions.rows.T
        data = estimate.inner_data, estimate.outer_data
        if self._last is None or not _same(self._last[0], data):
            self._last = data, self._compute(self.problem.replay(*data))
        return self._last[1]

    def _compute(self, replay: BilevelProblem) -> Tensor:
        theta, opt_state, phi = self.start
        if not self.blind:
            return self.differences.take(replay, (theta, opt_state), phi, self.directions.rows, self.steps)
        gradient = Unrolled()(replay, theta, opt_state, phi, steps=self.steps).gradient
        return entries_of(gradient, replay.several) @ self.directions.rows.T


def _is_blind(problem: BilevelProblem, theta: Tree, phi: Tree, data: Tree) -> bool | None:
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
