"""The figures of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bilevel.report import AMBER, BLACK, BLUE, DOTTED, GREEN, PURPLE, RED, save, style
from tests.benchmarks.experiments import EXPERIMENTS, MILLION
from tests.benchmarks.report.results import Results
from tests.benchmarks.report.targets import (
    BEFORE,
    BY_HAND,
    BY_JAX,
    COMPILED,
    DEFAULT,
    NEVER,
    OURS,
    PACKAGED,
    SEGMENTS,
    fit_square_root,
)
from tests.benchmarks.report.whole_runs import of_command, seconds_by_round
from tests.benchmarks.whole_runs import COLUMNS

LIBRARIES: dict[str, dict[str, Any]] = {
    "ours": {"color": GREEN, "marker": "o"},
    "TorchOpt": {"color": RED, "marker": "s"},
    "higher": {"color": AMBER, "marker": "^"},
    "JAX": {"color": BLUE, "marker": "D"},
    "autograd": {"color": BLACK, "marker": "x"},
}
"""A marker each is the second sign beside color."""

OURS_APART: list[dict[str, Any]] = [
    {"marker": "o"},
    {"marker": "o", "markerfacecolor": "white"},
    {"marker": "v"},
    {"marker": "v", "markerfacecolor": "white"},
    {"marker": "P"},
]
"""Marks for several variants of ours in one figure."""

Point = tuple[int, float]


def write_figures(results: Results, folder: Path) -> list[Path]:
    """Draw what there are numbers for: times against seeds and K, memory against K, whole runs."""
    drawings: dict[str, Callable[[Axes, Results], bool]] = {
        "time_against_seeds": draw_time_against_seeds,
        "time_against_steps": draw_time_against_steps,
        "memory_against_steps": draw_memory,
        "run_against_outer_steps": draw_whole_runs,
    }
    written = []
    for name, draw in drawings.items():
        with style():
            figure = Figure(figsize=(7, 4.6))
            drawn = draw(figure.subplots(), results)
        if drawn:
            written.append(save(figure, folder / f"{name}.png"))
    return written


def draw_time_against_seeds(axes: Axes, results: Results) -> bool:
    """Draw problem 1 at the middle K, the fastest variant of each library; False: there are no numbers."""
    rows = results.rows("unrolled", "times")
    steps = _middle(row["steps"] for row in rows)
    chosen = [(row["size"], row) for row in rows if row["steps"] == steps]
    axes.set_xlabel("seeds")
    axes.set_title(f"One hypergradient of the repeated dilemma, K = {steps}")
    return _draw_times(axes, chosen)


def draw_time_against_steps(axes: Axes, results: Results) -> bool:
    """Draw problem 1 at the next-to-largest number of seeds; False: there are no numbers."""
    rows = results.rows("unrolled", "times")
    sizes = sorted({row["size"] for row in rows})
    size = sizes[max(0, len(sizes) - 2)] if sizes else None
    chosen = [(row["steps"], row) for row in rows if row["size"] == size]
    axes.set_xlabel("inner steps K")
    axes.set_title(f"One hypergradient of the repeated dilemma, {size} seeds")
    return _draw_times(axes, chosen)


def _draw_times(axes: Axes, rows: list[tuple[int, dict[str, Any]]]) -> bool:
    for library, look in LIBRARIES.items():
        best: dict[int, float] = {}
        for place, row in rows:
            generic = library != "ours" or row["variant"] == OURS
            if row["library"] == library and generic:
                best[place] = min(best.get(place, np.inf), 1e3 * row["median"])
        _draw_line(axes, sorted(best.items()), {**look, "label": OURS if library == "ours" else library})
    eager = sorted((place, 1e3 * row["median"]) for place, row in rows if row["variant"] == "ours, eager")
    _draw_line(axes, eager, {**LIBRARIES["ours"], "linestyle": "--", "label": "ours, eager"})
    axes.set_ylabel("milliseconds")
    return _finish(axes, [place for place, _ in rows])


def draw_memory(axes: Axes, results: Results) -> bool:
    """Draw the network's memory with the fit of a + b sqrt(K); False: there are no numbers."""
    sizes = {row["size"] for row in results.rows("network", "memory")}
    size = MILLION if MILLION in sizes else max(sizes, default=0)
    places: list[int] = []
    marks = iter(OURS_APART)
    for variant in EXPERIMENTS["network"].variants:
        used = results.memory("network", size, variant.name)
        places += used
        dashes = "-" if variant.name in ("TorchOpt", "higher", SEGMENTS) else "--"
        look = {**LIBRARIES[variant.library], "label": variant.name, "linestyle": dashes}
        if variant.library == "ours":
            look |= next(marks)
        _draw_line(axes, [(k, value / 1e6) for k, value in sorted(used.items())], look)
    mine = results.memory("network", size, SEGMENTS)
    fit = fit_square_root(mine)
    if fit is not None:
        curve = np.geomspace(min(mine), max(mine), 50)
        label = f"{fit[0] / 1e6:.0f} + {fit[1] / 1e6:.1f} sqrt(K) MB, R^2 = {fit[2]:.3f}"
        axes.plot(
            curve,
            (fit[0] + fit[1] * np.sqrt(curve)) / 1e6,
            color=PURPLE,
            linestyle=DOTTED,
            label=label,
            zorder=0,
        )
    axes.set_xlabel("inner steps K")
    axes.set_ylabel("peak memory above the model, MB")
    axes.set_title("Unrolling a network, three loss weights")
    return _finish(axes, places)


RUN_LOOKS: dict[str, dict[str, Any]] = {
    DEFAULT: LIBRARIES["ours"],
    PACKAGED: {**LIBRARIES["ours"], "marker": "v", "markerfacecolor": "white"},
    COMPILED: {**LIBRARIES["ours"], "marker": "P"},
    NEVER: {**LIBRARIES["ours"], "marker": "P", "markerfacecolor": "white", "linestyle": "--"},
    BEFORE: {"color": PURPLE, "marker": "^", "linestyle": ":"},
    BY_HAND: LIBRARIES["autograd"],
    BY_JAX: LIBRARIES["JAX"],
}


def draw_whole_runs(axes: Axes, results: Results) -> bool:
    """Draw how long whole runs of the repeated dilemma take; False: there are no numbers."""
    name = "run: repeated dilemma"
    drawn = False
    for command, look in RUN_LOOKS.items():
        rows = of_command(results, name, command)
        found = {steps: seconds_by_round(rows, steps) for steps in COLUMNS}
        points = [
            (steps, float(np.median(list(values.values())))) for steps, values in found.items() if values
        ]
        _draw_line(axes, points, {**look, "label": command})
        drawn = drawn or bool(points)
    axes.set_xlabel("outer steps")
    axes.set_ylabel("seconds, from the start of the process")
    axes.set_title("Whole runs of the repeated dilemma")
    return _finish(axes, list(COLUMNS) if drawn else [])


def _draw_line(axes: Axes, points: list[Point], look: dict[str, Any]) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), **look)


def _finish(axes: Axes, places: list[int]) -> bool:
    if not places:
        return False
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(places))))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=10)
    return True


def _middle(values: Any) -> int | None:
    ordered = sorted(set(values))
    return ordered[len(ordered) // 2] if ordered else None
