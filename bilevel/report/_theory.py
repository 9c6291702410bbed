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
    """Format optima, pure equilibria and their prices, and minimal transfers, with the proofs."""
    least = transfer.least_share
    demand = (
        f"T_ii >= {exact_number(least)} was demanded: nobody may keep less than that of its own reward."
        if least
        else "T_ii >= 1/N was not demanded: an agent may give others more of its reward than it keeps "
        "(--at-least-equal demands it)."
    )
    best = profile_name(game, transfer.optimum.profile)
    any_matrix = "any matrix along the graph" if along_graph else "any matrix"
    rest = "its neighbours" if along_graph else "the others"
    parts: list[RenderableType] = [
        *_outcomes(game, anarchy),
        "",
        f"Price of anarchy: {_price(anarchy.price_of_anarchy)}",
        f"Price of stability: {_price(anarchy.price_of_stability)}",
        *_zero_sum(game),
        "",
        "Minimal transfers (arXiv 2310.12928): how much of its own reward can everybody keep, so that its "
        f'part of "{best}" is best for it whatever the others do? {demand}',
        "",
        *_answer(game, "s*", f"one share for all, the rest evenly to {rest}", transfer.symmetric),
        "",
    ]
    if transfer.s is not None and transfer.g is not None and transfer.g - transfer.s < 1e-9:
        assert isinstance(transfer.general, FeasibleTransfer)
        parts.append(
            f"g* = {exact_number(transfer.g)} ({any_matrix}): the same, so that the matrix above serves. "
            f"{_binding(game, transfer.general)}"
        )
    else:
        parts += _answer(game, "g*", any_matrix, transfer.general)
    return Group(*parts)


def stage_of(game: Game) -> ExactGame | None:
    """Return the one-shot game with exact values that a game is, or repeats; None if there is none.

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
    words = [Column(heading=heading) for heading in ("outcome", "agents 0, 1, ... play")]
    table = ResultsTable(columns=[*words, Column(heading="welfare", form=exact_number)], rows=rows)
    several = len(anarchy.optima)
    ties = [f"{several} optima tie; what follows speaks of one (--optimum chooses)."] if several > 1 else []
    searched = "Every pure equilibrium was looked for; mixed ones are not enumerated."
    return [table.to_rich(), "", *ties, searched]


def _zero_sum(game: Game) -> list[str]:
    """Describe the mixed equilibrium of a zero-sum game of two agents."""
    table = payoff_table(game)
    if game.num_agents != 2 or np.abs(table.sum(-1)).max() > 2 * rounding(table):
        return []
    solved = zero_sum_equilibrium(torch.tensor(table[..., 0]))
    mixtures = (", ".join(map(exact_number, mixture.tolist())) for mixture in (solved.row, solved.column))
    return [
        f"Zero-sum: with the probabilities ({next(mixtures)}) and ({next(mixtures)}) of the actions neither "
        f"agent can gain (a linear program); agent 0 then gets {exact_number(solved.value)}."
    ]


def _price(price: tuple[float | None, str]) -> str:
    value, reason = price
    return f"undefined. {reason}" if value is None else f"{exact_number(value)}. {reason}"


def _answer(
    game: Game, name: str, kind: str, found: FeasibleTransfer | InfeasibleTransfer
) -> list[RenderableType]:
    if isinstance(found, InfeasibleTransfer):
        return [
            f"{name} ({kind}): impossible. Weigh the deviations below: under every such matrix their gains, "
            f"times their weights, add up to {exact_number(found.gain)} or more, so that one of them pays.",
            "",
            _proof(game, found),
        ]
    return [
        f"{name} = {exact_number(found.share)} ({kind}). The share of each giver's reward by receiver:",
        "",
        _matrix(found.matrix),
        "",
        f"Checked: {_loss(found.largest_gain)} {_binding(game, found)}",
    ]


def _loss(largest_gain: float) -> str:
    """Describe the minimum loss of a deviation under a matrix that makes the optimum dominant."""
    if exact_number(largest_gain) == "0":
        return "under it nobody gains by leaving, and somebody loses nothing by it."
    return f"under it whoever leaves loses {exact_number(-largest_gain)} or more."


def _binding(game: Game, found: FeasibleTransfer) -> str:
    """Describe the binding deviation, which would pay if agents kept more."""
    if not found.binding or found.share > 1 - 1e-12:
        return "Everything can be kept: nothing need be given."
    if found.share < 1e-12:
        return f"Nothing can be kept: {_deviation(game, found.binding[0])}."
    several = len(found.binding)
    besides = f" (one of {several} deviations that prove it together)" if several > 1 else ""
    return f"Not everybody can keep more: {_deviation(game, found.binding[0])}{besides}."


def _deviation(game: Game, deviation: Deviation) -> str:
    agent, action, profile = deviation
    return (
        f'else agent {agent} would leave "{profile_name(game, profile)}" to play {game.action_names[action]}'
    )


def _matrix(matrix: NDArray[np.float64]) -> Group:
    receivers = [Column(heading=f"to {receiver}", form=exact_number) for receiver in range(len(matrix))]
    rows = [(str(giver), *row) for giver, row in enumerate(matrix)]
    return ResultsTable(columns=[Column(heading="giver"), *receivers], rows=rows).to_rich()


def _proof(game: Game, found: InfeasibleTransfer) -> Group:
    words = [Column(heading=heading) for heading in ("agent", "leaves", "to play")]
    rows = [
        (weight, str(agent), profile_name(game, profile), game.action_names[action])
        for (agent, action, profile), weight in found.weights
    ]
    return ResultsTable(columns=[Column(heading="weight", form=exact_number), *words], rows=rows).to_rich()
