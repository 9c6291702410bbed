"""The catalogue as files: a picture and a Schelling diagram of a game, and a document of all of them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

import games
from bilevel.agents import random_actor
from bilevel.experiments import write_atomic, write_text
from bilevel.report._catalogue import page
from bilevel.report._style import BLACK, BLUE, RED, save_with_numbers, style
from bilevel.report._table import csv_text
from games.adapters import ForeignGame
from games.core import Game
from games.matrix import MatrixGame, RepeatedGame
from games.theory import EVERYBODY, Estimated, ScriptedSchelling, scripted_schelling

PICTURED_AFTER = 10
"""Number of steps after which a game is drawn, unless the episode is shorter."""
LOOKS = {"cooperator": (BLUE, "o", "-"), "defector": (RED, "s", "--"), "all agents": (BLACK, "D", ":")}

HEAD = """\
# The games

Every game of the catalogue, as `bilevel games --out docs/reference/games` wrote it; `bilevel games GAME`
prints one page, and `games.make("GAME", setting=value)` makes the game. Repeated games have the rules of
`repeated-prisoners-dilemma`, with another game as the stage. Schelling diagrams show the values of scripted
cooperators and defectors (`bilevel games GAME --out FOLDER` draws one and writes its numbers as CSV), and the
conditions of a social dilemma that hold between these two policies; no other policies were tried. Agents that
are not interchangeable have separate lines. Pictures are drawn after at most ten random steps.
"""


def picture(game: Game, generator: torch.Generator) -> np.ndarray:
    """Draw a game after some random actions: uint8 [height, width, 3]."""
    state, act = game.reset(1, generator), random_actor(game)
    frame = None
    for _ in range(min(PICTURED_AFTER, game.horizon)):
        if isinstance(game, ForeignGame):  # earlier states of these cannot be drawn
            frame = game.render(state)
        after, _, done = game.step(state, act(state, generator)[0], generator)
        if done.item() and game.horizon > 1:
            break
        state, frame = after, None
    return game.render(state) if frame is None else frame


def write_game(name: str, folder: Path, *, episodes: int, seed: int) -> list[Path]:
    """Write a game's picture, frame.png, and, with a scripted policy, schelling.png and schelling.csv.

    Args:
        name: of the catalogue.
        folder: created if it does not exist.
        episodes: for each number of cooperators.
        seed: of all randomness.
    Returns:
        The files written.

    >>> [path.name for path in write_game("escape-room", Path("game"), episodes=2, seed=0)]
    ['frame.png', 'schelling.png', 'schelling.csv']
    """
    game = games.make(name)
    folder.mkdir(parents=True, exist_ok=True)
    written = [_write_picture(game, folder / "frame.png", seed)] if game.can_render else []
    if _has_script(game):
        written += _write_schelling(name, game, folder / "schelling.png", episodes, seed)
    return written


def write_catalogue(
    folder: Path, *, episodes: int, seed: int, listener: Callable[[str], object] = lambda line: None
) -> Path:
    """Write README.md with every game's page, and the pictures beside it.

    Args:
        folder, episodes, seed: as of `write_game`.
        listener: called with a line for every game.
    Returns:
        The path of README.md.

    `bilevel games --out FOLDER` calls it; of two games it takes a second:

    >>> import games
    >>> from unittest import mock
    >>> with mock.patch("games.names", lambda: ("chicken", "escape-room")):
    ...     write_catalogue(Path("catalogue"), episodes=2, seed=0, listener=print)
    1 of 2: chicken
    2 of 2: escape-room
    PosixPath('catalogue/README.md')
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in games.names() if shown(name)]
    for number, name in enumerate(names):
        listener(f"{number + 1} of {len(names)}: {name}")
        game = games.make(name)
        if game.can_render:
            _write_picture(game, folder / f"{name}.png", seed)
        if has_diagram(game):
            _write_schelling(name, game, folder / f"{name}-schelling.png", episodes, seed)
    document = folder / "README.md"
    write_text(document, document_text())
    return document


def document_text() -> str:
    index = ["| game | agents | summary |", "|---|---|---|"]
    for name in games.names():
        entry = games.entry(name)
        link = f"[{name}](#{name})" if shown(name) else name
        index.append(f"| {link} | {entry.game.num_agents} | {entry.summary} |")
    sections = []
    for name in filter(shown, games.names()):
        section = page(name).markdown(picture=f"{name}.png")
        if has_diagram(games.entry(name).game):
            section += (
                f"\n\n![Values of a cooperator and a defector in {name}, by the number of other cooperators]"
                f"({name}-schelling.png)"
            )
        sections.append(section)
    return "\n\n".join([HEAD.rstrip(), "\n".join(index), *sections]) + "\n"


def shown(name: str) -> bool:
    """True if a game has a section of its own; of the repeated games, the first has."""
    game = games.entry(name).game
    return not isinstance(game, RepeatedGame) or name == "repeated-prisoners-dilemma"


def has_diagram(game: Game) -> bool:
    """True if a game has a Schelling diagram in the document; pictures of matrix games show payoffs."""
    return not isinstance(game, MatrixGame | RepeatedGame) and _has_script(game)


def _has_script(game: Game) -> bool:
    state = game.reset(1, torch.Generator())
    return game.scripted(state, torch.ones(1, game.num_agents, dtype=torch.bool)) is not None


def _write_picture(game: Game, path: Path, seed: int) -> Path:
    frame = picture(game, torch.Generator().manual_seed(seed))
    colors = Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE)
    write_atomic(path, lambda file: colors.save(file, format="png", optimize=True))
    return path


def _draw_roles(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    """Draw the values of a cooperator and a defector by the number of other cooperators.

    Agents that are not interchangeable have separate lines, paler for later ones.
    """
    for role, values in (("cooperator", data.cooperator), ("defector", data.defector)):
        for row, agent in enumerate(data.agents):
            of_agent = Estimated(values.mean[row], values.error[row])
            label = role if agent == EVERYBODY else f"{role}, agent {agent}"
            _draw(axes, of_agent, role, label, opacity=1 - 0.7 * row / len(data.agents))
    axes.set_xlabel("number of other cooperators")
    axes.set_ylabel(f"value of one agent\n({unit})")
    axes.legend()


def _draw_average(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    _draw(axes, data.average, "all agents", "all agents")
    axes.set_xlabel("number of cooperators")
    axes.set_ylabel(f"value, mean over all agents\n({unit})")


def _write_schelling(name: str, game: Game, path: Path, episodes: int, seed: int) -> list[Path]:
    data = scripted_schelling(game, torch.Generator().manual_seed(seed), episodes=episodes)
    with style():
        figure = Figure(figsize=(10, 4.8))
        roles, average = figure.subplots(1, 2)
        _draw_roles(roles, data, game.value_unit)
        _draw_average(average, data, game.value_unit)
        heading = f"{name}: scripted agents, means of {data.episodes} episodes each with 95 % intervals"
        figure.suptitle(f"{heading}\n{textwrap.fill(str(data.verdict()), 100)}", fontsize=12)
    return save_with_numbers(figure, path, csv_text(data.records()))


def _draw(axes: Axes, values: Estimated, look: str, label: str, opacity: float = 1.0) -> None:
    """Draw values with their 95 % intervals."""
    color, marker, dashes = LOOKS[look]
    axes.errorbar(
        range(len(values.mean)),
        values.mean,
        yerr=1.96 * values.error,
        color=color,
        marker=marker,
        linestyle=dashes,
        capsize=3,
        alpha=opacity,
        label=label,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
