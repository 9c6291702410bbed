"""The task `world-model`: acting from pixels by a world model with weighted losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bilevel.report import GREEN, draw_band, looks, save, style
from bilevel.tasks import Measure, Progress, Trial
from bilevel.tasks.world_model._settings import WorldModelSettings
from bilevel.tasks.world_model._training import GRID, WEIGHTINGS, WorldModelTraining
from games.core import require_name

EMPHASIS = {"color": GREEN, "linestyle": "-", "linewidth": 3.0}
QUARTERS = ("first quarter", "second quarter", "third quarter")
TESTED = "mean return of fresh episodes, by the likeliest actions, in the tests of"


class WorldModelTask:
    """CartPole, or another Gymnasium environment, from small gray images.

    Source:
        Ha and Schmidhuber, World models, arXiv 1803.10122.

    >>> from bilevel.tasks.world_model import WorldModelSettings
    >>> sizes = {"num_envs": 2, "rollout_steps": 8, "update_epochs": 1, "hidden_size": 4, "latent_size": 2}
    >>> tests = {"evaluations": 4, "evaluation_episodes": 1}
    >>> small = WorldModelSettings(environment_steps=64, **sizes, **tests)
    >>> trial = WorldModelTask().run(small, "fixed", 0, lambda fraction: None)
    >>> list(trial.measures)[:2]
    ['return', 'return, first quarter']
    """

    summary = "CartPole from pixels: a weight for each loss of autoencoder, recurrent dynamics and controller"
    measures: Sequence[Measure] = (
        Measure("return", f"{TESTED} the last quarter of the steps.", "higher"),
        *(Measure(f"return, {part}", f"{TESTED} the {part} of the steps.", "higher") for part in QUARTERS),
        Measure("reconstruction", "squared error of the last pictures, summed over pixels.", "lower"),
        Measure("dynamics", "-log likelihood of the last latents, rewards and ends, per step.", "neither"),
    )
    weightings: Mapping[str, str] = WEIGHTINGS
    settings: type[Any] = WorldModelSettings

    def run(self, settings: WorldModelSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        require_name(weighting, self.weightings, "weighting")
        training = WorldModelTraining(settings, weighting, seed)
        try:
            training.train(progress)
            final = training.last_losses()
        finally:
            training.close()
        tests = np.array(training.curves["return"][1:]).reshape(4, -1).mean(1)
        names = (measure.name for measure in self.measures)
        measures = dict(zip(names, [tests[3], *tests[:3], *final], strict=True))
        return Trial(measures, training.curves, {"returns at the end": np.asarray(training.last_returns)})

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Draw returns, in a panel for manual weights and one for other weightings, and learned weights.

        Bands are 95 % intervals over seeds, where there are 3 or more.
        """
        learned = trials.get("learned", ())
        panels = _panels(list(trials))
        with style():
            figure = Figure(figsize=(9, 3.6 * (len(panels) + bool(learned))))
            axes = figure.subplots(len(panels) + bool(learned), 1, squeeze=False, sharex=True)[:, 0]
            for axis, names in zip(axes, panels, strict=False):
                for name, look in looks(names).items():
                    _line(axis, trials[name], "return", name, look | EMPHASIS if name == "learned" else look)
                axis.set_ylabel("return of fresh episodes")
                axis.sharey(axes[0])
            if learned:
                names = [
                    name for name in learned[0].curves if name.startswith("weight") and name[-3:] != " at"
                ]
                for name, look in looks(names).items():
                    _line(axes[-1], learned, name, name.removeprefix("weight of "), look)
                axes[-1].set_ylabel("learned weight")
            for axis in axes:
                axis.set_ylim(bottom=0)
                axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
            axes[-1].set_xlabel("environment steps")
        save(figure, path)


def _panels(names: Sequence[str]) -> list[list[str]]:
    """Group weightings in panels, manual ones and all others, each with fixed and learned."""
    both = [name for name in names if name in ("fixed", "learned")]
    rest = [name for name in names if name not in both]
    groups = ([name for name in rest if name in GRID], [name for name in rest if name not in GRID])
    return [[*both, *group] for group in groups if group] or [both]


def _line(axis: Any, trials: Sequence[Trial], curve: str, label: str, look: Mapping[str, Any]) -> None:
    steps = np.asarray(trials[0].curves[f"{curve} at"])
    values = np.array([trial.curves[curve] for trial in trials]).T
    draw_band(axis, steps, values, {**look, "label": label}, alpha=0.15)
