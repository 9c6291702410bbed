"""`auxiliary-digits`: few labeled digits, and a helpful, a useless and a harmful loss beside their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bilevel.loss_weights import (
    Aggregated,
    DynamicAverage,
    FixedWeights,
    GradNorm,
    LinearWeights,
    LossWeights,
    LossWeightTuner,
    Trainer,
    Uncertainty,
    Weighting,
    gradient_evaluations,
    random_search,
)
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
from bilevel.tasks._auxiliary_training import (
    LOSSES,
    AuxiliaryDigitsData,
    AuxiliaryDigitsSettings,
    DigitTraining,
    draw_data,
)
from bilevel.tasks._results import Marks, Trials, draw_final
from bilevel.tasks._task import Measure, Progress, Trial

POINTS = 100
"""Of a curve, about."""
ALONE = {name: float(name == "digit") for name in LOSSES}
SHOWN = ("learned", "implicit", "uncertainty", "gradnorm")
"""Weightings whose weights are drawn: the first of these that is there."""
FLOOR = 0.1
"""Shares below this, in per cent, are drawn at it."""
LOOKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "digit": ("the objective", {"color": BLACK, "linestyle": "-"}),
    "pair": ("helpful", {"color": GREEN, "linestyle": DASHED}),
    "noise": ("useless", {"color": AMBER, "linestyle": DASH_DOTTED}),
    "shifted": ("harmful", {"color": RED, "linestyle": DOTTED}),
}
MARKS = Marks({"marker": "o", "color": "#B0B0B0", "markersize": 3, "zorder": 1}, {"color": BLUE})

Curves = dict[str, list[float]]
"""Name -> weights, the first that of the start; `<name> at` -> the steps after which they were."""
Train = Callable[[AuxiliaryDigitsData, AuxiliaryDigitsSettings, int, Progress], tuple[DigitTraining, Curves]]
"""(data, settings, seed, progress) -> the training after all steps, and its weights over the steps."""


def _follow(
    training: DigitTraining,
    trainer: Trainer | LossWeightTuner,
    start: Mapping[str, float],
    progress: Progress,
) -> tuple[DigitTraining, Curves]:
    """Take all steps with a tuner or a trainer."""
    steps = training.settings.steps
    for step in range(steps):
        trainer.step(training.losses, training.validation)
        training.draw_batch()
        if step % 20 == 0:
            progress(step / steps)
    history, stride = trainer.history, max(len(trainer.history.steps) // POINTS, 1)
    kept = sorted({*range(stride - 1, len(history.steps), stride), len(history.steps) - 1})
    curves: Curves = {}
    for name, first in start.items():
        curves[name] = [first, *(history.values[name][index] for index in kept)]
        curves[f"{name} at"] = [0.0, *(float(history.steps[index]) for index in kept)]
    return training, curves


def _by(make: Callable[[DigitTraining], Weighting], *, with_validation: bool = False) -> Train:
    """Train by a weighting without validation loss, on the validation images, too, if they are free."""

    def train(
        data: AuxiliaryDigitsData, settings: AuxiliaryDigitsSettings, seed: int, progress: Progress
    ) -> tuple[DigitTraining, Curves]:
        if with_validation:
            data = data._replace(labeled=data.labeled.with_others(data.validation))
        training = DigitTraining(data, settings, seed)
        weighting = make(training)
        own = list(weighting.parameters())
        optimizer = torch.optim.Adam(own, lr=settings.outer_learning_rate) if own else None
        trainer = Trainer(training.optimizer, weighting, optimizer)
        return _follow(training, trainer, weighting.as_dict(), progress)

    return train


def _learned(estimator: str = "unrolled", constraint: str = "softplus", *, often: bool = True) -> Train:
    """Train with weights that are learned from the validation loss."""

    def train(
        data: AuxiliaryDigitsData, settings: AuxiliaryDigitsSettings, seed: int, progress: Progress
    ) -> tuple[DigitTraining, Curves]:
        training = DigitTraining(data, settings, seed)
        weights = LossWeights(list(LOSSES), 1 / len(LOSSES) if constraint == "simplex" else 1.0, constraint)
        tuner = LossWeightTuner(
            training.network,
            training.optimizer,
            weights,
            torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate),
            estimator=estimator,
            every=1 if often else settings.every,
        )
        return _follow(training, tuner, weights.as_dict(), progress)

    return train


def _searched(
    data: AuxiliaryDigitsData, settings: AuxiliaryDigitsSettings, seed: int, progress: Progress
) -> tuple[DigitTraining, Curves]:
    """Train whole trainings, as many as the gradients of one with learned weights allow."""

    def train(weights: dict[str, float]) -> tuple[float, DigitTraining]:
        training = DigitTraining(data, settings, seed)
        trainer = Trainer(training.optimizer, FixedWeights(weights))
        for _ in range(settings.steps):
            trainer.step(training.losses)
            training.draw_batch()
        return float(training.validation().detach()), training

    limits = (settings.min_weight, settings.max_weight)
    found = random_search(
        train,
        {name: (1.0, 1.0) if name == "digit" else limits for name in LOSSES},
        budget=gradient_evaluations(settings.steps),
        cost=settings.steps,
        generator=torch.Generator().manual_seed(seed),
        progress=progress,
    )
    curves: Curves = {}
    for name, weight in found.weights.items():
        curves[name], curves[f"{name} at"] = [1.0, weight], [0.0, float(settings.steps)]
    return found.trained, curves


def _upgrad(training: DigitTraining) -> Weighting:
    try:
        return Aggregated(list(LOSSES), by="upgrad")
    except ModuleNotFoundError as missing:
        raise ValueError(f"{missing} Or leave upgrad out.") from None


def _linear(training: DigitTraining) -> Weighting:
    steps = training.settings.steps
    return LinearWeights(
        {name: (0.1, 1.0, steps) if name == "digit" else (1.0, 0.1, steps) for name in LOSSES}
    )


class TrainedWeighting(NamedTuple):
    """A weighting of the losses."""

    text: str
    """A line on it."""
    train: Train


WEIGHTINGS: Mapping[str, TrainedWeighting] = {
    "single": TrainedWeighting("the digit's loss alone", _by(lambda training: FixedWeights(ALONE))),
    "single-more": TrainedWeighting(
        "the digit's loss alone, trained on the validation images, too",
        _by(lambda training: FixedWeights(ALONE), with_validation=True),
    ),
    "equal": TrainedWeighting(
        "all weights 1", _by(lambda training: FixedWeights(dict.fromkeys(LOSSES, 1.0)))
    ),
    "helpful": TrainedWeighting(
        "digit and pair 1, the others 0: set by who knows what helps",
        _by(lambda _: FixedWeights({name: float(name in ("digit", "pair")) for name in LOSSES})),
    ),
    "learned": TrainedWeighting("learned from the validation loss, through one virtual step", _learned()),
    "simplex": TrainedWeighting("learned so, with the sum 1", _learned(constraint="simplex")),
    "implicit": TrainedWeighting(
        "learned by implicit differentiation, three terms of a Neumann series (AuxiLearn)",
        _learned("implicit", often=False),
    ),
    "linear": TrainedWeighting(
        "the digit's from 0.1 to 1 and the other weights from 1 to 0.1, linearly", _by(_linear)
    ),
    "uncertainty": TrainedWeighting(
        "a learned variance for each loss", _by(lambda _: Uncertainty(list(LOSSES)))
    ),
    "dynamic-average": TrainedWeighting(
        "more for what falls slowly",
        _by(lambda training: DynamicAverage(list(LOSSES), epoch=training.settings.epoch)),
    ),
    "gradnorm": TrainedWeighting(
        "gradients of alike length in the trunk",
        _by(lambda training: GradNorm(list(LOSSES), training.network.trunk.parameters())),
    ),
    "upgrad": TrainedWeighting(
        "no weights: a direction in which no loss rises (needs torchjd)",
        _by(_upgrad),
    ),
    "random-search": TrainedWeighting(
        "the best by validation loss of as many whole trainings as learning one took gradients",
        _searched,
    ),
}


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
        """The weightings, with a line on each."""
        return {name: each.text for name, each in WEIGHTINGS.items()}

    def run(self, settings: AuxiliaryDigitsSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        """Train once and measure."""
        data = draw_data(settings, torch.Generator().manual_seed(seed))
        training, curves = WEIGHTINGS[weighting].train(data, settings, seed, progress)
        shares = {
            f"{name} weight (% of start)": 100 * curves[name][-1] / curves[name][0]
            if curves.get(name, [0.0])[0] > 0
            else float("nan")
            for name in LOSSES
        }
        return Trial({"test error (%)": training.test_error(), **shares}, curves)

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw the weights of one weighting over the steps with bands, and test errors with intervals."""
        shown = next((weighting for weighting in SHOWN if weighting in trials), None)
        with style():
            figure = Figure(figsize=(14, 6) if shown else (7, 5))
            axes = figure.subplots(1, 2 if shown else 1, squeeze=False)[0]
            if shown:
                _draw_weights(axes[0], shown, trials[shown])
            _draw_errors(axes[-1], trials)
        save(figure, path)


def _draw_weights(axes: Any, weighting: str, trials: Sequence[Trial]) -> None:
    for name, (kind, look) in LOOKS.items():
        steps = np.array(trials[0].curves[f"{name} at"])
        shares = np.array([trial.curves[name] for trial in trials])
        shares = np.maximum(100 * shares / shares[:, :1], FLOOR)
        axes.plot(steps, np.median(shares, axis=0), label=f"{name} ({kind})", **look)
        low, high = np.quantile(shares, (0.1, 0.9), axis=0)
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.axhline(5, color=GRAY, linewidth=1, linestyle=SHORT_DASHED)
    axes.annotate("5 % of start", (0, 5), xytext=(4, 3), textcoords="offset points", fontsize=10, color=GRAY)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("step of training")
    axes.set_ylabel("weight (% of its start)")
    axes.set_title(f"weights, {weighting}: median and middle 80 % of seeds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=2)


def _draw_errors(axes: Any, trials: Trials) -> None:
    draw_final(axes, trials, "test error (%)", lambda weighting: MARKS)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title("seeds, and their interquartile mean with 95 % interval")
