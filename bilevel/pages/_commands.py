"""The command that trains a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from bilevel.core import option_words
from bilevel.experiments import RunConfig, default_config

VARIANT = "variant"
"""Name, in the JSON form of a part of a method, of its variant."""


def command_of(config: RunConfig) -> str:
    """Write the command that trains a run with these settings.

    >>> from bilevel.experiments import configured
    >>> config = configured(default_config("chicken", "tos"), {"seeds": 4, "outer.learning_rate": 0.25})
    >>> command_of(config)
    'bilevel train --game chicken --method tos --seeds=4 --outer.learning-rate=0.25'
    """
    words = ["bilevel", "train", "--game", config.game_name, "--method", config.method_name]
    default = default_config(config.game_name, config.method_name).plain
    plain = config.plain
    for name, value in plain.items():
        if name in ("game", "method", "game_name", "method_name") or value == default[name]:
            continue
        words += option_words(name, value)
    words += _options("game.", plain["game"], default["game"])
    words += _options("", plain["method"], default["method"])
    return shlex.join(words)


def _options(prefix: str, settings: Mapping[str, Any], default: Any) -> list[str]:
    """Options of the settings that differ from the default; of another variant, all."""
    words: list[str] = []
    same = isinstance(default, Mapping) and settings.get(VARIANT) == default.get(VARIANT)
    if VARIANT in settings and not same:
        words += [f"--{prefix.removesuffix('.').replace('_', '-')}", str(settings[VARIANT])]
    for name, value in settings.items():
        if name == VARIANT:
            continue
        before = default.get(name) if same else None
        if isinstance(value, Mapping):
            words += _options(f"{prefix}{name}.", value, before)
        elif not same or value != before:
            words += option_words(f"{prefix}{name}", value)
    return words
