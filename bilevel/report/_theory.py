"""Theory of a one-shot game in tables and sentences: optima, equilibria, minimal transfers, mechanisms."""

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
    MechanismThresholds,
    MinimalTransfer,
    Profile,
    mechanism_thresholds,
    payoff_table,
    rounding,
    zero_sum_equilibrium,
)

MAX_ROWS = 6
"""Maximum number of optima or equilibria that are listed."""


def theory_report(game: Game, anarchy: Anarchy, transfer: MinimalTransfer, *, along_graph: bool) -> Group:
    """Format optima, pure equilibria and their prices, minimal transfers with proofs, and mechanisms.

    Args:
        game: a one-shot game with exact values.
        anarchy: result of `price_of_selfishness`.
        transfer: result of `minimal_transfer`.
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
    least = transfer.min_share
    demand = (
        f"T_ii >= {exact_number(least)} is required: each agent keeps at least this share of its own reward."
        if least
        else "T_ii >= 1/N is not required: an agent may keep less than an equal share of its own reward "
        "(--at-least-equal requires it)."
    )
    best = profile_name(game, transfer.optimum.profile)
    any_matrix = "any sharing matrix along the graph" if along_graph else "any sharing matrix"
    receivers = "its neighbors" if along_graph else "the other agents"
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
    return Group(*parts, "", *_mechanisms(game, mechanisms_of(game, transfer.optimum.profile)))


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


def mechanisms_of(game: Game, optimum: Profile) -> MechanismThresholds | str:
    """Compute the thresholds of mechanisms that make a game's optimum dominant.

    Args:
        game: a one-shot game with exact values.
        optimum: an action of every agent.
    Returns:
        The thresholds; or a sentence with the reason why there are none.

    >>> from games import make
    >>> mechanisms_of(make("prisoners-dilemma"), (0, 0)).contract
    1.0
    >>> mechanisms_of(make("chicken"), (0, 1))
    'No thresholds of mechanisms: in "swerve, straight" not all agents take the same action.'
    """
    if len(set(optimum)) > 1:
        return (
            f'No thresholds of mechanisms: in "{profile_name(game, optimum)}" not all agents take the same '
            "action."
        )
    try:
        return mechanism_thresholds(game, cooperate=optimum[0])
    except ValueError as error:
        return f"No thresholds of mechanisms: {error}"


def profile_name(game: Game, profile: Profile) -> str:
    names = [game.action_names[action] for action in profile]
    return f"all {names[0]}" if len(set(names)) == 1 else ", ".join(names)


def _mechanisms(game: Game, found: MechanismThresholds | str) -> list[RenderableType]:
    """Describe the thresholds of mechanisms: a table, and sentences on what it cannot show."""
    if isinstance(found, str):
        return [found]
    action, other = (game.action_names[index] for index in (found.cooperate, 1 - found.cooperate))
    share = "impossible" if found.sharing is None else exact_number(found.sharing)
    committing = (
        "dominant" if found.mediated_dominant else "equilibrium" if found.mediated_equilibrium else ""
    )
    low, high = (exact_number(end) for end in (min(found.taxes), max(found.taxes)))
    rows = [
        ("reward sharing: share of its reward that each agent gives", share),
        (f'contract: payment for "{other}", split among the others', exact_number(found.contract)),
        (f'Pigovian tax on "{other}": its externality', low if low == high else f"{low} to {high}"),
        (f'incentive: reward added for "{action}"', exact_number(found.incentive)),
        ("mediator: committing", committing or "no equilibrium"),
    ]
    columns = [Column(heading="mechanism"), Column(heading="threshold", form=str)]
    sentences = [
        f'Thresholds of mechanisms: the smallest values that make "{action}" dominant. While all agents '
        f'choose "{action}", sharing transfers rewards and incentives add to them; contracts and taxes pay '
        "nothing."
    ]
    notes = []
    if (low != high or not found.taxed_dominant) and len(found.taxes) <= MAX_ROWS:
        amounts = ", ".join(map(exact_number, found.taxes))
        notes.append(f'Taxes with m = 0, 1, ... of the other agents at "{action}": {amounts}.')
    if not found.taxed_dominant:
        excess, count = max(
            (gain - tax, m) for m, (gain, tax) in enumerate(zip(found.gains, found.taxes, strict=True))
        )
        notes.append(
            f'The tax does not make "{action}" dominant: with m = {count}, "{other}" gains '
            f"{exact_number(excess)} more than the tax."
        )
    notes.append(
        f'The mediator plays "{action}" for the agents that commit if all commit, and else "{other}" for '
        f"them. {_commitment(found, action, other)}"
    )
    return [*sentences, "", ResultsTable(columns=columns, rows=rows).to_rich(), "", *notes]


def _commitment(found: MechanismThresholds, action: str, other: str) -> str:
    if found.mediated_dominant:
        return "Committing is weakly dominant."
    if not found.mediated_equilibrium:
        return "An agent gains by not committing when all others commit."
    count = min(range(len(found.gains)), key=found.gains.__getitem__)
    return (
        f"That all commit is an equilibrium; committing is not dominant: with m = {count} of the other "
        f'agents at "{action}" uncommitted, "{action}" pays {exact_number(-found.gains[count])} more than '
        f'"{other}".'
    )


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
        return "under this matrix no deviation is profitable, and at least one costs nothing."
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
