"""`bilevel play`: a film of a game, played by a random, scripted or learned policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

import games
from bilevel import report
from bilevel.agents import Actor, random_actor, scripted_actor
from bilevel.cli._settings import graph_rules, read_settings, require_current, split_leading, split_name
from bilevel.experiments import LARGEST_SEED, RunConfig, RunFolder, load_checkpoint, load_config
from bilevel.methods import Playable
from bilevel.sharing import Transfer
from games.core import Game, require

RANDOM, SCRIPTED = "random", "scripted"
RANGES = {"frames_per_second": (0.01, 100.0), "scale": (0.1, 20.0)}
"""Film formats hold a frame for some minutes at most, in hundredths of a second."""


@dataclass(frozen=True, kw_only=True)
class PlaySettings:
    """A film of episodes of a game."""

    game: Game
    """The game's settings."""
    cooperators: int | None = None
    """Number of agents, the first ones, that cooperate under the scripted policy, 0 or more; None: all."""
    repetition: int = 0
    """Index of the seed, within the run, whose policies play; counted from 0."""
    episodes: int = 1
    """Number of episodes, 1 or more."""
    max_steps: int = 200
    """Maximum number of steps of an episode, 1 or more: every step is a frame in memory."""
    seed: int = 0
    """Random seed, a nonnegative integer."""
    frames_per_second: float = 4.0
    """Frames per second, from 0.01 to 100."""
    scale: float = 1.0
    """Scale of the frames, from 0.1 to 20."""

    def __post_init__(self) -> None:
        for name, least in (("repetition", 0), ("episodes", 1), ("max_steps", 1)):
            require(getattr(self, name) >= least, f"{name} must be {least} or more.")
        for name, (smallest, largest) in RANGES.items():
            value = getattr(self, name)
            require(
                smallest <= value <= largest,
                f"{name} must be from {smallest:g} to {largest:g}, not {value:g}.",
            )
        require(0 <= self.seed <= LARGEST_SEED, f"seed must be from 0 to {LARGEST_SEED}, not {self.seed}.")
        agents = self.game.num_agents
        require(
            self.cooperators is None or 0 <= self.cooperators <= agents,
            f"cooperators must be from 0 to {agents}, the number of agents, not {self.cooperators}.",
        )


def play_command(arguments: list[str]) -> None:
    named, options = split_name(arguments)
    chosen, rest = split_leading("bilevel play", options, names=("policy",))
    require_current(rest, "--most-steps", "--max-steps")
    policy = chosen.policy or RANDOM
    folder = None if policy in (RANDOM, SCRIPTED) else RunFolder(Path(policy))
    config = None if folder is None else _config(folder, named)
    name = named if config is None else config.game_name
    if name is None:
        raise ValueError(
            "Name the game first (bilevel games lists them): bilevel play escape-room --policy scripted"
        )
    out = chosen.out or Path(f"{name}.gif")
    settings = _parse(rest, name, games.make(name) if config is None else config.game)
    report.check_film(out)
    game, actor, transfer = _actor(settings, policy, folder, config)
    generator = torch.Generator().manual_seed(settings.seed)
    how = {name: getattr(settings, name) for name in ("episodes", "max_steps", "scale")}
    frames = report.film(game, actor, generator, **how, transfer=transfer)
    with torch.no_grad():
        print(f"Written: {report.write_film(frames, out, frames_per_second=settings.frames_per_second)}")


def _parse(arguments: list[str], name: str, game: Game) -> PlaySettings:
    return read_settings(
        PlaySettings,
        arguments,
        prog="bilevel play",
        description=(
            f"Render {name} as a video.\n\n--policy random (the default) draws legal actions uniformly, "
            "--policy scripted uses the game's scripted policy, and --policy FOLDER the policies of a run. "
            "--out NAME is the file of the video; its ending selects the format (.gif, .webp, .mp4). --load "
            "FILE.py runs your own file, which registers a game. The options below are those of this game."
        ),
        default=PlaySettings(game=game),
        rules=graph_rules(),
    )


def _config(folder: RunFolder, named: str | None) -> RunConfig:
    """Load the run's configuration; ValueError if it is not a run, or on another game than named."""
    require(
        folder.config.exists(),
        f"--policy is {RANDOM}, {SCRIPTED} or the folder of a run; {folder.path} is none of these.",
    )
    config = load_config(folder.config)
    require(
        named in (None, config.game_name), f"{folder.path} learned to play {config.game_name}, not {named}."
    )
    return config


def _actor(
    settings: PlaySettings, policy: str, folder: RunFolder | None, config: RunConfig | None
) -> tuple[Game, Actor, Transfer | None]:
    """Build the game as its method extends it, the actor, and the transfer between agents, if any."""
    game = settings.game
    if folder is None or config is None:
        count = game.num_agents if settings.cooperators is None else settings.cooperators
        first = torch.arange(game.num_agents) < count
        return game, (random_actor(game) if policy == RANDOM else scripted_actor(game, first)), None
    spaces = ("num_agents", "action_space", "observation_space")
    require(
        all(getattr(game, name) == getattr(config.game, name) for name in spaces),
        f"{folder.path} learned with other agents, actions or observations than these settings of the game "
        "have: leave them as they were.",
    )
    require(
        settings.repetition < config.seeds,
        f"{folder.path} has {config.seeds} repetitions, 0 to {config.seeds - 1}; there is no "
        f"{settings.repetition}.",
    )
    learner = config.build_learner()
    fresh = learner.init(config.seed)
    if not isinstance(learner, Playable):
        raise ValueError(f"{config.method_name} keeps no policies to play with.")
    state = load_checkpoint(folder.checkpoint, like=fresh).state
    game = config.method.training_game(game)
    return game, *learner.actor(game, state, settings.repetition)
