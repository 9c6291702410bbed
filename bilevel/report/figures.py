"""The figures of a run and of several runs of one game."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bilevel.experiment.config import RunConfig
from bilevel.experiment.run import Results, RunFolder
from bilevel.experiment.statistics import FEWEST_SEEDS, interquartile_interval
from bilevel.report.style import looks, save, style

POINTS = 60
"""A curve is drawn at this many outer steps at most: intervals take time, and eyes see no more."""
MOST_WITH_DEVIATION = 4
"""Up to so many agents a share is drawn with its deviation over seeds ..."""
MOST_NUMBERED = 12
"""... and up to so many with a number at all; the colour bar remains."""
GIVEN = {"share": "share", "incentive": "reward units per episode"}
"""What agents give each other: name in the metrics -> unit."""


def draw_curves(axes: Axes, runs: Mapping[str, Results], metric: str) -> None:
    """Draw one metric over training: interquartile mean over seeds, with its 95 % interval from 3 seeds on.

    Args:
        axes: where.
        runs: label -> run; one that is a method's name has its colour.
        metric: column of metrics.csv.
    """
    of_label = looks(list(runs))
    for label, results in runs.items():
        values = results.curves[metric]
        steps = np.unique(np.geomspace(1, len(values), POINTS).round().astype(int)) - 1
        look = {**of_label[label], "label": label}
        if len(steps) == 1:  # a line of one point does not show
            look["marker"] = "o"
        if values.shape[1] < FEWEST_SEEDS:
            axes.plot(steps + 1, values[steps].mean(-1), **look)
            continue
        interval = interquartile_interval(values[steps], resamples=500)
        axes.plot(steps + 1, interval.estimate, **look)
        axes.fill_between(steps + 1, interval.low, interval.high, color=look["color"], alpha=0.2, linewidth=0)
    last = max(len(results.curves[metric]) for results in runs.values())
    axes.set_xscale("log")
    axes.set_xlim(0.9, 1.1 * max(last, 2))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("outer step (log scale)")


def draw_welfare(axes: Axes, runs: Mapping[str, Results]) -> None:
    """Draw `draw_curves` of the welfare, with the group optimum and the line of everybody defecting."""
    game = next(iter(runs.values())).config.game
    draw_curves(axes, runs, "welfare")
    axes.set_ylabel(f"welfare ({game.value_unit}, all agents)")
    for text, height in (("group optimum", game.best_welfare), ("all defect", game.defection_welfare)):
        if height is not None:
            axes.axhline(height, color="#666666", linewidth=1, linestyle="--", zorder=1)
            axes.annotate(
                f"{text} {height:g}",
                (1, height),
                (0, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=10,
                color="#444444",
                zorder=1.5,  # behind the curves
            )
    axes.margins(y=0.12)
    _widen(axes)


def draw_cooperation(axes: Axes, runs: Mapping[str, Results]) -> None:
    """Draw `draw_curves` of the share of cooperating actions."""
    draw_curves(axes, runs, "cooperation")
    axes.set_ylabel("cooperating actions")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def draw_sharing(axes: Axes, results: Results, *, colour_bar: bool = True) -> None:
    """Draw who gave whom how much in the end, as a heat map: mean over seeds, deviation where there is room.

    Args:
        axes: where.
        results: of a run whose metrics have shares, or incentives.
        colour_bar: whether there is one beside it.
    """
    agents = results.config.game.num_agents
    kind = given(results)
    assert kind is not None
    final, nothing = results.final, np.zeros(results.config.seeds)
    shares = np.stack([[final.get(f"{kind}_{i}_{j}", nothing) for j in range(agents)] for i in range(agents)])
    mean, deviation = shares.mean(-1), shares.std(-1)
    most = 1.0 if kind == "share" else max(float(mean.max()), 1e-12)
    image = axes.imshow(mean, vmin=0, vmax=most, cmap="Blues")
    if colour_bar:
        cast(Figure, axes.figure).colorbar(image, ax=axes, label=GIVEN[kind])
    ticks = range(0, agents, 1 + (agents - 1) // MOST_NUMBERED)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(visible=False)
    axes.set_xlabel("receiver (agent)")
    axes.set_ylabel("giver (agent)")
    if agents > MOST_NUMBERED:
        return
    deviates = shares.shape[-1] > 1 and agents <= MOST_WITH_DEVIATION
    for (giver, receiver), value in np.ndenumerate(mean):
        text = f"{value:.2f}" + (f"\n± {deviation[giver, receiver]:.2f}" if deviates else "")
        axes.text(
            receiver,
            giver,
            text,
            ha="center",
            va="center",
            fontsize=11 if agents <= MOST_WITH_DEVIATION else 9 if agents <= 8 else 7,
            color="white" if value > 0.65 * most else "black",
        )


def given(results: Results) -> str | None:
    """What agents give each other by this run's method, a key of `GIVEN`; None: nothing."""
    return next((kind for kind in GIVEN if f"{kind}_0_1" in results.final), None)


