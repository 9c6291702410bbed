"""Figures of runs, comparisons and learned loss weights, as files."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bilevel.core import counted
from bilevel.experiments import (
    ENVIRONMENT_STEPS,
    FEWEST_SEEDS,
    Compared,
    Interval,
    Run,
    RunFolder,
    XAxis,
    interquartile_interval,
    mean_weight,
    performance_profile,
    returns_after_sharing,
    welfare_levels,
)
from bilevel.loss_weights import History
from bilevel.report._curves import (
    draw_cooperation,
    draw_curves,
    draw_kept,
    draw_welfare,
    panel_figure,
    percent_axis,
)
from bilevel.report._heat_maps import (
    KINDS,
    MAX_WITH_DEVIATION,
    draw_transfers,
    final_transfers,
    transfer_figure,
    transfer_note,
)
from bilevel.report._structure import structure_figure
from bilevel.report._style import BLACK, DASHED, DOTTED, GRAY, looks, save, style, wrapped
from bilevel.report._theory_summary import Theory, share_levels, theory_levels
from bilevel.sharing import TERMS
from games.core import require
from games.networked import Aid
from games.theory import minimal_transfer_on_graph, transfer_obstacle

OPTIONAL = ("sharing", "incentives", "equality", "giving", "loss_weights")
"""Figures that only some comparisons have."""
MAX_TOGETHER = 6
"""Maximum number of methods in a panel of a comparison, beyond which bands and error bars merge."""
MAX_WITH_FIRST = 4
"""Maximum number of methods beside the baseline in a panel of a larger comparison."""
ONE_PANEL = (8.4, 4.8)
RUN_SIZE = (6, 4.6)
"""Sizes of figures in inches."""
WEIGHTS = {
    "policy": "weight of the policy loss",
    "value": "weight of the value loss",
    "entropy": "entropy coefficient (reward units per nat)",
}
"""Term -> its weight, for axes."""


def write_run_figures(folder: RunFolder, results: Run, *, x_axis: XAxis = "outer-steps") -> list[Path]:
    """Write the figures of a finished run into its `figures/`.

    Args:
        folder: the run's folder.
        results: the run.
        x_axis: unit of the x axis of curves, as for `draw_curves`.

    Returns:
        The files written: welfare.png; if agents transfer rewards, sharing.png; if the game defines
        cooperation, cooperation.png; if loss weights were learned, loss_weights.png; and if agents share and
        the game defines `Game.influence`, structure.png.

    Raises:
        ValueError: as for `draw_curves`.

    >>> from bilevel.experiments import RunFolder, train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> [path.name for path in write_run_figures(RunFolder(run.path), run)]
    ['welfare.png', 'sharing.png', 'cooperation.png']
    """
    config = results.config
    runs, title = {config.method_name: results}, f"{config.method_name} on {config.game_name}"
    seeds = counted(config.seeds, "seed")
    enough = config.seeds >= FEWEST_SEEDS
    statistic = f"interquartile mean and 95 % interval, {seeds}" if enough else f"mean over {seeds}"
    drawings: dict[str, tuple[Callable[[Axes], None], str]] = {
        "welfare": (partial(draw_welfare, runs=runs, x_axis=x_axis), statistic)
    }
    shared = final_transfers(results)
    if shared is not None:
        deviates = config.seeds > 1 and config.game.num_agents <= MAX_WITH_DEVIATION
        mean = f"mean {'± standard deviation ' if deviates else ''}over {seeds}"
        subtitle = f"{KINDS[shared.kind][1]}, {mean}{transfer_note(shared)}"
        drawings["sharing"] = partial(draw_transfers, transfers=shared), subtitle
    if "cooperation" in results.curves:
        drawings["cooperation"] = partial(draw_cooperation, runs=runs, x_axis=x_axis), statistic
    figures = {}
    for name, (draw, subtitle) in drawings.items():
        with style():
            figures[name] = Figure(figsize=RUN_SIZE)
            draw(figures[name].subplots())
            heading = wrapped(f"{title}\n{subtitle}", RUN_SIZE[0], 11)
            figures[name].suptitle(heading, fontsize=11)
    by_agent = agent_weight_curves(results)
    learned = by_agent or mean_weight_curves(runs)
    if learned:
        whose = "of each agent" if by_agent else "averaged over agents"
        heading = f"{title}: learned loss weights {whose}, {statistic}"
        figures["loss_weights"] = loss_weight_figure(learned, heading, x_axis)
    structure = structure_figure(results)
    if structure is not None:
        figures["structure"] = structure
    return [save(figure, folder.figures / f"{name}.png") for name, figure in figures.items()]


def write_overview(
    games: Mapping[str, Mapping[str, Run]], path: Path, *, gains: Collection[str] = ()
) -> Path:
    """Write a figure of several games: welfare, cooperation and the sharing matrix that `tos` learned.

    Args:
        games: title -> method name -> run; there is a run of `tos` on each game.
        path: path of the file; its extension determines the format.
        gains: titles of the games for which each agent's gain over selfish agents (`returns_after_sharing`)
            takes the place of cooperation; they have a run of `selfish`.

    Returns:
        The path.

    >>> from pathlib import Path
    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> write_overview({"chicken": {"tos": run}}, Path("overview.png")).exists()
    True
    """
    with style():
        figure = Figure(figsize=(14, 4.2 * len(games)))
        rows = figure.subplots(len(games), 3, squeeze=False, width_ratios=(1.3, 1.3, 1))
        for axes, (title, runs) in zip(rows, games.items(), strict=True):
            draw_welfare(axes[0], runs)
            if title in gains:
                draw_gains(axes[1], runs)
            else:
                draw_cooperation(axes[1], runs)
            shared = final_transfers(runs["tos"])
            assert shared is not None
            draw_transfers(axes[2], shared)
            axes[0].set_title(f"{title}: welfare")
            axes[1].set_title("gain of each agent from sharing" if title in gains else "cooperation")
            mean = (
                f"learned sharing matrix (tos)\nmean ± standard deviation over seeds{transfer_note(shared)}"
            )
            axes[2].set_title(mean, fontsize=11)
        handles, labels = rows[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return save(figure, path)


def write_comparison_figures(
    rows: Sequence[Compared],
    folder: Path,
    theory: Theory | str | None = None,
    *,
    x_axis: XAxis = "outer-steps",
    suffix: str = ".png",
) -> list[Path]:
    """Write the figures of a comparison, and remove those of an earlier one that this one does not have.

    Args:
        rows: the methods compared, the baseline first.
        folder: folder for the figures.
        theory: result of `theory_of`, whose levels are drawn; None: no levels.
        x_axis: unit of the x axis of curves, as for `draw_curves`.
        suffix: format of the files, such as .png or .pdf.

    Returns:
        The files written: curves.png, profile.png and, if some method has their data, sharing.png,
        incentives.png, equality.png, loss_weights.png and, if the game defines `influence`, giving.png.
        Comparisons of more than 6 methods have several rows of panels, each with the baseline and up to 4
        others, and equality in a row for each method.

    Raises:
        ValueError: as for `draw_curves`.

    >>> from pathlib import Path
    >>> from bilevel.experiments import compare
    >>> compared = compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs")
    >>> [path.name for path in write_comparison_figures(compared.rows, Path("report"))]
    ['curves.png', 'profile.png', 'sharing.png']
    """
    runs = {row.label: row.results for row in rows}
    game, seeds = rows[0].results.config.game_name, rows[0].results.config.seeds
    statistic = f"interquartile means and 95 % intervals, {seeds} seeds"
    bands = f"{game}: welfare of {seeds} seeds, pointwise 95 % bands"
    figures = {
        "curves": _curves(runs, f"{game}: {statistic}", theory, x_axis),
        "profile": _profiles(runs, bands),
    }
    known = ((label, final_transfers(run)) for label, run in runs.items())
    transfers = {label: found for label, found in known if found is not None}
    shares = {label: found for label, found in transfers.items() if found.kind == "share"}
    others = {label: found for label, found in transfers.items() if found.kind != "share"}
    if shares:
        figures["sharing"] = transfer_figure(shares, f"{game}: final shares, mean over {seeds} seeds")
    if others:
        title = f"{game}: final incentives and payments, mean over {seeds} seeds"
        figures["incentives"] = transfer_figure(others, title)
    without = [row.label for row in rows if "equality" not in row.intervals]
    if len(without) < len(rows):
        note = _undefined_note("equality", without)
        figures["equality"] = _equality(rows, f"{game}: {statistic}{note}")
    giving = [row for row in rows if "given_away" in row.intervals]
    if giving and rows[0].results.config.game.influence is not None:
        note = _undefined_note(
            "share given away", [row.label for row in rows if "given_away" not in row.intervals]
        )
        figures["giving"] = panel_figure(
            [[partial(draw_giving, rows=giving)]], f"{game}: {statistic}{note}", ONE_PANEL
        )
    learned = mean_weight_curves(runs)
    if learned:
        title = f"{game}: learned loss weights, mean over agents; {statistic}"
        figures["loss_weights"] = loss_weight_figure(learned, title, x_axis)
    for name in set(OPTIONAL) - figures.keys():
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return [save(figure, folder / f"{name}{suffix}") for name, figure in figures.items()]


def write_weights_figure(history: History, path: Path) -> Path:
    """Draw the learned values, and below them the validation loss, if any, by training steps.

    Args:
        history: a tuner's history.
        path: path of the file; its extension determines the format.

    Returns:
        The path.

    Raises:
        ValueError: there was no outer step yet.

    >>> from pathlib import Path
    >>> from bilevel.loss_weights import History
    >>> history = History()  # `LossWeightTuner.history` is one
    >>> for step in (1, 2, 3):
    ...     history.add(step, {"label": 1.0 + step, "contour": 0.5}, 1 / step)
    >>> write_weights_figure(history, Path("weights.png")).exists()
    True
    """
    require(len(history.steps) > 0, "There is nothing to draw yet: no outer step was taken.")
    with style():
        learned_from = any(loss is not None for loss in history.validation_loss)
        figure = Figure(figsize=(8, 6 if learned_from else 4))
        ratios = (2, 1) if learned_from else (1,)
        rows = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)
        above, below = rows[0, 0], rows[-1, 0]
        for name, look in looks(list(history.values)).items():
            above.plot(history.steps, history.values[name], label=name, **look)
        above.set_ylabel("learned weight")
        above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        if learned_from:
            below.plot(history.steps, np.array(history.validation_loss, dtype=float), color=BLACK)
            below.set_ylabel("validation loss after\nthe look-ahead step")
        below.set_xlabel("training step")
    return save(figure, path)


def draw_profiles(axes: Axes, runs: Mapping[str, Run], labels: Sequence[str] = ()) -> None:
    """Draw each method's fraction of seeds with more welfare than tau, with its pointwise 95 % band.

    Args:
        axes: the axes to draw on.
        runs: label -> run.
        labels: of all runs in the figure, as for `draw_curves`.
    """
    of_label = looks(list(labels or runs))
    steps = np.unique([results.final["welfare"] for results in runs.values()])
    margin = 0.05 * (steps[-1] - steps[0]) or 0.05 * max(1.0, abs(steps[-1]))
    thresholds = np.array([steps[0] - margin, *steps, steps[-1] + margin])
    for place, (label, run) in enumerate(runs.items()):
        look = of_label[label]
        profile = performance_profile(run.final["welfare"], thresholds)
        above = 3 - place / len(runs)  # where lines coincide, dashed ones lie above solid ones
        axes.plot(thresholds, profile.estimate, drawstyle="steps-post", label=label, zorder=above, **look)
        axes.fill_between(
            thresholds, profile.low, profile.high, step="post", color=look["color"], alpha=0.2, linewidth=0
        )
    axes.set_xlabel(f"threshold tau of welfare ({_unit(runs)})")
    axes.set_ylabel("fraction of seeds with welfare > tau")
    percent_axis(axes)


def draw_equality(axes: Axes, rows: Sequence[Compared]) -> None:
    """Draw equality, where it is defined, against welfare: interquartile means with their 95 % intervals."""
    of_label = looks([row.label for row in rows])
    for row in rows:
        if "equality" not in row.intervals:
            continue
        welfare, equality = row.intervals["welfare"], row.intervals["equality"]
        axes.errorbar(
            welfare.estimate,
            equality.estimate,
            xerr=_bars(welfare),
            yerr=_bars(equality),
            marker=of_label[row.label]["marker"],
            linestyle="none",
            color=of_label[row.label]["color"],
            capsize=4,
            markersize=8,
            label=row.label,
        )
    axes.set_xlabel(f"welfare ({_unit({row.label: row.results for row in rows})})")
    axes.set_ylabel("equality (1 - Gini coefficient)")
    axes.margins(0.1)
    axes.locator_params(nbins=6)


def draw_intervals(axes: Axes, rows: Sequence[Compared], measure: str) -> None:
    """Draw a measure of each method in a row of its own: interquartile mean and 95 % interval."""
    of_label = looks([row.label for row in rows])
    for place, row in enumerate(rows):
        if measure not in row.intervals:
            continue
        interval, look = row.intervals[measure], of_label[row.label]
        axes.errorbar(
            interval.estimate,
            place,
            xerr=_bars(interval),
            marker=look["marker"],
            linestyle="none",
            color=look["color"],
            capsize=4,
            markersize=8,
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=6)


def draw_giving(axes: Axes, rows: Sequence[Compared]) -> None:
    """Draw welfare against the share given away: interquartile means with their 95 % intervals.

    If the minimal transfer has a closed form, a line marks 1 - g*, the minimal share given away with which
    the optimum is dominant.
    """
    of_label, config = looks([row.label for row in rows]), rows[0].results.config
    game, (best, _) = config.game, welfare_levels(config.game, exact=config.exact)
    for row in rows:
        given, welfare = row.intervals["given_away"], row.intervals["welfare"]
        look = of_label[row.label]
        axes.errorbar(
            given.estimate,
            welfare.estimate,
            xerr=_bars(given),
            yerr=_bars(welfare),
            fmt=look["marker"],
            color=look["color"],
            capsize=4,
            markersize=8,
            label=row.label,
        )
    if isinstance(game, Aid) and not transfer_obstacle(game):
        least = 1 - minimal_transfer_on_graph(game).g
        axes.axvline(
            least,
            color=GRAY,
            linestyle=DASHED,
            linewidth=1.5,
            zorder=0,
            label=f"least share for a\ndominant optimum,\n1 - g* = {least:.3g}",
        )
    if best is not None:
        axes.axhline(best, color=GRAY, linestyle=DOTTED, linewidth=1.5, zorder=0, label="welfare optimum")
    axes.set_xlabel("share given away")
    axes.set_ylabel(f"welfare ({_unit({row.label: row.results for row in rows})})")
    axes.set_xlim(-0.05, 1.05)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.margins(y=0.1)
    axes.locator_params(nbins=6)


def draw_gains(axes: Axes, runs: Mapping[str, Run]) -> None:
    """Draw each agent's gain from sharing over its return among selfish agents of the same seed.

    Markers are interquartile means over seeds, with their 95 % intervals.

    Args:
        axes: the axes to draw on.
        runs: method name -> run, with the same seeds; `selfish` is among them, and is the line at 0.
    """
    alone = returns_after_sharing(runs["selfish"])
    agents, unit = np.arange(alone.shape[1]), runs["selfish"].config.game.value_unit
    of_label, others = looks(list(runs)), [label for label in runs if label != "selfish"]
    line = of_label["selfish"]
    axes.axhline(0, color=line["color"], linestyle=line["linestyle"], zorder=1, label="selfish")
    for place, label in enumerate(others):
        gains = interquartile_interval((returns_after_sharing(runs[label]) - alone).T)
        axes.errorbar(
            agents + 0.2 * (place - (len(others) - 1) / 2),
            gains.estimate,
            yerr=np.stack([gains.estimate - gains.low, gains.high - gains.estimate]).clip(min=0),
            marker=of_label[label]["marker"],
            linestyle="none",
            color=of_label[label]["color"],
            capsize=4,
            markersize=8,
            label=label,
        )
    axes.set_xticks(agents)
    axes.set_xlim(-0.5, len(agents) - 0.5)
    axes.set_xlabel("agent")
    axes.set_ylabel(f"gain over selfish agents ({unit})")
    axes.margins(y=0.12)


def agent_weight_curves(results: Run) -> dict[str, Run]:
    """Copies of a run, each with the curves of one agent's learned loss weights, if any."""
    return {
        f"agent {agent}": dataclasses.replace(
            results,
            curves=_with_steps(results, {term: results.curves[f"{term}_weight_{agent}"] for term in TERMS}),
        )
        for agent in range(results.config.game.num_agents)
        if f"policy_weight_{agent}" in results.curves
    }


