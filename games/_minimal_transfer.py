"""How little must be given so that everybody's part of the welfare optimum is dominant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from games.base import Game
from games.errors import require
from games.profiles import Outcome, Profile, deviations, payoff_table, welfare_optima
from games.transfer_matrices import any_shares, one_share
from games.transfer_programme import Impossible, Transfer, TransferProgramme

MOST_DEVIATIONS = 100_000


class MinimalTransfer(NamedTuple):
    """What theory asks for, with one share for all (s*) and with shares of everybody's own (g*)."""

    optimum: Outcome
    """The welfare optimum that is made dominant."""
    optima: tuple[Outcome, ...]
    """All that tie with it, itself included."""
    least_share: float
    """What everybody was asked to keep at least, T_ii >= this."""
    symmetric: Transfer | Impossible
    """With T_ii = s and the rest divided evenly."""
    general: Transfer | Impossible
    """With any T; for more than two agents it is one of many."""

    @property
    def s(self) -> float | None:
        """s*, from 0 to 1; None where it is impossible."""
        return self.symmetric.share if isinstance(self.symmetric, Transfer) else None

    @property
    def g(self) -> float | None:
        """g*, from 0 to 1, s* or more; None where it is impossible."""
        return self.general.share if isinstance(self.general, Transfer) else None


def minimal_transfer(
    game: Game,
    *,
    optimum: Sequence[int] | None = None,
    least_share: float = 0.0,
    along_graph: bool = False,
) -> MinimalTransfer:
    """Find the greatest share that everybody can keep such that the welfare optimum is dominant.

    Agent i then gets sum_j T_ji r_j, and its part C_i of the optimum must be as good as any other action D_i
    whatever the others do: sum_j T_ji [r_j(D_i, a_-i) - r_j(C_i, a_-i)] <= 0 for all i, D_i and a_-i. With
    more than two actions there is such a line for each other action. Ties are allowed: dominance is weak.

    Args:
        game: a one-shot game with exact values, of two agents or more.
        optimum: which welfare optimum is to be dominant, an action of every agent; None: the first of those
            that tie, by its actions, agent 0's first, so that all playing action 0 goes before all else.
        least_share: what everybody must keep, T_ii >= least_share, from 0 to 1. The default asks for nothing,
            so that agents may swap their rewards altogether; with 1 / N nobody gives more than an equal part.
        along_graph: whether only `game.neighbours` may give to each other, s being the same for all and the
            rest divided evenly among one's neighbours; otherwise everybody gives to everybody, as in the
            source.

    Raises:
        ValueError: the game is not one-shot and exact, has one agent or too many deviations, or an argument
            does not fit it.
        ArithmeticError: the linear programme's answer does not stand its own check.

    Source:
        Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928.

    >>> from games.two_agent import SymmetricTwoAgentGame
    >>> found = minimal_transfer(SymmetricTwoAgentGame())
    >>> round(found.s, 9), found.symmetric.matrix.round(3).tolist()
    (0.666666667, [[0.667, 0.333], [0.333, 0.667]])
    """
    agents, actions = game.num_agents, game.num_actions
    require(agents >= 2, f"Transfers need at least 2 agents; this game has {agents}.")
    require(0 <= least_share <= 1, f"The least share must be from 0 to 1; it is {least_share}.")
    ways = agents * (actions - 1) * actions ** (agents - 1)
    require(
        ways <= MOST_DEVIATIONS,
        f"Transfers are checked against every way to leave the optimum, up to {MOST_DEVIATIONS}; {agents} "
        f"agents with {actions} actions have {ways}.",
    )
    table, optima = payoff_table(game), welfare_optima(game)
    chosen = _choose(optima, optimum)
    neighbours: NDArray[np.bool_] = (
        game.neighbours.numpy() if along_graph else np.ones((agents, agents), bool)
    )
    left = deviations(table, chosen.profile)
    symmetric, general = (
        TransferProgramme(allowed(neighbours), left, least_share).solve()
        for allowed in (one_share, any_shares)
    )
    return MinimalTransfer(chosen, optima, least_share, symmetric, general)


def _choose(optima: tuple[Outcome, ...], wanted: Sequence[int] | None) -> Outcome:
    if wanted is None:
        return optima[0]
    profile: Profile = tuple(wanted)
    match = [outcome for outcome in optima if outcome.profile == profile]
    shown = "; ".join(" ".join(map(str, outcome.profile)) for outcome in optima[:6])
    more = f" and {len(optima) - 6} more" if len(optima) > 6 else ""
    require(
        len(match) == 1,
        f"The optimum to make dominant must be one of {shown}{more} (an action's number for each agent); it "
        f"is {' '.join(map(str, profile)) or 'empty'}.",
    )
    return match[0]
