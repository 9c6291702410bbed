"""The linear programme of minimal transfers, its check, and the proof where it has no solution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from games.profiles import TOLERANCE, Deviation, Deviations
from games.transfer_matrices import TransferMatrices

SOLVED = 1e-7
"""The largest error of shares, and of gains beside the largest, that counts as solved: the solver's own."""

INFEASIBLE = 2
"""How `linprog` says that no point keeps all constraints."""


class Transfer(NamedTuple):
    """A matrix of transfers under which everybody's part of the optimum is dominant."""

    share: float
    """The greatest share of its own reward that everybody can keep: the smallest T_ii, at most 1."""
    matrix: NDArray[np.float64]
    """T, the share of giver j's reward that goes to receiver i, [giver, receiver]; rows sum to 1."""
    largest_gain: float
    """The most that anybody gains by leaving its part under T, in the game's units: not above 0."""
    binding: tuple[Deviation, ...]
    """The deviations that hold the share down: their multipliers prove that it is the greatest."""
    gap: float
    """How much more the multipliers, multiplied out, would allow to keep: 0 up to rounding."""


class Impossible(NamedTuple):
    """The proof that no matrix of transfers makes everybody's part of the optimum dominant.

    The weighted sum of what these deviations gain their deviators is at least `gain` whatever is transferred
    (a linear function of T, whose minimum stands in its coefficients), so that one of them gains at least
    that: a certificate as in Farkas' lemma.
    """

    gain: float
    """What leaving gains somebody at least, under every matrix, in the game's units: above 0."""
    weights: tuple[tuple[Deviation, float], ...]
    """The deviations with their multipliers, which are above 0 and sum to 1."""


def gains_under(found: Deviations, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each deviation gains its deviator when rewards are shared: sum_j T_ji gain_j, [deviation].

    Args:
        found: deviations.
        matrix: T, [giver, receiver].
    """
    shared: NDArray[np.float64] = found.gains @ matrix
    return np.take_along_axis(shared, found.agents[:, None], 1)[:, 0]


class TransferProgramme:
    """The linear programme for one kind of matrices, and the one that proves it infeasible."""

    def __init__(self, allowed: TransferMatrices, found: Deviations, least_share: float) -> None:
        self.allowed, self.found, self.least_share = allowed, found, least_share
        self.sizes = np.abs(found.gains).max(1)
        """The largest of each deviation's gains, divided out: the solver's tolerances are absolute."""
        lines = np.zeros((len(found.gains), len(allowed.parts)))
        for agent in range(allowed.parts.shape[-1]):
            own = found.agents == agent
            scaled = found.gains[own] / np.maximum(self.sizes[own, None], np.finfo(float).tiny)
            lines[own] = scaled @ allowed.parts[:, :, agent].T
        harmful = np.flatnonzero((found.gains > 0).any(1))  # no sharing makes the others pay
        _, first = np.unique(lines[harmful].round(12), axis=0, return_index=True)  # many say the same
        self.used = harmful[np.sort(first)]
        """The deviations that have a line in the programmes."""
        self.lines = lines[self.used]
        """What each part, on its own, gains the deviators, in their line's size: [deviation, part]."""
        self.together = (allowed.groups == np.arange(allowed.groups.max() + 1)[:, None]).astype(np.float64)
        """Which group a part belongs to, 1 or 0: [group, part]."""

    def solve(self) -> Transfer | Impossible:
        """Maximise z over z and weights x of the parts: lines x <= 0, z <= T_ii, sums of 1 in each group."""
        kept, parts = self.allowed.kept(), self.lines.shape[1]
        no_share, each = np.zeros((len(self.lines), 1)), np.ones((len(kept), 1))
        upper = np.block([[self.lines, no_share], [-kept, each]])
        answer = _linprog(
            objective=[0.0] * parts + [-1.0],
            upper=upper,
            limits=np.zeros(len(upper)),
            equal=np.column_stack((self.together, np.zeros(len(self.together)))),
            bounds=[(0, None)] * parts + [(None, None)],
        )
        if answer.status == INFEASIBLE:
            return self.refute()
        matrix = self.allowed.matrix(answer.x[:-1])
        share = float(matrix.diagonal().min())
        if share < self.least_share - TOLERANCE:
            return self.refute()
        multipliers = np.maximum(-answer.ineqlin.marginals, 0)
        lines, shares = np.split(multipliers, [len(self.lines)])
        # For every T, min T_ii <= sum_i w_i T_ii - sum_k y_k gain_k(T): the greatest value of the right side.
        costs = self._combine(lines / self.sizes[self.used]) - np.diag(shares / shares.sum())
        gap = -self.allowed.lowest(costs, 0.0) - share
        gain = float(gains_under(self.found, matrix).max())
        size = float(np.abs(self.found.gains).max()) or 1.0
        if gap > SOLVED or gain > SOLVED * size:
            raise ArithmeticError(f"The linear programme left a gap of {gap:g} and a gain of {gain:g}.")
        binding = tuple(self.found.at(self.used[index]) for index in np.flatnonzero(lines > TOLERANCE))
        return Transfer(share, matrix, gain, binding, gap)

    def refute(self) -> Impossible:
        """Weigh the deviations such that their total gain is above 0 under every matrix."""
        groups, parts = self.together.shape
        # Variables: y, then what each group adds at least. No part of it may add less, the least share kept.
        keeping = self.together.T @ self.lines[:, self.allowed.keeps].T  # [part, deviation]
        adds = self.least_share * keeping + (1 - self.least_share) * self.lines.T
        answer = _linprog(
            objective=[0.0] * len(self.lines) + [-1.0] * groups,
            upper=np.column_stack((-adds, self.together.T)),
            limits=np.zeros(parts),
            equal=np.array([[1.0] * len(self.lines) + [0.0] * groups]),
            bounds=[(0, None)] * len(self.lines) + [(None, None)] * groups,
        )
        if answer.status == INFEASIBLE:
            raise ArithmeticError("The linear programme and its dual were both found infeasible.")
        found = answer.x[: len(self.lines)]
        weights = np.where(found > TOLERANCE, found, 0) / self.sizes[self.used]
        weights = weights / weights.sum()
        gain = self.allowed.lowest(self._combine(weights), self.least_share)
        if gain <= 0:
            raise ArithmeticError(f"The proof that no transfers do multiplies out to {gain:g}, not above 0.")
        used = np.flatnonzero(weights)
        return Impossible(gain, tuple((self.found.at(self.used[k]), float(weights[k])) for k in used))

    def _combine(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The coefficients of T in the weighted sum of the deviators' gains: [giver, receiver]."""
        weighted = self.found.gains[self.used] * weights[:, None]
        combined = np.zeros((self.found.gains.shape[1],) * 2)
        np.add.at(combined.T, self.found.agents[self.used], weighted)
        return combined


def _linprog(
    *,
    objective: list[float],
    upper: NDArray[np.float64],
    limits: NDArray[np.float64],
    equal: NDArray[np.float64],
    bounds: list[tuple[float | None, float | None]],
) -> Any:
    """Minimise; every equality's right side is 1."""
    answer: Any = scipy.optimize.linprog(objective, upper, limits, equal, np.ones(len(equal)), bounds)
    if answer.status not in (0, INFEASIBLE):
        raise ArithmeticError(f"The linear programme was not solved: {answer.message}")
    return answer
