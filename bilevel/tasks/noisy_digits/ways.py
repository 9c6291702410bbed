"""The ways to weigh samples in `noisy-digits`: what each trains on, and how a step of it goes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from bilevel.tasks.digits import Images
from bilevel.tasks.noisy_digits.data import Data
from bilevel.tasks.noisy_digits.settings import NoisyDigitsSettings
from bilevel.tuning import LossWeightTuner, SampleWeights
from bilevel.tuning.reweighting import Reweighter

Step = Callable[[Images], Tensor | None]
"""Trains on a batch. Gives the weight of each image in it, [image], scaled to a mean of 1 (or all 0); None
where there are no weights."""


class Classifier(NamedTuple):
    """What is trained."""

    model: nn.Module
    """Of the images."""
    optimiser: torch.optim.Optimizer
    """Of its parameters."""


def uniform(classifier: Classifier, data: Data, settings: NoisyDigitsSettings) -> Step:
    """Every image counts the same."""
    model, optimiser = classifier

    def step(batch: Images) -> None:
        loss = batch.losses(model).mean()
        if not loss.isfinite():
            raise FloatingPointError("The training loss is not finite: try a smaller learning rate.")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def learned(
    classifier: Classifier,
    data: Data,
    settings: NoisyDigitsSettings,
    *,
    first: Literal["weights", "model"] = "weights",
) -> Step:
    """A network weighs each image by its loss, and learns that from the clean set's loss a step later."""
    model, optimiser = classifier
    weights = SampleWeights((settings.weight_hidden,))
    outer_optimiser = torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate)
    tuner = LossWeightTuner(model, optimiser, weights, outer_optimiser, first=first)
    plain, past = uniform(classifier, data, settings), itertools.count()

    def step(batch: Images) -> Tensor | None:
        if next(past) < settings.burn_in:
            return plain(batch)
        with torch.no_grad():
            losses = batch.losses(model)
        tuner.step(lambda: batch.losses(model), lambda: data.clean.losses(model).mean())
        values = weights.values(losses).detach()
        return values / values.mean().clamp(min=torch.finfo(values.dtype).tiny)

    return step


def reweighted(classifier: Classifier, data: Data, settings: NoisyDigitsSettings) -> Step:
    """Each batch gets the weights that would have lowered the clean set's loss."""
    model, optimiser = classifier
    reweighter = Reweighter(model, optimiser)

    def step(batch: Images) -> Tensor:
        reweighter.step(lambda: batch.losses(model), lambda: data.clean.losses(model).mean())
        return len(reweighter.weights) * reweighter.weights

    return step


class Way(NamedTuple):
    """A way to weigh samples."""

    text: str
    """In a line."""
    pool: Callable[[Data], Images] = lambda data: data.train
    """What is trained on."""
    begin: Callable[[Classifier, Data, NoisyDigitsSettings], Step] = uniform
    """Gives what a step does."""
    stops_early: bool = False
    """Whether the model counts that had the lowest loss on the clean set, and not the last one."""

    @property
    def weighs(self) -> bool:
        """Whether samples have weights."""
        return self.begin is not uniform


WAYS = {
    "uniform": Way("every sample counts the same"),
    "learned": Way("by a network that reads each sample's loss (Meta-Weight-Net)", begin=learned),
    "learned-after": Way(
        "the same, but the model steps first, by the step that the network then learns from",
        begin=functools.partial(learned, first="model"),
    ),
    "reweight": Way("by each gradient along the clean set's (Learning to Reweight)", begin=reweighted),
    "early-stopping": Way("uniform; of all models on the way the best on the clean set", stops_early=True),
    "clean-set-added": Way(
        "uniform, with the clean set among the training data", lambda data: data.train.with_others(data.clean)
    ),
    "clean-set-alone": Way("uniform, on nothing but the clean set", lambda data: data.clean),
    "clean": Way(
        "uniform, on the right labels alone: somebody knows which are wrong",
        lambda data: data.train.chosen(~data.wrong),
    ),
}
"""The ways; others are compared with the first."""
