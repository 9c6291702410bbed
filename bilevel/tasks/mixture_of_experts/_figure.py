"""Figure of `mixture-of-experts`: final measures of every router, and curves over the training steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bilevel import report
from bilevel.tasks._results import Trials, draw_final


def draw_mixtures(trials: Trials, finals: Sequence[str], curves: Sequence[str], path: Path) -> None:
    """Draw final measures in the upper row, and curves of medians over seeds in the lower one.

    Args:
        trials: router -> its trials, seed by seed.
        finals: measures.
        curves: names of curves; the last one has a logarithmic axis.
        path: receives the figure.
    """
    with report.style():
        figure = Figure(figsize=(15, 6.5 + 0.42 * len(trials)))
        halves: Any = figure.subfigures(2, 1, height_ratios=(1.5 + 0.42 * len(trials), 5))
        upper, lower = halves
        panels = upper.subplots(1, len(finals), sharey=True)
        for axes, measure in zip(panels, finals, strict=True):
            draw_final(axes, trials, measure)
        panels[0].set_title("interquartile mean, 95 % interval, seeds", loc="left")
        below = lower.subplots(1, len(curves))
        for axes, name in zip(below, curves, strict=True):
            _draw_curve(axes, trials, name)
        below[0].set_title("medians over seeds", loc="left")
        below[-1].set_yscale("log")
        lower.legend(*below[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    report.save(figure, path)


def _draw_curve(axes: Axes, trials: Trials, name: str) -> None:
    for router, look in report.looks(list(trials)).items():
        runs = trials[router]
        median = np.median([trial.curves[name] for trial in runs], axis=0)
        axes.plot(runs[0].curves[f"{name} at"], median, label=router, **look)
    if "%" in name:
        axes.set_ylim(-3, 103)
    axes.set_xlabel("training step")
    axes.set_ylabel(name)
