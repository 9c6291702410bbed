"""Final transfers between agents as heat maps: shares, incentives, payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bilevel.experiments import Run
from bilevel.report._style import style, wrapped
from games.core import ExactGame

MAX_WITH_DEVIATION = 4
"""Maximum number of agents for which cells show means and standard deviations over seeds."""
MAX_NUMBERED = 12
"""Maximum number of agents for which cells show means."""
FAR = 0.25
"""Distance of a seed from the mean, as a share of the color scale's end, that its title notes."""
MAX_COLUMNS = 4
"""Maximum number of heat maps in a row."""
KINDS = {
    "share": ("share_0_1", "final shares"),
    "incentive": ("incentive_0_1", "final incentives"),
    "payment": ("paid_0", "final payments of the planner"),
}
"""Kind of transfers -> a metric that only it has, and its title."""


class Transfers(NamedTuple):
    """Transfers between agents after training."""

    kind: str
    """A key of `KINDS`."""
    unit: str
    values: np.ndarray
    """Amounts, [giver, receiver, seed]; of payments one giver, the planner."""

    @property
    def mean(self) -> np.ndarray:
        """Mean over seeds, [giver, receiver]."""
        return np.asarray(self.values.mean(-1))


def final_transfers(results: Run) -> Transfers | None:
    """Transfers of a finished run between its agents, or from its planner; None if there are none."""
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
    return Transfers(kind, unit, values)


def spread_note(transfers: Transfers) -> str:
    """Note for a title where no seed's transfers are near the mean, as with roles that differ by seed."""
    values = transfers.values
    if values.shape[-1] < 2:
        return ""
    distance = np.abs(values - transfers.mean[..., None]).max((0, 1)).min()
    return "\n(no seed is near this mean)" if distance > FAR * color_limits([transfers])[1] else ""


def color_limits(transfers: Sequence[Transfers]) -> tuple[float, float]:
    """Limits of a common color scale: 0 and 1 for shares, else of means, symmetric if one is negative."""
    if all(one.kind == "share" for one in transfers):
        return 0.0, 1.0
    most = max(1e-12, *(float(np.abs(one.mean).max()) for one in transfers))
    return (-most if any((one.mean < 0).any() for one in transfers) else 0.0), most


def draw_transfers(
    axes: Axes, transfers: Transfers, *, scale: tuple[float, float] | None = None, color_bar: bool = True
) -> None:
    """Draw transfers as a heat map: mean over seeds, with the standard deviation for few agents.

    `scale` has the limits of the color scale; None: those of this heat map alone.
    """
    low, most = scale or color_limits([transfers])
    mean, deviation = transfers.mean, transfers.values.std(-1)
    agents = mean.shape[1]
    image = axes.imshow(mean, vmin=low, vmax=most, cmap="RdBu" if low < 0 else "Blues")
    if color_bar:
        cast(Figure, axes.figure).colorbar(image, ax=axes, label=transfers.unit)
    ticks = range(0, agents, 1 + (agents - 1) // MAX_NUMBERED)
    axes.set_xticks(ticks)
    axes.set_xlabel("receiver (agent)")
    axes.grid(visible=False)
    if transfers.kind == "payment":
        axes.set_yticks([0], ["planner"])
    else:
        axes.set_yticks(ticks)
        axes.set_ylabel("giver (agent)")
    if agents > MAX_NUMBERED:
        return
    deviates = transfers.values.shape[-1] > 1 and agents <= MAX_WITH_DEVIATION
    for (giver, receiver), value in np.ndenumerate(mean):
        text = f"{value:.2f}" + (f"\n± {deviation[giver, receiver]:.2f}" if deviates else "")
        axes.text(
            receiver,
            giver,
            text,
            ha="center",
            va="center",
            fontsize=11 if agents <= MAX_WITH_DEVIATION else 9 if agents <= 8 else 7,
            color="white" if abs(value) > 0.65 * most else "black",
        )


def transfer_figure(transfers: Mapping[str, Transfers], title: str) -> Figure:
    """Draw heat maps side by side, on one color scale if they have one unit."""
    across = min(MAX_COLUMNS, len(transfers))
    down = -(-len(transfers) // across)
    units = {one.unit for one in transfers.values()}
    together = color_limits(list(transfers.values())) if len(units) == 1 else None
    with style():
        agents = next(iter(transfers.values())).mean.shape[1]
        side = min(max(3.2, agents / 2), 5.0)  # inches: numbers need room
        figure = Figure(figsize=(1.4 + side * across, 0.8 + (side + 0.3) * down))
        parts = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (label, one) in zip(parts, transfers.items(), strict=False):
            draw_transfers(axes, one, scale=together, color_bar=together is None)
            axes.set_title(wrapped(f"{label}{spread_note(one)}", side, 13))
        for axes in parts[len(transfers) :]:
            axes.remove()
        drawn = list(parts[: len(transfers)])
        if together is not None:
            figure.colorbar(drawn[0].images[0], ax=drawn, label=f"{units.pop()} (mean)")
        figure.suptitle(wrapped(title, figure.get_figwidth()), fontsize=12)
    return figure
