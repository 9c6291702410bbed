"""The task `auxiliary-digits`: few labeled digits, and a helpful, a useless and a harmful auxiliary loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bilevel import report
from bilevel.loss_weights import (
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
from bilevel.tasks._auxiliary_training import (
    LOSSES,
    AuxiliaryDigitsSettings,
    DigitTraining,
    draw_data,
)
from bilevel.tasks._results import Trials, draw_final
from bilevel.tasks._task import Measure, Progress, Trial
from bilevel.tasks._weighted import Curves, make_trainer, run_steps, upgrad

SHOWN = ("learned-auxiliary", "learned", "implicit", "uncertainty", "gradnorm")
"""Weightings in order of preference for the figure of weights, which shows the first one present."""
FLOOR = 0.1  # smaller shares, in per cent, are drawn at this value
LOOKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "digit": ("the objective", {"color": report.BLACK, "linestyle": "-"}),
    "pair": ("helpful", {"color": report.GREEN, "linestyle": report.DASHED}),
    "noise": ("useless", {"color": report.PURPLE, "linestyle": report.DASH_DOTTED}),
    "shifted": ("harmful", {"color": report.RED, "linestyle": report.DOTTED}),
}

Train = Callable[[DigitTraining, Progress], tuple[DigitTraining, Curves]]
"""(new training, progress) -> the finished training, and its weights over the steps."""


def _train_by(make: Callable[[DigitTraining], Weighting], *, with_validation: bool = False) -> Train:
    """Train by a weighting without validation loss, optionally on the validation images, too."""

    def train(training: DigitTraining, progress: Progress) -> tuple[DigitTraining, Curves]:
        data = training.data
        if with_validation:
            training.data = data._replace(labeled=data.labeled.with_others(data.validation))
        trainer = make_trainer(training.optimizer, make(training), training.settings.outer_learning_rate)
        return training, run_steps(training, trainer, progress)

    return train


def _learned(
    estimator: str = "unrolled",
    constraint: str = "softplus",
    *,
    names: Sequence[str] = tuple(LOSSES),
    fixed_digit: float | None = None,
    virtual_steps: int = 1,
) -> Train:
    """Train on the losses of these names, with weights learned from the validation loss.

    With `fixed_digit`, the digit's weight keeps this value.
    """

    def train(training: DigitTraining, progress: Progress) -> tuple[DigitTraining, Curves]:
        settings = training.settings
        training.names = tuple(names)
        start = dict.fromkeys(names, 1 / len(names) if constraint == "simplex" else 1.0)
        if fixed_digit is not None:
            start["digit"] = fixed_digit
        fixed = () if fixed_digit is None else ("digit",)
        weights = LossWeights(names, start, constraint, fixed=fixed)
        tuner = LossWeightTuner(
            training.network,
            training.optimizer,
            weights,
            torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate),
            estimator=estimator,
            every=settings.every if estimator == "implicit" else 1,
            virtual_steps=virtual_steps,
        )
        return training, run_steps(training, tuner, progress)

    return train


def _searched(training: DigitTraining, progress: Progress) -> tuple[DigitTraining, Curves]:
    """Search with the budget of gradients of a training with learned weights."""
    settings, seed = training.settings, training.seed

    def train(weights: dict[str, float]) -> tuple[float, DigitTraining]:
        trial = DigitTraining(training.data, settings, seed)
        run_steps(trial, Trainer(trial.optimizer, FixedWeights(weights)), lambda fraction: None)
        return float(trial.validation().detach()), trial

    ranges = dict.fromkeys(LOSSES, (settings.min_weight, settings.max_weight)) | {"digit": (1.0, 1.0)}
    result = random_search(
        train,
        ranges,
        budget=gradient_evaluations(settings.steps),
        cost=settings.steps,
        generator=torch.Generator().manual_seed(seed),
        progress=progress,
    )
    curves = {name: [1.0, weight] for name, weight in result.weights.items()}
    return result.trained, curves | {f"{name} at": [0.0, float(settings.steps)] for name in curves}


def _linear(training: DigitTraining) -> Weighting:
    steps = training.settings.steps
    return LinearWeights(
        {name: (0.1, 1.0, steps) if name == "digit" else (1.0, 0.1, steps) for name in LOSSES}
    )


def _unit_weights(*names: str) -> Callable[[DigitTraining], Weighting]:
    """Weight 1 for these losses, 0 for the others."""
    return lambda training: FixedWeights({name: float(name in names) for name in LOSSES})


WEIGHTINGS: Mapping[str, tuple[str, Train]] = {
    "single": ("the digit's loss alone", _train_by(_unit_weights("digit"))),
    "single-more": (
        "the digit's loss alone, trained on the validation images, too",
        _train_by(_unit_weights("digit"), with_validation=True),
    ),
    "equal": ("all weights 1", _train_by(_unit_weights(*LOSSES))),
    "helpful": (
        "weight 1 for digit and pair, 0 for the others (oracle)",
        _train_by(_unit_weights("digit", "pair")),
    ),
    "learned": ("learned from the validation loss, through one virtual step", _learned()),
    "learned-auxiliary": (
        "as learned, but for the auxiliary losses only: the digit's weight stays 1",
        _learned(fixed_digit=1.0),
    ),
    "learned-auxiliary-10": (
        "as learned-auxiliary, but the digit's weight stays 10",
        _learned(fixed_digit=10.0),
    ),
    "learned-5-steps": ("as learned, through five virtual steps", _learned(virtual_steps=5)),
    "learned-without-harmful": (
        "as learned, without the harmful loss (oracle)",
        _learned(names=[name for name in LOSSES if name != "shifted"]),
    ),
    "simplex": ("as learned, with weights that sum to 1", _learned(constraint="simplex")),
    "implicit": (
        "learned by implicit differentiation, three terms of a Neumann series (AuxiLearn)",
        _learned("implicit"),
    ),
    "implicit-auxiliary": (
        "as implicit, but for the auxiliary losses only: the digit's weight stays 1",
        _learned("implicit", fixed_digit=1.0),
    ),
    "linear": (
        "linear schedules: the digit's weight from 0.1 to 1, the others from 1 to 0.1",
        _train_by(_linear),
    ),
    "uncertainty": ("a learned variance for each loss", _train_by(lambda _: Uncertainty(list(LOSSES)))),
    "dynamic-average": (
        "dynamic weight averaging: larger weights for losses that fall slowly",
        _train_by(lambda training: DynamicAverage(list(LOSSES), epoch=training.settings.epoch)),
    ),
    "gradnorm": (
        "gradients of similar norm in the trunk (GradNorm)",
        _train_by(lambda training: GradNorm(list(LOSSES), training.network.trunk.parameters())),
    ),
    "upgrad": (
        "no weights: an aggregated direction that increases no loss (needs torchjd)",
        _train_by(lambda _: upgrad(list(LOSSES))),
    ),
    "random-search": (
        "the lowest validation loss of several full trainings, within the gradient budget of `learned`",
        _searched,
    ),
}
"""Name -> a one-line description, and the training."""


class AuxiliaryDigits:
    """Few labels and three auxiliary losses, of which one helps; keeps the contract of `Task`."""

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
    weightings: Mapping[str, str] = {name: text for name, (text, _) in WEIGHTINGS.items()}

    def run(self, settings: AuxiliaryDigitsSettings, weighting: str, seed: int, progress: Progress) -> Trial:
        data = draw_data(settings, torch.Generator().manual_seed(seed))
        _, train = WEIGHTINGS[weighting]
        training, curves = train(DigitTraining(data, settings, seed), progress)
        shares = {
            f"{name} weight (% of start)": 100 * curves[name][-1] / curves[name][0]
            if curves.get(name, [0.0])[0] > 0
            else float("nan")
            for name in LOSSES
        }
        return Trial({"test error (%)": training.test_error(), **shares}, curves)

    def draw(self, trials: Trials, path: Path) -> None:
        """Draw the weights of one weighting over the steps with bands, and test errors with intervals."""
        drawn = next((weighting for weighting in SHOWN if weighting in trials), None)
        with report.style():
            figure = Figure(figsize=(14, 6) if drawn else (7, 5))
            axes = figure.subplots(1, 2 if drawn else 1, squeeze=False)[0]
            if drawn:
                _draw_weights(axes[0], drawn, trials[drawn])
            _draw_errors(axes[-1], trials)
        report.save(figure, path)


def _draw_weights(axes: Any, weighting: str, trials: Sequence[Trial]) -> None:
    for name, (kind, look) in LOOKS.items():
        steps = np.array(trials[0].curves[f"{name} at"])
        shares = np.array([trial.curves[name] for trial in trials])
        shares = np.maximum(100 * shares / shares[:, :1], FLOOR)
        axes.plot(steps, np.median(shares, axis=0), label=f"{name} ({kind})", **look)
        low, high = np.quantile(shares, (0.1, 0.9), axis=0)
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.axhline(5, color=report.GRAY, linewidth=1, linestyle=report.SHORT_DASHED)
    axes.annotate(
        "5 % of start", (0, 5), xytext=(4, 3), textcoords="offset points", fontsize=10, color=report.GRAY
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("training step")
    axes.set_ylabel("weight (% of its start)")
    axes.set_title(f"weights, {weighting}: median and middle 80 % of seeds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=2)


def _draw_errors(axes: Any, trials: Trials) -> None:
    draw_final(axes, trials, "test error (%)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title("interquartile mean and 95 % interval; circles: seeds")
