"""Mechanisms that make cooperation dominant: thresholds of shares, contracts, taxes and incentives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from games.core import Game, require
from games.matrix import CountedFamily, count_array
from games.theory import _profiles as profiles


@dataclass(frozen=True)
class MechanismThresholds:
    """Smallest intervention of each mechanism that makes an action dominant, in a symmetric game.

    With m = 0..N-1 of the other agents cooperating, R_c(m) and R_d(m) are the payoffs of a cooperator and of
    a defector. Dominance is weak: ties are allowed.

    >>> from games import make
    >>> from games.theory import mechanism_thresholds
    >>> found = mechanism_thresholds(make("prisoners-dilemma"))
    >>> round(found.sharing, 6), found.contract, found.taxes, found.incentive, found.mediated_dominant
    (0.333333, 1.0, (2.0, 2.0), 1.0, True)
    """

    cooperate: int
    """The action that is made dominant; the other one is to defect."""
    gains: tuple[float, ...]
    """A defector's gain R_d(m) - R_c(m), by m, in the game's units."""
    taxes: tuple[float, ...]
    """Pigovian tax on a defector, by m: its externality, what defecting takes from the other agents, who are
    m cooperators and N - 1 - m defectors: m [R_c(m) - R_c(m-1)] + (N-1-m) [R_d(m+1) - R_d(m)]."""
    taxed_dominant: bool
    """True if the taxes suffice: no gain is greater than the tax."""
    sharing: float | None
    """Reward sharing: the minimum share of its reward that each agent must give, split equally among the
    others, 1 - s* of `minimal_transfer`; None: no share is enough."""
    contract: float
    """Contract: the smallest payment of a defector, divided evenly among the other agents."""
    incentive: float
    """Incentives: the smallest difference of what the other agents together add to the reward of a cooperator
    and of a defector."""
    mediated_equilibrium: bool
    """Mediator: committing is a Nash equilibrium if the mediator cooperates for all agents that commit when
    everybody commits, and else defects for them."""
    mediated_dominant: bool
    """Mediator: committing is weakly dominant, too."""


def mechanism_thresholds(game: Game, *, cooperate: int = 0) -> MechanismThresholds:
    """Compute the thresholds from which mechanisms make cooperation dominant.

    With N agents, the gain of defecting D(m) = R_d(m) - R_c(m), and its externality E(m) (`taxes`):

    * sharing, a share w given: the smallest w in [0, 1] with (1 - w) D(m) <= w E(m) / (N-1) for all m;
    * contract and incentive: max(0, max_m D(m)); for two agents max(0, T - R, P - S);
    * Pigovian tax: E(m), R - S and T - P for two agents;
    * mediator: committing is an equilibrium if R_c(N-1) >= R_d(0) and R_c(N-1) >= R_c(0), and dominant if
      D(m) >= 0 for all m, too.

    Args:
        game: a symmetric one-shot game of two actions with exact values; `CountedFamily` of any size.
        cooperate: the action to make dominant, 0 or 1.
    Returns:
        The thresholds in the game's units; shares from 0 to 1.
    Raises:
        ValueError: the game is of one agent, has more actions, is not symmetric, or has no payoff table.
    Source:
        Sharing: Willis et al., arXiv 2310.12928. Contract: Christoffersen et al., Get It in Writing, arXiv
        2208.10469. Tax: Pigou, The Economics of Welfare, 1920. Incentive: Yang et al., Learning to
        Incentivize Other Learning Agents, arXiv 2006.06051. Mediator: Ivanov et al., Mediated Multi-Agent
        Reinforcement Learning, arXiv 2306.08419. The formulas are derived here.

    >>> from games import make
    >>> found = mechanism_thresholds(make("public-goods", agents=1000, k=1.5))
    >>> round(found.sharing, 6), round(found.contract, 6), round(found.taxes[0], 6)  # 1 - k/N, k (N-1)/N
    (0.9985, 0.9985, 1.4985)
    """
    require(cooperate in (0, 1), f"The action to make dominant must be 0 or 1; it is {cooperate}.")
    counted = _payoffs_by_count(game, cooperate)
    cooperator, defector = counted
    agents, others = game.num_agents, np.arange(game.num_agents)
    zero = profiles.rounding(counted)

    def clean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.abs(values) <= zero, 0.0, values)

    gains = clean(defector - cooperator)
    lost_by_cooperators = others[1:] * clean(np.diff(cooperator))  # with m = 1..N-1
    lost_by_defectors = (agents - 1 - others[:-1]) * clean(np.diff(defector))  # with m = 0..N-2
    taxes = np.append(0.0, lost_by_cooperators) + np.append(lost_by_defectors, 0.0)
    payment = float(gains.max().clip(0))
    equilibrium = bool(cooperator[-1] >= max(defector[0], cooperator[0]) - zero)
    return MechanismThresholds(
        cooperate,
        tuple(map(float, gains)),
        tuple(map(float, taxes)),
        bool((gains <= taxes + agents * zero).all()),
        _least_share(gains, taxes / (agents - 1)),
        contract=payment,
        incentive=payment,
        mediated_equilibrium=equilibrium,
        mediated_dominant=equilibrium and bool((gains >= 0).all()),
    )


def _least_share(gains: NDArray[np.float64], harms: NDArray[np.float64]) -> float | None:
    """The smallest w from 0 to 1 with gains <= w (gains + harms), if there is one."""
    slopes = gains + harms
    if (gains[slopes == 0] > 0).any():
        return None
    least = (gains[slopes > 0] / slopes[slopes > 0]).max(initial=0.0)
    most = (gains[slopes < 0] / slopes[slopes < 0]).min(initial=1.0)
    return float(least) if least <= most + profiles.TOLERANCE else None


def _payoffs_by_count(game: Game, cooperate: int) -> NDArray[np.float64]:
    """Payoffs of a cooperator and of a defector by the number of other cooperators, [2, N]."""
    kind, agents = type(game).__name__, game.num_agents
    require(agents >= 2, f"Mechanisms need at least 2 agents; {kind} has {agents}.")
    require(
        game.num_actions == 2,
        f"Mechanisms are compared in games of two actions; {kind} has {game.num_actions}.",
    )
    if isinstance(game, CountedFamily):
        table = count_array(game)
        return table if cooperate == 0 else table[::-1, ::-1]
    table = profiles.payoff_table(game).reshape(-1, agents)
    profile = np.indices((2,) * agents).reshape(agents, -1).T
    acts = profile != cooperate  # False: cooperates
    others = (~acts).sum(1, keepdims=True) - ~acts
    rows = []
    for role in (False, True):
        chosen = [table[(acts == role) & (others == count)] for count in range(agents)]
        spread = max(float(np.ptp(values)) for values in chosen)
        require(
            spread <= profiles.rounding(table),
            f"Mechanisms are compared in symmetric games; in {kind}, payoffs depend on more than an "
            "agent's own action and the number of the other agents that take each action.",
        )
        rows.append([float(values[0]) for values in chosen])
    return np.array(rows)
