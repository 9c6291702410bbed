"""Schelling diagrams, and the conditions of a social dilemma read from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from games.core import require
from games.matrix import CountedFamily, MatrixGame, count_array, payoff_array, welfare_by_count

MAX_OPTIMA = 2**16
TOLERANCE = 1e-9  # margins up to this share of the largest payoff are rounding and count as ties


@dataclass(frozen=True, eq=False)
class SchellingData:
    """Payoffs of cooperating and defecting by the number of other cooperators.

    Where payoffs depend on which others cooperate, they are averaged over all sets of that size.

    Source:
        Schelling 1973, Journal of Conflict Resolution 17(3); as used by Hughes et al., Inequity aversion
        improves cooperation in intertemporal social dilemmas, arXiv 1803.08884.

    >>> from games import make
    >>> from games.theory import schelling
    >>> schelling(make("stag-hunt")).cooperator  # of each agent, alone and with the other
    array([[0., 3.],
           [0., 3.]])
    """

    cooperator: NDArray[np.float64]  # a cooperator's payoff R_c, [agent, m], m = 0..N-1 others cooperating
    defector: NDArray[np.float64]  # a defector's payoff R_d, [agent, m], m = 0..N-1 others cooperating
    average: NDArray[np.float64]  # mean payoff of all agents, [n], n = 0..N agents cooperating


def schelling(game: MatrixGame) -> SchellingData:
    """Compute a matrix game's Schelling diagram.

    Args:
        game: a matrix game whose actions are cooperate (0) and defect (1).
    Returns:
        Payoffs by the number of cooperators, in the game's units.
    Raises:
        ValueError: the game is not a matrix game, or its actions are not cooperate and defect.

    >>> from games import make
    >>> data = schelling(make("public-goods", agents=2, k=1.5))
    >>> data.cooperator[0], data.defector[0], data.average
    (array([0.75, 1.5 ]), array([1.  , 1.75]), array([1.  , 1.25, 1.5 ]))
    """
    _require_cooperative(game)
    agents = game.num_agents
    if isinstance(game, CountedFamily):
        cooperator, defector = (np.broadcast_to(row, (agents, agents)) for row in count_array(game))
        return SchellingData(cooperator, defector, welfare_by_count(game) / agents)
    payoffs = payoff_array(game).reshape(-1, agents).T
    cooperates = 1 - np.indices((2,) * agents).reshape(agents, -1)
    total = cooperates.sum(0)
    others = total - cooperates

    def mean_by_others(role: int) -> NDArray[np.float64]:
        counts = [(others == m) & (cooperates == role) for m in range(agents)]
        return np.stack([(payoffs * mask).sum(1) / mask.sum(1) for mask in counts], 1)

    average = np.array([payoffs[:, total == n].mean() for n in range(agents + 1)])
    return SchellingData(mean_by_others(1), mean_by_others(0), average)


@dataclass(frozen=True)
class DilemmaCondition:
    """One inequality of the test."""

    name: str
    formula: str  # the inequality in payoffs
    margin: float  # left side minus right side, in the game's units; the smallest over the agents
    holds: bool  # the margin is positive; a tie does not hold


@dataclass(frozen=True)
class DilemmaRule:
    """A condition: a weighted sum of the diagram's corners must be positive."""

    name: str
    of_two: str  # the formula for two agents
    of_many: str  # the formula for more agents; empty where the rule does not apply
    weights: tuple[float, float, float, float]  # of R = R_c(N-1), S = R_c(0), T = R_d(N-1) and P = R_d(0)


TURNS = DilemmaRule("cooperating beats taking turns", "2R > T + S", "", (2, -1, -1, 0))
REQUIRED = (
    DilemmaRule("cooperating beats defecting", "R > P", "R_c(N-1) > R_d(0)", (1, 0, 0, -1)),
    DilemmaRule("cooperating beats being exploited", "R > S", "R_c(N-1) > R_c(0)", (1, -1, 0, 0)),
    TURNS,
)
MOTIVES = (
    DilemmaRule("greed", "T > R", "R_d(N-1) > R_c(N-1)", (-1, 0, 1, 0)),
    DilemmaRule("fear", "P > S", "R_d(0) > R_c(0)", (0, -1, 0, 1)),
)


def rules(agents: int) -> tuple[DilemmaRule, ...]:
    """The rules that apply to this number of agents."""
    return tuple(rule for rule in (*REQUIRED, *MOTIVES) if agents == 2 or rule.of_many)


def corners(
    rule: DilemmaRule, cooperator: NDArray[np.float64], defector: NDArray[np.float64]
) -> NDArray[np.float64]:
    """R, S, T and P for a rule, [4, agent], from payoffs [agent, m] when m of the others cooperate.

    For the rule on taking turns, R is the mean over agents, and T the other agent's.
    """
    reward, temptation = cooperator[:, -1], defector[:, -1]
    if rule == TURNS:
        reward, temptation = np.full_like(reward, reward.mean()), temptation[::-1]
    return np.stack((reward, cooperator[:, 0], temptation, defector[:, 0]))


def judge(
    margins: Mapping[DilemmaRule, float], agents: int
) -> tuple[tuple[DilemmaCondition, ...], tuple[DilemmaCondition, ...]]:
    """Evaluate margins, 0 for a tie: the required conditions and the motives."""
    required, motives = (
        tuple(
            DilemmaCondition(rule.name, rule.of_two if agents == 2 else rule.of_many, margin, margin > 0)
            for rule in chosen
            if (margin := margins.get(rule)) is not None
        )
        for chosen in (REQUIRED, MOTIVES)
    )
    return required, motives


