"""`noisy-digits`: handwritten digits, many of them labelled wrongly, and a small set labelled right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bilevel.errors import require
from bilevel.experiment.improvement import probability_of_improvement
from bilevel.tasks.task import Advance, Measure, Trial
from bilevel.tuning import LossWeightTuner, SampleWeights
from bilevel.tuning.reweighting import Reweighter

CLASSES, IMAGES, PIXELS = 10, 1797, 64
"""Of scikit-learn's digits: 8 x 8 pixels, each from 0 to 16."""


@dataclass(frozen=True, kw_only=True)
class NoisyDigitsSettings:
    """Data, model and training of `noisy-digits`."""

    noise: float = 0.4
    """The part of training labels that is replaced by another one, from 0 to 1."""
    train: int = 1000
    """Images with such labels, 1 or more."""
    clean: int = 100
    """Images that are labelled right, 1 or more; the others of the 1797 are the test set."""
    hidden: int = 64
    """Units of the network's one hidden layer, 1 or more."""
    steps: int = 1000
    """Training steps, 1 or more; the same for every way to set the weights."""
    batch: int = 100
    """Images in a step, 1 or more."""
    learning_rate: float = 0.1
    """Of the network's gradient descent, above 0."""
    momentum: float = 0.9
    """Of the network's gradient descent, from 0 up to 1."""
    outer_learning_rate: float = 0.01
    """Of the Adam that learns how to weigh, 0 or more."""
    weight_hidden: int = 100
    """Hidden units of the network that weighs, 1 or more."""

    def __post_init__(self) -> None:
        for name in ("train", "clean", "hidden", "steps", "batch", "weight_hidden"):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more, not {getattr(self, name)}.")
        require(0 <= self.noise <= 1, f"noise must be from 0 to 1, not {self.noise}.")
        require(
            self.train + self.clean < IMAGES,
            f"train and clean must leave some of the {IMAGES} images to test on, but they take "
            f"{self.train + self.clean}.",
        )
        require(self.learning_rate > 0, f"learning_rate must be above 0, not {self.learning_rate}.")
        require(0 <= self.momentum < 1, f"momentum must be from 0 up to 1, not {self.momentum}.")
        require(
            self.outer_learning_rate >= 0,
            f"outer_learning_rate must be 0 or more, not {self.outer_learning_rate}.",
        )


class Images(NamedTuple):
    """Images with labels."""

    pixels: Tensor
    """[image, pixel], from 0 to 1."""
    labels: Tensor
    """[image], int64."""

    def chosen(self, index: Tensor) -> Images:
        """Some of them."""
        return Images(self.pixels[index], self.labels[index])

    def loss_of(self, model: nn.Module) -> Tensor:
        """The cross-entropy of each, [image]."""
        return cross_entropy(model(self.pixels), self.labels, reduction="none")


class Data(NamedTuple):
    """What a trial learns from, and is measured on."""

    train: Images
    """With labels as they are given, many of them wrong."""
    wrong: Tensor
    """Which of these labels are wrong: [image], bool."""
    clean: Images
    """Labelled right."""
    test: Images
    """Labelled right."""


def draw_data(settings: NoisyDigitsSettings, generator: torch.Generator) -> Data:
    """Split the digits, and replace labels."""
    bunch = import_module("sklearn.datasets").load_digits()
    every = Images(torch.tensor(bunch.data).float() / 16, torch.tensor(bunch.target).long())
    order = torch.randperm(len(every.labels), generator=generator)
    train, clean, test = map(
        every.chosen, order.tensor_split([settings.train, settings.train + settings.clean])
    )
    wrong = torch.zeros(settings.train, dtype=torch.bool)
    wrong[torch.randperm(settings.train, generator=generator)[: round(settings.noise * settings.train)]] = (
        True
    )
    shift = torch.randint(1, CLASSES, (settings.train,), generator=generator)
    labels = torch.where(wrong, (train.labels + shift) % CLASSES, train.labels)
    return Data(Images(train.pixels, labels), wrong, clean, test)


Step = Callable[[Images], Tensor | None]
"""Trains on a batch; gives the weight of each image, [image], 1 being uniform, where there are weights."""


def _plain(
    model: nn.Module, optimiser: torch.optim.Optimizer, data: Data, settings: NoisyDigitsSettings
) -> Step:
    """Every image counts the same."""

    def step(batch: Images) -> None:
        optimiser.zero_grad()
        batch.loss_of(model).mean().backward()
        optimiser.step()

    return step


def _learned(
    model: nn.Module, optimiser: torch.optim.Optimizer, data: Data, settings: NoisyDigitsSettings
) -> Step:
    """Meta-Weight-Net's network reads each image's loss."""
    weights = SampleWeights((settings.weight_hidden,))
    tuner = LossWeightTuner(
        model, optimiser, weights, torch.optim.Adam(weights.parameters(), lr=settings.outer_learning_rate)
    )

    def step(batch: Images) -> Tensor:
        losses = batch.loss_of(model).detach()
        tuner.step(lambda: batch.loss_of(model), lambda: data.clean.loss_of(model).mean())
        values = weights.values(losses).detach()
        return len(values) * values / values.sum()

    return step


