"""The figures of a comparison: learning, how many seeds get how far, what is shared, and how fairly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bilevel.experiments import Compared, Interval, Run, performance_profile
from bilevel.report._curves import draw_curves, loss_weight_figure, weights_of_methods
from bilevel.report._figures import Level, draw_cooperation, draw_levels, draw_welfare
from bilevel.report._sharing_figure import Given, draw_given, given, limits
from bilevel.report._style import looks, save, style
from bilevel.report._theory_summary import Theory, share_levels, theory_levels

ACROSS = 4
"""So many heat maps stand in a row."""
FIGURES = ("curves", "profile", "sharing", "incentives", "equality", "loss_weights")
MARKERS = "osD^vP*X"

Runs = Mapping[str, Run]


def draw_profiles(axes: Axes, runs: Runs) -> None:
    """Draw each method's share of seeds with more welfare than tau, with its pointwise 95 % band.

    Args:
        axes: where.
        runs: label -> run of one game, 3 seeds or more.
    """
    steps = np.unique([results.final["welfare"] for results in runs.values()])
    margin = 0.05 * (steps[-1] - steps[0]) or 0.05 * max(1.0, abs(steps[-1]))
    thresholds = np.array([steps[0] - margin, *steps, steps[-1] + margin])
    for place, (label, look) in enumerate(looks(list(runs)).items()):
        profile = performance_profile(runs[label].final["welfare"], thresholds)
        above = 3 - place / len(runs)  # where lines coincide, dashes lie above what is drawn through
        axes.plot(thresholds, profile.estimate, drawstyle="steps-post", label=label, zorder=above, **look)
        axes.fill_between(
            thresholds, profile.low, profile.high, step="post", color=look["color"], alpha=0.2, linewidth=0
        )
    axes.set_xlabel(f"tau: welfare ({_unit(runs)})")
    axes.set_ylabel("seeds with more welfare than tau")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def draw_equality(axes: Axes, rows: Sequence[Compared]) -> None:
    """Draw equality against welfare, interquartile means with their 95 % intervals; who has none is left out.

    Args:
        axes: where.
        rows: of `compare_runs`.
    """
    of_label = looks([row.label for row in rows])
    for place, row in enumerate(rows):
        if "equality" not in row.intervals:
            continue
        welfare, equality = row.intervals["welfare"], row.intervals["equality"]
        axes.errorbar(
            welfare.estimate,
            equality.estimate,
            xerr=_bars(welfare),
            yerr=_bars(equality),
            fmt=MARKERS[place % len(MARKERS)],
            color=of_label[row.label]["color"],
            capsize=4,
            markersize=8,
            label=row.label,
        )
    axes.set_xlabel(f"efficiency: welfare ({_unit({row.label: row.results for row in rows})})")
    axes.set_ylabel("equality (1 less the Gini coefficient)")
    axes.margins(0.1)
    axes.locator_params(nbins=6)


def draw_kept(axes: Axes, runs: Runs, levels: Sequence[Level]) -> None:
    """Draw the part of its own reward that an agent keeps, on average over agents, as it is learned.

    Args:
        axes: where.
        runs: label -> run whose agents share rewards.
        levels: shares to mark.
    """
    name = "kept"
    draw_curves(
        axes,
        {
            label: dataclasses.replace(results, curves={name: 1 - results.curves["given_away"]})
            for label, results in runs.items()
        },
        name,
    )
    draw_levels(axes, levels)
    axes.set_ylabel("kept of one's own reward")
    axes.set_ylim(-0.03, 1.07)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def write_comparison_figures(
    rows: Sequence[Compared], folder: Path, theory: Theory | str | None = None
) -> list[Path]:
    """Write the figures of a comparison; one that an earlier comparison left and this one has not is removed.

    Args:
        rows: of `compare_runs`.
        folder: where; made if it is not there.
        theory: of the game, marked among the curves where there is any.

    Returns:
        the files written: curves.png, profile.png and, where some method has what they show, sharing.png,
        incentives.png, equality.png and loss_weights.png.

    Raises:
        OSError: a file cannot be written.
    """
    runs = {row.label: row.results for row in rows}
    config = rows[0].results.config
    how = f"interquartile means and 95 % intervals, {config.seeds} seeds"
    figures = {"curves": _curves(runs, f"{config.game_name}: {how}", theory)}
    with style():
        title = f"{config.game_name}: welfare of {config.seeds} seeds, pointwise 95 % bands"
        figures["profile"] = _one(lambda axes: draw_profiles(axes, runs), title)
    all_given = {label: found for label, results in runs.items() if (found := given(results)) is not None}
    shares = {label: one for label, one in all_given.items() if one.kind == "share"}
    others = {label: one for label, one in all_given.items() if one.kind != "share"}
    for name, some, what in (
        ("sharing", shares, "final shares"),
        ("incentives", others, "what is given in the end"),
    ):
        if some:
            title = f"{config.game_name}: {what}, over {config.seeds} seeds"
            figures[name] = _matrices(some, title)
    without = [row.label for row in rows if "equality" not in row.intervals]
    if len(without) < len(rows):
        note = f"\n(equality is not defined for {', '.join(without)})" if without else ""
        with style():
            title = f"{config.game_name}: {how}{note}"
            figures["equality"] = _one(lambda axes: draw_equality(axes, rows), title)
    learned = weights_of_methods(runs)
    if learned:
        title = f"{config.game_name}: learned weights of losses, mean over agents; {how}"
        figures["loss_weights"] = loss_weight_figure(learned, title)
    for name in FIGURES:
        if name not in figures:
            (folder / f"{name}.png").unlink(missing_ok=True)
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def _one(draw: Callable[[Axes], None], title: str) -> Figure:
    """A figure of one part, its legend at the side so that it hides nothing."""
    figure = Figure(figsize=(8.4, 4.8))
    axes = figure.subplots()
    draw(axes)
    axes.set_title(title, fontsize=12)
    figure.legend(loc="outside right upper")
    return figure


def _curves(runs: Runs, title: str, theory: Theory | str | None) -> Figure:
    knowing = {label: results for label, results in runs.items() if "cooperation" in results.curves}
    sharing = {label: results for label, results in runs.items() if "given_away" in results.curves}
    welfares, shares = (
        (theory_levels(theory), share_levels(theory)) if isinstance(theory, Theory) else ((), ())
    )
    drawings: list[Callable[[Axes], None]] = [lambda axes: draw_welfare(axes, runs, welfares)]
    if knowing:
        drawings.append(lambda axes: draw_cooperation(axes, knowing))
    if sharing:
        drawings.append(lambda axes: draw_kept(axes, sharing, shares))
    with style():
        figure = Figure(figsize=(2.4 + 5.2 * len(drawings), 4.8))
        parts = figure.subplots(1, len(drawings), squeeze=False)[0]
        for axes, draw in zip(parts, drawings, strict=True):
            draw(axes)
        handles, labels = parts[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
        figure.suptitle(title, fontsize=12)
    return figure


def _matrices(all_given: Mapping[str, Given], title: str) -> Figure:
    """Heat maps side by side, on one scale; where their units differ each has its own."""
    across = min(ACROSS, len(all_given))
    down = -(-len(all_given) // across)
    units = {one.unit for one in all_given.values()}
    together = limits(list(all_given.values())) if len(units) == 1 else None
    with style():
        agents = next(iter(all_given.values())).mean.shape[1]
        side = min(max(3.2, agents / 2), 5.0)  # inches: numbers need room
        figure = Figure(figsize=(1.4 + side * across, 0.8 + (side + 0.3) * down))
        parts = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (label, one) in zip(parts, all_given.items(), strict=False):
            draw_given(axes, one, scale=together, color_bar=together is None)
            axes.set_title(label)
        for axes in parts[len(all_given) :]:
            axes.remove()
        drawn = list(parts[: len(all_given)])
        if together is not None:
            figure.colorbar(drawn[0].images[0], ax=drawn, label=f"{units.pop()} (mean)")
        figure.suptitle(title, fontsize=12)
    return figure


def _unit(runs: Runs) -> str:
    return f"{next(iter(runs.values())).config.game.value_unit}, all agents"


def _bars(interval: Interval) -> np.ndarray:
    """What reaches below and above the estimate, [2, 1]."""
    return np.array([[interval.estimate - interval.low], [interval.high - interval.estimate]]).clip(min=0)
