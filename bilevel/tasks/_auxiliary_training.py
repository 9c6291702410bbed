"""Settings, data, network and losses of `auxiliary-digits`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bilevel.core import Range
from bilevel.tasks._digits import CLASSES, PIXELS, Images, check_settings, split_digits
from games.core import require

LOSSES: Mapping[str, str] = {
    "digit": "the objective: which digit, of the labeled images",
    "pair": "helpful: which of the pairs 0 or 1, 2 or 3, to 8 or 9, of the pool",
    "noise": "useless: a label drawn once for each image of the pool",
    "shifted": "harmful: which digit, of the pool, by an annotator who always writes the next one",
}
"""Name -> description; all losses share a trunk, and shifted the head of digit, too."""


@dataclass(frozen=True, kw_only=True)
class AuxiliaryDigitsSettings:
    """Data, model and training of `auxiliary-digits`."""

    labeled_size: int = 100
    """Images whose digit is known, 1 or more."""
    pool_size: int = 800
    """Images with auxiliary labels only, 1 or more."""
    validation_size: int = 200
    """Images whose digit is known, for learning or choosing weights, 1 or more; the rest of the 1797 are the
    test set."""
    hidden_size: int = 64
    """Units of the trunk's one hidden layer, 1 or more."""
    steps: int = 250
    """Training steps, 1 or more; the same for every weighting."""
    batch_size: int = 100
    """Images of the pool in a step, 1 or more; the labeled ones are all in every step."""
    learning_rate: float = 0.05
    """Learning rate of the network's gradient descent, above 0."""
    momentum: float = 0.9
    """Momentum of the network's gradient descent, from 0 up to 1."""
    weight_decay: float = 0.02
    """Weight decay of the network's gradient descent, 0 or more."""
    outer_learning_rate: float = 0.1
    """Learning rate of the Adam that learns the weights, 0 or more; also for uncertainty and gradnorm."""
    every: int = 2
    """Steps between two updates of the weights by `implicit`, 1 or more."""
    epoch: int = 20
    """Steps of an epoch of `dynamic-average`, 1 or more."""
    min_weight: float = 0.01
    """Smallest weight of `random-search`, above 0."""
    max_weight: float = 10.0
    """Largest weight of `random-search`, at least `min_weight`."""

    def __post_init__(self) -> None:
        counts = "labeled_size pool_size validation_size hidden_size steps batch_size every epoch"
        check_settings(self, counts, "labeled_size pool_size validation_size")
        Range(min=0).require("weight_decay", self.weight_decay)
        require(
            0 < self.min_weight <= self.max_weight < float("inf"),
            "min_weight and max_weight are two weights above 0 in order, not "
            f"{self.min_weight} and {self.max_weight}.",
        )


class AuxiliaryDigitsData(NamedTuple):
    """Disjoint training, validation and test data."""

    labeled: Images
    pool: Images
    noise: Tensor  # A random label for each image of the pool: [image], int64
    validation: Images
    test: Images


def draw_data(settings: AuxiliaryDigitsSettings, generator: torch.Generator) -> AuxiliaryDigitsData:
    """Split the digits, and draw random labels of the pool."""
    sizes = (settings.labeled_size, settings.pool_size, settings.validation_size)
    labeled, pool, validation, test = split_digits(sizes, generator)
    noise = torch.randint(CLASSES, (settings.pool_size,), generator=generator)
    return AuxiliaryDigitsData(labeled, pool, noise, validation, test)


class DigitNetwork(nn.Module):
    """A shared trunk with heads for the digit, its pair and the noise."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU())
        classes = {"digit": CLASSES, "pair": CLASSES // 2, "noise": CLASSES}
        self.heads = nn.ModuleDict({head: nn.Linear(hidden, count) for head, count in classes.items()})

    def forward(self, pixels: Tensor, *heads: str) -> list[Tensor]:
        """Logits of these heads, each [image, class]."""
        features = self.trunk(pixels)
        return [self.heads[head](features) for head in heads]


class DigitTraining:
    """A network, its optimizer and batches; the seed determines initial parameters and batches."""

    def __init__(self, data: AuxiliaryDigitsData, settings: AuxiliaryDigitsSettings, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = DigitNetwork(settings.hidden_size)
        self.data, self.settings, self.seed = data, settings, seed
        self.names = tuple(LOSSES)
        """Names of the losses to train on."""
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.shifted = (data.pool.labels + 1) % CLASSES
        self.draw_batch()

    def draw_batch(self) -> None:
        """Draw the next images of the pool."""
        count, size = len(self.data.noise), min(self.settings.batch_size, len(self.data.noise))
        self.batch = torch.randperm(count, generator=self.generator)[:size]

    def losses(self) -> dict[str, Tensor]:
        """Name -> mean cross-entropy on the labeled images and the batch of the pool."""
        pool, batch = self.data.pool, self.batch
        (own,) = self.network(self.data.labeled.pixels, "digit")
        digit, pair, noise = self.network(pool.pixels[batch], "digit", "pair", "noise")
        losses = {
            "digit": cross_entropy(own, self.data.labeled.labels),
            "pair": cross_entropy(pair, pool.labels[batch] // 2),
            "noise": cross_entropy(noise, self.data.noise[batch]),
            "shifted": cross_entropy(digit, self.shifted[batch]),
        }
        return {name: losses[name] for name in self.names}

    def validation(self) -> Tensor:
        """Mean cross-entropy of the digit on the validation images."""
        (logits,) = self.network(self.data.validation.pixels, "digit")
        return cross_entropy(logits, self.data.validation.labels)

    def test_error(self) -> float:
        """Percentage of misclassified test images."""
        with torch.no_grad():
            (logits,) = self.network(self.data.test.pixels, "digit")
        return 100 * float((logits.argmax(-1) != self.data.test.labels).double().mean())
