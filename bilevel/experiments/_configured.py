"""Configurations from names, objects and single settings."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import games
from bilevel.experiments._config import RunConfig, default_config
from bilevel.methods import METHODS, Method
from games.core import Game, require, require_name

GAME = "game."


def named_config(game: str | Game, method: str | Method) -> RunConfig:
    """Make the configuration of a game and a method, each by its name or as an object.

    Raises:
        ValueError: there is no such game or method (names the nearest), or an object's class has no name.

    >>> from bilevel.methods import Selfish
    >>> config = named_config(games.make("chicken"), Selfish())
    >>> config.game_name, config.method_name
    ('chicken', 'selfish')
    """
    game_name = game if isinstance(game, str) else _game_name(game)
    method_name = method if isinstance(method, str) else _method_name(method)
    config = default_config(game_name, method_name)
    given = {"game": game, "method": method}
    changes: dict[str, Any] = {name: value for name, value in given.items() if not isinstance(value, str)}
    return dataclasses.replace(config, **changes)


def configured(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Change settings of a configuration: the run's by name, the game's and the method's by dotted names.

    Raises:
        ValueError: a setting is unknown (names the nearest) or out of range.

    >>> config = configured(default_config("escape-room", "tos"), {"seeds": 8, "game.horizon": 3})
    >>> config.seeds, config.game.horizon
    (8, 3)
    >>> configured(config, {"inner": "ppo", "inner.clip_coef": 0.1, "own_share": 0.8}).method.own_share
    0.8
    """
    run: dict[str, Any] = {}
    game: dict[str, Any] = {}
    method: dict[str, Any] = {}
    for name, value in settings.items():
        if name.startswith(GAME):
            game[name.removeprefix(GAME)] = value
        elif "." in name or (name not in _names(config) and name in _names(config.method)):
            method[name] = value
        else:
            require_name(name, _names(config), "setting of a run")
            run[name] = value
    changed: Any = config.game
    for name in game:
        require_name(name, _names(changed), f"setting of {config.game_name}")
    if game:
        run["game"] = dataclasses.replace(changed, **game)
    if method:
        run["method"] = config.method.with_settings(method)
    return dataclasses.replace(config, **run)


def new_folder(config: RunConfig) -> Path:
    """Name a folder for a new run in runs/, by what it trains and the time."""
    names = config.game_name, config.method_name, str(config.seed), time.strftime("%Y%m%d-%H%M%S")
    return Path("runs", "-".join(names))


def _names(settings: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(settings)]


def _game_name(game: Game) -> str:
    """The name under which the catalogue has a game of this class, the same one if it can be."""
    alike = [name for name in games.names() if type(games.make(name)) is type(game)]
    require(
        len(alike) > 0,
        f"{type(game).__name__} is not in the catalogue: games.register(NAME, game) gives it a name.",
    )
    return next((name for name in alike if games.make(name) == game), alike[0])


def _method_name(method: Method) -> str:
    found: Iterable[str] = (name for name, kind in METHODS.items() if kind is type(method))
    name = next(iter(found), None)
    require(
        name is not None,
        f"{type(method).__name__} has no name: bilevel.register_method(NAME, CLASS) gives it one.",
    )
    assert name is not None
    return name
