"""Theoretical values of a game, beside learned ones: optimum, equilibria, transfers, mechanisms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import RenderableType

from bilevel.experiments import Compared, Interval
from bilevel.report._table import Column, ResultsTable, folded, number, with_interval
from bilevel.report._theory import mechanisms_of, stage_of
from games.core import Game
from games.matrix import RepeatedGame
from games.theory import (
    Anarchy,
    MechanismThresholds,
    MinimalTransfer,
    Price,
    minimal_transfer,
    price_of_selfishness,
)


class Theory(NamedTuple):
    """Optima, equilibria, minimal transfers and thresholds of mechanisms of a one-shot game.

    >>> import games
    >>> theory = theory_of(games.make("prisoners-dilemma"))
    >>> theory.optimum, theory.best, theory.worst
    (-2.0, -4.0, -4.0)
    """

    anarchy: Anarchy
    transfer: MinimalTransfer
    """Minimal transfers between neighbors only."""
    mechanisms: MechanismThresholds | None
    """None: the optimum or the game is not symmetric, or has more actions."""
    stage: bool
    """True if it is the stage of a repeated game."""

    @property
    def optimum(self) -> float:
        """Maximum welfare, in the game's units."""
        return self.anarchy.optima[0].welfare

    @property
    def worst(self) -> float | None:
        """Welfare of the worst pure equilibrium; None: there is no pure equilibrium."""
        return min((outcome.welfare for outcome in self.anarchy.equilibria), default=None)

    @property
    def best(self) -> float | None:
        """Welfare of the best pure equilibrium; None: there is no pure equilibrium."""
        return max((outcome.welfare for outcome in self.anarchy.equilibria), default=None)


def theory_of(game: Game) -> Theory | str:
    """Compute the theory of a one-shot game or a repeated game's stage.

    Args:
        game: any game.
    Returns:
        Optima, equilibria and minimal transfers; or a sentence with the reason why there are none.

    >>> import games
    >>> theory = theory_of(games.make("repeated-prisoners-dilemma"))
    >>> (theory.optimum, theory.worst, round(theory.transfer.s, 4), theory.stage)
    (-2.0, -4.0, 0.6667, True)
    >>> theory_of(games.make("escape-room"))
    'No theoretical values: EscapeRoom is not a one-shot game with exact values, nor a repetition of one.'
    """
    stage = stage_of(game)
    if stage is None or (stage is not game and type(game) is not RepeatedGame):
        return (
            f"No theoretical values: {type(game).__name__} is not a one-shot game with exact values, nor a "
            "repetition of one."
        )
    try:
        anarchy, transfer = price_of_selfishness(stage), minimal_transfer(stage, along_graph=True)
    except (ValueError, ArithmeticError) as error:
        return f"No theoretical values: {error}"
    found = mechanisms_of(stage, transfer.optimum.profile)
    mechanisms = None if isinstance(found, str) else found
    return Theory(anarchy, transfer, mechanisms, stage is not game)


def kept(row: Compared) -> Interval | None:
    """Mean own share of a method; None if rewards are not shared."""
    away = row.intervals.get("given_away")
    return None if away is None else Interval(1 - away.estimate, 1 - away.high, 1 - away.low)


def theory_tables(theory: Theory | str, rows: Sequence[Compared]) -> list[RenderableType]:
    if isinstance(theory, str):
        return [folded([theory])]
    welfare, shares = theory_results(theory, rows)
    return [welfare.to_rich(), "", shares.to_rich()]


def theory_results(theory: Theory, rows: Sequence[Compared]) -> list[ResultsTable]:
    """Build the tables of a game's theory beside what was learned: welfare and prices, and own shares.

    >>> import games
    >>> [table.title for table in theory_results(theory_of(games.make("chicken")), [])]
    ['Theory', '']
    """
    reasons = dict.fromkeys(price.reason for price in _prices(theory) if price.value is None)
    of_what = "the stage game, played once" if theory.stage else "the one-shot game"
    notes = [
        f"Theoretical values of {of_what} (`bilevel theory` prints the proofs). Equilibria are pure. A "
        "price is the ratio of the optimum's welfare to an equilibrium's, or, for costs, the inverse ratio. "
        f"{' '.join(reasons)}".strip(),
        "s* and g* are the largest shares of its own reward that every agent can keep such that the optimum "
        "is dominant: each agent's action in it is best, whatever the other agents do (arXiv 2310.12928). "
        "Transfers are between neighbors only. The other rows give the mean own share of the trained agents.",
    ]
    if theory.stage:
        notes.append("A repeated game has more equilibria than its stage, so that agents may keep more.")
    return [_welfare_table(theory), _kept_table(theory, rows, notes)]


