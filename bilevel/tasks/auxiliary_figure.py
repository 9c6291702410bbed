"""The figure of `auxiliary-digits`: learned weights over the steps, and the test error of each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bilevel.experiment.statistics import FEWEST_SEEDS, bootstrap_interval
from bilevel.report.style import looks, save, style
from bilevel.tasks.task import Trial

SHOWN = ("learned", "implicit", "uncertainty", "gradnorm")
"""Whose weights are drawn, the first of these that is there."""
FLOOR = 0.1
"""Shares below this, in per cent, are drawn at it."""


def draw_figure(trials: Mapping[str, Sequence[Trial]], path: Path) -> Path:
    """Draw the weights of one way over the steps with bands, and the test errors with intervals.

    Args:
        trials: way to set the weights -> trials, seed by seed, of `AuxiliaryDigits`.
        path: of the file; its ending is the format.
    """
    shown = next((way for way in SHOWN if way in trials), None)
    with style():
        figure = Figure(figsize=(13, 5) if shown else (7, 5))
        axes = figure.subplots(1, 2 if shown else 1, squeeze=False)[0]
        if shown:
            _weights(axes[0], shown, trials[shown])
        _errors(axes[-1], trials)
    return save(figure, path)


def _weights(axes: Any, way: str, trials: Sequence[Trial]) -> None:
    names = [name for name in trials[0].courses if not name.endswith(" at")]
    for name, look in looks(names).items():
        steps = np.array(trials[0].courses[f"{name} at"])
        shares = np.array([trial.courses[name] for trial in trials])
        shares = np.maximum(100 * shares / shares[:, :1], FLOOR)
        middle = np.median(shares, axis=0)
        axes.plot(steps, middle, label=name, **look)
        low, high = np.quantile(shares, (0.1, 0.9), axis=0)
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.2, linewidth=0)
        axes.annotate(name, (steps[-1], middle[-1]), xytext=(5, 0), textcoords="offset points", va="center")
    axes.axhline(5, color="#666666", linewidth=1, linestyle=(0, (2, 2)))
    axes.annotate(
        "5 % of start", (0, 5), xytext=(4, 3), textcoords="offset points", fontsize=10, color="#666666"
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("step of training")
    axes.set_ylabel("weight (% of its start)")
    axes.set_title(f"weights, {way}: median and middle 80 % of seeds")


def _errors(axes: Any, trials: Mapping[str, Sequence[Trial]]) -> None:
    for place, some in enumerate(trials.values()):
        errors = np.array([trial.measures["test error (%)"] for trial in some])
        axes.plot(errors, np.full(len(errors), place), "o", color="#B0B0B0", markersize=3, zorder=1)
        if len(errors) >= FEWEST_SEEDS:
            found = bootstrap_interval((errors,), lambda each: each.mean(-1))
            ends = [[found.estimate - found.low], [found.high - found.estimate]]
            axes.errorbar([found.estimate], [place], xerr=ends, fmt="o", color="#0072B2", capsize=4, zorder=2)
    axes.set_yticks(range(len(trials)), list(trials))
    axes.invert_yaxis()
    axes.set_xlabel("test error (%)")
    axes.set_title("seeds, and mean with 95 % interval")