@dataclass(frozen=True)
class Verdict:
    """The conditions of a social dilemma that a game meets; `str` gives a sentence."""

    required: tuple[DilemmaCondition, ...]  # the conditions that must all hold
    motives: tuple[DilemmaCondition, ...]  # greed and fear, of which one must hold

    TIE: ClassVar[str] = "a tie"  # words for a margin of 0

    @property
    def failed(self) -> tuple[DilemmaCondition, ...]:
        """Required conditions that fail, and both motives if neither holds."""
        motives = () if any(motive.holds for motive in self.motives) else self.motives
        return (*(condition for condition in self.required if not condition.holds), *motives)

    @property
    def is_dilemma(self) -> bool:
        """True if no condition failed."""
        return not self.failed

    def __str__(self) -> str:
        if self.is_dilemma:
            return f"A social dilemma, by {self.motive}."
        return f"Not a social dilemma: {self.reasons}."

    @property
    def motive(self) -> str:
        """Greed, fear or both, in words."""
        return " and ".join(motive.name for motive in self.motives if motive.holds)

    @property
    def reasons(self) -> str:
        """The conditions that failed, in words."""
        return "; ".join(
            f"{condition.formula} fails ({condition.name}: "
            + (f"{self.TIE})" if condition.margin == 0 else f"margin {condition.margin:.3g})")
            for condition in self.failed
        )


@dataclass(frozen=True)
class DilemmaReport(Verdict):
    """The conditions of a social dilemma that a matrix game meets; `str` gives a sentence.

    >>> from games import make
    >>> from games.theory import dilemma_test
    >>> report = dilemma_test(make("stag-hunt"))
    >>> report.is_dilemma, report.motive
    (True, 'fear')
    >>> report.motives[0]
    DilemmaCondition(name='greed', formula='T > R', margin=-1.0, holds=False)
    """

    optima: frozenset[tuple[int, ...]]  # every pure profile of actions with the maximum welfare


def dilemma_test(game: MatrixGame) -> DilemmaReport:
    """Test whether a matrix game whose actions are cooperate (0) and defect (1) is a social dilemma.

    Mutual cooperation must be better than mutual defection and than cooperating alone; in a two-agent game
    it must also be better than taking turns at exploiting each other; and there must be greed (defecting pays
    when all others cooperate) or fear (defecting pays when all others defect). In an asymmetric game each
    condition must hold for every agent: its margin is the smallest of theirs.

    Args:
        game: a matrix game.
    Returns:
        The conditions with their margins; printed, a sentence.
    Raises:
        ValueError: the game is not a matrix game, or its actions are not cooperate and defect.
    Source:
        Two agents: Leibo et al., Multi-agent reinforcement learning in sequential social dilemmas, arXiv
        1702.03037. More: Hughes et al., arXiv 1803.08884, whose "sufficiently few" and "sufficiently many"
        cooperators are taken as none and all of the others.

    >>> from games import make
    >>> print(dilemma_test(make("prisoners-dilemma")))
    A social dilemma, by greed and fear.
    >>> chicken = dilemma_test(make("chicken"))
    >>> print(chicken)
    Not a social dilemma: 2R > T + S fails (cooperating beats taking turns: a tie).
    >>> sorted(chicken.optima)
    [(0, 0), (0, 1), (1, 0)]
    """
    data = schelling(game)
    if isinstance(game, CountedFamily):
        zero = TOLERANCE * max(np.abs(data.cooperator).max(), np.abs(data.defector).max())
        optima = _counted_optima(game, zero)
    else:
        zero = TOLERANCE * np.abs(payoff_array(game)).max()
        optima = _optima(payoff_array(game).sum(-1), zero)
    margins = {
        rule: float((rule.weights @ corners(rule, data.cooperator, data.defector)).min())
        for rule in rules(game.num_agents)
    }
    required, motives = judge(
        {rule: 0.0 if abs(value) <= zero else value for rule, value in margins.items()}, game.num_agents
    )
    return DilemmaReport(required, motives, optima)


def _optima(totals: NDArray[np.float64], zero: float) -> frozenset[tuple[int, ...]]:
    """The profiles with the maximum welfare, from totals [A, ..., A], up to rounding of each payoff."""
    profiles = np.argwhere(totals.max() - totals <= zero * totals.ndim)
    return frozenset(tuple(map(int, profile)) for profile in profiles)


def _counted_optima(game: CountedFamily, zero: float) -> frozenset[tuple[int, ...]]:
    """`_optima` from totals by the combinations of cooperators; ValueError if there are too many to list."""
    agents, totals = game.num_agents, welfare_by_count(game)
    counts = np.flatnonzero(totals.max() - totals <= zero * agents).tolist()
    combinations = sum(math.comb(agents, count) for count in counts)
    require(
        combinations <= MAX_OPTIMA,
        f"The best profiles are named one by one, up to {MAX_OPTIMA}; of {agents} agents, among whom "
        f"{' or '.join(map(str, counts))} cooperate, there are more: choose fewer agents.",
    )
    return frozenset(
        tuple(0 if agent in chosen else 1 for agent in range(agents))
        for count in counts
        for chosen in map(frozenset, itertools.combinations(range(agents), count))
    )


def _require_cooperative(game: MatrixGame) -> None:
    require(
        isinstance(game, MatrixGame),
        f"The dilemma test reads a one-shot matrix game's payoffs, and {type(game).__name__} is none "
        "(of a repeated game, test its stage).",
    )
    require(
        game.cooperative,
        "The dilemma test needs a game with two actions, 0 cooperating and 1 defecting; this game's actions "
        f"({', '.join(game.action_names)}) have no such reading.",
    )
