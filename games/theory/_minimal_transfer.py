"""Minimal reward transfer: the smallest sharing that makes the welfare optimum dominant.

A linear program finds it, duality checks it, and a certificate proves infeasibility.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from games.core import Game, require
from games.theory import _profiles as profiles


class TransferMatrices(NamedTuple):
    """The set of matrices T = sum_m x_m parts[m], with weights x >= 0 that sum to 1 within each group."""

    parts: NDArray[np.float64]  # matrices [part, giver, receiver]
    groups: NDArray[np.int64]  # the group of each part, [part], from 0
    keeps: NDArray[np.bool_]  # parts that keep everything, [part]: one in each group

    def matrix(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mix the parts: [giver, receiver]; weights [part] are first cleaned of rounding."""
        weights = np.maximum(weights, 0)
        weights = weights / np.bincount(self.groups, weights)[self.groups]
        return np.tensordot(weights, self.parts, 1)

    def kept(self) -> NDArray[np.float64]:
        """The share of each agent's own reward that each part keeps, [agent, part]."""
        return np.diagonal(self.parts, axis1=1, axis2=2).T

    def lowest(self, costs: NDArray[np.float64], min_share: float) -> float:
        """The smallest sum_ji costs[j, i] T[j, i] over these T with T_jj >= min_share."""
        part_costs = np.tensordot(self.parts, costs, 2)
        cheapest = np.full(self.groups.max() + 1, np.inf)
        np.minimum.at(cheapest, self.groups, part_costs)
        return float(min_share * part_costs[self.keeps].sum() + (1 - min_share) * cheapest.sum())


def one_share(neighbors: NDArray[np.bool_]) -> TransferMatrices:
    """Matrices in which all agents keep the same share and split the rest evenly among their neighbors."""
    others = neighbors & ~np.eye(len(neighbors), dtype=bool)
    degrees = others.sum(1, keepdims=True)
    alone = np.flatnonzero(degrees == 0)
    require(len(alone) == 0, f"Agent {alone[:1].sum()} has no neighbor to share with.")
    parts = np.stack((np.eye(len(neighbors)), others / np.maximum(degrees, 1)))
    return TransferMatrices(parts, np.zeros(2, dtype=np.int64), np.array([True, False]))


def any_shares(neighbors: NDArray[np.bool_]) -> TransferMatrices:
    """Matrices in which each agent divides its reward arbitrarily between itself and its neighbors."""
    givers, receivers = np.nonzero(neighbors | np.eye(len(neighbors), dtype=bool))
    parts = np.zeros((len(givers), *neighbors.shape))
    parts[np.arange(len(givers)), givers, receivers] = 1
    return TransferMatrices(parts, givers, givers == receivers)


SOLVED = 1e-7
"""Largest error of shares, and of gains relative to the largest, of a solved program: the solver's own."""

INFEASIBLE = 2  # the status of `linprog` where no point satisfies all constraints


class FeasibleTransfer(NamedTuple):
    """A sharing matrix under which every agent's part of the optimum is dominant.

    >>> from games import make
    >>> from games.theory import minimal_transfer
    >>> found = minimal_transfer(make("prisoners-dilemma")).symmetric
    >>> isinstance(found, FeasibleTransfer), round(found.share, 6), round(found.gap, 6)
    (True, 0.666667, 0.0)
    """

    share: float
    """Largest share of its own reward that every agent can keep: the smallest T_ii."""
    matrix: NDArray[np.float64]
    """Sharing matrix T, [giver, receiver]; rows sum to 1."""
    largest_gain: float
    """Largest gain of any deviation under T, in the game's units: 0 or less."""
    binding: tuple[profiles.Deviation, ...]
    """Binding deviations: their multipliers prove that no larger share is feasible."""
    gap: float
    """Duality gap: the upper bound given by the multipliers minus `share`; 0 up to rounding."""


class InfeasibleTransfer(NamedTuple):
    """The proof that no sharing matrix makes every agent's part of the optimum dominant.

    Under every T the weighted sum of the deviators' gains is at least `gain` (it is linear in T, and its
    minimum follows from the coefficients), so that at least one deviation gains that much: a certificate as
    in Farkas' lemma.

    >>> from games import make
    >>> from games.theory import minimal_transfer
    >>> proof = minimal_transfer(make("assurance")).general
    >>> proof.gain, proof.weights[0]
    (1.0, (Deviation(agent=0, action=1, profile=(0, 1)), 0.5))
    """

    gain: float
    """Gain, above 0 and in the game's units, that at least one deviation has under every matrix."""
    weights: tuple[tuple[profiles.Deviation, float], ...]
    """Deviations with their multipliers, which are above 0 and sum to 1."""


