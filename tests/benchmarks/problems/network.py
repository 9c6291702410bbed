"""Problem 3: a network of a million parameters whose three losses are weighted by phi, unrolled far.

Inputs of 64, two hidden layers of `case.size` (960 makes 994 570 parameters), outputs of 10: the first 4
regress the main task, which alone is the outer loss; 3 and 3 more regress two auxiliary ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.case import Case
from tests.benchmarks.problems.setting import Modules, Optimizer, Setting, tensor, with_values

INPUTS, OUTPUTS, HEADS = 64, 10, (4, 3, 3)
SAMPLES, BATCHES = 32, 8
MILLION = 960
"""Units of a hidden layer that make a million parameters."""
OPTIMIZERS = {"sgd": Optimizer("sgd", 0.05), "momentum": Optimizer("momentum", 0.005)}


class Network(nn.Sequential):
    """A multilayer perceptron."""

    def __init__(self, hidden: int) -> None:
        layers = [nn.Linear(INPUTS, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, OUTPUTS)]
        super().__init__(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def start(case: Case) -> tuple[list[Tensor], Tensor, list[tuple[Tensor, Tensor]]]:
    """Draw the parameters, phi, and batches of inputs and targets, the last for the outer loss."""
    generator, hidden = np.random.default_rng(0), case.size
    parameters = []
    for inputs, outputs in ((INPUTS, hidden), (hidden, hidden), (hidden, OUTPUTS)):
        parameters += [generator.normal(size=(outputs, inputs)) / np.sqrt(inputs), np.zeros(outputs)]
    batches = [
        (generator.normal(size=(SAMPLES, INPUTS)), generator.normal(size=(SAMPLES, OUTPUTS)))
        for _ in range(BATCHES + 1)
    ]
    return (
        [tensor(parameter, case) for parameter in parameters],
        tensor(0.5 * generator.normal(size=len(HEADS)), case),
        [(tensor(x, case), tensor(y, case)) for x, y in batches],
    )


def head_losses(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of each head, [head]."""
    squares = (found - wanted).square().split(HEADS, -1)
    return torch.stack([square.mean() for square in squares])


def setting(case: Case, *, optimizer: str = "sgd") -> Setting:
    """Build the problem as functions of a dict of parameters."""
    parameters, phi, batches = start(case)
    with torch.device("meta"):  # its parameters are always given: it needs none of its own
        network = Network(case.size)
    names = [name for name, _ in network.named_parameters()]

    def losses(theta: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        return head_losses(torch.func.functional_call(network, theta, (batch[0],)), batch[1])

    def loss(own: Any, others: Any, phi: Tensor, data: tuple[Tensor, Tensor]) -> Tensor:
        return (phi.softmax(-1) * losses(own, data)).sum(-1, keepdim=True)

    def outer_loss(theta: Any, phi: Tensor, data: None) -> Tensor:
        return losses(theta, batches[-1])[0]

    theta = dict(zip(names, parameters, strict=True))
    return Setting(theta, phi, batches[:-1], loss, outer_loss, OPTIMIZERS[optimizer])


def modules(case: Case, *, optimizer: str = "sgd") -> Modules:
    """Build the problem as a module."""
    parameters, phi, batches = start(case)
    network = with_values(Network(case.size), parameters)

    def losses(learners: Sequence[nn.Module], phi: Tensor, k: int) -> Sequence[Tensor]:
        x, y = batches[k % BATCHES]
        return [(phi.softmax(-1) * head_losses(learners[0](x), y)).sum()]

    def outer_loss(learners: Sequence[nn.Module], phi: Tensor) -> Tensor:
        x, y = batches[-1]
        return head_losses(learners[0](x), y)[0]

    return Modules([network], phi, losses, outer_loss, OPTIMIZERS[optimizer])
