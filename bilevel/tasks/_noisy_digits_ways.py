"""The ways to weigh samples in `noisy-digits`: what each trains on, and how a step of it goes.

The data of `noisy-digits`: scikit-learn's digits, split, with labels replaced.

What can be set in `noisy-digits`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from bilevel.core import Range, require_number
from bilevel.loss_weights import LossWeightTuner, Reweighter, SampleWeights
from bilevel.tasks._digits import CLASSES, IMAGES, Images, split_digits
from games.core import require


@dataclass(frozen=True, kw_only=True)
class NoisyDigitsSettings:
    """Data, model and training of `noisy-digits`.

    Raises:
        ValueError: a setting is out of range.
    """

    noise: float = 0.4
    """The part of training labels that is wrong, from 0 to 1."""
    train: int = 1000
    """Images with such labels, 1 or more."""
    clean: int = 100
    """Images that are labeled right, 1 or more; what is left of the 1797 is the test set."""
    hidden: int = 128
    """Units of the classifier's one hidden layer, 1 or more."""
    steps: int = 600
    """Training steps, 1 or more: as many for every way to set the weights."""
    batch: int = 100
    """Images in a step, 1 or more."""
    learning_rate: float = 0.1
    """Of the classifier's gradient descent, above 0."""
    momentum: float = 0.9
    """Of the classifier's gradient descent, from 0 up to 1."""
    outer_learning_rate: float = 0.001
    """Of the Adam that moves the network that weighs, 0 or more."""
    burn_in: int = 50
    """Steps, 0 or more, before that network weighs and learns. At first losses say little about labels; what
    it learns then, that the greatest count most, can last."""
    weight_hidden: int = 100
    """Hidden units of the network that weighs, 1 or more."""

    def __post_init__(self) -> None:
        for name in ("train", "clean", "hidden", "steps", "batch", "weight_hidden"):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more, not {getattr(self, name)}.")
        require(self.burn_in >= 0, f"burn_in must be 0 or more, not {self.burn_in}.")
        Range(least=0, most=1).require("noise", self.noise)
        require(
            self.train + self.clean < IMAGES,
            f"train and clean must leave some of the {IMAGES} images to test on, but they take "
            f"{self.train + self.clean}.",
        )
        require_number("learning_rate", self.learning_rate, above=0)
        require(0 <= self.momentum < 1, f"momentum must be from 0 up to 1, not {self.momentum}.")
        require_number("outer_learning_rate", self.outer_learning_rate, least=0)


class Data(NamedTuple):
    """What a trial learns from, and what it is measured on; no image is in two of these."""

    train: Images
    """With the labels that are given, many of them wrong."""
    wrong: Tensor
    """Which of these labels are wrong: [image], bool."""
    clean: Images
    """Labeled right."""
    test: Images
    """Labeled right."""


def draw_data(settings: NoisyDigitsSettings, generator: torch.Generator) -> Data:
    """Split the digits at random, and replace some training labels by another class, each as likely.

    Args:
        settings: how many of what.
        generator: the source of the draws.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.

    Source:
        Uniform noise as in Shu et al., Meta-Weight-Net, arXiv 1902.07379.

    >>> data = draw_data(NoisyDigitsSettings(), torch.Generator().manual_seed(0))
    >>> len(data.train.labels), int(data.wrong.sum()), len(data.clean.labels), len(data.test.labels)
    (1000, 400, 100, 697)
    """
    train, clean, test = split_digits((settings.train, settings.clean), generator)
    wrong = torch.zeros(settings.train, dtype=torch.bool)
    replaced = torch.randperm(settings.train, generator=generator)[: round(settings.noise * settings.train)]
    wrong[replaced] = True
    shift = torch.randint(1, CLASSES, (settings.train,), generator=generator)
    labels = torch.where(wrong, (train.labels + shift) % CLASSES, train.labels)
    return Data(Images(train.pixels, labels), wrong, clean, test)


Step = Callable[[Images], Tensor | None]
"""Trains on a batch. Gives the weight of each image in it, [image], scaled to a mean of 1 (or all 0); None
where there are no weights."""


class Classifier(NamedTuple):
    """What is trained."""

    model: nn.Module
    """Of the images."""
    optimizer: torch.optim.Optimizer
    """Of its parameters."""


def uniform(classifier: Classifier, data: Data, settings: NoisyDigitsSettings) -> Step:
    """Every image counts the same."""
    model, optimizer = classifier

    def step(batch: Images) -> None:
        loss = batch.losses(model).mean()
        if not loss.isfinite():
            raise FloatingPointError("The training loss is not finite: try a smaller learning rate.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def learned(
    classifier: Classifier,
    data: Data,
    settings: NoisyDigitsSettings,
    *,
    first: Literal["weights", "model"] = "weights",
) -> Step:
    """A network weighs each image by its loss, and learns that from the clean set's loss a step later."""
    model, optimizer = classifier
    weights = SampleWeights((settings.weight_hidden,))
    outer_optimizer = torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate)
    tuner = LossWeightTuner(model, optimizer, weights, outer_optimizer, first=first)
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
    model, optimizer = classifier
    reweighter = Reweighter(model, optimizer)

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