def gains_under(found: profiles.Deviations, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The deviator's gain when rewards are shared by T, [giver, receiver]: sum_j T_ji gain_j, [deviation]."""
    shared: NDArray[np.float64] = found.gains @ matrix
    return np.take_along_axis(shared, found.agents[:, None], 1)[:, 0]


class TransferProgram:
    """The linear program for one kind of matrices, and the one that proves it infeasible."""

    def __init__(self, allowed: TransferMatrices, found: profiles.Deviations, min_share: float) -> None:
        self.allowed, self.found, self.min_share = allowed, found, min_share
        # Gains are scaled by each deviation's largest one, as the solver's tolerances are absolute.
        self.sizes = np.abs(found.gains).max(1)
        rows = np.zeros((len(found.gains), len(allowed.parts)))
        for agent in range(allowed.parts.shape[-1]):
            own = found.agents == agent
            scaled = found.gains[own] / np.maximum(self.sizes[own, None], np.finfo(float).tiny)
            rows[own] = scaled @ allowed.parts[:, :, agent].T
        harmful = np.flatnonzero((found.gains > 0).any(1))  # others gain nobody anything and never pay
        _, first = np.unique(rows[harmful].round(12), axis=0, return_index=True)  # without duplicates
        self.used = harmful[np.sort(first)]  # deviations with a row in the programs
        self.rows = rows[self.used]  # scaled gains under each part alone: [deviation, part]
        groups = np.arange(allowed.groups.max() + 1)
        self.membership = (allowed.groups == groups[:, None]).astype(np.float64)  # 1 or 0: [group, part]

    def solve(self) -> FeasibleTransfer | InfeasibleTransfer:
        """Maximize z over z and weights x of the parts: rows x <= 0, z <= T_ii, sums of 1 in each group."""
        kept, parts = self.allowed.kept(), self.rows.shape[1]
        no_share, each = np.zeros((len(self.rows), 1)), np.ones((len(kept), 1))
        upper = np.block([[self.rows, no_share], [-kept, each]])
        answer = _linprog(
            objective=[0.0] * parts + [-1.0],
            upper=upper,
            equal=np.column_stack((self.membership, np.zeros(len(self.membership)))),
            bounds=[(0, None)] * parts + [(None, None)],
        )
        if answer.status == INFEASIBLE:
            return self.refute()
        matrix = self.allowed.matrix(answer.x[:-1])
        share = float(matrix.diagonal().min())
        if share < self.min_share - profiles.TOLERANCE:
            return self.refute()
        multipliers = np.maximum(-answer.ineqlin.marginals, 0)
        on_gains, on_shares = np.split(multipliers, [len(self.rows)])
        # For every feasible T, min T_ii <= sum_i w_i T_ii - sum_k y_k gain_k(T): its maximum bounds share.
        costs = self._combine(on_gains / self.sizes[self.used]) - np.diag(on_shares / on_shares.sum())
        gap = -self.allowed.lowest(costs, 0.0) - share
        gain = float(gains_under(self.found, matrix).max())
        size = float(np.abs(self.found.gains).max()) or 1.0
        if gap > SOLVED or gain > SOLVED * size:
            raise ArithmeticError(f"The linear program left a gap of {gap:g} and a gain of {gain:g}.")
        binding = tuple(
            self.found.at(self.used[index]) for index in np.flatnonzero(on_gains > profiles.TOLERANCE)
        )
        return FeasibleTransfer(share, matrix, gain, binding, gap)

    def refute(self) -> InfeasibleTransfer:
        """Find weights of the deviations whose total gain is above 0 under every matrix."""
        groups = len(self.membership)
        # Variables: weights y, then a lower bound on each group's contribution, reached by every part of it
        # in which the least share is kept.
        keeping = self.membership.T @ self.rows[:, self.allowed.keeps].T  # [part, deviation]
        adds = self.min_share * keeping + (1 - self.min_share) * self.rows.T
        answer = _linprog(
            objective=[0.0] * len(self.rows) + [-1.0] * groups,
            upper=np.column_stack((-adds, self.membership.T)),
            equal=np.array([[1.0] * len(self.rows) + [0.0] * groups]),
            bounds=[(0, None)] * len(self.rows) + [(None, None)] * groups,
        )
        if answer.status == INFEASIBLE:
            raise ArithmeticError("The linear program and its dual were both found infeasible.")
        found = answer.x[: len(self.rows)]
        weights = np.where(found > profiles.TOLERANCE, found, 0) / self.sizes[self.used]
        weights = weights / weights.sum()
        gain = self.allowed.lowest(self._combine(weights), self.min_share)
        if gain <= 0:
            raise ArithmeticError(f"The proof that no transfers do multiplies out to {gain:g}, not above 0.")
        used = np.flatnonzero(weights)
        return InfeasibleTransfer(gain, tuple((self.found.at(self.used[k]), float(weights[k])) for k in used))

    def _combine(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The coefficients of T in the weighted sum of the deviators' gains: [giver, receiver]."""
        weighted = self.found.gains[self.used] * weights[:, None]
        combined = np.zeros((self.found.gains.shape[1],) * 2)
        np.add.at(combined.T, self.found.agents[self.used], weighted)
        return combined


def _linprog(
    objective: list[float],
    upper: NDArray[np.float64],
    equal: NDArray[np.float64],
    bounds: list[tuple[float | None, float | None]],
) -> Any:
    """Minimize objective x subject to upper x <= 0 and equal x = 1."""
    limits, ones = np.zeros(len(upper)), np.ones(len(equal))
    answer: Any = scipy.optimize.linprog(objective, upper, limits, equal, ones, bounds)
    if answer.status not in (0, INFEASIBLE):
        raise ArithmeticError(f"The linear program was not solved: {answer.message}")
    return answer


MAX_DEVIATIONS = 100_000


class MinimalTransfer(NamedTuple):
    """The minimal transfer with one share for all (s*) and with a share of each agent's own (g*).

    >>> from games import make
    >>> from games.theory import minimal_transfer
    >>> found = minimal_transfer(make("cyclical-prisoners-dilemma"))
    >>> found.optimum, round(found.s, 6), round(found.g, 6)
    (Outcome(profile=(0, 0, 0), welfare=9.0), 0.6, 0.75)
    """

    optimum: profiles.Outcome
    """Welfare optimum that transfers make dominant."""
    optima: tuple[profiles.Outcome, ...]
    """All welfare optima, including `optimum`."""
    min_share: float
    """Lower bound on every T_ii."""
    symmetric: FeasibleTransfer | InfeasibleTransfer
    """Result for matrices with T_ii = s and the rest divided evenly."""
    general: FeasibleTransfer | InfeasibleTransfer
    """Result for any matrix; with more than two agents, one of many solutions."""

    @property
    def s(self) -> float | None:
        """s*, from 0 to 1; None where infeasible."""
        return self.symmetric.share if isinstance(self.symmetric, FeasibleTransfer) else None

    @property
    def g(self) -> float | None:
        """g*, from s* to 1; None where infeasible."""
        return self.general.share if isinstance(self.general, FeasibleTransfer) else None


def minimal_transfer(
    game: Game,
    *,
    optimum: Sequence[int] | None = None,
    min_share: float = 0.0,
    along_graph: bool = False,
) -> MinimalTransfer:
    """Find the largest share that every agent can keep such that the welfare optimum is dominant.

    Agent i then gets sum_j T_ji r_j, and its part C_i of the optimum must be as good as any other action D_i
    whatever the others do: sum_j T_ji [r_j(D_i, a_-i) - r_j(C_i, a_-i)] <= 0 for all i, D_i and a_-i. Ties
    are allowed: dominance is weak.

    Args:
        game: a one-shot game with exact values, of two agents or more.
        optimum: welfare optimum to make dominant, an action of every agent; None: the first of those that
            tie, in the order of their actions, agent 0's first.
        min_share: lower bound on T_ii, from 0 to 1. At 0, the default, agents may swap their rewards; at
            1 / N none gives more than an equal part.
        along_graph: let only `game.neighbors` give to each other; otherwise all may, as in the source.
    Returns:
        The solutions with one share for all (s*) and with any shares (g*), or the proofs that there is none.
    Raises:
        ValueError: the game is not one-shot and exact, has one agent or too many deviations, or an argument
            does not fit it.
        ArithmeticError: the linear program's solution fails its own check.
    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> from games import make
    >>> found = minimal_transfer(make("prisoners-dilemma"))
    >>> round(found.s, 9), found.symmetric.matrix.round(3).tolist()
    (0.666666667, [[0.667, 0.333], [0.333, 0.667]])
    """
    agents, actions = game.num_agents, game.num_actions
    require(agents >= 2, f"Transfers need at least 2 agents; this game has {agents}.")
    require(0 <= min_share <= 1, f"The least share must be from 0 to 1; it is {min_share}.")
    count = agents * (actions - 1) * actions ** (agents - 1)
    require(
        count <= MAX_DEVIATIONS,
        f"Transfers are checked against every way to leave the optimum, up to {MAX_DEVIATIONS}; {agents} "
        f"agents with {actions} actions have {count}.",
    )
    table, optima = profiles.payoff_table(game), profiles.welfare_optima(game)
    chosen = _choose(optima, optimum)
    neighbors: Any = game.neighbors.numpy() if along_graph else np.ones((agents, agents), bool)
    found = profiles.deviations(table, chosen.profile)
    symmetric, general = (
        TransferProgram(allowed(neighbors), found, min_share).solve() for allowed in (one_share, any_shares)
    )
    return MinimalTransfer(chosen, optima, min_share, symmetric, general)


def _choose(optima: tuple[profiles.Outcome, ...], wanted: Sequence[int] | None) -> profiles.Outcome:
    if wanted is None:
        return optima[0]
    profile: profiles.Profile = tuple(wanted)
    match = [outcome for outcome in optima if outcome.profile == profile]
    shown = "; ".join(" ".join(map(str, outcome.profile)) for outcome in optima[:6])
    more = f" and {len(optima) - 6} more" if len(optima) > 6 else ""
    require(
        len(match) == 1,
        f"The optimum to make dominant must be one of {shown}{more} (an action's number for each agent); it "
        f"is {' '.join(map(str, profile)) or 'empty'}.",
    )
    return match[0]
