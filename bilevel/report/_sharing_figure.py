"""Who gives whom how much, by every kind of method, as heat maps."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bilevel.experiments import Run
from games.core import ExactGame

MOST_WITH_DEVIATION = 4
"""Up to so many agents a share is drawn with its deviation over seeds ..."""
MOST_NUMBERED = 12
"""... and up to so many with a number at all; the color bar remains."""
KINDS = {
    "share": ("share_0_1", "final shares"),
    "incentive": ("incentive_0_1", "what is given in the end"),
    "payment": ("paid_0", "what the planner pays in the end"),
}
"""How agents give, or are given: kind -> a metric that says so, and words for titles."""


class Given(NamedTuple):
    """What changed hands in the end."""

    kind: str
    """A key of `KINDS`."""
    unit: str
    """Of the values."""
    values: np.ndarray
    """[giver, receiver, seed]; of payments one giver, the planner."""

    @property
    def mean(self) -> np.ndarray:
        """Over seeds, [giver, receiver]."""
        return np.asarray(self.values.mean(-1))


def given(results: Run) -> Given | None:
    """What agents give each other by this run's method, or get from its planner; None: nothing.

    Args:
        results: of a finished run.
    """
    final, config = results.final, results.config
    kind = next((kind for kind, (metric, _) in KINDS.items() if metric in final or kind in final), None)
    if kind is None:
        return None
    agents, nothing = range(config.game.num_agents), np.zeros(config.seeds)
    if kind in final:  # a matrix of many agents
        values = np.moveaxis(final[kind], 0, -1)
    elif kind == "payment":
        values = np.stack([final[f"paid_{agent}"] for agent in agents])[None]
    else:
        values = np.stack([[final.get(f"{kind}_{i}_{j}", nothing) for j in agents] for i in agents])
    exact = config.method.exact and isinstance(config.game, ExactGame)
    unit = "share" if kind == "share" else config.game.value_unit if exact else "reward per episode"
    return Given(kind, unit, values)


def limits(all_given: list[Given]) -> tuple[float, float]:
    """The ends of a scale of colors for several: 0 and 1 for shares, else as far as the means reach.

    Where something is taken, below 0, white lies in the middle.

    >>> limits([Given("incentive", "reward per episode", np.array([[[0.0], [2.0]]]))])
    (0.0, 2.0)
    """
    if all(one.kind == "share" for one in all_given):
        return 0.0, 1.0
    most = max(1e-12, *(float(np.abs(one.mean).max()) for one in all_given))
    return (-most if any((one.mean < 0).any() for one in all_given) else 0.0), most


def draw_given(
    axes: Axes, what: Given, *, scale: tuple[float, float] | None = None, color_bar: bool = True
) -> None:
    """Draw who gave whom how much in the end, as a heat map: mean over seeds, deviation where there is room.

    Args:
        axes: where.
        what: of `given`.
        scale: the ends of the colors; None: of this heat map alone.
        color_bar: whether there is one beside it.
    """
    low, most = scale or limits([what])
    mean, deviation = what.mean, what.values.std(-1)
    agents = mean.shape[1]
    image = axes.imshow(mean, vmin=low, vmax=most, cmap="RdBu" if low < 0 else "Blues")
    if color_bar:
        cast(Figure, axes.figure).colorbar(image, ax=axes, label=what.unit)
    ticks = range(0, agents, 1 + (agents - 1) // MOST_NUMBERED)
    axes.set_xticks(ticks)
    axes.set_xlabel("receiver (agent)")
    axes.grid(visible=False)
    if what.kind == "payment":
        axes.set_yticks([0], ["planner"])
    else:
        axes.set_yticks(ticks)
        axes.set_ylabel("giver (agent)")
    if agents > MOST_NUMBERED:
        return
    deviates = what.values.shape[-1] > 1 and agents <= MOST_WITH_DEVIATION
    for (giver, receiver), value in np.ndenumerate(mean):
        text = f"{value:.2f}" + (f"\n± {deviation[giver, receiver]:.2f}" if deviates else "")
        axes.text(
            receiver,
            giver,
            text,
            ha="center",
            va="center",
            fontsize=11 if agents <= MOST_WITH_DEVIATION else 9 if agents <= 8 else 7,
            color="white" if abs(value) > 0.65 * most else "black",
        )
