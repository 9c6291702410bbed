"""`auxiliary-digits`: few labeled digits, and a helpful, a useless and a harmful loss beside their own.

The figure of `auxiliary-digits`: learned weights over the steps, and the test error of each way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bilevel.report import (
    AMBER,
    BLACK,
    BLUE,
    DASH_DOTTED,
    DASHED,
    DOTTED,
    GRAY,
    GREEN,
    RED,
    SHORT_DASHED,
    save,
    style,
)
from bilevel.tasks._auxiliary_training import LOSSES, AuxiliaryDigitsSettings, draw_data
from bilevel.tasks._auxiliary_ways import WAYS
from bilevel.tasks._summary import Marks, draw_final
from bilevel.tasks._task import Advance, Measure, Trial

SHOWN = ("learned", "implicit", "uncertainty", "gradnorm")
"""Whose weights are drawn, the first of these that is there."""
KINDS = {"digit": "what counts", "pair": "helpful", "noise": "useless", "shifted": "harmful"}
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "digit": {"color": BLACK, "linestyle": "-"},
    "pair": {"color": GREEN, "linestyle": DASHED},
    "noise": {"color": AMBER, "linestyle": DASH_DOTTED},
    "shifted": {"color": RED, "linestyle": DOTTED},
}
MARKS = Marks({"marker": "o", "color": "#B0B0B0", "markersize": 3, "zorder": 1}, {"color": BLUE})
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
        figure = Figure(figsize=(14, 6) if shown else (7, 5))
        axes = figure.subplots(1, 2 if shown else 1, squeeze=False)[0]
        if shown:
            _weights(axes[0], shown, trials[shown])
        _errors(axes[-1], trials)
    return save(figure, path)


def _weights(axes: Any, way: str, trials: Sequence[Trial]) -> None:
    for name, look in LOOKS.items():
        steps = np.array(trials[0].courses[f"{name} at"])
        shares = np.array([trial.courses[name] for trial in trials])
        shares = np.maximum(100 * shares / shares[:, :1], FLOOR)
        axes.plot(steps, np.median(shares, axis=0), label=f"{name} ({KINDS[name]})", **look)
        low, high = np.quantile(shares, (0.1, 0.9), axis=0)
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.axhline(5, color=GRAY, linewidth=1, linestyle=SHORT_DASHED)
    axes.annotate("5 % of start", (0, 5), xytext=(4, 3), textcoords="offset points", fontsize=10, color=GRAY)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("step of training")
    axes.set_ylabel("weight (% of its start)")
    axes.set_title(f"weights, {way}: median and middle 80 % of seeds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=2)


def _errors(axes: Any, trials: Mapping[str, Sequence[Trial]]) -> None:
    draw_final(axes, trials, "test error (%)", lambda way: MARKS)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title("seeds, and their interquartile mean with 95 % interval")


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
