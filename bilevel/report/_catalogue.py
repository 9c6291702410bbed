"""A game's page in the catalogue: facts, rules, settings; as text and as Markdown."""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass
from typing import Any, NamedTuple

import optree
import torch
from gymnasium import spaces

import games
from bilevel.core import counted, docstring_paragraphs, field_docs
from games.core import ExactGame, Game
from games.matrix import MatrixGame
from games.theory import dilemma_test

MAX_VALUE = 60
WIDTH = 100


class Setting(NamedTuple):
    """One field of a game's dataclass, with its documentation."""

    name: str
    value: str
    text: str


@dataclass(frozen=True)
class Page:
    """Facts, rules and settings of a game."""

    name: str
    summary: str
    facts: dict[str, str]
    rules: tuple[str, ...]
    """Paragraphs of the rules, and of differences from the source."""
    settings: tuple[Setting, ...]

    def text(self) -> str:
        margin = max(map(len, self.facts)) + 2
        facts = [_hanging(word, text, margin) for word, text in self.facts.items()]
        rules = [textwrap.fill(paragraph, WIDTH, break_on_hyphens=False) for paragraph in self.rules]
        settings = [_hanging(f"{s.name} = {s.value}", s.text, 26) for s in self.settings]
        title = f"{self.name}: {self.summary}"
        parts = ["\n".join([title, "", *facts]), *rules]
        if settings:
            parts.append("\n".join(["Settings:", "", *settings]))
        return "\n\n".join(parts)

    def markdown(self, picture: str = "") -> str:
        """Format the page as a section of a document, with a link to a picture unless it is empty."""
        facts = ["| | |", "|---|---|", *(f"| {word} | {_cell(text)} |" for word, text in self.facts.items())]
        parts = [f"## {self.name}", f"{self.summary[:1].upper()}{self.summary[1:]}."]
        if picture:
            parts.append(f"![A frame of {self.name}]({picture})")
        fold = textwrap.TextWrapper(120, break_long_words=False, break_on_hyphens=False).fill
        parts += ["\n".join(facts), *map(fold, self.rules)]
        if self.settings:
            rows = (f"| `{s.name}` | `{_cell(s.value)}` | {_cell(s.text)} |" for s in self.settings)
            parts.append("\n".join(["| setting | value | description |", "|---|---|---|", *rows]))
        return "\n\n".join(parts)


def page(name: str) -> Page:
    """Build the page of a game in the catalogue.

    Args:
        name: a game's name in the catalogue.
    Returns:
        Facts, rules and settings, as `text()` or `markdown()`.
    Raises:
        ValueError: there is no such game (names the nearest).

    >>> page("pigou").facts["welfare optimum"]
    '-3 (reward per episode, sum over agents)'
    """
    entry = games.entry(name)
    game: Any = entry.game
    return Page(
        name, entry.summary, _facts(game, entry.source), docstring_paragraphs(type(game)), _settings(game)
    )


def bytes_per_copy(game: Game) -> tuple[int, int]:
    """Size of one copy's state, and of all its agents' observations in a step, in bytes."""
    state = game.reset(1, torch.Generator())
    return sum(leaf.nbytes for leaf in optree.tree_leaves(state)), game.observe(state).nbytes


def _facts(game: Game, source: str) -> dict[str, str]:
    state, observations = bytes_per_copy(game)
    facts = {
        "source": source or "none: defined by its author",
        "agents": str(game.num_agents),
        "symmetric": _symmetry(game),
        "actions": _actions(game),
        "observation": _observation(game.observation_space),
        "horizon": f"{counted(game.horizon, 'step')} at most",
        "discount": f"{game.discount:g}",
        "unit of value": game.value_unit,
        "welfare optimum": _welfare(game.best_welfare, game.value_unit),
        "welfare of mutual defection": _welfare(game.defection_welfare, game.value_unit),
        "memory per copy": f"{state} bytes of state, {observations} bytes of observations",
        "exact values": "yes" if isinstance(game, ExactGame) else "no: episodes are sampled",
    }
    if isinstance(game, MatrixGame) and game.cooperative:
        facts["dilemma"] = str(dilemma_test(game))
    if not game.neighbors.all():
        facts["neighbors"] = "sharing is restricted to a graph"
    return facts


def _symmetry(game: Game) -> str:
    if game.fully_symmetric:
        return "yes: agents are interchangeable"
    if game.symmetric:
        return "partly: all agents have the same role, but swapping two of them may change the game"
    return "no: roles differ, or may differ"


def _actions(game: Game) -> str:
    space = game.action_space
    if isinstance(space, spaces.Discrete):
        return ", ".join(game.action_names)
    bounds = [f"{low:g} to {high:g}" for low, high in zip(space.low, space.high, strict=True)]
    numbers = "a real number" if len(bounds) == 1 else f"{len(bounds)} real numbers"
    return f"{numbers} from {', '.join(dict.fromkeys(bounds))}"


def _observation(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Discrete):
        return f"an integer from 0 to {int(space.n) - 1}" if space.n > 1 else "none"
    assert isinstance(space, spaces.Box)
    size = " x ".join(map(str, space.shape))
    return f"{size} numbers from {space.low.min():g} to {space.high.max():g}"


def _welfare(value: float | None, unit: str) -> str:
    return "unknown or undefined" if value is None else f"{value:g} ({unit}, sum over agents)"


def _settings(game: Any) -> tuple[Setting, ...]:
    texts = field_docs(type(game))
    values = {field.name: repr(getattr(game, field.name)) for field in dataclasses.fields(game)}
    return tuple(
        Setting(name, text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 4]} ...", texts.get(name, ""))
        for name, text in values.items()
    )


def _hanging(word: str, text: str, margin: int) -> str:
    return textwrap.fill(
        f"{word:<{margin}}{text}", WIDTH, subsequent_indent=" " * margin, break_on_hyphens=False
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