def mean_weight_curves(runs: Mapping[str, Run]) -> dict[str, Run]:
    """Runs that learned loss weights, with the curves of their means over agents."""
    with_weights = {}
    for label, results in runs.items():
        means = {term: mean_weight(results.curves, term, results.config.game.num_agents) for term in TERMS}
        curves = {term: mean for term, mean in means.items() if mean is not None}
        if curves:
            with_weights[label] = dataclasses.replace(results, curves=_with_steps(results, curves))
    return with_weights


def loss_weight_figure(runs: Mapping[str, Run], title: str, x_axis: XAxis = "outer-steps") -> Figure:
    """Draw the weights of each term of `agent_weight_curves` or `mean_weight_curves` over training."""

    def draw(axes: Axes, term: str, group: Mapping[str, Run]) -> None:
        draw_curves(axes, group, term, log=False, x_axis=x_axis, labels=list(runs))
        axes.set_title(f"{term} term")
        axes.set_ylabel(WEIGHTS[term])
        low, high = axes.get_ylim()
        axes.set_ylim(min(0.0, low), high + 0.02 * (high or 1.0))

    rows = [[partial(draw, term=term, group=group) for term in TERMS] for group in _groups(runs)]
    return panel_figure(rows, title, (14.4, 4.6 * len(rows)))


