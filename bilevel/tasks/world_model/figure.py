"""The world model's figure: return against environment steps, and the learned weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bilevel.experiment.statistics import FEWEST_SEEDS, interquartile_interval, interquartile_mean
from bilevel.report.style import looks, save, style
from bilevel.tasks.task import Trial

PREFIX = "weight of "


def draw_trials(trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
    """Draw returns, weights by hand apart from other ways, and learned weights; bands are 95 % intervals over seeds, where there are 3 or more.

    Args:
        trials: way to set the weights -> its trials, seed by seed.
        path: of the file; its ending is the format.
    """
    learned = trials.get("learned", ())
    with style():
        figure = Figure(figsize=(9, 8.5 if learned else 4.8))
        panels = figure.subplots(1 + bool(learned), 1, squeeze=False)[:, 0]
        for name, look in looks(list(trials)).items():
            _line(panels[0], trials[name], "return", name, look)
        panels[0].set_ylabel("return of fresh episodes")
        if learned:
            names = [
                name for name in learned[0].courses if name.startswith(PREFIX) and not name.endswith(" at")
            ]
            for name, look in looks(names).items():
                _line(panels[1], learned, name, name.removeprefix(PREFIX), look)
            panels[1].set_ylabel("learned weight")
        for panel in panels:
            panel.set_xlabel("steps in the environment")
            panel.set_ylim(bottom=0)
            panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def _line(panel: Any, trials: Sequence[Trial], course: str, label: str, look: Mapping[str, Any]) -> None:
    steps = np.asarray(trials[0].courses[f"{course} at"])
    values = np.array([trial.courses[course] for trial in trials]).T
    panel.plot(steps, interquartile_mean(values), label=label, **look)
    if len(trials) >= FEWEST_SEEDS:
        interval = interquartile_interval(values)
        panel.fill_between(steps, interval.low, interval.high, color=look["color"], alpha=0.15, linewidth=0)
