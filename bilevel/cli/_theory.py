"""`bilevel theory`: optima, equilibria, minimal transfers and mechanisms of a one-shot game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

import games
from bilevel.cli._output import FAILED, Stopped
from bilevel.cli._settings import graph_rules, read_settings, split_leading
from bilevel.report import stage_of, theory_report
from games.core import Game
from games.theory import minimal_transfer, price_of_selfishness

DEFAULT_GAME = "prisoners-dilemma"


@dataclass(frozen=True, kw_only=True)
class TheorySettings:
    """Optima, equilibria, minimal transfers and thresholds of mechanisms of a one-shot game."""

    game_name: Annotated[str, tyro.conf.arg(name="game", metavar="NAME")]
    """Name of the game; `bilevel games` lists them."""
    game: Game
    """The game's settings."""
    optimum: tuple[int, ...] = ()
    """Welfare optimum that transfers make dominant, as the index of each agent's action; none: the first
    optimum."""
    at_least_equal: bool = False
    """Require each agent to keep at least an equal share, 1 / N, of its own reward."""
    along_graph: bool = False
    """Allow transfers between neighbors only."""

    def __post_init__(self) -> None:
        if stage_of(self.game) is None:
            known = {name: games.entry(name).game for name in games.names()}
            one_shot = ", ".join(name for name, game in known.items() if stage_of(game) is game)
            raise ValueError(
                f"Theory is worked out for one-shot games with exact values, and {self.game_name} is none; "
                f"these are: {one_shot}; and the stages of repeated games."
            )


def theory_command(arguments: list[str]) -> None:
    """Print the theory of a game; `Stopped` if a linear program's solution fails its check."""
    chosen, rest = split_leading("bilevel theory", arguments, names=("game",), paths=())
    settings = parse_theory(chosen.game or DEFAULT_GAME, rest)
    game = stage_of(settings.game)
    assert game is not None
    anarchy = price_of_selfishness(game)
    try:
        transfer = minimal_transfer(
            game,
            optimum=settings.optimum or None,
            min_share=1 / game.num_agents if settings.at_least_equal else 0.0,
            along_graph=settings.along_graph,
        )
    except ArithmeticError as error:
        raise Stopped(f"{error} Payoffs of very different sizes can do that.", FAILED) from None
    console = Console(highlight=False, markup=False, emoji=False)
    stage = "" if game is settings.game else "the stage game, played once; "
    actions = ", ".join(game.action_names)
    console.print(f"{settings.game_name}: {stage}{game.num_agents} agents; actions {actions}\n")
    console.print(theory_report(game, anarchy, transfer, along_graph=settings.along_graph))


def parse_theory(game_name: str, arguments: list[str]) -> TheorySettings:
    game = games.make(game_name)
    return read_settings(
        TheorySettings,
        arguments,
        prog="bilevel theory",
        description=(
            f"Theory of {game_name}: its welfare optimum and pure equilibria, the prices of anarchy and of "
            "stability, and the largest share of their own rewards that agents can keep so that the optimum "
            "is dominant (arXiv 2310.12928), with the proof. For symmetric games of two actions, also the "
            "thresholds of contracts, taxes, incentives and mediators.\n\n--game NAME chooses another game "
            f"(bilevel games); the options below are those of {game_name}. --load FILE.py runs your own "
            "file, which registers a game. docs/explanation/theory.md explains the terms."
        ),
        default=TheorySettings(game_name=game_name, game=game),
        rules=graph_rules(),
    )
