"""`bilevel evaluate`: a run's policies on fresh episodes, also with other settings of the game."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import games
from bilevel.cli._settings import graph_rules, read_settings, split_leading, split_name
from bilevel.experiments import evaluated, load_run
from bilevel.report import results_table
from games.core import Game


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Evaluation of a run's policies on fresh episodes."""

    game: Game
    """The game's settings."""
    episodes: int | None = None
    """Episodes per seed, 2 or more; None: as many as in the run's own evaluation."""
    new_policies: int | None = None
    """Outer steps of training for new policies under the run's sharing, which stays fixed; None: evaluate the
    run's own policies."""


def evaluate_command(arguments: list[str]) -> None:
    folder, options = split_name(arguments)
    _, rest = split_leading("bilevel evaluate", options, names=(), paths=())
    if folder is None:
        if {"-h", "--help"} & set(rest):
            parse_evaluate(rest, "RUN, the folder of a run,", games.make("aid"))
        raise ValueError("Name the folder of a run first, as in bilevel evaluate runs/aid --game.agents 2000")
    run = load_run(Path(folder))
    config = run.config
    chosen = parse_evaluate(rest, folder, config.game)
    fields = [field.name for field in dataclasses.fields(config.game)]  # type: ignore[arg-type]
    changed = {
        f"game.{name}": getattr(chosen.game, name)
        for name in fields
        if getattr(chosen.game, name) != getattr(config.game, name)
    }
    Console(highlight=False, markup=False, emoji=False).print(
        results_table([evaluated(run, changed, chosen.episodes, chosen.new_policies)])
    )


def parse_evaluate(arguments: list[str], folder: str, game: Game) -> EvaluateSettings:
    return read_settings(
        EvaluateSettings,
        arguments,
        prog="bilevel evaluate RUN",
        description=(
            f"Evaluate the policies of {folder} on fresh episodes.\n\nThe settings of the game may differ "
            "from those of training. To change the number of agents, train policies that share parameters "
            "and do not observe the agent's index (--policy mlp --policy.share-parameters "
            "--policy.no-observe-index), with an edge network if sharing is learned (--sharing "
            "edge-network). --new-policies STEPS evaluates the learned sharing instead: it trains new "
            "policies under this sharing, also for another number of agents. --load FILE.py runs your own "
            "file, which registers a game."
        ),
        default=EvaluateSettings(game=game),
        rules=graph_rules(),
    )
