"""`auxiliary-digits`: few labelled digits, and a helpful, a useless and a harmful loss beside their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from bilevel.tasks.auxiliary_figure import draw_figure
from bilevel.tasks.auxiliary_training import LOSSES, AuxiliaryDigitsSettings, draw_data
from bilevel.tasks.auxiliary_ways import WAYS
from bilevel.tasks.task import Advance, Measure, Trial


class AuxiliaryDigits:
    """Few labels and three more losses, of which one helps; keeps the contract of `Task`."""

    summary = "digits from few labels: a helpful, a useless and a harmful auxiliary loss"
    settings = AuxiliaryDigitsSettings
    measures = (
        Measure("test error (%)", "The part of the test images whose digit is wrong.", "lower"),
        *(
            Measure(
                f"{name} weight (% of start)",
                f"The weight of the loss {name} ({text}) at the end, as a share of its start.",
                "lower" if name == "shifted" else "neither",
            )
            for name, text in LOSSES.items()
        ),
    )

    @property
    def weightings(self) -> Mapping[str, str]:
        """The ways to set the weights, with a line on each."""
        return {name: way.text for name, way in WAYS.items()}

    def run(self, settings: AuxiliaryDigitsSettings, weighting: str, seed: int, advance: Advance) -> Trial:
        """Train once and measure."""
        data = draw_data(settings, torch.Generator().manual_seed(seed))
        training, courses = WAYS[weighting].train(data, settings, seed, advance)
        shares = {
            f"{name} weight (% of start)": 100 * courses[name][-1] / courses[name][0]
            if courses.get(name, [0.0])[0] > 0
            else float("nan")
            for name in LOSSES
        }
        return Trial({"test error (%)": training.test_error(), **shares}, courses)

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Draw the learned weights over the steps, and the test error with each way to set the weights."""
        draw_figure(trials, path)
