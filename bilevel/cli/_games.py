"""`bilevel games`, `bilevel methods` and `bilevel hypergradients`: lists, and pages of games."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import tyro

from bilevel import report
from bilevel.cli._output import print_rows, tell
from bilevel.cli._settings import load_file, read_settings, split_name
from bilevel.methods import METHODS
from games import _catalogue as catalogue
from games.core import Registry, require


@dataclass(frozen=True, kw_only=True)
class GamesSettings:
    """List the games, one line each; or, with a name before the options, print one game's page.

    A page has agents, actions, observation, rewards, horizon, source, optimum, differences from the source,
    and settings.
    """

    out: Path | None = None
    """Folder for a picture and, if the game has a scripted policy, its Schelling diagram and numbers; without
    a name: for a document of all games."""
    episodes: int = 64
    """Episodes for each number of cooperators in a Schelling diagram, 2 or more."""
    seed: int = 0
    """Random seed of pictures and diagrams, a nonnegative integer."""
    load: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Your own Python file, which registers a game; may be repeated."""

    def __post_init__(self) -> None:
        from bilevel.experiments import LARGEST_SEED  # noqa: PLC0415  # lists load neither torch nor games

        require(self.episodes >= 2, f"episodes must be 2 or more, not {self.episodes}.")
        require(0 <= self.seed <= LARGEST_SEED, f"seed must be from 0 to {LARGEST_SEED}, not {self.seed}.")


def games_command(arguments: list[str]) -> None:
    """List the games, or print one game's page; write files if asked to."""
    if not arguments:  # neither torch nor the games are loaded
        _list_games()
        return
    name, options = split_name(arguments)
    settings = read_settings(GamesSettings, options, prog="bilevel games [GAME]")
    for path in settings.load:
        load_file(path)
    if name is not None:
        print(report.page(name).text())
    elif settings.out is None:
        _list_games()
    if settings.out is None:
        return
    how: dict[str, Any] = {"episodes": settings.episodes, "seed": settings.seed}
    if name is not None:
        written = report.write_game(name, settings.out, **how)
        print(f"\nWritten: {', '.join(map(str, written))}")
    else:
        document = report.write_catalogue(settings.out, **how, listener=tell)
        print(f"Written: {document} and its pictures")


def _list_games() -> None:
    print_rows({name: catalogue.entry(name).summary for name in catalogue.names()})


def list_methods(arguments: list[str]) -> None:
    """Print every method with one line, and a note on learned loss weights."""
    _require_none(arguments, "methods")
    print_rows({name: _summary(METHODS, name) for name in METHODS})
    print(
        "\nWith a critic (--inner actor-critic or ppo), most methods can also learn the weights of the "
        "agents' loss terms: --loss-weights learned."
    )


def list_hypergradients(arguments: list[str]) -> None:
    """Print every hypergradient estimator with one line, which ends with its settings."""
    from bilevel.hypergradient import ESTIMATORS  # noqa: PLC0415

    _require_none(arguments, "hypergradients")
    print_rows({name: f"{_summary(ESTIMATORS, name)} {_settings(ESTIMATORS[name])}" for name in ESTIMATORS})


def _summary(registry: Registry[Any], name: str) -> str:
    """First line of a class's docstring, read from its source if it is not imported yet."""
    value = registry.data[name]
    if not isinstance(value, str):
        return (inspect.getdoc(value) or "").partition("\n")[0]
    module, _, kind = value.partition(":")
    source = find_spec(module)
    assert source is not None
    assert source.origin is not None
    tree = ast.parse(Path(source.origin).read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind)
    return (ast.get_docstring(found) or "").partition("\n")[0]


def _settings(kind: Any) -> str:
    """Settings of a dataclass with their defaults, as in its text form: its own, then inherited ones."""
    own = inspect.get_annotations(kind)
    fields = sorted(dataclasses.fields(kind), key=lambda field: field.name not in own)
    texts = (
        field.name if field.default is dataclasses.MISSING else f"{field.name}={field.default}"
        for field in fields
    )
    return f"({', '.join(texts) or 'no settings'})"


def _require_none(arguments: list[str], command: str) -> None:
    require(
        arguments in ([], ["-h"], ["--help"]),
        f"bilevel {command} takes no options, but was given: {' '.join(arguments)}",
    )
