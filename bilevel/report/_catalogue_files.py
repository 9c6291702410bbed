"""The catalogue as files: a picture and a Schelling diagram of a game, and a document of all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

import games
from bilevel.agents import random_actor
from bilevel.core import counted
from bilevel.experiments import write_atomic, write_text
from bilevel.report._catalogue import page
from bilevel.report._style import BLACK, BLUE, RED, save_with_numbers, style, wrapped
from bilevel.report._table import csv_text
from games.adapters import ForeignGame
from games.core import Game
from games.matrix import MatrixGame, RepeatedGame
from games.theory import EVERYBODY, Estimated, ScriptedSchelling, scripted_schelling

PICTURED_AFTER = 10
"""Number of steps after which a game is drawn, unless the episode is shorter."""
LOOKS: dict[str, dict[str, Any]] = {
    "cooperator": {"color": BLUE, "linestyle": "-"},
    "defector": {"color": RED, "linestyle": "--", "markerfacecolor": "white"},
    "all agents": {"color": BLACK, "linestyle": "-"},
}
MARKERS = ("o", "^", "s", "v", "D", "<", "p", ">")
"""Markers of agents that are not interchangeable."""
AREAS: dict[str, dict[str, Any]] = {
    "defection": {"facecolor": "#F7DCCB", "edgecolor": RED, "hatch": "//", "linewidth": 0},
    "cooperation": {"facecolor": "#D6E8F4", "edgecolor": BLUE, "linewidth": 0},
}

HEAD = """\
# The games

All games of the catalogue, as written by `bilevel games --out docs/reference/games`. `bilevel games GAME`
prints one page, and `games.make("GAME", setting=value)` creates the game. Repeated games follow the rules of
`repeated-prisoners-dilemma` with another stage game. Schelling diagrams show the returns of scripted
cooperators and defectors (`bilevel games GAME --out FOLDER` draws one and writes its numbers) and name the
conditions of a social dilemma that hold between these two scripts; no other policies were tested. Agents
that are not interchangeable have separate lines. Frames show the game after at most ten random steps.
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
        name: a game's name in the catalogue.
        folder: created if it does not exist.
        episodes: for each number of cooperators.
        seed: seed of all random draws.
    Returns:
        The files written.

    >>> from pathlib import Path
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
        folder, episodes, seed: as in `write_game`.
        listener: called with a line for every game.
    Returns:
        The path of README.md.

    `bilevel games --out FOLDER` calls it; of two games it takes a second:

    >>> from pathlib import Path
    >>> from unittest import mock
    >>> import games
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
                f"\n\n![Returns of a cooperator and a defector in {name} by the number of other cooperators]"
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


def dominance(replies: Sequence[int]) -> str:
    """Describe which of cooperating (-1) and defecting (1) pays more, by the number of other cooperators.

    >>> dominance([1, 1, 1]), dominance([0, -1, -1])
    ('defection dominates', 'cooperation dominates weakly')
    >>> dominance([1, 0, -1, -1])
    'cooperation pays more from 2 others on'
    """
    names = {1: "defection", -1: "cooperation"}
    found = [(others, reply) for others, reply in enumerate(replies) if reply]
    if not found:
        return "cooperation and defection pay the same"
    last = found[-1][1]
    if all(reply == last for _, reply in found):
        return f"{names[last]} dominates{'' if len(found) == len(replies) else ' weakly'}"
    switches = [later for (_, reply), later in itertools.pairwise(found) if reply != later[1]]
    if len(switches) > 1:
        return f"the better reply changes {len(switches)} times"
    return f"{names[last]} pays more from {counted(switches[0][0], 'other')} on"


def _draw_roles(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    """Draw the returns of a cooperator and a defector by the number of other cooperators.

    Agents that are not interchangeable have separate lines with markers of their own. Where all share one
    pair of lines, the area between them shows which pays more.
    """
    for role, values in (("cooperator", data.cooperator), ("defector", data.defector)):
        for row, agent in enumerate(data.agents):
            of_agent = Estimated(values.mean[row], values.error[row])
            label = role if agent == EVERYBODY else f"{role}, agent {agent}"
            _draw(axes, of_agent, role, label, marker=MARKERS[row % len(MARKERS)])
    replies = data.better_replies()
    if len(replies) == 1:
        others, low, high = range(data.num_agents), data.cooperator.mean[0], data.defector.mean[0]
        for name, where in (("defection", high > low), ("cooperation", high < low)):
            if where.any():
                met = where | (high == low)  # areas end where the lines meet
                label = f"{name} pays more"
                axes.fill_between(others, low, high, where=met, interpolate=True, label=label, **AREAS[name])
    answers = [dominance(row) for row in replies.tolist()]
    if len(set(answers)) > 1:
        answers = [f"agent {agent}: {answer}" for agent, answer in zip(data.agents, answers, strict=True)]
    axes.set_title("\n".join(["Return of one agent", *dict.fromkeys(answers)]), fontsize=12)
    axes.set_xlabel("number of other agents who cooperate")
    axes.set_ylabel(f"return of one agent\n({unit})")


def _draw_average(axes: Axes, data: ScriptedSchelling, unit: str) -> None:
    _draw(axes, data.average, "all agents", "mean of all agents", marker="D")
    best = data.best_counts()
    count = counted(best[0], "cooperator") if len(best) == 1 else f"{best[0]} to {best[-1]} cooperators"
    axes.set_title(f"Mean return of all agents\nhighest with {count}", fontsize=12)
    axes.set_xlabel("number of agents who cooperate")
    axes.set_ylabel(f"mean return of all agents\n({unit})")


def _write_schelling(name: str, game: Game, path: Path, episodes: int, seed: int) -> list[Path]:
    data = scripted_schelling(game, torch.Generator().manual_seed(seed), episodes=episodes)
    with style():
        figure = schelling_figure(data, name, game.value_unit)
    return save_with_numbers(figure, path, csv_text(data.records()))


def schelling_figure(data: ScriptedSchelling, name: str, unit: str) -> Figure:
    """Draw the Schelling diagram of a game, with the legend below."""
    figure = Figure(figsize=(11, 5.8))
    roles, average = figure.subplots(1, 2)
    _draw_roles(roles, data, unit)
    _draw_average(average, data, unit)
    heading = f"{name}: scripted agents, means of {data.episodes} episodes each with 95 % intervals"
    figure.suptitle(wrapped(f"{heading}\n{data.verdict()}", 11), fontsize=12)
    entries = dict(zip(*reversed(roles.get_legend_handles_labels()), strict=True))
    labels = sorted(entries, key=lambda label: label.endswith("pays more"))  # lines first
    figure.legend([entries[label] for label in labels], labels, loc="outside lower center", ncols=4)
    return figure


def _draw(axes: Axes, values: Estimated, look: str, label: str, *, marker: str) -> None:
    """Draw means with their 95 % intervals."""
    axes.errorbar(
        range(len(values.mean)),
        values.mean,
        yerr=1.96 * values.error,
        marker=marker,
        markersize=7,
        capsize=3,
        label=label,
        **LOOKS[look],
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
