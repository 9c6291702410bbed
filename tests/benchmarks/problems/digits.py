"""Problem 6: handwritten digits with false labels; a weight for each sample is learned from clean digits.

scikit-learn's digits, 64 pixels. Of the training batch 40 % of the labels are drawn anew; the validation
batch has its true ones. `case.size` units: up to 64 one hidden layer and batches of 64, above two hidden
layers and batches of as many samples. A call is one whole training step, from the same start every time: look
ahead by one step, move the weights, take the step; K is always 1. It gives what the weights moved by.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bilevel.loss_weights import SampleWeights
from tests.benchmarks.case import Case

SMALL = 64
"""Units and samples up to which there is one hidden layer."""
RATE, MOMENTUM = 0.1, 0.9
OUTER_RATE = 1.0
FALSE = 0.4
"""The part of the training labels that are drawn anew."""

Batch = tuple[Tensor, Tensor]


class Digits(NamedTuple):
    """The model, what weighs its losses, and two batches."""

    model: nn.Sequential
    weights: SampleWeights
    train: Batch
    validation: Batch

    def each(self, model: nn.Module) -> Tensor:
        """The loss of each training sample, [sample]."""
        inputs, labels = self.train
        return nn.functional.cross_entropy(model(inputs), labels, reduction="none")

    def outcome(self, model: nn.Module) -> Tensor:
        """The validation loss."""
        inputs, labels = self.validation
        return nn.functional.cross_entropy(model(inputs), labels)


def digits(case: Case) -> Digits:
    """Build it; weights start where samples are weighed unlike each other."""
    generator, dtype = torch.Generator().manual_seed(0), getattr(torch, case.dtype)
    from sklearn.datasets import load_digits  # noqa: PLC0415 - two seconds, for all who import this module

    pixels, labels = load_digits(return_X_y=True)
    inputs, truth = torch.tensor(pixels / 16, dtype=dtype), torch.tensor(labels)
    samples, layers = (SMALL, 1) if case.size <= SMALL else (case.size, 2)
    train, validation = torch.randint(len(truth), (2, samples), generator=generator)
    drawn = torch.randint(10, (samples,), generator=generator)
    wrong = torch.rand(samples, generator=generator) < FALSE
    model, weights = network(64, [case.size] * layers, 10, dtype, generator), SampleWeights().to(dtype)
    with torch.no_grad():
        weights.theta.copy_(0.3 * torch.randn(weights.theta.shape, generator=generator))
    given = torch.where(wrong, drawn, truth[train])
    return Digits(model, weights, (inputs[train], given), (inputs[validation], truth[validation]))


def network(
    inputs: int, hidden: list[int], outputs: int, dtype: torch.dtype, generator: torch.Generator
) -> nn.Sequential:
    """A multilayer perceptron."""
    sizes = [inputs, *hidden, outputs]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layer = nn.Linear(before, after)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(after, before, generator=generator) / before**0.5)
            layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(dtype)