def _groups(runs: Mapping[str, Run]) -> list[Mapping[str, Run]]:
    """Runs that are drawn together: all of a few, else the first beside some of the others in each group."""
    if len(runs) <= MAX_TOGETHER:
        return [runs]
    first, *others = runs
    count = -(-len(others) // MAX_WITH_FIRST)
    ends = [round(place * len(others) / count) for place in range(count + 1)]
    return [
        {label: runs[label] for label in (first, *others[begin:end])}
        for begin, end in itertools.pairwise(ends)
    ]


def _curves(
    runs: Mapping[str, Run], title: str, theory: Theory | str | None, x_axis: XAxis = "outer-steps"
) -> Figure:
    cooperating = {label: results for label, results in runs.items() if "cooperation" in results.curves}
    sharing = {label: results for label, results in runs.items() if "given_away" in results.curves}
    welfares, shares = (
        (theory_levels(theory), share_levels(theory)) if isinstance(theory, Theory) else ((), ())
    )

    settings: Any = {"x_axis": x_axis, "labels": list(runs)}
    columns: list[tuple[Mapping[str, Run], Callable[..., None]]] = [
        (runs, partial(draw_welfare, levels=welfares, **settings)),
        (cooperating, partial(draw_cooperation, **settings)),
        (sharing, partial(draw_kept, levels=shares, **settings)),
    ]

    def drawings(group: Mapping[str, Run]) -> list[Callable[[Axes], None]]:
        chosen = [
            ({label: known[label] for label in group if label in known}, draw)
            for known, draw in columns
            if known
        ]
        return [partial(draw, runs=some) if some else Axes.set_axis_off for some, draw in chosen]

    rows = [drawings(group) for group in _groups(runs)]
    return panel_figure(rows, title, (2.4 + 5.2 * len(rows[0]), 0.4 + 4.4 * len(rows)))


def _profiles(runs: Mapping[str, Run], title: str) -> Figure:
    groups = _groups(runs)
    rows = [[partial(draw_profiles, runs=group, labels=list(runs))] for group in groups]
    return panel_figure(rows, title, (ONE_PANEL[0], ONE_PANEL[1] + 3.8 * (len(rows) - 1)))


def _undefined_note(measure: str, labels: Sequence[str]) -> str:
    """Line of a title on the methods that a figure leaves out."""
    return f"\n({measure} is undefined for {', '.join(labels)})" if labels else ""


def _equality(rows: Sequence[Compared], title: str) -> Figure:
    """Equality against welfare; with many methods, side by side, because error bars would overlap."""
    if len(rows) <= MAX_TOGETHER:
        return panel_figure([[partial(draw_equality, rows=rows)]], title, ONE_PANEL)
    size = (11.0, 1.6 + 0.36 * len(rows))
    with style():
        figure = Figure(figsize=size)
        left, right = figure.subplots(1, 2, sharey=True)
        draw_intervals(left, rows, "welfare")
        draw_intervals(right, rows, "equality")
        left.set_xlabel(f"welfare ({_unit({row.label: row.results for row in rows})})")
        right.set_xlabel("equality (1 - Gini coefficient)")
        figure.suptitle(wrapped(title, size[0]), fontsize=12)
    return figure


def _with_steps(results: Run, curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Curves with the count of environment steps, if the run has it."""
    counts = results.curves.get(ENVIRONMENT_STEPS)
    return curves if counts is None else {**curves, ENVIRONMENT_STEPS: counts}


def _unit(runs: Mapping[str, Run]) -> str:
    return f"{next(iter(runs.values())).config.game.value_unit}, all agents"


def _bars(interval: Interval) -> np.ndarray:
    """Lengths of the error bar below and above the estimate, [2, 1]."""
    return np.array([[interval.estimate - interval.low], [interval.high - interval.estimate]]).clip(min=0)
