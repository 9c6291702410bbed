"""Made-up runs for the tests of reports, and what a terminal shows."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
from rich.console import Console, RenderableType

from bilevel.experiments import Run, default_config


def made_up(
    game: str = "escape-room",
    method: str = "tos",
    *,
    returns: Any = ((2.0, 6.0), (3.0, 6.0), (2.0, 7.0), (1.0, 8.0)),
    steps: int = 5,
    sharing: bool = True,
    cooperation: bool = True,
    seed: int = 0,
    **settings: Any,
) -> Run:
    """Run of a run that never was, with these returns, [seed, agent]; learning was even."""
    values = np.array(returns)
    seeds, agents = values.shape
    config = default_config(game, method)
    config = dataclasses.replace(
        config,
        game=dataclasses.replace(config.game, **settings),  # type: ignore[type-var]
        seed=seed,
        seeds=seeds,
        outer_steps=steps,
    )
    final = {"welfare": values.sum(-1)} | {f"return_{agent}": values[:, agent] for agent in range(agents)}
    if cooperation:
        final["cooperation"] = np.linspace(0.2, 0.5, seeds)
    if sharing:
        final["given_away"] = np.full(seeds, 0.25)
        final |= {
            f"share_{giver}_{taker}": np.full(seeds, 0.75 if giver == taker else 0.25 / (agents - 1))
            for giver in range(agents)
            for taker in range(agents)
        }
    way = np.linspace(0.1, 1, steps)[:, None]
    return Run(config, {name: way * values for name, values in final.items()}, final, 12.34)


def printed(*parts: RenderableType, width: int = 80) -> str:
    """The text that a terminal of this width shows."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in parts:
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text