def write_run_figures(folder: RunFolder, results: Results) -> list[Path]:
    """Write the figures of a finished run into its `figures/`.

    Returns:
        the files written: welfare.png; where agents give each other something, sharing.png; and where the
        game knows cooperation, cooperation.png.
    """
    config = results.config
    runs = {config.method_name: results}
    drawings: dict[str, Callable[[Axes], None]] = {
        "welfare": lambda axes: draw_welfare(axes, runs),
    }
    if given(results) is not None:
        drawings["sharing"] = lambda axes: draw_sharing(axes, results)
    if "cooperation" in results.curves:
        drawings["cooperation"] = lambda axes: draw_cooperation(axes, runs)
    written = []
    for name, draw in drawings.items():
        with style():
            figure = Figure(figsize=(6, 4.6))
            axes = figure.subplots()
            draw(axes)
            axes.set_title(
                f"{config.method_name} on {config.game_name}\n{_shown(name, config, given(results))}",
                fontsize=11,
            )
        written.append(save(figure, folder.figures / f"{name}.png"))
    return written


def write_overview(games: Mapping[str, Mapping[str, Results]], path: Path) -> Path:
    """Write one picture of several games: a row each of welfare, cooperation and the learned sharing.

    Args:
        games: title -> method name -> run.
        path: the picture.
    """
    with style():
        figure = Figure(figsize=(14, 4.2 * len(games)))
        rows = figure.subplots(len(games), 3, squeeze=False, width_ratios=(1.3, 1.3, 1))
        for axes, (title, runs) in zip(rows, games.items(), strict=True):
            draw_welfare(axes[0], runs)
            draw_cooperation(axes[1], runs)
            draw_sharing(axes[2], runs["tos"])
            axes[0].set_title(f"{title}: welfare")
            axes[1].set_title("cooperation")
            axes[2].set_title("what tos learned to share\n(mean ± standard deviation over seeds)")
        handles, labels = rows[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return save(figure, path)


def _shown(name: str, config: RunConfig, kind: str | None) -> str:
    """What a figure shows of the seeds, for its title."""
    seeds = "1 seed" if config.seeds == 1 else f"{config.seeds} seeds"
    if name == "sharing":
        few = config.seeds > 1 and config.game.num_agents <= MOST_WITH_DEVIATION
        what = "final shares" if kind == "share" else "incentives in the end"
        return f"{what}, mean {'± standard deviation ' if few else ''}over {seeds}"
    if config.seeds < FEWEST_SEEDS:
        return f"mean over {seeds}"
    return f"interquartile mean and 95 % interval, {seeds}"


def _widen(axes: Axes) -> None:
    """Keep an axis of equal values from being drawn at the scale of its rounding errors."""
    low, high = axes.get_ylim()
    if high - low < 1e-6 * max(1, abs(low), abs(high)):
        axes.set_ylim(low - 1, high + 1)
