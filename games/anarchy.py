"""What selfishness costs: pure equilibria by enumeration, the price of anarchy and the price of stability."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from games.base import Game
from games.profiles import Outcome, outcomes, payoff_table, rounding, welfare_optima


class Price(NamedTuple):
    """A ratio of totals, or why there is none."""

    value: float | None
    """1 or more; None where it is undefined."""
    reason: str
    """What it compares, or why it is undefined, in a sentence."""


class Anarchy(NamedTuple):
    """The optimum of a one-shot game beside its pure equilibria."""

    optima: tuple[Outcome, ...]
    """The profiles with the greatest welfare, by their actions."""
    equilibria: tuple[Outcome, ...]
    """The pure Nash equilibria, by their actions; mixed ones are not enumerated."""
    price_of_anarchy: Price
    """Of the worst pure equilibrium."""
    price_of_stability: Price
    """Of the best pure equilibrium."""


def pure_equilibria(game: Game) -> tuple[Outcome, ...]:
    """Find all pure Nash equilibria, by trying all profiles: nobody gains by another action of its own.

    Args:
        game: a one-shot game with exact values, of any number of agents.

    Raises:
        ValueError: as for `payoff_table`.

    Source:
        Nash, Equilibrium points in n-person games, PNAS 36(1), 1950.

    >>> from games.catalogue import make
    >>> pure_equilibria(make("stag-hunt"))
    (Outcome(profile=(0, 0), welfare=6.0), Outcome(profile=(1, 1), welfare=2.0))
    """
    table = payoff_table(game)
    stays = np.ones(table.shape[:-1], dtype=bool)
    for agent in range(game.num_agents):
        own = table[..., agent]
        stays &= own >= own.max(agent, keepdims=True) - rounding(table)
    return outcomes(table, stays)


def price_of_selfishness(game: Game) -> Anarchy:
    """Compare a one-shot game's pure equilibria with its optimum.

    Where no profile's welfare is below 0 it is a payoff, and a price is the best welfare over the
    equilibrium's. Where none is above 0 minus welfare is a cost, and a price is the equilibrium's cost over
    the least. Where both signs occur a ratio would depend on where zero was put, so there is none; nor is
    there one over 0.

    Args:
        game: a one-shot game with exact values, of any number of agents. (A road network's prices for
            thousands of drivers: `games.congestion`.)

    Raises:
        ValueError: as for `payoff_table`.

    Source:
        Koutsoupias and Papadimitriou, Worst-case equilibria, STACS 1999; stability: Anshelevich et al., The
        price of stability for network design with fair cost allocation, FOCS 2004.

    >>> from games.catalogue import make
    >>> price_of_selfishness(make("braess")).price_of_anarchy.value == 320 / 260
    True
    """
    table = payoff_table(game)
    welfare, equal = table.sum(-1), game.num_agents * rounding(table)
    optima, equilibria = welfare_optima(game), pure_equilibria(game)
    least, most = float(welfare.min()), float(welfare.max())
    reason = ""
    if not equilibria:
        reason = "There is no pure equilibrium."
    elif least < -equal and most > equal:
        reason = f"Welfare runs from {least:.4g} to {most:.4g}: a ratio would depend on where zero was put."
    elif abs(most) <= equal:
        reason = "The best welfare is 0: there is nothing to divide, or to divide by."
    if reason:
        return Anarchy(optima, equilibria, Price(None, reason), Price(None, reason))
    by_welfare = sorted(equilibria, key=lambda outcome: outcome.welfare)
    anarchy, stability = (_price(most, by_welfare[place].welfare, equal) for place in (0, -1))
    return Anarchy(optima, equilibria, anarchy, stability)


def _price(best: float, found: float, equal: float) -> Price:
    """An equilibrium's price; what is at most `equal` is 0."""
    if best < 0:
        return Price(found / best, f"The equilibrium's cost over the least: {-found:.4g} / {-best:.4g}.")
    if found <= equal:
        return Price(None, f"The equilibrium's welfare is 0 and the best is {best:.4g}: no ratio is finite.")
    return Price(best / found, f"The best welfare over the equilibrium's: {best:.4g} / {found:.4g}.")
