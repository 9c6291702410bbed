"""The task `world-model`: learn to act from pixels by a world model whose losses are weighed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevel.errors import require_name
from bilevel.tasks.task import Advance, Measure, Trial
from bilevel.tasks.world_model.figure import draw_trials
from bilevel.tasks.world_model.settings import WorldModelSettings
from bilevel.tasks.world_model.training import Training
from bilevel.tasks.world_model.ways import WEIGHTINGS

QUARTERS = ("first quarter", "second quarter", "third quarter")
TESTED = "mean return of fresh episodes, by the likeliest actions, in the tests of"


class WorldModelTask:
    """CartPole, or another environment of Gymnasium's, from small grey pictures.

    Source:
        Ha and Schmidhuber, World models, arXiv 1803.10122.

    >>> WorldModelTask().measures[0].name
    'return'
    """

    summary = "A world model (autoencoder, recurrent dynamics, controller) learns CartPole from pixels."
    measures: Sequence[Measure] = (
        Measure("return", f"{TESTED} the last quarter of the steps.", "higher"),
        *(Measure(f"return, {part}", f"{TESTED} the {part} of the steps.", "higher") for part in QUARTERS),
        Measure("reconstruction", "squared error of the last pictures, summed over pixels.", "lower"),
        Measure("dynamics", "-log likelihood of the last latents, rewards and ends, per step.", "neither"),
    )
    weightings: Mapping[str, str] = WEIGHTINGS
    settings: type[Any] = WorldModelSettings

    def run(self, settings: WorldModelSettings, weighting: str, seed: int, advance: Advance) -> Trial:
        """Train once and measure.

        Args:
            settings: of the task.
            weighting: one of `weightings`.
            seed: where all randomness starts, a whole number from 0.
            advance: told which part is done.

        Raises:
            ValueError: there is no such weighting, or the environment does not fit.
            FloatingPointError: a loss became infinite or undefined.
        """
        require_name(weighting, self.weightings, "way to set the weights")
        training = Training(settings, weighting, seed)
        try:
            course = training.train(advance)
            seen = training.last_losses()
        finally:
            training.close()
        tests = np.array(course.returns[1:]).reshape(4, -1).mean(1)
        names = [measure.name for measure in self.measures]
        measures = dict(
            zip(names, [tests[3], *tests[:3], seen["reconstruction"], seen["dynamics"]], strict=True)
        )
        weights = {f"weight of {name}": values for name, values in course.weights.items()}
        courses: dict[str, Sequence[float]] = {"return": course.returns, "return at": course.steps}
        for name, values in weights.items():
            courses |= {name: values, f"{name} at": course.weight_steps}
        return Trial(measures, courses, {"returns at the end": np.asarray(course.last_returns)})

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Return against environment steps for each way to train, and learned weights over time."""
        draw_trials(trials, path)