def _reweighted(
    model: nn.Module, optimiser: torch.optim.Optimizer, data: Data, settings: NoisyDigitsSettings
) -> Step:
    """Learning to Reweight."""
    reweighter = Reweighter(model, optimiser)

    def step(batch: Images) -> Tensor:
        reweighter.step(lambda: batch.loss_of(model), lambda: data.clean.loss_of(model).mean())
        return len(reweighter.weights) * reweighter.weights

    return step


class Way(NamedTuple):
    """A way to set the weights."""

    text: str
    """In a line."""
    pool: Callable[[Data], Images]
    """What is trained on."""
    stepper: Callable[[nn.Module, torch.optim.Optimizer, Data, NoisyDigitsSettings], Step] = _plain
    """How."""


WAYS = {
    "uniform": Way("every label counts the same", lambda data: data.train),
    "learned": Way(
        "a network weighs each sample by its loss (Meta-Weight-Net)", lambda data: data.train, _learned
    ),
    "reweight": Way(
        "each batch's gradients against that of the clean set (Learning to Reweight)",
        lambda data: data.train,
        _reweighted,
    ),
    "clean-set-added": Way(
        "uniform, with the clean set among the training data",
        lambda data: Images(*map(torch.cat, zip(data.train, data.clean, strict=True))),
    ),
    "clean-set-alone": Way("uniform, on the clean set alone", lambda data: data.clean),
    "clean": Way(
        "uniform, on the right ones of the training labels: knows which are wrong",
        lambda data: data.train.chosen(~data.wrong),
    ),
}


class NoisyDigits:
    """Digits of which many are labelled wrongly; a small set is labelled right.

    Source:
        The data: Alpaydin and Kaynak, UCI's optical recognition of handwritten digits, as in scikit-learn.
        The kind of task: Shu et al., Meta-Weight-Net, arXiv 1902.07379.
    """

    summary = "digits with 40 % wrong labels and a small clean set: a weight for each sample"
    measures: Sequence[Measure] = (
        Measure("test accuracy (%)", "of images that were not trained on.", "higher"),
        Measure(
            "weight of wrong labels",
            "the mean weight of wrong labels over that of right ones, the last that each had in training.",
            "lower",
        ),
        Measure(
            "detection (AUC)",
            "the chance that a right label's weight is above a wrong one's, ties counting half.",
            "higher",
        ),
    )
    weightings: Mapping[str, str] = {name: way.text for name, way in WAYS.items()}
    settings = NoisyDigitsSettings

    def run(self, settings: NoisyDigitsSettings, weighting: str, seed: int, advance: Advance) -> Trial:
        """Train one network; see `Task.run`."""
        generator = torch.Generator().manual_seed(seed)
        data = draw_data(settings, generator)
        torch.manual_seed(seed)  # the layers of torch take no generator
        model = nn.Sequential(
            nn.Linear(PIXELS, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, CLASSES)
        )
        optimiser = torch.optim.SGD(model.parameters(), settings.learning_rate, settings.momentum)
        way = WAYS[weighting]
        pool, step = way.pool(data), way.stepper(model, optimiser, data, settings)
        weights, course, places = torch.full((len(pool.labels),), torch.nan), [], []
        every = max(1, settings.steps // 20)
        for done, index in zip(
            range(1, settings.steps + 1), _batches(pool, settings, generator), strict=False
        ):
            given = step(pool.chosen(index))
            if given is not None:
                weights[index] = given
            if done % every == 0 or done == settings.steps:
                course.append(_accuracy(model, data.test))
                places.append(done)
                advance(done / settings.steps)
        detected = _detected(weights, data.wrong) if way.stepper is not _plain else (torch.nan, torch.nan)
        measured = (course[-1], *detected)
        return Trial(
            {measure.name: value for measure, value in zip(self.measures, measured, strict=True)},
            {"test accuracy (%)": course, "test accuracy (%) at": places},
            {"weights": weights.numpy(), "wrong": data.wrong.numpy()} if way.stepper is not _plain else {},
        )

    def draw(self, trials: Mapping[str, Sequence[Trial]], path: Path) -> None:
        """Draw the weights of wrong and right labels, and accuracies; see `Task.draw`."""
        path.write_text("")


def _batches(pool: Images, settings: NoisyDigitsSettings, generator: torch.Generator) -> Iterator[Tensor]:
    """Epoch after epoch, each in an order of its own: [image of a batch]."""
    while True:
        yield from torch.randperm(len(pool.labels), generator=generator).split(settings.batch)


def _accuracy(model: nn.Module, images: Images) -> float:
    with torch.no_grad():
        return 100 * float((model(images.pixels).argmax(-1) == images.labels).double().mean())


def _detected(weights: Tensor, wrong: Tensor) -> tuple[float, float]:
    """How weights tell wrong labels from right ones: the ratio of means, and the area under the curve."""
    seen = ~weights.isnan()
    bad, good = weights[seen & wrong].double(), weights[seen & ~wrong].double()
    if not len(bad) or not len(good) or good.mean() == 0:
        return float("nan"), float("nan")
    return float(bad.mean() / good.mean()), float(probability_of_improvement(good.numpy(), bad.numpy()))
