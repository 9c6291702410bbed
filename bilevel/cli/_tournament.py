"""`bilevel tournament`: learners and fixed strategies in every pairing, in one table and one figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from bilevel import report
from bilevel.cli._method_settings import labeled_configs
from bilevel.cli._output import FAILED, Stopped
from bilevel.cli._progress import TrialProgress, resumable
from bilevel.cli._settings import graph_rules, read_settings, require_once, split_leading
from bilevel.core import counted
from bilevel.experiments import DtypeName, RunConfig, Tournament, preset, require_seeds, sizes
from games.core import Game, require
from games.matrix import STRATEGIES, memory_one_strategy

DEFAULT_GAME = "repeated-prisoners-dilemma"


@dataclass(frozen=True, kw_only=True)
class TournamentSettings:
    """A tournament on a game of two agents."""

    game_name: Annotated[str, tyro.conf.arg(name="game", metavar="NAME")] = DEFAULT_GAME
    """Name of the game; `bilevel games` lists them."""
    game: Game
    """The game's settings."""
    learners: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL=]METHOD ...")] = ("naive=selfish",)
    """Methods of the learners; `bilevel methods` lists them. With labels, a method may appear more than
    once."""
    strategies: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Fixed strategies that do not learn, in repeated games with two actions; axelrod:NAME takes a memory-one
    strategy of the axelrod library."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[LABEL.]SETTING=VALUE ...")] = ()
    """Settings of learners, such as lola.rule=lola; without a label, they are for all learners. `bilevel
    train --method NAME --help` lists them. Separate the values of a list by commas."""
    pool: bool = False
    """Let all entrants learn in one pool, each against another one drawn at random in every outer step,
    instead of separately in each pairing."""
    seeds: int = 20
    """Number of independent repetitions of every match, 3 or more."""
    seed: int = RunConfig.seed
    """First random seed, a nonnegative integer."""
    outer_steps: int = RunConfig.outer_steps
    """Number of outer steps of every match, 1 or more."""
    evaluation_episodes: int = RunConfig.evaluation_episodes
    """Fresh episodes per seed to evaluate the final policies on, 2 or more; unused if values are exact."""
    dtype: DtypeName = RunConfig.dtype
    """Floating-point type; auto: float64 for exact values, float32 for sampled episodes."""
    device: str = RunConfig.device
    """Torch device, for instance cpu or cuda:0; it must support random generators."""
    threads: int = RunConfig.threads
    """CPU threads, from 1 to 1024."""

    def __post_init__(self) -> None:
        require_seeds(self.seeds)

    @property
    def tournament(self) -> Tournament:
        """The tournament; ValueError if a setting or an entrant is refused."""
        learners = labeled_configs(self, self.learners, self.set)
        twice = {name for name in self.strategies if self.strategies.count(name) > 1}
        require(not twice, f"{', '.join(sorted(twice))} is named twice: name every strategy once.")
        strategies = {name.replace(":", "-"): memory_one_strategy(name) for name in self.strategies}
        return Tournament(learners=learners, strategies=strategies)


def tournament_command(arguments: list[str]) -> None:
    """Play the missing matches, print the table, and write figure and files."""
    chosen, rest = split_leading("bilevel tournament", arguments, names=("game",))
    settings = parse_tournament(chosen.game or DEFAULT_GAME, rest)
    try:
        tournament = settings.tournament
    except ModuleNotFoundError as missing:
        raise Stopped(str(missing), FAILED) from None
    out = chosen.out or Path("runs/tournament") / settings.game_name
    with resumable("Run the same command again: finished matches are kept."):
        _run(settings, tournament, out)


def _run(settings: TournamentSettings, tournament: Tournament, out: Path) -> None:
    folder = tournament.open_folder(out)
    pairs = 1 if settings.pool else len(tournament.pairs)
    done = pairs - tournament.missing(folder, pool=settings.pool)
    what = "one pool" if settings.pool else counted(pairs, "match").replace("matchs", "matches")
    there = f" ({done} of {pairs} are there already)" if done else ""
    seeds = counted(settings.seeds, "seed")
    line = f"{', '.join(tournament.labels)} on {settings.game_name}: {what} of {seeds}, in {out}{there}"
    with TrialProgress(line, pairs, done, noun="match", plural="matches") as progress:
        matches = tournament.run(
            folder,
            pool=settings.pool,
            show=lambda name, part: progress.show(name, part, settings.outer_steps),
        )
    kind = "one pool" if settings.pool else "every pairing"
    steps = counted(settings.outer_steps, "outer step")
    title = f"Tournament on {settings.game_name}: {kind}, {seeds}, {steps}"
    config = tournament.base
    unit = config.game.value_unit if tournament.exact else "reward per episode"
    written = report.write_cross_play(
        matches, out / ("pool" if settings.pool else "pairings"), title, unit, config.seed
    )
    Console(highlight=False).print(report.cross_play_table(matches, title).to_rich())
    print(f"\nWritten to {written[0].parent}: {', '.join(path.name for path in written)}")


def parse_tournament(game_name: str, arguments: list[str]) -> TournamentSettings:
    require_once(arguments, "learners", "strategies", "set")
    game, _ = preset(game_name, "selfish")
    return read_settings(
        TournamentSettings,
        arguments,
        prog="bilevel tournament",
        description=(
            f"Let learners and fixed strategies meet on {game_name} in every pairing, and print the return "
            "of each against each. In a match both agents learn at once, each by its own method.\n\n"
            "--game NAME chooses another game. --out FOLDER is the "
            "folder of matches and files (default: runs/tournament/GAME): finished matches in it are reused. "
            "--load FILE.py runs your own file, which registers a game or a method. "
            "docs/how-to/tournaments.md explains the figure.\n\n"
            f"Fixed strategies: {', '.join(STRATEGIES)}."
        ),
        default=TournamentSettings(game_name=game_name, game=game, **sizes(game)),
        rules=graph_rules(),
    )
