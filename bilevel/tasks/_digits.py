"""scikit-learn's handwritten digits: the data of two tasks."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bilevel.core import Range
from games.core import require

CLASSES, IMAGES, PIXELS = 10, 1797, 64  # Digits, images of them, and 8 x 8 pixels of each


class Images(NamedTuple):
    """Images with labels."""

    pixels: Tensor  # [image, pixel], float32 from 0 to 1
    labels: Tensor  # [image], int64 from 0 to 9

    def chosen(self, index: Tensor) -> Images:
        """The images at these indices or under this mask."""
        return Images(self.pixels[index], self.labels[index])

    def with_others(self, others: Images) -> Images:
        """Concatenate other images to these."""
        return Images(torch.cat((self.pixels, others.pixels)), torch.cat((self.labels, others.labels)))

    def losses(self, model: nn.Module) -> Tensor:
        """The cross-entropy of each, [image]."""
        return cross_entropy(model(self.pixels), self.labels, reduction="none")

    def accuracy(self, model: nn.Module) -> float:
        """Percentage of images that a model classifies correctly."""
        with torch.no_grad():
            return 100 * float((model(self.pixels).argmax(-1) == self.labels).double().mean())


def check_settings(settings: Any, counts: str, parts: str) -> None:
    """Raise ValueError unless counts are from 1, parts leave test images, and rates are in range."""
    for name in counts.split():
        value = getattr(settings, name)
        require(value >= 1, f"{name} must be 1 or more, not {value}.")
    *most, last = parts.split()
    taken = sum(getattr(settings, part) for part in (*most, last))
    require(
        taken < IMAGES,
        f"{', '.join(most)} and {last} must leave some of the {IMAGES} images to test on, but they take "
        f"{taken}.",
    )
    Range(above=0).require("learning_rate", settings.learning_rate)
    require(0 <= settings.momentum < 1, f"momentum must be from 0 up to 1, not {settings.momentum}.")
    Range(min=0).require("outer_learning_rate", settings.outer_learning_rate)


def split_digits(sizes: Sequence[int], generator: torch.Generator) -> list[Images]:
    """Split all images at random into parts of these sizes and the rest.

    Source:
        Alpaydin and Kaynak, optical recognition of handwritten digits (UCI), the test part in scikit-learn.
    """
    bunch = import_module("sklearn.datasets").load_digits()  # an optional package
    images = Images(torch.tensor(bunch.data).float() / 16, torch.tensor(bunch.target).long())
    order = torch.randperm(IMAGES, generator=generator)
    return [images.chosen(index) for index in order.tensor_split(torch.tensor(sizes).cumsum(0))]
