"""Pictures of sharing-or-shaping.md: paths of update rules in games of two parameters.

python -m docs.studies.stability --help
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bilevel.core import Losses, UpdateRule, inner_step_per_agent, simultaneous_gradient
from bilevel.optimizers import sgd
from bilevel.report import BLUE, DASHED, DOTTED, GREEN, PURPLE, RED, SHORT_DASHED, save, style
from bilevel.update_rules import competitive, extragradient, lola, look_ahead, sos, symplectic
from games.core import require

FORMATS = (".png", ".pdf", ".svg")
ARROWS = 13
"""Arrows of the vector field in each direction."""


class PlaneGame(NamedTuple):
    """A game of two agents with a parameter each."""

    title: str
    losses: Losses
    start: tuple[float, float]
    equilibria: Callable[[np.ndarray], np.ndarray]
    """x -> y of its fixed points; NaN where there is none."""
    limits: tuple[float, float]
    rate: float
    """Rate of the rules."""
    learning_rate: float


def tandem(own: Tensor, others: Tensor) -> Tensor:
    """Both agents want the other one to move, and pay for moving together."""
    return (own + others.flip(-1)) ** 2 - 2 * own


def bilinear(own: Tensor, others: Tensor) -> Tensor:
    """A zero-sum game: agent 0 minimizes x y, agent 1 maximizes it."""
    return own * others.flip(-1) * torch.tensor([1.0, -1.0], dtype=own.dtype)


def matching_pennies(own: Tensor, others: Tensor) -> Tensor:
    """One-shot matching pennies; parameters are log-odds of heads, and agent 0 wants to match."""
    mine, theirs = own.sigmoid(), others.flip(-1).sigmoid()
    return -(2 * mine - 1) * (2 * theirs - 1) * torch.tensor([1.0, -1.0], dtype=own.dtype)


GAMES = (
    PlaneGame("tandem\n$L_i = (x+y)^2 - 2 x_i$", tandem, (1.6, 1.0), lambda x: 1 - x, (-2, 2), 0.1, 0.02),
    PlaneGame(
        "Hamiltonian game\n$L_1 = xy,\\ L_2 = -xy$",
        bilinear,
        (1.2, 0.4),
        lambda x: np.where(x == 0, 0.0, np.nan),
        (-2, 2),
        0.5,
        0.05,
    ),
    PlaneGame(
        "matching pennies\n(log-odds of heads)",
        matching_pennies,
        (2.2, 0.8),
        lambda x: np.where(x == 0, 0.0, np.nan),
        (-4, 4),
        0.5,
        0.2,
    ),
)
LOOKS: Mapping[str, tuple[Callable[[float], UpdateRule], Any]] = {
    "naive": (lambda rate: simultaneous_gradient, {"color": RED, "linestyle": DOTTED, "marker": "v"}),
    "sos": (
        lambda rate: partial(sos, rate=rate),
        {"color": GREEN, "linewidth": 5, "alpha": 0.5, "marker": "o"},
    ),
    "lola": (lambda rate: partial(lola, rate=rate), {"color": PURPLE, "linestyle": DASHED, "marker": "s"}),
    "look-ahead": (
        lambda rate: partial(look_ahead, rate=rate),
        {"color": BLUE, "linestyle": SHORT_DASHED, "marker": "D"},
    ),
    "symplectic": (
        lambda rate: partial(symplectic, weight=rate),
        {"color": "#795548", "linestyle": DASHED, "marker": "^"},
    ),
    "competitive": (
        lambda rate: partial(competitive, rate=rate),
        {"color": "#00838F", "linestyle": SHORT_DASHED, "marker": "P"},
    ),
    "extragradient": (
        lambda rate: partial(extragradient, rate=rate),
        {"color": "#1B1F6B", "linestyle": DOTTED, "marker": "X"},
    ),
}
"""Rule -> a function of its rate, and its look; markers are at the ends of paths."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Paths of update rules in three games, over the vector field of naive learners.

    Raises:
        ValueError: a rule is unknown, or there is no such kind of figure.
    """

    figure: Path = Path("docs/studies/stability.png")
    """Where to write the figure, a name that ends in .png, .pdf or .svg."""
    rules: tuple[str, ...] = ("naive", "sos", "lola", "look-ahead")
    """Update rules to draw."""
    steps: int = 400
    """Number of steps."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.rules if name not in LOOKS]
        require(not unknown, f"rules are some of {', '.join(LOOKS)}, not {', '.join(unknown)}.")
        require(
            self.figure.suffix in FORMATS,
            f"figure must be a name that ends in {', '.join(FORMATS)}, not {self.figure}.",
        )


def path_of(game: PlaneGame, rule: UpdateRule, steps: int) -> np.ndarray:
    """Parameters of both agents from the game's start on, [step, agent]."""
    optimizer = sgd(game.learning_rate)
    step = inner_step_per_agent(lambda own, others, phi, data: game.losses(own, others), optimizer, rule)
    theta = torch.tensor(game.start, dtype=torch.float64)
    state, points = optimizer.init(theta), [theta]
    for _ in range(steps):
        theta, state = step(theta, state, None, None)
        points.append(theta)
    return torch.stack(points).numpy()


def draw(axes: Axes, game: PlaneGame, picture: Picture) -> None:
    """Draw a game's vector field, its fixed points, and the rules' paths."""
    low, high = game.limits
    ticks = torch.linspace(low, high, ARROWS, dtype=torch.float64)
    points = torch.cartesian_prod(ticks, ticks)
    field = -simultaneous_gradient(game.losses, points)
    length = field.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    arrows = (field / length.sqrt()).numpy()
    axes.quiver(*points.T.numpy(), *arrows.T, color="#aaaaaa", angles="xy", width=0.005, zorder=1)
    x = np.linspace(low, high, 201)
    y = game.equilibria(np.round(x, 12))
    single = np.isfinite(y).sum() == 1
    axes.plot(x, y, color="black", linewidth=1.2, marker="*" if single else "", markersize=11, zorder=2)
    for name in picture.rules:
        rule, look = LOOKS[name]
        path = path_of(game, rule(game.rate), picture.steps)
        inside = np.abs(path).max(1) <= 1.02 * high
        until = len(path) if inside.all() else int(inside.argmin())
        lines = {"linewidth": 1.8, "markersize": 8, "markevery": [until - 1], "zorder": 3, **look}
        axes.plot(*path[:until].T, label=name, **lines)
    axes.plot(*game.start, marker="o", color="black", markersize=6, zorder=4)
    axes.set_title(game.title)
    axes.set_xlabel("parameter of agent 0")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.grid(visible=False)


def main(arguments: list[str] | None = None) -> None:
    """Draw the figure."""
    try:
        picture = tyro.cli(Picture, args=arguments, prog="python -m docs.studies.stability")
    except ValueError as error:
        sys.exit(str(error))
    with style():
        figure = Figure(figsize=(12, 5.2))
        row = figure.subplots(1, len(GAMES))
        for axes, game in zip(row, GAMES, strict=True):
            draw(axes, game, picture)
        row[0].set_ylabel("parameter of agent 1")
        handles, labels = row[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=11)
    print(save(figure, picture.figure))


if __name__ == "__main__":
    main()