def theory_levels(theory: Theory) -> list[tuple[str, float]]:
    """Levels to mark among curves of welfare: label and welfare, in the game's units."""
    optimum = ("welfare optimum", theory.optimum)
    if theory.best is None or theory.worst is None:
        return [optimum]
    of_stage = " of the stage" if theory.stage else ""
    if len(theory.anarchy.equilibria) == 1:
        return [optimum, (f"only pure equilibrium{of_stage}", theory.best)]
    if theory.best == theory.worst:
        return [optimum, (f"pure equilibria{of_stage}", theory.best)]
    found = (("best", theory.best), ("worst", theory.worst))
    return [optimum, *((f"{which} pure equilibrium{of_stage}", height) for which, height in found)]


def share_levels(theory: Theory) -> list[tuple[str, float]]:
    """Levels to mark among curves of shares kept: s* and g*, where they are possible."""
    return [(name, share) for name, share in _max_shares(theory).items() if share is not None]


def theory_record(theory: Theory, rows: Sequence[Compared]) -> dict[str, Any]:
    """Numbers of `theory_tables` for a file; None where undefined."""
    anarchy, stability = _prices(theory)
    return {
        "of_the_stage": theory.stage,
        "optimum": theory.optimum,
        "best_equilibrium": theory.best,
        "worst_equilibrium": theory.worst,
        "price_of_stability": stability.value,
        "price_of_anarchy": anarchy.value,
        "s": theory.transfer.s,
        "g": theory.transfer.g,
        "mechanisms": None if theory.mechanisms is None else dataclasses.asdict(theory.mechanisms),
        "kept": {
            row.label: {name: float(value) for name, value in share._asdict().items()}
            for row in rows
            if (share := kept(row)) is not None
        },
    }


def _prices(theory: Theory) -> tuple[Price, Price]:
    return theory.anarchy.price_of_anarchy, theory.anarchy.price_of_stability


def _max_shares(theory: Theory) -> dict[str, float | None]:
    """Maximum own shares; None where no matrix makes the optimum dominant."""
    return {"s*": theory.transfer.s, "g*": theory.transfer.g}


def _welfare_table(theory: Theory) -> ResultsTable:
    anarchy, stability = (
        "undefined" if price.value is None else number(price.value) for price in _prices(theory)
    )
    rows: list[tuple[Any, ...]] = [("optimum", theory.optimum)]
    if theory.best is None or theory.worst is None:
        rows.append(("pure equilibrium", "none"))
    else:
        rows += [
            ("best pure equilibrium", theory.best, f"stability {stability}"),
            ("worst pure equilibrium", theory.worst, f"anarchy {anarchy}"),
        ]
    forms = {"outcome": None, "welfare": number, "price": str}
    columns = [Column(heading=heading, form=form) for heading, form in forms.items()]
    return ResultsTable(title="Theory", columns=columns, rows=rows)


def _kept_table(theory: Theory, rows: Sequence[Compared], notes: Sequence[str]) -> ResultsTable:
    kinds = {"s*": "the same share for all agents", "g*": "any sharing matrix"}
    columns = (
        Column(heading="bound or method"),
        Column(heading="own share [95 % interval]", form=with_interval, interval=True),
    )
    limits = [
        (f"{name}, maximum with {kinds[name]}", "impossible" if share is None else number(share))
        for name, share in _max_shares(theory).items()
    ]
    learned = [(row.label, share) for row in rows if (share := kept(row)) is not None]
    return ResultsTable(columns=columns, rows=[*limits, *learned], notes=notes)
