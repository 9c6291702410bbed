"""Runs that are over in a moment."""

from __future__ import annotations

import dataclasses
from typing import Any

from bilevel.experiments import RunConfig, default_config

STEPS, EVERY = 7, 3
"""Outer steps, and between how many of them a checkpoint is written."""
GONE = 99_999_999
"""The number of no process: beyond what systems give."""


def small(game: str = "chicken", method: str = "tos", **changes: Any) -> RunConfig:
    config = default_config(game, method)
    settings = {"seeds": 3, "outer_steps": STEPS, "checkpoint_every": EVERY, "evaluation_episodes": 8}
    return dataclasses.replace(
        config, method=config.method.with_settings({"inner.episodes": 4}), **(settings | changes)
    )
