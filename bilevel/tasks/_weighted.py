"""Training by a weighting of the losses, and the curves of its weights; shared by tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bilevel.loss_weights import Aggregated, LossWeightTuner, Trainer, Weighting
from bilevel.tasks._task import Progress

POINTS = 100  # approximate number of points of a curve

Curves = dict[str, list[float]]  # name -> weights from the start on; `<name> at` -> their steps


class WeightedTraining(Protocol):
    """A model with several losses on a batch, and a validation loss."""

    @property
    def settings(self) -> Any:
        """Settings of the task, of which `steps` counts the training steps."""

    def losses(self) -> dict[str, Tensor]:
        """Name -> loss on the batch."""

    def validation(self) -> Tensor:
        """Validation loss."""

    def draw_batch(self) -> None:
        """Draw the next batch."""


def run_steps(training: WeightedTraining, trainer: Trainer | LossWeightTuner, progress: Progress) -> Curves:
    """Take all training steps with a trainer or a tuner, and return the curves of its weights."""
    steps = training.settings.steps
    start = trainer.learned_values() if isinstance(trainer, LossWeightTuner) else trainer.weighting.as_dict()
    for step in range(steps):
        trainer.step(training.losses, training.validation)
        training.draw_batch()
        if step % 20 == 0:
            progress(step / steps)
    history, stride = trainer.history, max(len(trainer.history.steps) // POINTS, 1)
    recorded = sorted({*range(stride - 1, len(history.steps), stride), len(history.steps) - 1})
    curves: Curves = {}
    for name, first in start.items():
        curves[name] = [first, *(history.values[name][index] for index in recorded)]
        curves[f"{name} at"] = [0.0, *(float(history.steps[index]) for index in recorded)]
    return curves


def make_trainer(
    optimizer: torch.optim.Optimizer, weighting: Weighting, outer_learning_rate: float
) -> Trainer:
    """A trainer by a weighting without validation loss, whose own parameters, if any, Adam updates."""
    own = list(weighting.parameters())
    return Trainer(optimizer, weighting, torch.optim.Adam(own, lr=outer_learning_rate) if own else None)


def upgrad(names: Sequence[str]) -> Aggregated:
    """UPGrad of these losses; ValueError, saying how to install torchjd, if it is missing."""
    try:
        return Aggregated(list(names), by="upgrad")
    except ModuleNotFoundError as missing:
        raise ValueError(f"{missing} Or leave upgrad out.") from None
