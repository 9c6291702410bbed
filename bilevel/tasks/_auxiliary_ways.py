"""The ways to set the weights of `auxiliary-digits`: learned, and every rival in the box."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

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
from bilevel.tasks._auxiliary_training import LOSSES, AuxiliaryDigitsSettings, Data, Training
from bilevel.tasks._task import Advance

Courses = dict[str, list[float]]
"""Name -> weights, the first that of the start; `<name> at` -> the steps after which they were."""
Train = Callable[[Data, AuxiliaryDigitsSettings, int, Advance], tuple[Training, Courses]]
POINTS = 100
"""A course keeps about so many points."""
ALONE = {name: float(name == "digit") for name in LOSSES}


@dataclass(frozen=True)
class Way:
    """One way to set the weights."""

    text: str
    """A line on it."""
    train: Train
    """Trains from the start; gives what was trained, and how the weights went."""


def _follow(
    training: Training, stepper: Any, start: Mapping[str, float], advance: Advance
) -> tuple[Training, Courses]:
    """Take all steps with a tuner or a trainer."""
    steps = training.settings.steps
    for step in range(steps):
        stepper.step(training.losses, training.validation)
        training.draw_batch()
        if step % 20 == 0:
            advance(step / steps)
    history, stride = stepper.history, max(len(stepper.history.steps) // POINTS, 1)
    kept = sorted({*range(stride - 1, len(history.steps), stride), len(history.steps) - 1})
    courses: Courses = {}
    for name, first in start.items():
        courses[name] = [first, *(history.values[name][index] for index in kept)]
        courses[f"{name} at"] = [0.0, *(float(history.steps[index]) for index in kept)]
    return training, courses


def _by_rule(make: Callable[[Training], Weighting], *, more: bool = False) -> Train:
    """By a rule that looks at training alone; with `more`, on the validation images, too."""

    def train(
        data: Data, settings: AuxiliaryDigitsSettings, seed: int, advance: Advance
    ) -> tuple[Training, Courses]:
        training = Training(data.with_validation() if more else data, settings, seed)
        rule = make(training)
        own = list(rule.parameters())
        weighting_optimizer = torch.optim.Adam(own, lr=settings.outer_learning_rate) if own else None
        return _follow(
            training, Trainer(training.optimizer, rule, weighting_optimizer), rule.as_dict(), advance
        )

    return train


def _learned(estimator: Any = "unrolled", constraint: str = "softplus", *, often: bool = True) -> Train:
    """By the validation loss."""

    def train(
        data: Data, settings: AuxiliaryDigitsSettings, seed: int, advance: Advance
    ) -> tuple[Training, Courses]:
        training = Training(data, settings, seed)
        first = 1 / len(LOSSES) if constraint == "simplex" else 1.0
        weights = LossWeights(list(LOSSES), first, constraint)
        outer = torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate)
        tuner = LossWeightTuner(
            training.network,
            training.optimizer,
            weights,
            outer,
            estimator=estimator,
            every=1 if often else settings.every,
        )
        return _follow(training, tuner, weights.as_dict(), advance)

    return train


def _searched(
    data: Data, settings: AuxiliaryDigitsSettings, seed: int, advance: Advance
) -> tuple[Training, Courses]:
    """By whole trainings, as many as the gradients of one with learned weights allow."""

    def train(weights: dict[str, float]) -> tuple[float, Training]:
        training = Training(data, settings, seed)
        trainer = Trainer(training.optimizer, FixedWeights(weights))
        for _ in range(settings.steps):
            trainer.step(training.losses)
            training.draw_batch()
        return float(training.validation().detach()), training

    wide = (settings.least, settings.greatest)
    found = random_search(
        train,
        {name: (1.0, 1.0) if name == "digit" else wide for name in LOSSES},
        budget=gradient_evaluations(settings.steps),
        cost=settings.steps,
        generator=torch.Generator().manual_seed(seed),
        progress=advance,
    )
    courses: Courses = {}
    for name, weight in found.weights.items():
        courses[name], courses[f"{name} at"] = [1.0, weight], [0.0, float(settings.steps)]
    return found.trained, courses


def _upgrad(training: Training) -> Weighting:
    try:
        return Aggregated(list(LOSSES), by="upgrad")
    except ModuleNotFoundError as missing:
        raise ValueError(f"{missing} Or leave upgrad out.") from None


def _line(training: Training) -> Weighting:
    steps = training.settings.steps
    return LinearWeights(
        {name: (0.1, 1.0, steps) if name == "digit" else (1.0, 0.1, steps) for name in LOSSES}
    )


WAYS: Mapping[str, Way] = {
    "single": Way("the digit's loss alone", _by_rule(lambda training: FixedWeights(ALONE))),
    "single-more": Way(
        "the digit's loss alone, trained on the validation images, too",
        _by_rule(lambda training: FixedWeights(ALONE), more=True),
    ),
    "equal": Way("all weights 1", _by_rule(lambda training: FixedWeights(dict.fromkeys(LOSSES, 1.0)))),
    "helpful": Way(
        "digit and pair 1, the others 0: set by who knows what helps",
        _by_rule(lambda _: FixedWeights({name: float(name in ("digit", "pair")) for name in LOSSES})),
    ),
    "learned": Way("learned from the validation loss, through one virtual step", _learned()),
    "simplex": Way("learned so, with the sum 1", _learned(constraint="simplex")),
    "implicit": Way(
        "learned by implicit differentiation, three terms of a Neumann series (AuxiLearn)",
        _learned("implicit", often=False),
    ),
    "linear": Way("the digit's from 0.1 to 1 and the others' from 1 to 0.1, on lines", _by_rule(_line)),
    "uncertainty": Way("a learned variance for each loss", _by_rule(lambda _: Uncertainty(list(LOSSES)))),
    "dynamic-average": Way(
        "more for what falls slowly",
        _by_rule(lambda training: DynamicAverage(list(LOSSES), epoch=training.settings.epoch)),
    ),
    "gradnorm": Way(
        "gradients of alike length in the trunk",
        _by_rule(lambda training: GradNorm(list(LOSSES), training.network.trunk.parameters())),
    ),
    "upgrad": Way(
        "no weights: a direction in which no loss rises (needs torchjd)",
        _by_rule(_upgrad),
    ),
    "random-search": Way(
        "the best by validation loss of as many whole trainings as learning one took gradients",
        _searched,
    ),
}
"""Name -> way; others are compared with the first."""
