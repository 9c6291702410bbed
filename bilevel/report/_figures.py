"""The figures of a run and of several runs of one game."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bilevel.core import counted
from bilevel.experiments import FEWEST_SEEDS, Run, RunConfig, RunFolder
from bilevel.report._curves import POINTS, draw_curves, loss_weight_figure, weights_of_agents
from bilevel.report._sharing_figure import KINDS, MOST_WITH_DEVIATION, Given, draw_given, given
from bilevel.report._style import GRAY, save, style

SAME = 1e-9
"""Levels that differ by less, or by less than this share of their height, are one."""
CROWDED = 0.08
"""Words take this share of what is drawn: they go below their line where a level is nearer, or curves are."""
LATE = POINTS // 2
"""Of so many last points of a curve: words stand at the right."""

Level = tuple[str, float]
"""What a height means, in words, and the height."""


def draw_welfare(
    axes: Axes, runs: Mapping[str, Run], levels: Sequence[Level] = (), *, log: bool = True
) -> None:
    """Draw `draw_curves` of the welfare, with the group optimum and the line of everybody defecting.

    Args:
        axes: where.
        runs: label -> run of one game.
        levels: of welfare that are marked besides.
        log: whether steps are on a logarithmic scale.
    """
    game = next(iter(runs.values())).config.game
    draw_curves(axes, runs, "welfare", log=log)
    axes.set_ylabel(f"welfare ({game.value_unit}, all agents)")
    known = [("group optimum", game.best_welfare), ("all defect", game.defection_welfare)]
    own = tuple((text, height) for text, height in known if height is not None)
    draw_levels(axes, [*own, *levels])
    axes.margins(y=0.12)
    _widen(axes)


def draw_levels(axes: Axes, levels: Sequence[Level]) -> None:
    """Mark heights among curves; what lies at the same height shares a line, and words keep out of the way.

    Args:
        axes: where; the curves are there already.
        levels: words and height; words that occur twice at a height are said once.
    """
    merged: list[tuple[list[str], float]] = []
    for text, height in sorted(levels, key=lambda level: -level[1]):
        last = merged[-1] if merged else None
        if last is not None and last[1] - height <= SAME * max(1.0, abs(height)):
            last[0].extend([text] if text not in last[0] else [])
        else:
            merged.append(([text], height))
    curves = np.concatenate([np.zeros(0), *(_last_points(line) for line in axes.lines)])
    room = CROWDED * np.ptp([*(height for _, height in merged), *curves]) if merged else 0.0
    above = np.inf
    for words, height in merged:
        higher, lower = (int(((gap >= 0) & (gap < room)).sum()) for gap in (curves - height, height - curves))
        below = higher > lower or above - height < room
        above = height
        axes.axhline(height, color=GRAY, linewidth=1, linestyle="--", zorder=1)
        axes.annotate(
            f"{', '.join(words)} {height:.4g}",
            (1, height),
            (0, -3 if below else 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            fontsize=10,
            color="#444444",
            zorder=1.5,  # behind the curves
        )


def draw_cooperation(axes: Axes, runs: Mapping[str, Run]) -> None:
    """Draw `draw_curves` of the share of cooperating actions."""
    draw_curves(axes, runs, "cooperation")
    axes.set_ylabel("cooperating actions")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def write_run_figures(folder: RunFolder, results: Run) -> list[Path]:
    """Write the figures of a finished run into its `figures/`.

    Returns:
        the files written: welfare.png; where agents give each other something, sharing.png; where the game
        knows cooperation, cooperation.png; and where loss weights were learned, loss_weights.png.
    """
    config = results.config
    runs = {config.method_name: results}
    drawings: dict[str, Callable[[Axes], None]] = {
        "welfare": lambda axes: draw_welfare(axes, runs),
    }
    shared = given(results)
    if shared is not None:
        drawings["sharing"] = lambda axes: draw_given(axes, shared)
    if "cooperation" in results.curves:
        drawings["cooperation"] = lambda axes: draw_cooperation(axes, runs)
    written = []
    title = f"{config.method_name} on {config.game_name}"
    for name, draw in drawings.items():
        with style():
            figure = Figure(figsize=(6, 4.6))
            axes = figure.subplots()
            draw(axes)
            axes.set_title(f"{title}\n{_shown(name, config, shared)}", fontsize=11)
        written.append(save(figure, folder.figures / f"{name}.png"))
    learned = weights_of_agents(results)
    if learned:
        shown = _shown("loss_weights", config, None)
        figure = loss_weight_figure(learned, f"{title}: learned weights of each agent's loss, {shown}")
        written.append(save(figure, folder.figures / "loss_weights.png"))
    return written


def write_overview(games: Mapping[str, Mapping[str, Run]], path: Path) -> Path:
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
            shared = given(runs["tos"])
            assert shared is not None
            draw_given(axes[2], shared)
            axes[0].set_title(f"{title}: welfare")
            axes[1].set_title("cooperation")
            axes[2].set_title("what tos learned to share\n(mean ± standard deviation over seeds)")
        handles, labels = rows[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return save(figure, path)


def _shown(name: str, config: RunConfig, shared: Given | None) -> str:
    """What a figure shows of the seeds, for its title."""
    seeds = counted(config.seeds, "seed")
    if name == "sharing" and shared is not None:
        few = config.seeds > 1 and config.game.num_agents <= MOST_WITH_DEVIATION
        return f"{KINDS[shared.kind][1]}, mean {'± standard deviation ' if few else ''}over {seeds}"
    if config.seeds < FEWEST_SEEDS:
        return f"mean over {seeds}"
    return f"interquartile mean and 95 % interval, {seeds}"


def _last_points(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)[-LATE:]


def _widen(axes: Axes) -> None:
    """Keep an axis of equal values from being drawn at the scale of its rounding errors."""
    low, high = axes.get_ylim()
    if high - low < 1e-6 * max(1, abs(low), abs(high)):
        axes.set_ylim(low - 1, high + 1)
