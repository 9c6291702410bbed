"""The data of `noisy-digits`: scikit-learn's digits, split, with labels replaced."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bilevel.tasks.noisy_digits.settings import NoisyDigitsSettings

CLASSES, PIXELS = 10, 64
"""Digits, and 8 x 8 pixels."""
BRIGHTEST = 16
"""Pixels are whole numbers from 0 to this."""


class Images(NamedTuple):
    """Images with labels."""

    pixels: Tensor
    """[image, pixel], float32 from 0 to 1."""
    labels: Tensor
    """[image], int64 from 0 to 9."""

    def chosen(self, index: Tensor) -> Images:
        """Some of them, by their places or by a mask."""
        return Images(self.pixels[index], self.labels[index])

    def with_others(self, others: Images) -> Images:
        """These, and others after them."""
        return Images(torch.cat((self.pixels, others.pixels)), torch.cat((self.labels, others.labels)))

    def losses(self, model: nn.Module) -> Tensor:
        """The cross-entropy of each, [image]."""
        return cross_entropy(model(self.pixels), self.labels, reduction="none")

    def accuracy(self, model: nn.Module) -> float:
        """How many of them a model gets right, in per cent."""
        with torch.no_grad():
            return 100 * float((model(self.pixels).argmax(-1) == self.labels).double().mean())


class Data(NamedTuple):
    """What a trial learns from, and what it is measured on; no image is in two of these."""

    train: Images
    """With the labels that are given, many of them wrong."""
    wrong: Tensor
    """Which of these labels are wrong: [image], bool."""
    clean: Images
    """Labelled right."""
    test: Images
    """Labelled right."""


def draw_data(settings: NoisyDigitsSettings, generator: torch.Generator) -> Data:
    """Split the digits at random, and replace some training labels by another class, each as likely.

    Args:
        settings: how many of what.
        generator: the source of the draws.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.

    Source:
        Alpaydin and Kaynak, optical recognition of handwritten digits (UCI), the test part, as in
        scikit-learn. Uniform noise as in Shu et al., Meta-Weight-Net, arXiv 1902.07379.

    >>> data = draw_data(NoisyDigitsSettings(), torch.Generator().manual_seed(0))
    >>> len(data.train.labels), int(data.wrong.sum()), len(data.clean.labels), len(data.test.labels)
    (1000, 400, 100, 697)
    """
    bunch = import_module("sklearn.datasets").load_digits()  # an extra: nobody else needs it
    every = Images(torch.tensor(bunch.data).float() / BRIGHTEST, torch.tensor(bunch.target).long())
    order = torch.randperm(len(every.labels), generator=generator)
    cuts = [settings.train, settings.train + settings.clean]
    train, clean, test = map(every.chosen, order.tensor_split(cuts))
    wrong = torch.zeros(settings.train, dtype=torch.bool)
    replaced = torch.randperm(settings.train, generator=generator)[: round(settings.noise * settings.train)]
    wrong[replaced] = True
    shift = torch.randint(1, CLASSES, (settings.train,), generator=generator)
    labels = torch.where(wrong, (train.labels + shift) % CLASSES, train.labels)
    return Data(Images(train.pixels, labels), wrong, clean, test)
