"""The data of `noisy-digits`: scikit-learn's digits, split, with labels replaced."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.tasks.digits import CLASSES, Images, split_digits
from bilevel.tasks.noisy_digits.settings import NoisyDigitsSettings


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
