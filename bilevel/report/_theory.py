"""Theory of a one-shot game in tables and sentences: optima, equilibria, minimal transfers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Group, RenderableType

from bilevel.report._table import Column, ResultsTable, exact_number
from games.core import ExactGame, Game
from games.matrix import RepeatedGame
from games.theory import (
    Anarchy,
    Deviation,
    FeasibleTransfer,
    InfeasibleTransfer,
    MinimalTransfer,
    Profile,
    payoff_table,
    rounding,
    zero_sum_equilibrium,
)

MAX_ROWS = 6
"""Maximum number of optima or equilibria that are listed."""


def theory_report(game: Game, anarchy: Anarchy, transfer: MinimalTransfer, *, along_graph: bool) -> Group:
    """Format optima, pure equilibria and their prices, and minimal transfers, with the proofs.

    Args:
        game: a one-shot game with exact values.
        anarchy: of `price_of_selfishness`.
        transfer: of `minimal_transfer`.
        along_graph: as it was for `minimal_transfer`.
    Returns:
        Something that rich prints.

    >>> import rich
    >>> from games import make, minimal_transfer, price_of_selfishness
    >>> game = make("chicken")
    >>> anarchy, transfer = price_of_selfishness(game), minimal_transfer(game)
    >>> rich.print(theory_report(game, anarchy, transfer, along_graph=False))
    outcome ...
    """
    least = transfer.least_share
    demand = (
        f"T_ii >= {exact_number(least)} is required: each agent keeps at least this share of its own reward."
        if least
        else "T_ii >= 1/N is not required: an agent may keep less than an equal share of its own reward "
        "(--at-least-equal requires it)."
    )
    best = profile_name(game, transfer.optimum.profile)
    any_matrix = "any sharing matrix along the graph" if along_graph else "any sharing matrix"
    receivers = "its neighbours" if along_graph else "the other agents"
    symmetric = f"the same share for all agents, the rest split equally among {receivers}"
    parts: list[RenderableType] = [
        *_outcomes(game, anarchy),
        "",
        f"Price of anarchy: {_price(anarchy.price_of_anarchy)}",
        f"Price of stability: {_price(anarchy.price_of_stability)}",
        *_zero_sum(game),
        "",
        "Minimal transfers (arXiv 2310.12928): the largest share of its own reward that every agent can keep "
        f'such that "{best}" is dominant, that is, each agent\'s action in it is best whatever the other '
        f"agents do. {demand}",
        "",
        *_answer(game, "s*", symmetric, transfer.symmetric),
        "",
    ]
    if transfer.s is not None and transfer.g is not None and transfer.g - transfer.s < 1e-9:
        assert isinstance(transfer.general, FeasibleTransfer)
        parts.append(
            f"g* = {exact_number(transfer.g)} ({any_matrix}): equal to s*, so the matrix above attains it. "
            f"{_binding(game, transfer.general)}"
        )
    else:
        parts += _answer(game, "g*", any_matrix, transfer.general)
    return Group(*parts)


def stage_of(game: Game) -> ExactGame | None:
    """Return the one-shot game with exact values that a game is, or repeats.

    Args:
        game: any game.
    Returns:
        The one-shot game; None if there is none.

    >>> import games
    >>> stage_of(games.make("repeated-chicken")) == games.make("chicken"), stage_of(games.make("escape-room"))
    (True, None)
    """
    stage = game.stage if isinstance(game, RepeatedGame) else game
    exact = stage if isinstance(stage, ExactGame) else None
    return exact if exact is not None and exact.horizon == exact.num_observations == 1 else None


def profile_name(game: Game, profile: Profile) -> str:
    names = [game.action_names[action] for action in profile]
    return f"all {names[0]}" if len(set(names)) == 1 else ", ".join(names)


def _outcomes(game: Game, anarchy: Anarchy) -> list[RenderableType]:
    rows: list[tuple[Any, ...]] = []
    for title, found in (("optimum", anarchy.optima), ("pure equilibrium", anarchy.equilibria)):
        rows += [(title, profile_name(game, each.profile), each.welfare) for each in found[:MAX_ROWS]]
        if len(found) > MAX_ROWS:
            rows.append((title, f"and {len(found) - MAX_ROWS} more"))
        if not found:
            rows.append((title, "none"))
    words = [Column(heading=heading) for heading in ("outcome", "actions of agents 0, 1, ...")]
    table = ResultsTable(columns=[*words, Column(heading="welfare", form=exact_number)], rows=rows)
    several = len(anarchy.optima)
    ties = (
        [f"{several} optima tie; the analysis below is of one (--optimum selects it)."] if several > 1 else []
    )
    searched = "The search for pure equilibria is exhaustive; mixed equilibria are not enumerated."
    return [table.to_rich(), "", *ties, searched]


def _zero_sum(game: Game) -> list[str]:
    """Describe the mixed equilibrium of a zero-sum game of two agents."""
    table = payoff_table(game)
    if game.num_agents != 2 or np.abs(table.sum(-1)).max() > 2 * rounding(table):
        return []
    solved = zero_sum_equilibrium(torch.tensor(table[..., 0]))
    mixtures = (", ".join(map(exact_number, mixture.tolist())) for mixture in (solved.row, solved.column))
    return [
        f"Zero-sum equilibrium (a linear program): agent 0 plays its actions with probabilities "
        f"({next(mixtures)}), agent 1 with ({next(mixtures)}); the value for agent 0 is "
        f"{exact_number(solved.value)}."
    ]


def _price(price: tuple[float | None, str]) -> str:
    value, reason = price
    return f"undefined. {reason}" if value is None else f"{exact_number(value)}. {reason}"


def _answer(
    game: Game, name: str, kind: str, found: FeasibleTransfer | InfeasibleTransfer
) -> list[RenderableType]:
    if isinstance(found, InfeasibleTransfer):
        return [
            f"{name} ({kind}): impossible. Proof: under every such matrix the weighted sum of the gains of "
            f"the deviations below is at least {exact_number(found.gain)}, so at least one deviation pays.",
            "",
            _proof(game, found),
        ]
    return [
        f"{name} = {exact_number(found.share)} ({kind}). Share of each giver's reward by receiver:",
        "",
        _matrix(found.matrix),
        "",
        f"Verified: {_loss(found.largest_gain)} {_binding(game, found)}",
    ]


def _loss(largest_gain: float) -> str:
    """Describe the minimum loss of a deviation under a matrix that makes the optimum dominant."""
    if exact_number(largest_gain) == "0":
        return "under this matrix no deviation gains, and some deviation loses nothing."
    return f"under this matrix every deviation loses at least {exact_number(-largest_gain)}."


def _binding(game: Game, found: FeasibleTransfer) -> str:
    """Describe the binding deviation, which would pay if agents kept more."""
    if not found.binding or found.share > 1 - 1e-12:
        return "Agents can keep everything: no transfer is needed."
    if found.share < 1e-12:
        return f"Agents can keep nothing: {_deviation(game, found.binding[0])}."
    several = len(found.binding)
    besides = f" (one of {several} deviations that together prove it)" if several > 1 else ""
    return f"Agents cannot all keep more: {_deviation(game, found.binding[0])}{besides}."


def _deviation(game: Game, deviation: Deviation) -> str:
    agent, action, profile = deviation
    return (
        f'otherwise agent {agent} would deviate from "{profile_name(game, profile)}" to '
        f"{game.action_names[action]}"
    )


def _matrix(matrix: NDArray[np.float64]) -> Group:
    receivers = [Column(heading=f"to {receiver}", form=exact_number) for receiver in range(len(matrix))]
    rows = [(str(giver), *row) for giver, row in enumerate(matrix)]
    return ResultsTable(columns=[Column(heading="giver"), *receivers], rows=rows).to_rich()


def _proof(game: Game, found: InfeasibleTransfer) -> Group:
    words = [Column(heading=heading) for heading in ("agent", "deviates from", "to")]
    rows = [
        (weight, str(agent), profile_name(game, profile), game.action_names[action])
        for (agent, action, profile), weight in found.weights
    ]
    return ResultsTable(columns=[Column(heading="weight", form=exact_number), *words], rows=rows).to_rich()
