"""The world model's figure: return against environment steps, and the learned weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bilevel.report.curves import draw_band
from bilevel.report.style import GREEN, looks, save, style
from bilevel.tasks.task import Trial
from bilevel.tasks.world_model.ways import GRID

PREFIX = "weight of "
FIRST, LEARNED = "fixed", "learned"
"""The two ways that are in every panel of returns."""
EMPHASIS = {"color": GREEN, "linestyle": "-", "linewidth": 3.0}


def draw_trials(trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
    """Draw returns, in a panel for weights by hand and one for other ways, and learned weights.

    Bands are 95 % intervals over seeds, where there are 3 or more.

    Args:
        trials: way to set the weights -> its trials, seed by seed.
        path: of the file; its ending is the format.
    """
    learned = trials.get(LEARNED, ())
    panels = panels_of(list(trials))
    with style():
        figure = Figure(figsize=(9, 3.6 * (len(panels) + bool(learned))))
        axes = figure.subplots(len(panels) + bool(learned), 1, squeeze=False, sharex=True)[:, 0]
        for axis, names in zip(axes, panels, strict=False):
            for name, look in looks(names).items():
                _line(axis, trials[name], "return", name, look | EMPHASIS if name == LEARNED else look)
            axis.set_ylabel("return of fresh episodes")
            axis.sharey(axes[0])
        if learned:
            weights = [name for name in learned[0].courses if name.startswith(PREFIX)]
            for name, look in looks([name for name in weights if not name.endswith(" at")]).items():
                _line(axes[-1], learned, name, name.removeprefix(PREFIX), look)
            axes[-1].set_ylabel("learned weight")
        for axis in axes:
            axis.set_ylim(bottom=0)
            axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes[-1].set_xlabel("steps in the environment")
    save(figure, path)


def panels_of(names: Sequence[str]) -> list[list[str]]:
    """Which ways to train share a panel: weights by hand, and all others, each beside fixed and learned.

    >>> panels_of(["fixed", "fixed-policy-low", "learned", "staged"])
    [['fixed', 'learned', 'fixed-policy-low'], ['fixed', 'learned', 'staged']]
    """
    both = [name for name in names if name in (FIRST, LEARNED)]
    rest = [name for name in names if name not in both]
    groups = ([name for name in rest if name in GRID], [name for name in rest if name not in GRID])
    return [[*both, *group] for group in groups if group] or [both]


def _line(axis: Any, trials: Sequence[Trial], course: str, label: str, look: Mapping[str, Any]) -> None:
    steps = np.asarray(trials[0].courses[f"{course} at"])
    values = np.array([trial.courses[course] for trial in trials]).T
    draw_band(axis, steps, values, {**look, "label": label}, alpha=0.15)
