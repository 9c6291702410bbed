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
"""Steps after which a game is drawn, as far as the episode lasts."""

SURE = 1.96
"""Standard errors that a 95 % interval reaches to each side."""
LOOKS = {
    "cooperator": (BLUE, "o", "-"),
    "defector": (RED, "s", "--"),
    "all agents": (BLACK, "D", ":"),
}

HEAD = """\
# The games

Every game of the catalogue, as `bilevel games --out docs/games` wrote it; `bilevel games GAME` prints one
page, and `games.make("GAME", setting=value)` makes the game. Repeated games have the rules of
`repeated-prisoners-dilemma`, with another game as the stage. Diagrams show what scripted cooperators and
defectors earn (`bilevel games GAME --out FOLDER` draws one, with the numbers behind it), and say which
conditions of a social dilemma hold between these two scripts: other policies were not tried. Where agents
are not interchangeable each has lines of its own. Pictures are drawn after at most ten random steps.
"""


def picture(game: Game, generator: torch.Generator) -> np.ndarray:
    """Draw a game in the midst of an episode of random actions: uint8 [height, width, 3]."""
    state, act = game.reset(1, generator), random_actor(game)
    frame = None
    for _ in range(min(PICTURED_AFTER, game.horizon)):
        if isinstance(game, ForeignGame):  # whose earlier states cannot be drawn
            frame = game.render(state)
        after, _, done = game.step(state, act(state, generator)[0], generator)
        if done.item() and game.horizon > 1:
            break
        state, frame = after, None
    return game.render(state) if frame is None else frame


def write_game(name: str, folder: Path, *, episodes: int, seed: int) -> list[Path]:
    """Write a game's picture, and where it has a script its Schelling diagram with the numbers behind it.

    Args:
        name: of the catalogue.
        folder: where; made if it is not there.
        episodes: for each number of cooperators.
        seed: where all randomness starts.

    Returns:
        the files written: frame.png, and schelling.png and schelling.csv.

    Raises:
        ValueError: there is no such game.
        OSError: a file cannot be written.
    """
    game = games.make(name)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if game.can_render:
        frame = picture(game, torch.Generator().manual_seed(seed))
        written.append(_save_picture(frame, folder / "frame.png"))
    if not _has_script(game):
        return written
    data = scripted_schelling(game, torch.Generator().manual_seed(seed), episodes=episodes)
    return [*written, *write_schelling(data, folder, name, game.value_unit)]


def write_catalogue(
    folder: Path, *, episodes: int, seed: int, listener: Callable[[str], object] = lambda line: None
) -> Path:
    """Write README.md with every game's page, and the pictures beside it.

    Args:
        folder: where; made if it is not there.
        episodes: for each number of cooperators in a diagram.
        seed: where all randomness starts.
        listener: told of every game.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in games.names() if shown(name)]
    for number, name in enumerate(names):
        listener(f"{number + 1} of {len(names)}: {name}")
        game = games.make(name)
        if game.can_render:
            _save_picture(picture(game, torch.Generator().manual_seed(seed)), folder / f"{name}.png")
        if has_diagram(game):
            data = scripted_schelling(game, torch.Generator().manual_seed(seed), episodes=episodes)
            write_schelling(data, folder, name, game.value_unit, stem=f"{name}-schelling")
    document = folder / "README.md"
    write_text(document, document_text())
    return document


def document_text() -> str:
    """The document without its pictures."""
    index = ["| game | agents | |", "|---|---|---|"]
    for name in games.names():
        entry = games.entry(name)
        link = f"[{name}](#{name})" if shown(name) else name
        index.append(f"| {link} | {entry.game.num_agents} | {entry.summary} |")
    sections = []
    for name in filter(shown, games.names()):
        section = page(name).markdown(picture=f"{name}.png")
        if has_diagram(games.entry(name).game):
            section += (
                f"\n\n![What a cooperator and a defector earn in {name}, by how many others cooperate]"
                f"({name}-schelling.png)"
            )
        sections.append(section)
    return "\n\n".join([HEAD.rstrip(), "\n".join(index), *sections]) + "\n"


def shown(name: str) -> bool:
    """True of games with a section of their own: of the repeated games, the first."""
    game = games.entry(name).game
    return not isinstance(game, RepeatedGame) or name == "repeated-prisoners-dilemma"


def has_diagram(game: Game) -> bool:
    """True of games with a diagram in the document: a one-shot game's payoffs are in its picture."""
    return not isinstance(game, MatrixGame | RepeatedGame) and _has_script(game)


def _has_script(game: Game) -> bool:
    state = game.reset(1, torch.Generator())
    return game.scripted(state, torch.ones(1, game.num_agents, dtype=torch.bool)) is not None


def _save_picture(frame: np.ndarray, path: Path) -> Path:
    colors = Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE)
    write_atomic(path, lambda file: colors.save(file, format="png", optimize=True))
    return path


def draw_roles(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    """Draw what a cooperator and a defector earn, by how many others cooperate, with 95 % intervals.

    Agents who are not interchangeable have lines of their own, the later the paler.
    """
    for role, values in (("cooperator", data.cooperator), ("defector", data.defector)):
        for row, agent in enumerate(data.agents):
            one = Estimated(values.mean[row], values.error[row])
            label = role if agent == EVERYBODY else f"{role}, agent {agent}"
            _draw(axes, one, role, label, opacity=1 - 0.7 * row / len(data.agents))
    axes.set_xlabel("others who cooperate")
    axes.set_ylabel(f"value of one agent\n({unit})")
    axes.legend()


def draw_average(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    """Draw what agents earn on average, by how many of them cooperate, with 95 % intervals."""
    _draw(axes, data.average, "all agents", "all agents")
    axes.set_xlabel("agents who cooperate")
    axes.set_ylabel(f"value, mean over all agents\n({unit})")


def write_schelling(
    data: ScriptedSchelling, folder: Path, title: str, unit: str, *, stem: str = "schelling"
) -> list[Path]:
    """Write the figure and the numbers behind it.

    Args:
        data: what was measured.
        folder: where; made if it is not there.
        title: the game's name.
        unit: of values (`Game.value_unit`).
        stem: what the files are called, before .png and .csv.

    Returns:
        the files written.

    Raises:
        OSError: a file cannot be written.
    """
    with style():
        figure = Figure(figsize=(10, 4.8))
        roles, average = figure.subplots(1, 2)
        draw_roles(roles, data, unit)
        draw_average(average, data, unit)
        how = f"{title}: scripted agents, means of {data.episodes} episodes each with 95 % intervals"
        figure.suptitle(f"{how}\n{textwrap.fill(str(data.verdict()), 100)}", fontsize=12)
    return save_with_numbers(figure, folder / f"{stem}.png", csv_text(data.records()))


def _draw(axes: Axes, values: Estimated, look: str, label: str, opacity: float = 1.0) -> None:
    color, marker, dashes = LOOKS[look]
    axes.errorbar(
        range(len(values.mean)),
        values.mean,
        yerr=SURE * values.error,
        color=color,
        marker=marker,
        linestyle=dashes,
        capsize=3,
        alpha=opacity,
        label=label,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
