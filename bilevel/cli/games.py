"""`bilevel games`: the catalogue, one game's page, and both as files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bilevel import report
from bilevel.cli.leading import split_name
from bilevel.cli.load import load_file
from bilevel.cli.rows import print_rows
from bilevel.cli.settings import read_settings
from bilevel.errors import require
from bilevel.experiment.limits import LARGEST_SEED
from games import catalogue


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What there is to play: every game with one line, or, with a name before the options, one game's page.

    A page has its agents, actions, observation, rewards, horizon, source and optimum, where it departs from
    its source, and its settings.
    """

    out: Path | None = None
    """Write a picture there, and where the game has a script its Schelling diagram and the numbers behind it;
    without a name: a document of all games."""
    episodes: int = 64
    """Episodes for each number of cooperators in a Schelling diagram, 2 or more."""
    seed: int = 0
    """Where all randomness of pictures and diagrams starts, a whole number from 0."""
    load: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A Python file of yours that adds a game; may be repeated."""

    def __post_init__(self) -> None:
        require(self.episodes >= 2, f"episodes must be 2 or more, not {self.episodes}.")
        require(0 <= self.seed <= LARGEST_SEED, f"seed must be from 0 to {LARGEST_SEED}, not {self.seed}.")


def games_command(arguments: list[str]) -> None:
    """List the games, or print one game's page; write files if asked to."""
    name, options = split_name(arguments)
    settings = read_settings(Catalogue, options, prog="bilevel games [GAME]")
    for path in settings.load:
        load_file(path)
    if name is not None:
        print(report.page(name).text())
    elif settings.out is None:
        print_rows({known: catalogue.entry(known).summary for known in catalogue.names()})
    if settings.out is None:
        return
    if name is not None:
        written = report.write_game(name, settings.out, episodes=settings.episodes, seed=settings.seed)
        print(f"\nWritten: {', '.join(map(str, written))}")
    else:
        document = report.write_catalogue(
            settings.out, episodes=settings.episodes, seed=settings.seed, listener=_tell
        )
        print(f"Written: {document} and its pictures")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
